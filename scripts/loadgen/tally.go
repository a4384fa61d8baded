package loadgen

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Tally counts requests and what became of them.
type Tally struct {
	Ended    int // Right and lost together
	Right    int
	InFlight int
	Losses   map[Loss]int
	Statuses map[int]int // of the answers that were not 200
	Longest  time.Duration
	Late     time.Duration // the most by which a request started too late, on a machine that was too busy
	First    time.Time     // when the first lost one was sent
	Last     time.Time     // when the last lost one was sent
	Examples []string      // the first few losses, in words
}

const (
	maxExamples  = 5
	reportedLate = time.Second // of being late
)

func (t *Tally) add(a Answer) {
	t.Ended++
	t.Longest = max(t.Longest, a.Waited)
	if a.Loss == "" {
		t.Right++
		return
	}
	if t.Losses == nil {
		t.Losses, t.Statuses = map[Loss]int{}, map[int]int{}
	}
	t.Losses[a.Loss]++
	if a.Loss == Status {
		t.Statuses[a.Status]++
	}
	if t.First.IsZero() || a.Started.Before(t.First) {
		t.First = a.Started
	}
	if a.Started.After(t.Last) {
		t.Last = a.Started
	}
	if len(t.Examples) < maxExamples {
		t.Examples = append(t.Examples, fmt.Sprintf("%s %s after %.2f s: %s, %s",
			a.Kind.Name, a.Nonce, a.Waited.Seconds(), a.Loss, a.Cause))
	}
}

func (t Tally) clone() Tally {
	t.Losses, t.Statuses = maps.Clone(t.Losses), maps.Clone(t.Statuses)
	t.Examples = slices.Clone(t.Examples)
	return t
}

// Lost is the number of requests without their complete right answer.
func (t Tally) Lost() int { return t.Ended - t.Right }

// Ways lists the losses by kind: "refused=3 status=71 (502: 1, 503: 70)".
func (t Tally) Ways() string {
	var words []string
	for _, loss := range slices.Sorted(maps.Keys(t.Losses)) {
		words = append(words, fmt.Sprintf("%s=%d", loss, t.Losses[loss]))
	}
	var statuses []string
	for _, status := range slices.Sorted(maps.Keys(t.Statuses)) {
		statuses = append(statuses, fmt.Sprintf("%d: %d", status, t.Statuses[status]))
	}
	if len(statuses) > 0 {
		words = append(words, "("+strings.Join(statuses, ", ")+")")
	}
	return strings.Join(words, " ")
}

// String is the tally in one line of key=value words.
func (t Tally) String() string {
	s := fmt.Sprintf("requests=%d lost=%d longest=%.2fs", t.Ended, t.Lost(), t.Longest.Seconds())
	if t.Late > reportedLate {
		s += fmt.Sprintf(" late=%.1fs", t.Late.Seconds())
	}
	if ways := t.Ways(); ways != "" {
		s += " " + ways
	}
	return s
}
