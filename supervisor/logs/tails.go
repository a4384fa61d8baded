package logs

// What is kept of each generation beside the ring, so that a flood of one
// generation cannot wash away why another one failed.
const (
	tailLines       = 200
	tailBytes       = 256 << 10
	tailGenerations = 8 // the newest ones
)

// tails keeps the last lines of the newest generations.
type tails map[int]*ring

func (t tails) push(l Line) {
	tail := t[l.Generation]
	if tail == nil {
		tail = &ring{limit: tailBytes}
		t[l.Generation] = tail
		t.forget()
	}
	tail.push(l)
	if tail.count > tailLines {
		tail.drop()
	}
}

// forget lets go of the oldest generation when there are too many.
func (t tails) forget() {
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
