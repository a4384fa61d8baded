package logs

import (
	"maps"
	"slices"
)

// Lines that are kept of each generation beside the ring, so that the output of one
// generation cannot push the last lines of another one out.
const (
	tailLines       = 200
	tailBytes       = 256 << 10
	tailGenerations = 8 // of the newest generations
)

// generationTails keeps the last lines of the newest generations, by generation.
type generationTails map[int]*ring

// push adds the lines of a generation. Those of none are in the ring only.
func (t generationTails) push(b block) {
	if b.Generation == 0 {
		return
	}
	tail := t[b.Generation]
	if tail == nil {
		tail = &ring{limit: tailBytes}
		t[b.Generation] = tail
		t.removeOldest()
	}
	tail.push(b)
	for tail.count > tailLines {
		tail.drop()
	}
}

// removeOldest removes the oldest generation if there are too many.
func (t generationTails) removeOldest() {
	if len(t) <= tailGenerations {
		return
	}
	delete(t, slices.Min(slices.Collect(maps.Keys(t))))
}
