package supervisor

import "tideover/supervisor/api"

// desk is where requests for operations wait for their turn. The app's
// goroutine owns it.
type desk struct {
	waiting []*ticket
	running *operation
	wake    chan struct{} // ready when somebody came
	closed  bool
	last    *api.Result // of the last reload or restart
}

// add takes a ticket. A stop overtakes whatever runs; a caller that would not
// queue is told so.
func (d *desk) add(t *ticket) {
	switch {
	case d.closed:
		t.done <- refused(t, api.ExitNotRunning, "tideover is shutting down")
		return
	case d.running != nil && t.request.NoQueue:
		t.done <- refused(t, api.ExitBusy, "another "+string(d.running.verb)+" of "+d.running.result.App+" runs")
		return
	case d.running != nil && t.request.Verb == api.Stop && d.running.verb != api.Stop:
		d.running.abort(errOvertaken)
	}
	if d.running != nil {
		t.phases <- api.Phase{App: t.request.App, Verb: t.request.Verb, Name: "queue", Attrs: []api.Attr{api.String("behind", string(d.running.verb))}}
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
		t.done <- refused(t, api.ExitNotRunning, "tideover is shutting down")
	}
	d.waiting = nil
}

func refused(t *ticket, exit api.Exit, why string) api.Result {
	return api.Result{App: t.request.App, Verb: t.request.Verb, Result: "refused", Exit: exit, Error: why,
		Phases: []api.PhaseResult{}, ChildOutput: []string{}}
}
