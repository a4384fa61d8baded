package gate

import "time"

const (
	// departureInterval is the least time between two samples of departures.
	departureInterval = 250 * time.Millisecond
	// departureSamples cover more than 5 s, after which it does not matter any more for how long a
	// worker had a request.
	departureSamples = 24
)

// departures counts the requests that have left a bounded target. A request whose turn is n is in
// the target's backlog until n requests have left, because the backlog keeps the order.
type departures struct {
	total   int
	samples [departureSamples]departureSample // a ring; zero at: not used yet
	next    int
}

// departureSample says that at a moment so many requests had left.
type departureSample struct {
	at    time.Time
	total int
}

// add counts one departure.
func (d *departures) add(now time.Time) {
	last := d.samples[(d.next+departureSamples-1)%departureSamples]
	if now.Sub(last.at) >= departureInterval {
		d.samples[d.next] = departureSample{now, d.total}
		d.next = (d.next + 1) % departureSamples
	}
	d.total++
}

// before returns the latest moment at which fewer than turn requests are known to have left; zero:
// none is known.
func (d *departures) before(turn int) (latest time.Time) {
	for _, s := range d.samples {
		if s.total < turn && s.at.After(latest) {
			latest = s.at
		}
	}
	return latest
}

// AcceptedAt returns the earliest moment at which a worker can have accepted a request that was
// written at writtenAt. turn is that of its pass. It may return an earlier one, down to writtenAt
// where the target is not bounded: the order of the backlog is all that is known.
func (t *Target) AcceptedAt(turn int, writtenAt time.Time) time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	if at := t.left.before(turn); at.After(writtenAt) {
		return at
	}
	return writtenAt
}
