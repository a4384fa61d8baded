package gate

import (
	"testing"
	"testing/synctest"
	"time"
)

// settled has room and time for every request of these tests.
var settled = Settings{Limit: 100, Timeout: time.Hour}

// entered is a request and its first decision.
type entered struct {
	*asker
	first Decision
}

func enter(g *Gate) entered {
	a, first := ask(g, "")
	return entered{a, first}
}

// latest is the latest decision.
func (e entered) latest() Decision {
	if told := e.told(); len(told) > 0 {
		return told[len(told)-1]
	}
	return e.first
}

func TestApplyPassesNoRequestToTheFormerTargetAndCountsThoseInFlight(t *testing.T) {
	g, old, fresh := New(settled), NewTarget(TargetOptions{Name: "old"}), NewTarget(TargetOptions{Name: "fresh"})
	if former, n := g.Apply(Desired{Settings: settled, Target: old}); former != nil || n != 0 {
		t.Errorf("former %v with %d", former, n)
	}
	first := enter(g)
	former, n := g.Apply(Desired{Settings: settled, Target: fresh})
	if former != old || n != 1 || first.latest().Target != old {
		t.Errorf("former %v with %d in flight, the first to %v", former, n, first.latest().Target)
	}
	if old.SetIdle(nil) {
		t.Error("the former target is not retired")
	}
	if d := enter(g).first; d.Target != fresh {
		t.Errorf("passes to %v", d.Target)
	}
}

func TestTheSameStateAppliedAgainChangesNothing(t *testing.T) {
	g, target := New(settled), NewTarget(TargetOptions{Name: "one", Concurrency: 1})
	hold := Desired{Settings: settled, Target: target, Holds: []Hold{{Name: "a"}}, Refusal: nil}
	g.Apply(hold)
	waiting := enter(g)
	if former, _ := g.Apply(hold); former != nil || waiting.latest().Outcome != Held {
		t.Errorf("former %v, outcome %d", former, waiting.latest().Outcome)
	}
	open := Desired{Settings: settled, Target: target}
	g.Apply(open)
	if waiting.latest().Outcome != Passed {
		t.Errorf("outcome %d", waiting.latest().Outcome)
	}
	window := g.window
	g.Apply(open)
	if g.window != window {
		t.Errorf("window %d, before %d", g.window, window)
	}
}

// A refusal that ends and the target that ends it are one step: no request is answered in between.
func TestApplyEndsARefusalAndSwapsInOneStep(t *testing.T) {
	g, target := New(settled), NewTarget(TargetOptions{Name: "one"})
	g.Apply(Desired{Settings: settled, Refusal: &Refusal{Cause: "stopped"}})
	if d := enter(g).first; d.Outcome != Refused {
		t.Errorf("outcome %d", d.Outcome)
	}
	g.Apply(Desired{Settings: settled, Target: target})
	if d := enter(g).first; d.Outcome != Passed {
		t.Errorf("outcome %d", d.Outcome)
	}
}

func TestAHoldWithADeadlineEndsByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, target := New(settled), NewTarget(TargetOptions{Name: "one", Concurrency: 8})
		now := time.Now()
		g.Apply(Desired{Settings: settled, Target: target, Holds: []Hold{{"a", now.Add(time.Second)}, {"b", now.Add(2 * time.Second)}, {"over", now}}})
		waiting := enter(g)
		time.Sleep(1900 * time.Millisecond)
		synctest.Wait()
		if s := g.Snapshot(); waiting.latest().Outcome != Held || len(s.Holds) != 1 || s.Holds[0] != "b" {
			t.Errorf("outcome %d, holds %v", waiting.latest().Outcome, s.Holds)
		}
		time.Sleep(200 * time.Millisecond)
		synctest.Wait()
		if waiting.latest().Outcome != Passed {
			t.Errorf("outcome %d after both", waiting.latest().Outcome)
		}
	})
}

func TestAHoldIsProlongedByApply(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, target := New(settled), NewTarget(TargetOptions{Name: "one"})
		hold := func(d time.Duration) {
			g.Apply(Desired{Settings: settled, Target: target, Holds: []Hold{{"a", time.Now().Add(d)}}})
		}
		hold(time.Second)
		waiting := enter(g)
		time.Sleep(500 * time.Millisecond)
		hold(time.Second)
		time.Sleep(900 * time.Millisecond)
		synctest.Wait()
		if waiting.latest().Outcome != Held {
			t.Errorf("outcome %d before the end", waiting.latest().Outcome)
		}
		time.Sleep(200 * time.Millisecond)
		synctest.Wait()
		if waiting.latest().Outcome != Passed {
			t.Errorf("outcome %d after the end", waiting.latest().Outcome)
		}
	})
}
