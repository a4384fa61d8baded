package proxy

import (
	"sync/atomic"
	"time"
)

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

// Plus returns the sums of two processes.
func (c Counters) Plus(o Counters) Counters {
	var sum Totals
	sum.Add(c, Metrics{})
	sum.Add(o, Metrics{})
	return sum.Snapshot()
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

// outcomeNames are the names of the outcomes in metrics and in the access log; those of Counters.
var outcomeNames = [outcomes]string{"answered", "expired", "overflowed", "client_left", "cut", "bad_request", "bad_gateway", "timed_out", "refused"}

func (o outcome) String() string { return outcomeNames[o] }

// Totals are a server's counters and gauges as they are kept, each one atomic word, in memory that
// another process may read. The zero value is ready.
type Totals struct {
	requests, held, resent, streamed, blocked, evicted, connections, tunnels atomic.Uint64

	clients atomic.Int64 // connections of clients that are open
	sending atomic.Int64 // see Server.Sending

	endings endings
	// client is the time from the first byte of a request to the end of its response, app the time
	// from the moment it was sent to the app to the last byte of the app's response, and hold the
	// time at the gate of those that were held.
	client, app, hold histogram
	recent, recent5xx window // requests that ended, and those of them with a status of 500 or above

	accessDropped atomic.Uint64 // lines of the access log
}

// An ending is how a request has ended, and when.
type ending struct {
	outcome outcome
	status  int           // that the client has got; 0: none
	took    time.Duration // since the first byte of the request
	app     time.Duration // the app's part; 0: the request was not sent to it
	hold    time.Duration // the gate's part
	held    bool
	now     time.Time
}

// end counts a request that has ended. It takes no lock and allocates nothing.
func (c *Totals) end(e *ending) {
	c.endings.add(e.outcome, e.status, 1)
	c.client.observe(e.took)
	if e.app > 0 {
		c.app.observe(e.app)
	}
	if e.held {
		c.hold.observe(e.hold)
	}
	c.recent.add(e.now)
	if e.status >= 500 {
		c.recent5xx.add(e.now)
	}
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
	lost := s.Cut - before
	c.endings.add(truncated, 0, lost)
	c.clients.Store(0)
	c.sending.Store(0)
	return int(lost)
}

// Clear sets everything to 0.
func (c *Totals) Clear() {
	c.each(&Counters{}, func(kept *atomic.Uint64, _ *uint64) { kept.Store(0) })
	c.endings.clear()
	c.client.clear()
	c.app.clear()
	c.hold.clear()
	c.recent.clear()
	c.recent5xx.clear()
	c.accessDropped.Store(0)
	c.clients.Store(0)
	c.sending.Store(0)
}

// Snapshot reads the counters one after the other, while requests go on.
func (c *Totals) Snapshot() (s Counters) {
	var ended [outcomes]uint64
	for e := range c.endings.all {
		ended[e.outcome] += e.n
	}
	for o, shown := range s.ended() {
		*shown = ended[o]
	}
	c.each(&s, func(kept *atomic.Uint64, shown *uint64) { *shown = kept.Load() })
	return s
}

// Add adds the totals of another process. What m does not have of the endings of s is added without
// a status.
func (c *Totals) Add(s Counters, m Metrics) {
	c.each(&s, func(kept *atomic.Uint64, shown *uint64) { kept.Add(*shown) })
	var known [outcomes]uint64
	for _, e := range m.Endings {
		if o := outcomeOf(e.Ending); o >= 0 {
			known[o] += e.Requests
			c.endings.add(o, e.Status, e.Requests)
		}
	}
	for o, shown := range s.ended() {
		c.endings.add(outcome(o), 0, *shown-min(known[o], *shown))
	}
	c.client.add(m.Client)
	c.app.add(m.App)
	c.hold.add(m.Hold)
	c.accessDropped.Add(m.AccessDropped)
}

// ended are the fields of c that count endings.
func (c *Counters) ended() [outcomes]*uint64 {
	return [outcomes]*uint64{answered: &c.Answered, expired: &c.Expired, overflowed: &c.Overflowed, clientLeft: &c.ClientLeft,
		truncated: &c.Cut, badRequest: &c.BadRequest, badGateway: &c.BadGateway, timedOut: &c.TimedOut, refused: &c.Refused}
}

// each calls do with each total that counts no ending, and its field of s. Requests come last, so that
// a snapshot never has fewer requests than endings.
func (c *Totals) each(s *Counters, do func(kept *atomic.Uint64, shown *uint64)) {
	do(&c.held, &s.Held)
	do(&c.resent, &s.Resent)
	do(&c.streamed, &s.Streamed)
	do(&c.blocked, &s.Blocked)
	do(&c.evicted, &s.Evicted)
	do(&c.connections, &s.Connections)
	do(&c.tunnels, &s.Tunnels)
	do(&c.requests, &s.Requests)
}
