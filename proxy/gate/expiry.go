package gate

import (
	"fmt"
	"strings"
	"time"

	"tideover/proxy/awake"
)

// expiryHeap has the held requests, the next one to expire first. The order is not that of arrival:
// a request that comes back from a target begins to count where it had stopped.
type expiryHeap []*Waiter

func (h expiryHeap) Len() int           { return len(h) }
func (h expiryHeap) Less(i, j int) bool { return h[i].countFrom < h[j].countFrom }

func (h expiryHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].expiry, h[j].expiry = int32(i), int32(j)
}

// Push is called by package heap.
func (h *expiryHeap) Push(w any) {
	waiter := w.(*Waiter)
	waiter.expiry = int32(len(*h))
	*h = append(*h, waiter)
}

// Pop is called by package heap.
func (h *expiryHeap) Pop() any {
	last := len(*h) - 1
	w := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return w
}

// readClockLocked adds the time since the last call to shutFor, if requests were held meanwhile and
// no target could answer. g.mu must be held.
func (g *Gate) readClockLocked(now time.Time) {
	if step := now.Sub(g.clockRead); g.shut && !g.held.empty() {
		g.shutFor += awake.Elapsed(step)
	}
	g.clockRead = now
}

// isShutLocked reports whether no target can answer: the gate is not open, or the target takes no
// connection. g.mu must be held.
func (g *Gate) isShutLocked() bool { return !g.openLocked() || g.backoff > 0 }

// untilExpiryLocked is how long the gate must be shut until the next request expires. g.mu must be
// held, and the queue must not be empty.
func (g *Gate) untilExpiryLocked() time.Duration {
	return g.deadlines[0].countFrom + g.settings.Timeout - g.shutFor
}

// whyShutLocked says in words why no target can answer. g.mu must be held.
func (g *Gate) whyShutLocked() string {
	switch {
	case len(g.holds) > 0:
		return fmt.Sprintf("requests are held by %s", strings.Join(g.holdNamesLocked(), " and "))
	case g.target == nil:
		return "no generation is ready"
	case g.target.suspended():
		return "the app does not listen"
	}
	return "the app takes no connection"
}
