package fleet

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

// fleetOf is a store with hosts that have the app shop.
func fleetOf(t *testing.T, hosts ...string) (*storeModel, *replica) {
	t.Helper()
	s := newStore()
	for _, h := range hosts {
		s.commit(Txn{Then: []Op{putLeased(hostKey(h), Host{Process: h, Apps: map[string]AppHost{"shop": {Revision: "r1"}}})}}, s.grant())
	}
	r := newReplica(s)
	r.advance(1 << 30)
	return s, r
}

// do commits what an operator asks for.
func do(t *testing.T, r *replica, txn Txn, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	if !r.store.commit(txn, 0) {
		t.Fatal("the store has changed")
	}
	r.advance(1 << 30)
}

func TestARolloutThatCannotBeIsRefusedWithTheReason(t *testing.T) {
	_, some := fleetOf(t, "a", "b")
	_, none := fleetOf(t)
	for _, c := range []struct {
		view      *View
		wish      Wish
		max, want string
	}{
		{none.view, Wish{App: "shop"}, "1", "no host of the fleet is there"},
		{some.view, Wish{App: "blog"}, "1", "no host of the fleet has the app blog"},
		{some.view, Wish{App: "shop", Canary: "c"}, "1", "the canary c is no host"},
		{some.view, Wish{App: "shop"}, "0", `not "0"`},
		{some.view, Wish{App: "shop"}, "101%", `not "101%"`},
		{some.view, Wish{App: "shop"}, "many", `not "many"`},
	} {
		_, _, err := Start(c.view, c.wish, c.max, false)
		var refusal *Refusal
		if !errors.As(err, &refusal) || !strings.Contains(refusal.Message, c.want) || refusal.Busy {
			t.Errorf("%+v max %s: %v, want %q", c.wish, c.max, err, c.want)
		}
	}
}

func TestMaxUnavailableIsANumberOrAPartOfTheHosts(t *testing.T) {
	for text, want := range map[string]int{"1": 1, "3": 3, "9": 8, "25%": 2, "30%": 2, "1%": 1, "100%": 8} {
		if n, err := portion(text, 8); n != want || err != nil {
			t.Errorf("%s of 8: %d %v, want %d", text, n, err, want)
		}
	}
}

func TestASecondRolloutIsRefusedOrTakesThePlaceOfTheFirst(t *testing.T) {
	_, r := fleetOf(t, "a", "b")
	_, txn, err := Start(r.view, Wish{App: "shop", Revision: "r2"}, "1", false)
	do(t, r, txn, err)
	_, _, err = Start(r.view, Wish{App: "shop"}, "1", false)
	var refusal *Refusal
	if !errors.As(err, &refusal) || !refusal.Busy {
		t.Errorf("a second one: %v", err)
	}
	w, txn, err := Start(r.view, Wish{App: "shop", Revision: "r3"}, "1", true)
	do(t, r, txn, err)
	if past := r.view.Past(); w.ID != 2 || len(past) != 1 || past[0].State != Superseded || past[0].Wish.Revision != "r2" {
		t.Errorf("%d, %+v", w.ID, past)
	}
}

// turn has a host reload with an outcome.
func turn(t *testing.T, r *replica, host string, done Done) {
	t.Helper()
	me := Self{Host: host, Process: host, Session: host}
	lease := r.store.keys[hostKey(host)].lease
	for range 5 {
		step := Next(r.view, me)
		if step.Kind == Wait {
			t.Fatalf("%s has no turn", host)
		}
		if !r.store.commit(step.Txn, lease) {
			t.Fatal("the store has changed")
		}
		r.advance(1 << 30)
		if step.Kind == Begin {
			step.Turn.Begun = r.view.Revision
			if done.Outcome != "" {
				txn, _ := Finish(r.view, host, step.Turn, done)
				do(t, r, txn, nil)
			}
			return
		}
	}
}

func TestAFailureHaltsAndAResumeGivesAnotherTurnToThoseThatNeedOne(t *testing.T) {
	_, r := fleetOf(t, "a", "b", "c")
	_, txn, err := Start(r.view, Wish{App: "shop", Revision: "r2", Canary: "b"}, "1", false)
	do(t, r, txn, err)
	if step := Next(r.view, Self{Host: "a", Process: "a", Session: "a"}); step.Kind != Wait {
		t.Errorf("before the canary: %+v", step)
	}
	turn(t, r, "b", Done{Outcome: OK})
	turn(t, r, "c", Done{Outcome: Failed, Exit: 7, Reason: "kept old", Output: []string{"ImportError"}})
	report := r.view.Report("g")
	if ro := report.Rollout; ro.State != Halted || ro.Halt.Host != "c" || ro.Exit != 11 || ro.Halt.Output[0] != "ImportError" {
		t.Errorf("%+v %+v", ro, ro.Halt)
	}
	if got := states(report); got != "a waiting, b ok, c failed" {
		t.Error(got)
	}
	if step := Next(r.view, Self{Host: "a", Process: "a", Session: "a"}); step.Kind != Wait {
		t.Errorf("after the halt: %+v", step)
	}
	_, txn, err = Resume(r.view, nil)
	do(t, r, txn, err)
	turn(t, r, "c", Done{Outcome: OK})
	turn(t, r, "a", Done{Outcome: OK})
	if ro := r.view.Report("g").Rollout; ro.State != Complete || ro.Exit != 0 || ro.Attempt != 2 {
		t.Errorf("%+v", ro)
	}
	if _, _, err := Resume(r.view, nil); err == nil {
		t.Error("a complete rollout is resumed")
	}
	if _, _, err := Abort(r.view, "x"); err == nil {
		t.Error("a complete rollout is aborted")
	}
}

