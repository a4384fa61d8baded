package proxy

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// queued asks n times and checks that all are held.
func queued(t *testing.T, g *Gate, n int) (all []*asker) {
	t.Helper()
	for i := range n {
		a, v := ask(g, fmt.Sprint(i))
		if v.outcome != held {
			t.Fatalf("request %d: %+v, want held", i, v)
		}
		all = append(all, a)
	}
	return all
}

// released counts those who were told to pass.
func released(all []*asker) (n int) {
	for _, a := range all {
		if len(a.told) > 0 && a.told[0].outcome == passed {
			n++
		}
	}
	return n
}

func TestGateThatHoldsNobody(t *testing.T) {
	for _, c := range []struct {
		settings GateSettings
		want     outcome
	}{{GateSettings{Limit: 10}, expired}, {GateSettings{Timeout: time.Minute}, overflowed}} {
		g := NewGate(c.settings)
		if _, v := ask(g, "x"); v.outcome != c.want {
			t.Errorf("%+v: %+v", c.settings, v)
		}
		g.Swap(NewTarget(TargetOptions{}))
		if _, v := ask(g, "x"); v.outcome != passed {
			t.Errorf("%+v, open: %+v", c.settings, v)
		}
	}
}

// The window grows by one with every answer of the target, and with nothing else.
func TestWindowGrowsWithAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGate(patient)
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
				g.done(step.t, step.answered)
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
		g, old, target := NewGate(patient), NewTarget(TargetOptions{}), NewTarget(TargetOptions{})
		g.Swap(old)
		a, _ := ask(g, "a")
		g.Swap(target)
		g.requeue(&a.waiter, old, true)
		if v := a.verdict(t); v.outcome != passed || v.target != target || v.waited != 0 {
			t.Errorf("%+v", v)
		}
		if n := old.InFlight(); n != 0 {
			t.Errorf("%d are still out on the former target", n)
		}
	})
}

// A gate where nobody was held for long has no window left: one that comes back is released at once, however many are out.
func TestRequeueBehindNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, target := NewGate(patient), NewTarget(TargetOptions{})
		g.Swap(target)
		var all []*asker
		for i := range 10 {
			a, _ := ask(g, fmt.Sprint(i))
			all = append(all, a)
		}
		g.requeue(&all[3].waiter, target, false)
		if v := all[3].verdict(t); v.outcome != passed || v.waited != 0 {
			t.Errorf("%+v", v)
		}
		if n := target.InFlight(); n != 10 {
			t.Errorf("%d in flight", n)
		}
	})
}

func TestInviting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGate(patient)
		if g.inviting() {
			t.Error("a gate without a target invites")
		}
		queued(t, g, 3)
		g.Swap(NewTarget(TargetOptions{}))
		if g.inviting() {
			t.Error("a gate with somebody held invites")
		}
		g.Swap(nil)
		g.Swap(NewTarget(TargetOptions{Concurrency: 3}))
		if !g.inviting() {
			t.Error("an open gate does not invite")
		}
	})
}

func TestSnapshotAndObservationOfTheHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGate(patient)
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

// How long it is looked for news of a target's death.
func TestCollapsed(t *testing.T) {
	for _, c := range []struct {
		name   string
		happen func(*Gate, *Target)
		want   bool
		took   time.Duration
	}{
		{"the target lives", func(*Gate, *Target) {}, false, newsTime},
		{"it is replaced, and lives", func(g *Gate, t *Target) { g.Swap(nil) }, false, dyingTime},
		{"it is gone", func(g *Gate, t *Target) { t.Abandon() }, true, 0},
		{"it is replaced, then gone", func(g *Gate, t *Target) { g.Swap(nil); time.Sleep(dyingTime / 2); t.Abandon() }, true, dyingTime / 2},
	} {
		synctest.Test(t, func(t *testing.T) {
			g, target := NewGate(patient), NewTarget(TargetOptions{})
			g.Swap(target)
			go c.happen(g, target)
			synctest.Wait()
			start := time.Now()
			if got := target.collapsed(); got != c.want || time.Since(start) != c.took {
				t.Errorf("%s: %v after %v", c.name, got, time.Since(start))
			}
			synctest.Wait()
		})
	}
}

func TestCauses(t *testing.T) {
	for _, c := range []struct {
		lost loss
		want string
	}{
		{loss{state: begun, whole: true}, "the app's response broke off"},
		{loss{state: written}, "the body was too large to be kept"},
		{loss{state: written, whole: true, fed: 2}, "without an answer, twice"},
		{loss{state: written, whole: true, fed: 1, alone: true, ran: workerTimeout}, "after the request had run for 5s"},
		{loss{state: written, whole: true, fed: 1, alone: true}, "may have had an effect"},
		{loss{state: written, whole: true, fed: 1, ran: workerTimeout}, "may have had an effect"},
	} {
		if got := c.lost.cause(); !strings.Contains(got, c.want) {
			t.Errorf("%+v: %s", c.lost, got)
		}
	}
}
