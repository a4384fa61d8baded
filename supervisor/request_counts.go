package supervisor

import (
	"tideover/proxy"
	"tideover/proxy/gate"
	"tideover/supervisor/api"
)

// requestMeter counts what happens to the requests of an app during an operation or
// a hold.
type requestMeter struct {
	server   *proxy.Server
	before   proxy.Counters
	observed *gate.Observation
}

// newRequestMeter begins to count. server may be nil: a plain process.
func newRequestMeter(g *gate.Gate, server *proxy.Server) *requestMeter {
	if server == nil {
		return &requestMeter{}
	}
	return &requestMeter{server: server, before: server.Counters(), observed: g.Observe()}
}

// counts returns the counts so far. Of a plain process all are 0.
func (m *requestMeter) counts() api.RequestCounts {
	if m.server == nil {
		return api.RequestCounts{}
	}
	held := m.observed.Stats()
	return api.RequestCounts{Held: held.Held, HeldMax: api.Seconds(held.Longest), Lost: lost(m.before, m.server.Counters())}
}

// end ends the count and returns it. It must be called once.
func (m *requestMeter) end() api.RequestCounts {
	if m.server != nil {
		defer m.observed.End()
	}
	return m.counts()
}

// lost counts the requests that ended between two readings without a complete
// answer of the app, because of tideover or of a child that died. A client that
// left and a malformed request are not lost.
func lost(before, after proxy.Counters) int {
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
	before := map[*proxy.Server]proxy.Counters{}
	for _, e := range s.registry.all() {
		if server := e.app.server; server != nil {
			before[server] = server.Counters()
		}
	}
	return func() (c ShutdownCounts) {
		for server, counters := range before {
			after := server.Counters()
			c.Lost += lost(counters, after)
			c.Refused += int(after.Refused - counters.Refused)
		}
		return c
	}
}
