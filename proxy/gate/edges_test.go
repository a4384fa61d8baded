package gate

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// queued asks n times and checks that all are held.
func queued(t *testing.T, g *Gate, n int) (all []*asker) {
	t.Helper()
	for i := range n {
		a, v := ask(g, fmt.Sprint(i))
		if v.Outcome != Held {
			t.Fatalf("request %d: %+v, want held", i, v)
		}
		all = append(all, a)
	}
	return all
}

// released counts the askers with the outcome Passed.
func released(all []*asker) (n int) {
	for _, a := range all {
		if len(a.told()) > 0 && a.told()[0].Outcome == Passed {
			n++
		}
	}
	return n
}

func TestGateThatHoldsNobody(t *testing.T) {
	for _, c := range []struct {
		settings Settings
		want     Outcome
	}{{Settings{Limit: 10}, Expired}, {Settings{Timeout: time.Minute}, Overflowed}} {
		g := New(c.settings)
		if _, v := ask(g, "x"); v.Outcome != c.want {
			t.Errorf("%+v: %+v", c.settings, v)
		}
		g.Swap(NewTarget(TargetOptions{}))
		if _, v := ask(g, "x"); v.Outcome != Passed {
			t.Errorf("%+v, open: %+v", c.settings, v)
		}
	}
}

// The window grows by one with every answer of the target, and with nothing else.
func TestWindowGrowsWithAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(settings(1000, 10*time.Second))
		all := queued(t, g, 20)
		old, target := NewTarget(TargetOptions{}), NewTarget(TargetOptions{})
		g.Swap(old)
		g.Swap(nil)
		g.Swap(target)
		for _, step := range []struct {
			t        *Target
			answered bool
			want     int
		}{{nil, false, 2}, {target, true, 4}, {target, true, 6}, {target, false, 7}, {old, true, 7}, {target, true, 9}} {
			if step.t != nil {
				g.Done(step.t, step.answered)
			}
			if n := released(all); n != step.want {
				t.Fatalf("%d released, want %d", n, step.want)
			}
		}
	})
}

// What comes back from a former target says nothing about the present one.
func TestRequeueFromAFormerTarget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, old, target := New(settings(1000, 10*time.Second)), NewTarget(TargetOptions{}), NewTarget(TargetOptions{})
		g.Swap(old)
		a, _ := ask(g, "a")
		g.Swap(target)
		g.Requeue(&a.Waiter, old, true)
		if v := a.verdict(t); v.Outcome != Passed || v.Target != target || v.Waited != 0 {
			t.Errorf("%+v", v)
		}
		if n := old.InFlight(); n != 0 {
			t.Errorf("%d are still out on the former target", n)
		}
	})
}

// A gate without held requests for some time has no window left: a requeued request is released at
// once, at any number of requests in flight.
func TestRequeueBehindNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, target := New(settings(1000, 10*time.Second)), NewTarget(TargetOptions{})
		g.Swap(target)
		var all []*asker
		for i := range 10 {
			a, _ := ask(g, fmt.Sprint(i))
			all = append(all, a)
		}
		g.Requeue(&all[3].Waiter, target, false)
		if v := all[3].verdict(t); v.Outcome != Passed || v.Waited != 0 {
			t.Errorf("%+v", v)
		}
		if n := target.InFlight(); n != 10 {
			t.Errorf("%d in flight", n)
		}
	})
}

func TestInviting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(settings(1000, 10*time.Second))
		if g.WouldAdmit() {
			t.Error("a gate without a target invites")
		}
		queued(t, g, 3)
		g.Swap(NewTarget(TargetOptions{}))
		if g.WouldAdmit() {
			t.Error("a gate with somebody held invites")
		}
		g.Swap(nil)
		g.Swap(NewTarget(TargetOptions{Concurrency: 3}))
		if !g.WouldAdmit() {
			t.Error("an open gate does not invite")
		}
	})
}

func TestSnapshotAndObservationOfTheHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(settings(1000, 10*time.Second))
		o := g.Observe()
		queued(t, g, 3)
		time.Sleep(time.Second)
		if s := g.Snapshot(); s.Held != 3 || s.Oldest != time.Second || s.Refusing != "" || s.Open {
			t.Errorf("%+v", s)
		}
		if s := o.End(); s.Held != 3 || s.Longest != time.Second {
			t.Errorf("%+v", s)
		}
		g.Refuse(&Refusal{Cause: "stopped"})
		if s := g.Snapshot(); s.Held != 0 || s.Refusing != "stopped" {
			t.Errorf("%+v", s)
		}
		if s := o.End(); s.Held != 3 || s.Longest != time.Second {
			t.Errorf("another End: %+v", s)
		}
	})
}
