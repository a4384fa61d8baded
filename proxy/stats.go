package proxy

import "sync/atomic"

// Counters are a server's totals since it was made. Every request ends in exactly one of the endings, so that
// Requests = Answered + Expired + Overflowed + ClientLeft + Cut + BadRequest + BadGateway + TimedOut + Refused + those under way.
type Counters struct {
	Requests   uint64 `json:"requests"`    // begun: at least one byte of a head arrived
	Answered   uint64 `json:"answered"`    // ended: the app's complete response, or the alive path's, was handed to the client
	Expired    uint64 `json:"expired"`     // ended: 503, held as long as anybody may be
	Overflowed uint64 `json:"overflowed"`  // ended: 503, too many held, or too many bytes of them
	ClientLeft uint64 `json:"client_left"` // ended: the client went away or stopped taking bytes before it had its answer
	Cut        uint64 `json:"cut"`         // ended: the response had begun and the app's end of it failed; the client sees a truncation
	BadRequest uint64 `json:"bad_request"` // ended: a 4xx or 5xx for what the client sent
	BadGateway uint64 `json:"bad_gateway"` // ended: 502
	TimedOut   uint64 `json:"timed_out"`   // ended: 504
	Refused    uint64 `json:"refused"`     // ended: 503 because the gate refuses, or the server is at its end

	Held   uint64 `json:"held"`   // requests that waited at the gate
	Resent uint64 `json:"resent"` // requests sent a second time after an app process may have seen them the first time

	Connections uint64 `json:"connections"` // accepted
	Tunnels     uint64 `json:"tunnels"`     // answered with 101
}

// totals are the counters as they are kept: each is one atomic add.
type totals struct {
	requests, held, resent, connections, tunnels atomic.Uint64
	endings                                      [endings]atomic.Uint64
}

// An ending is how a request ended.
type ending int

const (
	answered ending = iota
	expiry
	overflow
	clientLeft
	cutShort
	badRequest
	badGateway
	timedOut
	refusal
	endings
)

// pairs calls do with each total and where it stands in c; requests come last, so that endings never outnumber them.
func (t *totals) pairs(c *Counters, do func(kept *atomic.Uint64, shown *uint64)) {
	for e, shown := range [endings]*uint64{answered: &c.Answered, expiry: &c.Expired, overflow: &c.Overflowed, clientLeft: &c.ClientLeft,
		cutShort: &c.Cut, badRequest: &c.BadRequest, badGateway: &c.BadGateway, timedOut: &c.TimedOut, refusal: &c.Refused} {
		do(&t.endings[e], shown)
	}
	do(&t.held, &c.Held)
	do(&t.resent, &c.Resent)
	do(&t.connections, &c.Connections)
	do(&t.tunnels, &c.Tunnels)
	do(&t.requests, &c.Requests)
}

// Continue begins the totals where another program has left them. It comes before the first Serve.
func (s *Server) Continue(c Counters) {
	s.totals.pairs(&c, func(kept *atomic.Uint64, shown *uint64) { kept.Add(*shown) })
}

// Counters returns the totals. They are read one after the other while requests go on.
func (s *Server) Counters() (c Counters) {
	s.totals.pairs(&c, func(kept *atomic.Uint64, shown *uint64) { *shown = kept.Load() })
	return c
}