// Who may still be reloading is counted until it has said how that ended, or an operator says that
// it is down.
func TestAHostThatIsGoneInItsTurnIsWaitedForOrSkipped(t *testing.T) {
	s, r := fleetOf(t, "a", "b")
	_, txn, err := Start(r.view, Wish{App: "shop"}, "1", false)
	do(t, r, txn, err)
	turn(t, r, "a", Done{})
	if got := states(r.view.Report("g")); got != "a reloading, b waiting" {
		t.Error(got)
	}
	s.expire(s.keys[hostKey("a")].lease)
	r.advance(1 << 30)
	if step := Next(r.view, Self{Host: "b", Process: "b", Session: "b"}); step.Kind != Stop || step.Halt.Host != "a" {
		t.Fatalf("%+v", step)
	} else {
		do(t, r, step.Txn, nil)
	}
	if got := states(r.view.Report("g")); got != "a gone, b waiting" {
		t.Error(got)
	}
	if _, _, err := Resume(r.view, nil); err == nil {
		t.Error("resumed while a may be reloading")
	}
	if _, _, err := Start(r.view, Wish{App: "shop"}, "1", true); err == nil {
		t.Error("superseded while a may be reloading")
	}
	_, txn, err = Resume(r.view, []string{"a"})
	do(t, r, txn, err)
	turn(t, r, "b", Done{Outcome: OK})
	if report := r.view.Report("g"); report.Rollout.State != Complete || states(report) != "a skipped, b ok" {
		t.Errorf("%s: %s", report.Rollout.State, states(report))
	}
}

// A rollout is not complete without a host that is away for a moment.
func TestARolloutIsForTheHostsOfTheLastOneToo(t *testing.T) {
	s, r := fleetOf(t, "a", "b", "c")
	start := func(app string, skip ...string) []string {
		w, txn, err := Start(r.view, Wish{App: app, Skipped: skip}, "1", true)
		do(t, r, txn, err)
		return w.Members
	}
	start("shop")
	s.expire(s.keys[hostKey("b")].lease)
	s.expire(s.keys[hostKey("c")].lease)
	lease := s.grant()
	s.commit(Txn{Then: []Op{putLeased(hostKey("a"), Host{Process: "a", Apps: map[string]AppHost{"shop": {}, "blog": {}}})}}, lease)
	r.advance(1 << 30)
	if members := start("blog"); !slices.Equal(members, []string{"a"}) {
		t.Errorf("another app: %q", members)
	}
	if members := start("shop"); !slices.Equal(members, []string{"a", "b", "c"}) {
		t.Errorf("two hosts are away: %q", members)
	}
	if got := states(r.view.Report("g")); got != "a waiting, b away, c away" {
		t.Error(got)
	}
	for range 2 {
		if members := start("shop", "c"); !slices.Equal(members, []string{"a", "b"}) {
			t.Errorf("one of them is said to be down: %q", members)
		}
	}
	if members := start("shop"); !slices.Equal(members, []string{"a", "b"}) {
		t.Errorf("after that: %q", members)
	}
}

func TestAnAbortedRolloutIsOverForGood(t *testing.T) {
	_, r := fleetOf(t, "a")
	_, txn, err := Start(r.view, Wish{App: "shop"}, "1", false)
	do(t, r, txn, err)
	_, txn, err = Abort(r.view, "root")
	do(t, r, txn, err)
	if _, _, err := Resume(r.view, nil); err == nil {
		t.Error("it is resumed")
	}
	if ro := r.view.Report("g").Rollout; ro.State != Aborted || ro.Exit != 11 {
		t.Errorf("%+v", ro)
	}
	_, txn, err = Start(r.view, Wish{App: "shop"}, "1", false)
	do(t, r, txn, err)
}

// The keys of a rollout stay until the next but one begins; the history has a bound.
func TestOldRolloutsAreForgotten(t *testing.T) {
	s, r := fleetOf(t, "a")
	most := 0
	for range keptRollouts + 10 {
		_, txn, err := Start(r.view, Wish{App: "shop"}, "1", false)
		do(t, r, txn, err)
		turn(t, r, "a", Done{Outcome: OK})
		most = max(most, len(s.keys))
	}
	if n := len(r.view.Past()); n != keptRollouts || most > keptRollouts+10 {
		t.Errorf("%d rollouts in the history, up to %d keys", n, most)
	}
}

func states(r Report) string {
	var all []string
	for _, h := range r.Rollout.Hosts {
		all = append(all, h.Host+" "+string(h.State))
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

// A key that anybody has put is read or refused, and leaves a view that can be asked.
func FuzzView(f *testing.F) {
	f.Add("wish", `{"id":1,"attempt":1,"app":"shop","max_unavailable":1,"members":["a"]}`, "begun/1/a", `{"attempt":1}`)
	f.Add("slots/a", `{}`, "slots/a", `{"session":"x"}`)
	f.Add("halt/1/1", `{"reason":"x"}`, "done/1/a", `{"begun":9}`)
	f.Add("hosts/a", `[]`, "history/x", `{}`)
	f.Fuzz(func(t *testing.T, key, value, otherKey, otherValue string) {
		v := NewView()
		v.Put(KeyValue{key, value, 1, 1})
		v.Put(KeyValue{otherKey, otherValue, 2, 2})
		v.Put(KeyValue{key, otherValue, 1, 3})
		Next(v, Self{Host: "a", Process: "p", Session: "s", Away: func(string) bool { return true }})
		v.Report("g")
		Start(v, Wish{App: "shop"}, "1", true)
		v.Delete(key)
		v.Delete(otherKey)
		if len(v.queue) != len(v.slots) {
			t.Errorf("queue %v, slots %v", v.queue, v.slots)
		}
	})
}
