package trend

import "time"

const (
	// compareBefore is how much of the time before a new generation is compared with it.
	compareBefore = 5 * time.Minute
	// compareAfter is for how long a new generation is compared with the one before.
	compareAfter = 15 * time.Minute
	// checkpoints is in how many parts compareBefore is kept.
	checkpoints = 10
)

// Comparison is what the requests were like under a generation, and under the one before. Requests
// that were in flight at the change count for the new one.
type Comparison struct {
	From  int       `json:"from"`
	To    int       `json:"to"`
	Since time.Time `json:"since"` // when To was seen first
	Old   Stats     `json:"old"`   // of at most five minutes
	New   Stats     `json:"new"`   // since then
}

// compared is the generation of an app and what is known of the one before.
type compared struct {
	generation int       // that was seen last; 0: none yet
	before     []reading // of this generation, the oldest first, compareBefore at most
	change     *Comparison
	base       reading // when the change was seen
}

// add adds a reading, taken while that generation served (0: none).
func (c *compared) add(r reading, generation int, bounds []float64) {
	if c.change != nil {
		c.change.New = r.since(c.base, bounds)
		if r.at.Sub(c.change.Since) > compareAfter {
			c.change = nil
		}
	}
	switch {
	case generation == 0: // it starts, or is down: the requests are those of the one before
	case c.generation == 0:
		c.generation = generation
	case generation != c.generation:
		c.change = &Comparison{From: c.generation, To: generation, Since: r.at}
		if len(c.before) > 0 {
			c.change.Old = r.since(c.before[0], bounds)
		}
		c.generation, c.before, c.base = generation, nil, r
	}
	if n := len(c.before); n == 0 || r.at.Sub(c.before[n-1].at) >= compareBefore/checkpoints {
		c.before = append(c.before, r)
		if len(c.before) > checkpoints {
			c.before = c.before[1:]
		}
	}
}
