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

// end ends the count. It must be called once. Of a plain process all counts are 0.
func (m *requestMeter) end() api.RequestCounts {
	if m.server == nil {
		return api.RequestCounts{}
	}
	held := m.observed.End()
	return api.RequestCounts{Held: held.Held, HeldMax: api.Seconds(held.Longest), Lost: lost(m.before, m.server.Counters())}
}

// lost counts the requests that ended between two readings without a complete
// answer of the app, because of tideover or of a child that died. A client that
// left and a malformed request are not lost.
func lost(before, after proxy.Counters) int {
	return int(after.Expired - before.Expired + after.Overflowed - before.Overflowed +
		after.BadGateway - before.BadGateway + after.Cut - before.Cut)
}
