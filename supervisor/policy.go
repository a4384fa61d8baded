package supervisor

import (
	"fmt"
	"slices"
	"time"

	"tideover/supervisor/config"
	"tideover/supervisor/process"
)

// What a crash costs: the first retry is at once, because clients are being
// held, then the pauses double up to a bound.
const (
	firstPause  = 500 * time.Millisecond
	longestWait = 30 * time.Second
	slowRetry   = 60 * time.Second // once failed
	healthyFor  = 30 * time.Second // of serving, after which the past is forgotten
	startBudget = 5                // starts in a row without an answer, then failed
)

// policy decides when an app that went down is started again. It is pure: it
// sees what happened and says what is next. Its zero value is an app that
// never failed.
type policy struct {
	pauses     int // retries since the app was last healthy
	unanswered int // starts in a row that never answered
}

// verdict is when to start again, and whether requests are still worth holding
// until then.
type verdict struct {
	after  time.Duration
	failed bool
}

// served tells that a generation that had answered is gone after uptime.
func (p *policy) served(uptime time.Duration) verdict {
	p.unanswered = 0
	if uptime >= healthyFor {
		p.pauses = 0
	}
	return p.next()
}

// unansweredStart tells that a generation ended, or was ended, without ever
// having answered.
func (p *policy) unansweredStart() verdict {
	p.unanswered++
	return p.next()
}

// forget is for an operator's start or reload: whatever happened before, what
// comes now deserves a new budget.
func (p *policy) forget() { *p = policy{} }

func (p *policy) next() verdict {
	if p.unanswered >= startBudget {
		return verdict{after: slowRetry, failed: true}
	}
	pause := pauseAfter(p.pauses)
	p.pauses++
	return verdict{after: pause}
}

// pauseAfter is 0, 0.5, 1, 2, 4, 8, 16, 30, 30 ... seconds.
func pauseAfter(retries int) time.Duration {
	if retries == 0 {
		return 0
	}
	pause := firstPause
	for range retries - 1 {
		if pause *= 2; pause >= longestWait {
			return longestWait
		}
	}
	return pause
}

// ending is what an app's settings make of a process that ended by itself.
type ending int

const (
	again    ending = iota // it is started again
	finished               // it has done what it was there for
	gaveOut                // it has failed, and is not started again
)

func judge(cfg *config.App, o process.Outcome) ending {
	good := o.Signal == 0 && slices.Contains(cfg.ExitCodes, o.Code)
	switch {
	case cfg.Restart == config.RestartAlways:
		return again
	case good:
		return finished
	case cfg.Restart == config.RestartNever:
		return gaveOut
	}
	return again
}

// done is why an app rests that is finished.
func done(o process.Outcome) string { return fmt.Sprintf("done: exit %d", o.Code) }
