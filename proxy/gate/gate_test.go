package gate

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tideover/proxy/awake"
)

// asker is a request as the gate sees it.
type asker struct {
	Waiter
	name   string
	onTold func(*asker)

	mu   sync.Mutex // guards list and when: a timer's goroutine decides
	list []Decision
	when time.Time
}

func (a *asker) OnDecision(v Decision) {
	a.mu.Lock()
	a.list, a.when = append(a.list, v), time.Now()
	a.mu.Unlock()
	if a.onTold != nil {
		a.onTold(a)
	}
}

// told returns the decisions until now.
func (a *asker) told() []Decision {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.list)
}

// forget forgets the decisions until now.
func (a *asker) forget() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.list = nil
}

func ask(g *Gate, name string) (*asker, Decision) {
	a := &asker{name: name}
	a.Owner = a
	v := g.Enter(&a.Waiter)
	return a, v
}

func (a *asker) verdict(t *testing.T) Decision {
	t.Helper()
	if len(a.told()) != 1 {
		t.Fatalf("%s was told %d verdicts, want 1", a.name, len(a.told()))
	}
	return a.told()[0]
}

func settings(limit int, timeout time.Duration) Settings {
	return Settings{Limit: limit, Timeout: timeout}
}

func TestShutGateHoldsAndReleasesOldestFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(settings(1000, 30*time.Second))
		var order []string
		var all []*asker
		for i := range 1000 {
			a, v := ask(g, fmt.Sprint(i))
			if v.Outcome != Held {
				t.Fatalf("request %d: outcome %d, want held", i, v.Outcome)
			}
			a.onTold = func(a *asker) { order = append(order, a.name) }
			all = append(all, a)
		}
		if _, v := ask(g, "one too many"); v.Outcome != Overflowed {
			t.Fatalf("beyond the limit: outcome %d, want overflowed", v.Outcome)
		}
		target := NewTarget(TargetOptions{Name: "shop.1", Concurrency: 2})
		g.Swap(target)
		if len(order) != 2 {
			t.Fatalf("%d released at once, want the target's concurrency, 2", len(order))
		}
		if _, v := ask(g, "newcomer"); v.Outcome != Held {
			t.Fatalf("a newcomer overtakes: outcome %d", v.Outcome)
		}
		for answered := 0; answered < len(order); answered++ {
			g.Done(target, true)
		}
		if len(order) != 1000 {
			t.Fatalf("%d released, want 1000", len(order))
		}
		for i, name := range order {
			if name != fmt.Sprint(i) {
				t.Fatalf("number %d released was %s", i, name)
			}
		}
		for _, a := range all {
			if v := a.verdict(t); v.Outcome != Passed || v.Target != target {
				t.Fatalf("%s: %+v", a.name, v)
			}
		}
		if n := target.InFlight(); n != 1 {
			t.Fatalf("%d in flight at the end, want the newcomer", n)
		}
	})
}

func TestExpiryIsExactAndInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(settings(100, 3*time.Second))
		start := time.Now()
		var all []*asker
		for i := range 20 {
			a, _ := ask(g, fmt.Sprint(i))
			all = append(all, a)
			time.Sleep(100 * time.Millisecond)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		for i, a := range all {
			want := start.Add(time.Duration(i)*100*time.Millisecond + 3*time.Second)
			if v := a.verdict(t); v.Outcome != Expired || v.Waited != 3*time.Second || !a.when.Equal(want) {
				t.Fatalf("%d: %+v at %v, want expired at %v", i, v, a.when.Sub(start), want.Sub(start))
			}
		}
		if s := g.Snapshot(); s.Held != 0 || s.Oldest != 0 {
			t.Fatalf("snapshot %+v", s)
		}
	})
}

func TestRequeueKeepsThePlaceAndBeginsTheHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(settings(1, 3*time.Second))
		old := NewTarget(TargetOptions{Name: "shop.1"})
		g.Swap(old)
		first, v := ask(g, "first")
		if v.Outcome != Passed {
			t.Fatal(v)
		}
		time.Sleep(time.Second)
		g.Swap(nil)
		second, _ := ask(g, "second")
		g.Requeue(&first.Waiter, old, false)
		if old.InFlight() != 0 {
			t.Fatal("the pass was not given back")
		}
		if s := g.Snapshot(); s.Held != 2 || s.Oldest != 0 {
			t.Fatalf("%+v: the one that comes back has a place beyond the limit, and was not held before", s)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		next := NewTarget(TargetOptions{Name: "shop.2"})
		g.Swap(next)
		if v := first.verdict(t); v.Outcome != Passed || v.Target != next || v.Waited != 2*time.Second {
			t.Fatal(v)
		}
		if v := second.told(); len(v) > 0 {
			t.Fatal("the second one is released first, or beside the first one")
		}
	})
}

