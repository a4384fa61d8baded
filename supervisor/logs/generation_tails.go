package logs

// Lines that are kept of each generation beside the ring, so that the output of one
// generation cannot push the last lines of another one out.
const (
	tailLines       = 200
	tailBytes       = 256 << 10
	tailGenerations = 8 // of the newest generations
)

// generationTails keeps the last lines of the newest generations, by generation.
type generationTails map[int]*ring

func (t generationTails) push(l Line) {
	tail := t[l.Generation]
	if tail == nil {
		tail = &ring{limit: tailBytes}
		t[l.Generation] = tail
		t.removeOldest()
	}
	tail.push(l)
	if tail.count > tailLines {
		tail.drop()
	}
}

// removeOldest removes the oldest generation if there are too many.
func (t generationTails) removeOldest() {
	if len(t) <= tailGenerations {
		return
	}
	oldest := 0
	for generation := range t {
		if oldest == 0 || generation < oldest {
			oldest = generation
		}
	}
	delete(t, oldest)
}
