package proxy

import (
	"slices"
	"sync/atomic"
	"time"
)

// Metrics are the totals of a server in detail.
type Metrics struct {
	// Endings are the requests that have ended, by ending and status. Each pair is there once.
	Endings []EndingCount `json:"endings"`
	// Client: from the first byte of a request to the end of its response, or of its connection.
	Client Histogram `json:"client"`
	// App: from the moment in which a request was sent to the app to the last byte of the app's
	// response, or until it was given up; of the requests that have ended after they had been sent.
	App Histogram `json:"app"`
	// Hold: the time at the gate, of the requests that were held.
	Hold Histogram `json:"hold"`
	// AccessDropped is how many lines of the access log were dropped.
	AccessDropped uint64 `json:"access_dropped"`
	// PerSecond is how many requests have ended in a second, and Failing how many of them with a
	// status of 500 or above, in the last few seconds.
	PerSecond float64 `json:"-"`
	Failing   float64 `json:"-"`
}

// EndingCount is how many requests have ended in one way.
type EndingCount struct {
	Ending   string `json:"ending"` // answered, expired, overflowed, client_left, cut, bad_request, bad_gateway, timed_out, refused
	Status   int    `json:"status"` // that the client has got; 0: none, or one of too many different ones
	Requests uint64 `json:"requests"`
}

// Histogram has a number of observations.
type Histogram struct {
	// Buckets are how many there were up to each of Buckets(), and above the one before it; the last
	// one is above all of them.
	Buckets []uint64      `json:"buckets"`
	Sum     time.Duration `json:"sum"`
}

// Count is the number of observations.
func (h Histogram) Count() (n uint64) {
	for _, b := range h.Buckets {
		n += b
	}
	return n
}

// Metrics reads the totals in detail, one after the other, while requests go on.
func (c *Totals) Metrics() Metrics {
	m := Metrics{Client: c.client.snapshot(), App: c.app.snapshot(), Hold: c.hold.snapshot(), AccessDropped: c.accessDropped.Load()}
	for e := range c.endings.all {
		m.Endings = append(m.Endings, EndingCount{Ending: e.outcome.String(), Status: e.status, Requests: e.n})
	}
	now := time.Now()
	m.PerSecond, m.Failing = c.recent.rate(now), c.recent5xx.rate(now)
	return m
}

// Plus returns the sums of two processes.
func (m Metrics) Plus(o Metrics) Metrics {
	var sum Totals
	sum.Add(Counters{}, m)
	sum.Add(Counters{}, o)
	s := sum.Metrics()
	s.PerSecond, s.Failing = m.PerSecond+o.PerSecond, m.Failing+o.Failing
	return s
}

// outcomeOf returns the outcome of that name, or -1.
func outcomeOf(name string) outcome { return outcome(slices.Index(outcomeNames[:], name)) }

// endingSlots is how many pairs of an ending and a status are counted apart: the app chooses its
// statuses, and memory is bounded.
const endingSlots = 64

// endings count requests by outcome and status. The first slots are for outcomes without a status;
// they have the pairs, too, for which there is no slot.
type endings [endingSlots]struct {
	key atomic.Uint64 // 0: free; else status<<8 | outcome+1. It is set once
	n   atomic.Uint64
}

func (e *endings) add(o outcome, status int, n uint64) {
	if n == 0 {
		return
	}
	if status <= 0 {
		e[o].n.Add(n)
		return
	}
	const hashed = endingSlots - uint64(outcomes)
	key := uint64(status)<<8 | uint64(o+1)
	for i := range hashed {
		slot := &e[uint64(outcomes)+(uint64(status)+7*uint64(o)+i)%hashed]
		known := slot.key.Load()
		if known == 0 && !slot.key.CompareAndSwap(0, key) {
			known = slot.key.Load()
		}
		if known == 0 || known == key {
			slot.n.Add(n)
			return
		}
	}
	e[o].n.Add(n)
}

// endingCount is the value of one slot.
type endingCount struct {
	outcome outcome
	status  int
	n       uint64
}

// all yields the pairs that were counted.
func (e *endings) all(yield func(endingCount) bool) {
	for i := range e {
		known := endingCount{outcome: outcome(i), n: e[i].n.Load()}
		if i >= int(outcomes) {
			key := e[i].key.Load()
			known.outcome, known.status = outcome(key&0xff)-1, int(key>>8)
		}
		if known.n > 0 && 0 <= known.outcome && known.outcome < outcomes && !yield(known) {
			return
		}
	}
}

func (e *endings) clear() {
	for i := range e {
		e[i].n.Store(0)
		e[i].key.Store(0)
	}
}

// bounds are the upper bounds of the buckets: those of OpenTelemetry's http.server.request.duration,
// and two more, because a request may be held for longer.
var bounds = [...]time.Duration{5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond, 75 * time.Millisecond,
	100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond, 750 * time.Millisecond, time.Second, 2500 * time.Millisecond, 5 * time.Second,
	7500 * time.Millisecond, 10 * time.Second, 30 * time.Second, 60 * time.Second}

// Buckets returns the upper bounds of the buckets of each Histogram, but for the last one, which has
// none.
func Buckets() []time.Duration { return bounds[:] }

// histogram counts durations.
type histogram struct {
	buckets [len(bounds) + 1]atomic.Uint64
	sum     atomic.Uint64 // in nanoseconds
}

func (h *histogram) observe(d time.Duration) {
	d = max(0, d)
	i := 0
	for i < len(bounds) && d > bounds[i] { // most are in one of the first
		i++
	}
	h.buckets[i].Add(1)
	h.sum.Add(uint64(d))
}

// snapshot reads the buckets one after the other: Count is their sum, and fits to them.
func (h *histogram) snapshot() Histogram {
	s := Histogram{Buckets: make([]uint64, len(h.buckets))}
	for i := range h.buckets {
		s.Buckets[i] = h.buckets[i].Load()
	}
	s.Sum = time.Duration(h.sum.Load())
	return s
}

func (h *histogram) add(s Histogram) {
	if len(s.Buckets) != len(h.buckets) { // of a version with other bounds
		return
	}
	for i, n := range s.Buckets {
		h.buckets[i].Add(n)
	}
	h.sum.Add(uint64(s.Sum))
}

func (h *histogram) clear() {
	for i := range h.buckets {
		h.buckets[i].Store(0)
	}
	h.sum.Store(0)
}

const (
	// windowSlots is how many seconds a window remembers.
	windowSlots = 16
	// rateSeconds is over how many whole seconds a rate is taken.
	rateSeconds = 10
)

// A window counts what happens in each of the last seconds. Each slot is the second, as 32 bits of the
// wall clock, and the count below it. So a rate needs no timer, and an idle app no wake-up.
type window [windowSlots]atomic.Uint64

func (w *window) add(now time.Time) {
	second := uint64(now.Unix())
	slot := &w[second%windowSlots]
	for {
		kept := slot.Load()
		next := kept + 1
		if kept>>32 != second&(1<<32-1) {
			next = second<<32 | 1
		}
		if slot.CompareAndSwap(kept, next) {
			return
		}
	}
}

// rate is how many there were per second in the last whole seconds.
func (w *window) rate(now time.Time) float64 {
	n, second := uint64(0), uint64(now.Unix())
	for i := second - rateSeconds; i < second; i++ {
		if kept := w[i%windowSlots].Load(); kept>>32 == i&(1<<32-1) {
			n += kept & (1<<32 - 1)
		}
	}
	return float64(n) / rateSeconds
}

func (w *window) clear() {
	for i := range w {
		w[i].Store(0)
	}
}