func TestNotNowPausesInsteadOfSpinning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(settings(10, 10*time.Second))
		target := NewTarget(TargetOptions{Name: "shop.1"})
		g.Swap(target)
		tries := 0
		a, _ := ask(g, "a")
		a.onTold = func(a *asker) {
			if a.told()[len(a.told())-1].Outcome == Passed {
				tries++
				g.Requeue(&a.Waiter, target, true)
			}
		}
		g.Requeue(&a.Waiter, target, true)
		b, v := ask(g, "b")
		if v.Outcome != Held {
			t.Fatal("a newcomer overtakes one that was told not now")
		}
		g.Snapshot() // orders what came before with the timer's verdicts
		time.Sleep(9 * time.Second)
		synctest.Wait()
		if tries < 80 || tries > 100 {
			t.Fatalf("%d tries in 9 s, want about ten a second", tries)
		}
		g.Snapshot()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if last := a.told()[len(a.told())-1]; last.Outcome != Expired || b.verdict(t).Outcome != Expired {
			t.Fatalf("%+v", last)
		}
		if target.InFlight() != 0 {
			t.Fatal("passes are left")
		}
	})
}

func TestStallGuardWidensTheWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(settings(10, 10*time.Second))
		for i := range 5 {
			ask(g, fmt.Sprint(i))
		}
		target := NewTarget(TargetOptions{})
		g.Swap(target)
		for want := 1; want <= 5; want++ {
			synctest.Wait()
			if n := target.InFlight(); n != want {
				t.Fatalf("%d out, want %d", n, want)
			}
			time.Sleep(stallInterval)
		}
	})
}

func TestRefuseAnswersThoseWhoComeAndThoseHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(settings(10, 10*time.Second))
		a, _ := ask(g, "a")
		r := &Refusal{Cause: "stopped"}
		g.Refuse(r)
		if v := a.verdict(t); v.Outcome != Refused || v.Refusal != r {
			t.Fatal(v)
		}
		if _, v := ask(g, "b"); v.Outcome != Refused {
			t.Fatal(v)
		}
		g.Refuse(nil)
		if _, v := ask(g, "c"); v.Outcome != Held {
			t.Fatal(v)
		}
	})
}

func TestHoldsAreNamedAndDrainable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(settings(10, 10*time.Second))
		target := NewTarget(TargetOptions{})
		g.Swap(target)
		ask(g, "out")
		g.Hold("deploy")
		g.Hold("migration")
		g.Hold("deploy")
		o := g.Observe()
		a, _ := ask(g, "a")
		g.Release("deploy")
		g.Release("nobody's")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := target.Wait(ctx); err == nil {
			t.Fatal("a request is out")
		}
		g.Done(target, true)
		if err := target.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		if len(a.told()) != 0 {
			t.Fatal("released while held under another name")
		}
		g.Release("migration")
		if a.verdict(t).Outcome != Passed {
			t.Fatal("not released")
		}
		if s := o.End(); s.Held != 1 || s.Longest != time.Second || o.End() != s {
			t.Fatalf("observed %+v", s)
		}
	})
}

// TestRandomOperations drives a gate and a naive model of it through the same random operations.
func TestRandomOperations(t *testing.T) {
	for seed := range uint64(400) {
		random := rand.New(rand.NewPCG(seed, 1))
		script := make([]byte, 300)
		for i := range script {
			script[i] = byte(random.Uint32())
		}
		synctest.Test(t, func(t *testing.T) { playGate(t, script) })
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func FuzzGate(f *testing.F) {
	f.Add([]byte{0, 0, 0, 5, 0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 0, 0, 0, 5})
	f.Fuzz(func(t *testing.T, script []byte) {
		script = script[:min(len(script), 500)] // the model checks all requests at every step
		synctest.Test(t, func(t *testing.T) { playGate(t, script) })
	})
}

// A request that a target had, and lost, was not held meanwhile. Its stays in the queue add up.
func TestStaysInTheQueueAddUpToTheTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(settings(10, 3*time.Second))
		a, _ := ask(g, "first")
		for i := range 2 {
			time.Sleep(time.Second)
			target := NewTarget(TargetOptions{})
			g.Swap(target)
			synctest.Wait()
			if v := a.told()[i]; v.Outcome != Passed || v.Waited != time.Duration(i+1)*time.Second || a.counted != v.Waited {
				t.Fatalf("%+v", v)
			}
			time.Sleep(time.Minute) // in the target's backlog
			g.Swap(nil)
			g.Requeue(&a.Waiter, target, false)
		}
		time.Sleep(999 * time.Millisecond)
		synctest.Wait()
		if len(a.told()) != 2 {
			t.Fatal("expired early")
		}
		time.Sleep(time.Millisecond)
		synctest.Wait()
		if v := a.told()[2]; v.Outcome != Expired || v.Waited != 3*time.Second || v.Refusal.Cause != "no generation is ready" {
			t.Fatalf("%+v", v)
		}
	})
}

