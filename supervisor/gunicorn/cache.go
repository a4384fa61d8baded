package gunicorn

import (
	"maps"
	"slices"
	"sync"
)

// Cache holds the last report of each app's gunicorn that was accepted, by app. A process of
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
// query returns. Keep makes it the app's latest one.
func (c *Cache) Get(app string, command []string, query func() (Report, error)) (Report, error) {
	c.mu.Lock()
	r, ok := c.inherited[app]
	delete(c.inherited, app)
	c.mu.Unlock()
	if !ok || !r.isOf(command) {
		var err error
		if r, err = query(); err != nil {
			return r, err
		}
	}
	r.Command = command
	return r, nil
}

// Keep makes a report of Get the latest one of an app.
func (c *Cache) Keep(app string, r Report) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.latest[app] = r
}

// Last returns the latest report of an app, or the inherited one, if it is that of
// command.
func (c *Cache) Last(app string, command []string) (Report, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r, ok := c.latest[app]
	if !ok {
		r, ok = c.inherited[app]
	}
	return r, ok && r.isOf(command)
}

// isOf reports whether the report is that of a command. One that an older version of
// tideover has handed over lacks settings, and the command.
func (r Report) isOf(command []string) bool { return slices.Equal(r.Command, command) }
