package supervisor

import "time"

// comeback is when and why an app that went down is tried again, or that it is
// not. The app's goroutine owns it.
type comeback struct {
	policy
	rest    rest
	first   []<-chan struct{} // of the first start: who comes before
	timer   *time.Timer
	at      time.Time
	reason  string // why it is down, in words
	failed  bool
	crashed bool // what comes up next comes after a crash
	waiting bool // until the last departure is over
	crashes int
}

// rest is why an app is not to come up by itself.
type rest int

const (
	awake  rest = iota
	bidden      // by the operator's wish, or never started
	ended       // its process has ended, and its restart policy leaves it so
)

func (c *comeback) schedule(v verdict, reason string) {
	c.stopTimer()
	c.at, c.reason, c.failed = time.Now().Add(v.after), reason, v.failed
	c.timer = time.NewTimer(v.after)
}

// turn is ready when the next of those who come before is up.
func (c *comeback) turn() <-chan struct{} {
	if len(c.first) == 0 {
		return nil
	}
	return c.first[0]
}

// myTurn strikes out those who are up and reports whether nobody is left.
func (c *comeback) myTurn() bool {
	for len(c.first) > 0 && isDone(c.first[0]) {
		c.first = c.first[1:]
	}
	return len(c.first) == 0
}

// due is ready when it is time to try again.
func (c *comeback) due() <-chan time.Time {
	if c.timer == nil {
		return nil
	}
	return c.timer.C
}

// pending reports whether a try is due some time.
func (c *comeback) pending() bool { return c.timer != nil || c.waiting || len(c.first) > 0 }

// clear takes the next try off the calendar: it begins now, or is not wanted.
func (c *comeback) clear() {
	c.stopTimer()
	c.waiting, c.first = false, nil
}

// lie makes the app stay down, for a reason in words.
func (c *comeback) lie(r rest, reason string, failed bool) {
	c.clear()
	c.rest, c.reason, c.failed, c.crashed = r, reason, failed, false
}

// whole forgets why the app was down: it is up, or wanted up.
func (c *comeback) whole() {
	c.clear()
	c.rest, c.reason, c.failed, c.crashed = awake, "", false, false
}

// cause is why the next generation is started when nobody asks for it.
func (c *comeback) cause() reason {
	if c.crashed {
		return byCrash
	}
	return byStart
}

func (c *comeback) stopTimer() {
	if c.timer != nil {
		c.timer.Stop()
		c.timer = nil
	}
}
