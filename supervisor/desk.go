package supervisor

import "time"

// desk is where requests for operations wait for their turn. The app's
// goroutine owns it.
type desk struct {
	waiting []*ticket
	running *operation
	wake    chan struct{} // ready when somebody came
	closed  bool
	last    *Result // of the last reload or restart
}

// add takes a ticket. A stop overtakes whatever runs; a caller that would not
// queue is told so.
func (d *desk) add(t *ticket) {
	switch {
	case d.closed:
		t.done <- refused(t, ExitNotRunning, "tideover is shutting down")
		return
	case d.running != nil && t.request.NoQueue:
		t.done <- refused(t, ExitBusy, "another "+string(d.running.verb)+" of "+d.running.result.App+" runs")
		return
	case d.running != nil && t.request.Verb == Stop && d.running.verb != Stop:
		d.running.abort(errOvertaken)
	}
	if d.running != nil {
		t.phases <- Phase{App: t.request.App, Verb: t.request.Verb, Name: "queue", Facts: []Fact{{"behind", string(d.running.verb)}}}
	}
	d.waiting = append(d.waiting, t)
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// next takes the first ticket and those right behind it that want the same:
// all of them were there before the operation begins, so one new generation is
// the answer to each.
func (d *desk) next() []*ticket {
	if len(d.waiting) == 0 {
		return nil
	}
	n := 1
	for n < len(d.waiting) && d.waiting[n].request.Verb == d.waiting[0].request.Verb {
		n++
	}
	tickets := d.waiting[:n:n]
	d.waiting = d.waiting[n:]
	return tickets
}

// close turns away who still waits and who comes later.
func (d *desk) close() {
	d.closed = true
	for _, t := range d.waiting {
		t.done <- refused(t, ExitNotRunning, "tideover is shutting down")
	}
	d.waiting = nil
}

func refused(t *ticket, exit Exit, why string) Result {
	return Result{App: t.request.App, Verb: t.request.Verb, Result: "refused", Exit: exit, Error: why,
		Phases: []PhaseResult{}, ChildOutput: []string{}}
}

// comeback is when and why an app that went down is tried again. The app's
// goroutine owns it.
type comeback struct {
	policy
	first   []<-chan struct{} // of the first start: who comes before
	timer   *time.Timer
	at      time.Time
	reason  string
	failed  bool
	waiting bool // until the last departure is over
	crashes int
}

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

// whole forgets why the app was down; it is up.
func (c *comeback) whole() {
	c.clear()
	c.failed, c.reason = false, ""
}

func (c *comeback) stopTimer() {
	if c.timer != nil {
		c.timer.Stop()
		c.timer = nil
	}
}