// A queue that is released at the pace of the app loses no request, however long that takes.
func TestTheReleaseOfALongQueueExpiresNoRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(settings(1000, 3*time.Second))
		all := queued(t, g, 200)
		time.Sleep(2 * time.Second)
		target := NewTarget(TargetOptions{Concurrency: 1})
		g.Swap(target)
		for i, a := range all {
			for len(a.told()) == 0 {
				time.Sleep(stallInterval) // the app works, and answers no request
				synctest.Wait()
			}
			if v := a.verdict(t); v.Outcome != Passed {
				t.Fatalf("%d: %+v", i, v)
			}
		}
	})
}

// An app whose backlog is full serves no request: what waits for it expires.
func TestAnAppThatTakesNoConnectionExpiresTheHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(settings(10, 3*time.Second))
		target := NewTarget(TargetOptions{})
		g.Swap(target)
		begun := time.Now()
		a, v := ask(g, "refused")
		for n := 0; v.Outcome == Passed; n++ {
			g.Requeue(&a.Waiter, target, true)
			for len(a.told()) == n {
				time.Sleep(time.Millisecond)
				synctest.Wait()
			}
			v = a.told()[n]
		}
		if waited := time.Since(begun); v.Outcome != Expired || v.Refusal.Cause != "the app takes no connection" || waited > 3*time.Second+2*maxBackoff {
			t.Fatalf("%+v after %v", v, waited)
		}
	})
}

// While the process does not run (SIGSTOP) no generation can be started, so that time counts as one
// reading of the clock.
func TestTimeInWhichTheProcessDidNotRunExpiresNoRequest(t *testing.T) {
	g := New(settings(10, 30*time.Second))
	a, _ := ask(g, "held")
	clock := time.Now()
	read := func(step time.Duration) {
		g.mu.Lock()
		defer g.mu.Unlock()
		clock = clock.Add(step)
		g.readClockLocked(clock)
	}
	read(awake.Interval)
	before := g.shutFor
	read(35 * time.Second)
	if counted := g.shutFor - before; counted != awake.Interval {
		t.Errorf("35 s of SIGSTOP count as %v", counted)
	}
	for range 27 {
		read(awake.Interval)
	}
	if left := g.untilExpiryLocked(); left <= 0 || left > 2*awake.Interval {
		t.Errorf("expires in %v", left)
	}
	if !g.Leave(&a.Waiter) {
		t.Error("not held any more")
	}
}

// A former target that works off what it has accepted is a generation that answers: the held wait
// for it, and their hold begins with its last answer.
func TestTheAnswersOfADrainExpireNoHeldRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(settings(100, 3*time.Second))
		old := NewTarget(TargetOptions{Concurrency: 100})
		g.Swap(old)
		for range 5 {
			ask(g, "accepted")
		}
		g.Swap(nil)
		held := queued(t, g, 2)
		for range 4 {
			time.Sleep(2 * time.Second)
			g.Done(old, true)
		}
		later, _ := ask(g, "later")
		g.Done(old, false) // no answer
		time.Sleep(3*time.Second - 1)
		synctest.Wait()
		if n := len(held[0].told()) + len(held[1].told()) + len(later.told()); n != 0 {
			t.Fatalf("%d expired", n)
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if v := held[0].verdict(t); v.Outcome != Expired || v.Waited != 11*time.Second || held[0].counted != 3*time.Second {
			t.Errorf("%+v", v)
		}
		if v := later.verdict(t); v.Outcome != Expired || v.Waited != 3*time.Second {
			t.Errorf("%+v", v)
		}
	})
}
