package proxy

// A briefPoll says whether an event loop polls some times more before it waits. To fall asleep and to be
// woken costs the CPU about as much as a hundred polls, so that a wait is worth avoiding which would
// soon be over. That cannot be known, only expected: several requests are out, and lately the polls
// have mostly found something. Where they do not, because the app takes longer, they stop.
type briefPoll struct {
	polls  int // polls in a row instead of a wait
	credit int // rises by 1 with each wait that was avoided, and falls by 2 with each that was not
	waits  int // since the last attempt without credit
}

const (
	// maxBriefPolls is how often the loop polls instead of a wait: for 5 to 10 µs.
	maxBriefPolls = 25
	// maxBriefRoundTrips is with how many requests out a wait may be avoided.
	maxBriefRoundTrips = 8
	// maxCredit bounds credit: eight attempts in vain end the polling.
	maxCredit = 16
	// retryWaits is after how many waits without credit it is tried again.
	retryWaits = 32
)

// polled takes the number of events that a poll has found.
func (b *briefPoll) polled(events int) {
	if b.polls > 0 && events > 0 {
		if b.credit == 0 {
			b.credit = maxCredit / 2
		}
		b.polls, b.credit = 0, min(b.credit+1, maxCredit)
	}
}

// again reports whether the loop polls once more before it waits. roundTrips requests are out: with one
// alone nothing can come sooner than the app works, and with many a wait ends with several events.
func (b *briefPoll) again(roundTrips int) bool {
	if b.polls == 0 {
		if roundTrips < 2 || roundTrips > maxBriefRoundTrips {
			return false
		}
		if b.waits++; b.credit == 0 && b.waits < retryWaits {
			return false
		}
		b.waits = 0
	}
	if b.polls == maxBriefPolls {
		b.polls, b.credit = 0, max(0, b.credit-2)
		return false
	}
	b.polls++
	return true
}
