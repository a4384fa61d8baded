package proxy

import "sync/atomic"

// Counters are a server's totals since it was made. Every request has exactly one outcome, so that
// Requests = Answered + Expired + Overflowed + ClientLeft + Cut + BadRequest + BadGateway +
// TimedOut + Refused + those under way.
type Counters struct {
	// Requests counts from the first byte of a head.
	Requests uint64 `json:"requests"`
	// Answered: the app's complete response, or the health check's, was sent to the client.
	Answered uint64 `json:"answered"`
	// Expired: 503, held for the longest time allowed.
	Expired uint64 `json:"expired"`
	// Overflowed: 503, too many requests held, or too many bytes of them.
	Overflowed uint64 `json:"overflowed"`
	// ClientLeft: the client closed the connection or stopped reading before it had its response.
	ClientLeft uint64 `json:"client_left"`
	// Cut: the response had begun and the app did not complete it; the client sees a truncation.
	Cut uint64 `json:"cut"`
	// BadRequest: a 4xx or 5xx for what the client sent.
	BadRequest uint64 `json:"bad_request"`
	// BadGateway: 502.
	BadGateway uint64 `json:"bad_gateway"`
	// TimedOut: 504.
	TimedOut uint64 `json:"timed_out"`
	// Refused: 503 because the gate refuses.
	Refused uint64 `json:"refused"`

	// Held requests waited at the gate.
	Held uint64 `json:"held"`
	// Resent requests were sent a second time after an app process may have read them the first
	// time.
	Resent uint64 `json:"resent"`

	// Streamed requests took a worker before their body was complete, although bodies are buffered:
	// it came very fast, or the spool did not take it.
	Streamed uint64 `json:"streamed"`
	// Blocked responses kept a worker waiting for their client, although responses are taken off
	// the worker: neither memory nor the spool had room.
	Blocked uint64 `json:"blocked"`
	// Evicted: clients that left because they were disconnected: they read so slowly what the spool
	// kept for them that others needed the space.
	Evicted uint64 `json:"evicted"`

	// Connections that were accepted.
	Connections uint64 `json:"connections"`
	// Tunnels: requests answered with 101.
	Tunnels uint64 `json:"tunnels"`
}

// CutUnderWay counts the requests under way as cut, as the end of the process will do.
func (c *Counters) CutUnderWay() {
	ended := c.Answered + c.Expired + c.Overflowed + c.ClientLeft + c.Cut + c.BadRequest + c.BadGateway + c.TimedOut + c.Refused
	c.Cut += c.Requests - ended
}

// An outcome is how a request ended.
type outcome int

const (
	answered outcome = iota
	expired
	overflowed
	clientLeft
	truncated
	badRequest
	badGateway
	timedOut
	refused
	outcomes // their number
)

// Totals are a server's counters and gauges as they are kept, each one atomic word, in memory that
// another process may read. Fields are only added, at the end. The zero value is ready.
type Totals struct {
	requests, held, resent, streamed, blocked, evicted, connections, tunnels atomic.Uint64
	outcomes                                                                 [outcomes]atomic.Uint64

	clients atomic.Int64 // connections of clients that are open
	sending atomic.Int64 // see Server.Sending
}

// Open is how many clients are connected.
func (c *Totals) Open() int { return int(c.clients.Load()) }

// Sending is the number of responses that are sent from memory or the spool, while the app has
// finished its request.
func (c *Totals) Sending() int { return int(c.sending.Load()) }

// CutUnderWay counts the requests that were under way in a process that has died as cut, and returns
// their number. Its connections are closed.
func (c *Totals) CutUnderWay() int {
	s := c.Snapshot()
	before := s.Cut
	s.CutUnderWay()
	c.outcomes[truncated].Store(s.Cut)
	c.clients.Store(0)
	c.sending.Store(0)
	return int(s.Cut - before)
}

// Clear sets everything to 0.
func (c *Totals) Clear() {
	c.each(&Counters{}, func(kept *atomic.Uint64, _ *uint64) { kept.Store(0) })
	c.clients.Store(0)
	c.sending.Store(0)
}

// Snapshot reads the counters one after the other, while requests go on.
func (c *Totals) Snapshot() (s Counters) {
	c.each(&s, func(kept *atomic.Uint64, shown *uint64) { *shown = kept.Load() })
	return s
}

// add adds the totals of another process.
func (c *Totals) add(s Counters) {
	c.each(&s, func(kept *atomic.Uint64, shown *uint64) { kept.Add(*shown) })
}

// each calls do with each total and its field of s. Requests come last, so that a snapshot never
// has fewer requests than outcomes.
func (c *Totals) each(s *Counters, do func(kept *atomic.Uint64, shown *uint64)) {
	for o, shown := range [outcomes]*uint64{answered: &s.Answered, expired: &s.Expired, overflowed: &s.Overflowed, clientLeft: &s.ClientLeft,
		truncated: &s.Cut, badRequest: &s.BadRequest, badGateway: &s.BadGateway, timedOut: &s.TimedOut, refused: &s.Refused} {
		do(&c.outcomes[o], shown)
	}
	do(&c.held, &s.Held)
	do(&c.resent, &s.Resent)
	do(&c.streamed, &s.Streamed)
	do(&c.blocked, &s.Blocked)
	do(&c.evicted, &s.Evicted)
	do(&c.connections, &s.Connections)
	do(&c.tunnels, &s.Tunnels)
	do(&c.requests, &s.Requests)
}
