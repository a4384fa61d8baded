package relay

import (
	"context"
	"fmt"
	"os"
	"slices"
	"sync/atomic"

	"tideover/proxy/remote"
	"tideover/supervisor/handoff"
)

// pages are the memory in which relays count: a page has one writer, and there are two relays while one
// of them drains. What an app has counted is the sum of both.
type pages struct {
	all    [2]*remote.Page
	newest *atomic.Pointer[remote.Page] // that of the newest relay
}

// newPages makes the pages, or opens those of a former supervisor, and stores them for the next one.
func newPages(store handoff.Store, former map[string]*os.File) (p pages, err error) {
	for i := range p.all {
		if f := former[pageName(i)]; f != nil {
			p.all[i], err = remote.OpenPage(f)
		} else if p.all[i], err = remote.NewPage(); err == nil && store != nil {
			err = store.Put(context.Background(), pageName(i), p.all[i].File())
		}
		if err != nil {
			return pages{}, err
		}
	}
	p.newest = &atomic.Pointer[remote.Page]{}
	p.newest.Store(p.all[0])
	return p, nil
}

// pageName is the name of the descriptor of a page.
func pageName(i int) string { return fmt.Sprint(handoff.PagePrefix, i) }

// pageIndex is the index of a page.
func (p pages) pageIndex(page *remote.Page) int { return slices.Index(p.all[:], page) }

// freePage returns a page to which no relay writes. At most one relay may live.
func (k *Keeper) freePage() *remote.Page {
	used, _ := k.relays()
	return k.all[slices.IndexFunc(k.all[:], func(page *remote.Page) bool {
		return !slices.ContainsFunc(used, func(p *relayProcess) bool { return p.Page == page })
	})]
}

// cutOfDead counts as cut what was under way in relays that have died, for example together with the
// former supervisor.
func (k *Keeper) cutOfDead() {
	used, _ := k.relays()
	for _, page := range k.all {
		if !slices.ContainsFunc(used, func(p *relayProcess) bool { return p.Page == page }) {
			page.CutUnderWay()
		}
	}
}

// State is that of remote.Relay.
func (p pages) State(app remote.AppID) (sum remote.State) {
	for _, page := range p.all {
		s := page.State(app)
		sum.Held += s.Held
		sum.Oldest = max(sum.Oldest, s.Oldest)
		sum.Connections += s.Connections
		sum.Sending += s.Sending
	}
	return sum
}

// Clients is that of remote.Relay.
func (p pages) Clients() remote.Clients {
	sum := remote.Clients{Limit: p.newest.Load().Clients().Limit}
	for _, page := range p.all {
		sum.Open += page.Clients().Open
	}
	return sum
}

// Counters is that of remote.Relay.
func (p pages) Counters(app remote.AppID) remote.Counters {
	return p.all[0].Counters(app).Plus(p.all[1].Counters(app))
}

// Metrics is that of remote.Relay.
func (p pages) Metrics(app remote.AppID) remote.Metrics {
	return p.all[0].Metrics(app).Plus(p.all[1].Metrics(app))
}

// Use is that of remote.Relay.
func (p pages) Use(id remote.ID) (sum remote.Use) {
	for _, page := range p.all {
		u := page.Use(id)
		sum.InFlight += u.InFlight
		sum.Tunnels += u.Tunnels
	}
	return sum
}

// Heard is that of remote.Relay.
func (p pages) Heard(id remote.ID) (heard bool) {
	for _, page := range p.all {
		heard = page.Heard(id) || heard
	}
	return heard
}

// take returns what an app has counted in pages to which no relay writes for it any more, and forgets
// it.
func (p pages) take(app remote.AppID) (sum remote.Counters) {
	for _, page := range p.all {
		sum = sum.Plus(page.Counters(app))
		page.Forget(app)
	}
	return sum
}
