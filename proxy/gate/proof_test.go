package gate

import (
	"testing"
	"testing/synctest"
	"time"
)

// suspendable returns a target of an app that opens its listening socket itself, and the number of
// its suspensions.
func suspendable(name string) (*Target, *int) {
	suspended := 0
	return NewTarget(TargetOptions{Name: name, OnSuspend: func(*Proof) { suspended++ }}), &suspended
}

func TestNothingPassesToATargetWithoutAProof(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(settings(10, time.Minute))
		target, _ := suspendable("shop#1")
		g.Swap(target)
		first, v := ask(g, "first")
		if v.Outcome != Held || g.Snapshot().Open {
			t.Fatalf("outcome %d, open %v", v.Outcome, g.Snapshot().Open)
		}
		time.Sleep(10 * stallInterval)
		if len(first.told()) > 0 {
			t.Fatal("a request passed although nothing was proven")
		}
		proof := &Proof{}
		target.Resume(proof)
		if v := first.verdict(t); v.Outcome != Passed || v.Target != target {
			t.Fatalf("outcome %d", v.Outcome)
		}
		target.Suspend(proof)
		second, v := ask(g, "second")
		if v.Outcome != Held {
			t.Fatalf("outcome %d after the suspension", v.Outcome)
		}
		g.Requeue(&first.Waiter, target, true)
		first.forget()
		time.Sleep(10 * stallInterval)
		target.Resume(&Proof{})
		if first.verdict(t).Outcome != Passed || target.InFlight() != 1 {
			t.Fatalf("%d in flight", target.InFlight()) // the window of an unknown concurrency is 1
		}
		g.Done(target, true)
		second.verdict(t)
		g.Done(target, true)
	})
}

func TestHeldRequestsOfASuspendedTargetExpireInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(settings(10, 3*time.Second))
		target, _ := suspendable("shop#1")
		g.Swap(target)
		a, _ := ask(g, "a")
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if v := a.verdict(t); v.Outcome != Expired || v.Waited != 3*time.Second {
			t.Errorf("outcome %d after %v", v.Outcome, v.Waited)
		}
	})
}

// A connect may fail late: after the listening socket was proven anew.
func TestOnlyThePresentProofCanBeSuspendedAndOnlyOnce(t *testing.T) {
	target, suspended := suspendable("shop#1")
	former, present := &Proof{}, &Proof{}
	target.Resume(former)
	target.Resume(present)
	target.Suspend(former)
	if p, ok := target.Proof(); !ok || p != present || *suspended != 0 {
		t.Errorf("proof %p %v, %d suspensions", p, ok, *suspended)
	}
	target.Suspend(present)
	target.Suspend(present)
	target.Suspend(nil)
	if _, ok := target.Proof(); ok || *suspended != 1 {
		t.Errorf("proof %v, %d suspensions", ok, *suspended)
	}
}

func TestTheSupervisorsOwnSocketNeedsNoProof(t *testing.T) {
	target := NewTarget(TargetOptions{Name: "shop#1"})
	p, ok := target.Proof()
	if p != nil || !ok || !p.Holds() {
		t.Errorf("proof %v %v", p, ok)
	}
	target.Suspend(p)
	if _, ok := target.Proof(); !ok {
		t.Error("suspended")
	}
}

// A generation that was swapped out is proven again without effect on the gate.
func TestResumeOfAFormerTargetReleasesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(settings(10, time.Minute))
		former, _ := suspendable("shop#1")
		target, _ := suspendable("shop#2")
		g.Swap(former)
		a, _ := ask(g, "a")
		g.Swap(target)
		former.Resume(&Proof{})
		if len(a.told()) > 0 {
			t.Error("a request passed")
		}
		target.Resume(&Proof{})
		if v := a.verdict(t); v.Target != target {
			t.Errorf("passed to %s", v.Target.Name())
		}
		g.Done(target, true)
	})
}
