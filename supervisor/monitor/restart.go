package monitor

import "time"

const (
	// A supervisor that was up for soundFor is no failure, however it has ended.
	soundFor = 2 * time.Second
	// freeRestarts is how many in a row that were up for a shorter time are started again at once.
	freeRestarts       = 10
	minPause, maxPause = 100 * time.Millisecond, 5 * time.Second
)

// restarts decides how long the start of the next supervisor waits. Nothing but a supervisor answers
// commands, and the start of one costs about 100 ms of a processor, so the first ones come at once:
//
//   - After one that was up there is no pause, unless it and the freeRestarts before it were each up for
//     less than soundFor.
//   - After one that was not up, which may be because something is short that another start would not find
//     either, there is no pause the first time.
//   - Else the pause is 0.1 s and doubles with each further one, up to 5 s.
type restarts struct {
	short  int // supervisors in a row that were up for less than soundFor, or not at all
	failed int // supervisors in a row that were not up
}

// after returns the pause after a supervisor that was up for a time; 0: it was not up.
func (r *restarts) after(up time.Duration) time.Duration {
	if up >= soundFor {
		*r = restarts{}
		return 0
	}
	r.short++
	r.failed++
	if up > 0 {
		r.failed = 0
	}
	return max(pauseAfter(r.short-freeRestarts), pauseAfter(r.failed-1))
}

// pauseAfter is 0.1, 0.2, 0.4 ... 5 s for the first failure and those after it, and else 0.
func pauseAfter(failures int) time.Duration {
	if failures <= 0 {
		return 0
	}
	pause := minPause
	for range failures - 1 {
		if pause *= 2; pause >= maxPause {
			return maxPause
		}
	}
	return pause
}
