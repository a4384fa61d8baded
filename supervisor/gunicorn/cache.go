package gunicorn

import (
	"maps"
	"sync"
)

// Cache holds the report that each app's gunicorn gave last, by app. A process of
// tideover hands it to its successor, which then need not run Python before the
// apps are up again.
type Cache struct {
	mu        sync.Mutex // guards both maps
	latest    map[string]Report
	inherited map[string]Report // from the predecessor, each valid for one Get
}

// NewCache returns a cache with the reports that a predecessor handed over. The
// map may be nil.
func NewCache(inherited map[string]Report) *Cache {
	c := &Cache{latest: map[string]Report{}, inherited: map[string]Report{}}
	maps.Copy(c.inherited, inherited)
	return c
}

// Get returns the inherited report of an app if there is one, and removes it from
// the inherited ones, so that the next Get calls query. Otherwise it returns what
// query returns. Either becomes the app's latest report.
func (c *Cache) Get(app string, query func() (Report, error)) (Report, error) {
	c.mu.Lock()
	r, ok := c.inherited[app]
	delete(c.inherited, app)
	c.mu.Unlock()
	if !ok {
		var err error
		if r, err = query(); err != nil {
			return r, err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.latest[app] = r
	return r, nil
}

// Reports returns a copy of the latest report of every app.
func (c *Cache) Reports() map[string]Report {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.latest)
}
