package supervisor

import (
	"context"

	"tideover/proxy/remote"
	"tideover/supervisor/api"
	"tideover/supervisor/handoff"
)

// requestMeter counts what happens to the requests of an app during an operation or
// a hold.
type requestMeter struct {
	relay  *relayApp
	before remote.Counters
	mark   remote.Mark
}

// newRequestMeter begins to count. r may be nil: a plain process.
func newRequestMeter(r *relayApp) *requestMeter {
	m := &requestMeter{relay: r, before: r.counters()}
	if r != nil {
		m.mark, _ = r.relay.Mark(context.Background(), r.id)
	}
	return m
}

// record is what a later supervisor has to know.
func (m *requestMeter) record() *handoff.Meter { return &handoff.Meter{Before: m.before, Mark: m.mark} }

// restoreMeter goes on with a count that a former supervisor has begun. m may be nil: it is not known.
func restoreMeter(r *relayApp, m *handoff.Meter) *requestMeter {
	if m == nil {
		return newRequestMeter(r)
	}
	return &requestMeter{relay: r, before: m.Before, mark: m.Mark}
}

// counts returns the counts so far. Of a plain process all are 0.
func (m *requestMeter) counts() api.RequestCounts { return m.since(false) }

// end ends the count and returns it. It must be called once.
func (m *requestMeter) end() api.RequestCounts { return m.since(true) }

func (m *requestMeter) since(end bool) api.RequestCounts {
	if m.relay == nil {
		return api.RequestCounts{}
	}
	held := m.relay.relay.Since(context.Background(), remote.Since{Mark: m.mark, End: end})
	return api.RequestCounts{Held: held.Held, HeldMax: api.Seconds(held.Longest), Lost: lost(m.before, m.relay.counters())}
}

// lost counts the requests that ended between two readings without a complete
// answer of the app, because of tideover or of a child that died. A client that
// left and a malformed request are not lost.
func lost(before, after remote.Counters) int {
	return int(after.Expired - before.Expired + after.Overflowed - before.Overflowed +
		after.BadGateway - before.BadGateway + after.Cut - before.Cut)
}

// ShutdownCounts is what a shutdown meant for clients.
type ShutdownCounts struct {
	Lost    int // did not get their answer
	Refused int // 503 while the apps stopped
}

// countShutdown begins to count what happens to the requests of all apps. The function that it
// returns ends the count.
func (s *Supervisor) countShutdown() func() ShutdownCounts {
	before := map[*relayApp]remote.Counters{}
	for _, e := range s.registry.all() {
		if r := e.app.relay; r != nil {
			before[r] = r.counters()
		}
	}
	return func() (c ShutdownCounts) {
		for r, counters := range before {
			after := r.counters()
			c.Lost += lost(counters, after)
			c.Refused += int(after.Refused - counters.Refused)
		}
		return c
	}
}
