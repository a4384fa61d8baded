package gate

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tideover/proxy/awake"
)

// gateModel is the state of a gate as callers know it: the queue in its order, and the requests in
// flight on each target. Of windows and pauses it has only the limits.
type gateModel struct {
	mu      sync.Mutex // orders verdicts that different goroutines bring
	t       *testing.T
	gate    *Gate
	limit   int
	timeout time.Duration

	waiting []*asker // in order of arrival
	out     map[*asker]*Target
	counts  map[*Target]int
	stays   map[*asker]*stay // all stays of a request in the queue together
	asleep  time.Time        // when the present sleep began; zero: no time passes
	ended   int
	target  *Target
	holds   map[string]bool
	refusal *Refusal
	proof   *Proof // of target; nil: it is suspended
}

// stay is for how long a request was held. The gate may also count, beyond shut, the time in which
// the target took no connection.
type stay struct {
	held time.Duration
	shut time.Duration // no target, a hold, or a suspended target
}

// stayOf returns the stay of a request that is in the queue, up to now.
func (m *gateModel) stayOf(a *asker) stay {
	s := *m.stays[a]
	if !m.asleep.IsZero() {
		s.held += time.Since(m.asleep)
		if !m.open() {
			s.shut += time.Since(m.asleep)
		}
	}
	return s
}

func (m *gateModel) open() bool {
	return m.target != nil && m.proof != nil && len(m.holds) == 0 && m.refusal == nil
}

// told checks a verdict at the moment at which it is given.
func (m *gateModel) told(a *asker) {
	m.mu.Lock()
	defer m.mu.Unlock()
	v := a.told()[len(a.told())-1]
	i := slices.Index(m.waiting, a)
	if i < 0 {
		m.t.Fatalf("%s is told %+v and does not wait", a.name, v)
	}
	switch v.Outcome {
	case Passed:
		if i != 0 {
			m.t.Fatalf("%s overtakes %d others", a.name, i)
		}
		m.passes(a, v)
	case Expired:
		age := m.stayOf(a)
		if age.held < m.timeout {
			m.t.Fatalf("%s expires after %v of %v", a.name, age.held, m.timeout)
		}
		for _, other := range m.waiting {
			if m.stayOf(other).shut > age.held {
				m.t.Fatalf("%s expires before %s", a.name, other.name)
			}
		}
	case Refused:
		if m.refusal == nil || v.Refusal != m.refusal {
			m.t.Fatalf("%s is refused by an open gate", a.name)
		}
	default:
		m.t.Fatalf("%s is told %+v", a.name, v)
	}
	if v.Outcome != Passed {
		m.ended++
	}
	*m.stays[a] = m.stayOf(a)
	m.waiting = slices.Delete(m.waiting, i, i+1)
}

func (m *gateModel) passes(a *asker, v Decision) {
	if !m.open() || v.Target != m.target {
		m.t.Fatalf("%s passes a shut gate, or to another target", a.name)
	}
	m.out[a] = v.Target
	m.counts[v.Target]++
}

func (m *gateModel) enter(name string) {
	a := &asker{name: name, onTold: m.told}
	a.Owner = a
	m.stays[a] = &stay{}
	v := m.gate.Enter(&a.Waiter)
	want := Held
	switch {
	case m.refusal != nil:
		want = Refused
	case m.open() && len(m.waiting) == 0:
		want = Passed
	case len(m.waiting) >= m.limit:
		want = Overflowed
	}
	if v.Outcome != want {
		m.t.Fatalf("%s enters: outcome %d, want %d", name, v.Outcome, want)
	}
	switch want {
	case Held:
		m.waiting = append(m.waiting, a)
	case Passed:
		m.passes(a, v)
	default:
		m.ended++
	}
}

// requeue puts the request back in the model first: the verdict may come before the gate's method
// returns.
func (m *gateModel) requeue(a *asker, busy bool) {
	target := m.out[a]
	delete(m.out, a)
	m.counts[target]--
	i, _ := slices.BinarySearchFunc(m.waiting, a.arrival, func(w *asker, arrival uint64) int { return int(w.arrival) - int(arrival) })
	m.waiting = slices.Insert(m.waiting, i, a)
	m.gate.Requeue(&a.Waiter, target, busy)
}

func (m *gateModel) leave(a *asker) {
	if !m.gate.Leave(&a.Waiter) {
		m.t.Fatalf("%s waits and cannot leave", a.name)
	}
	if m.gate.Leave(&a.Waiter) {
		m.t.Fatalf("%s leaves twice", a.name)
	}
	m.waiting = slices.Delete(m.waiting, slices.Index(m.waiting, a), slices.Index(m.waiting, a)+1)
	m.ended++
}

// anyOut picks one of those out in an order that does not depend on the map's.
func (m *gateModel) anyOut(n int) *asker {
	var all []*asker
	for a := range m.out {
		all = append(all, a)
	}
	if len(all) == 0 {
		return nil
	}
	slices.SortFunc(all, func(a, b *asker) int { return int(a.arrival) - int(b.arrival) })
	return all[n%len(all)]
}

// check compares all that can be seen.
func (m *gateModel) check() {
	synctest.Wait()
	s := m.gate.Snapshot()
	if s.Held != len(m.waiting) || s.Open != m.open() || len(s.Holds) != len(m.holds) {
		m.t.Fatalf("snapshot %+v, want %d held, open %v, holds %v", s, len(m.waiting), m.open(), m.holds)
	}
	if len(m.waiting) > 0 && s.Oldest != m.stays[m.waiting[0]].held {
		m.t.Fatalf("oldest %v, want %v", s.Oldest, m.stays[m.waiting[0]].held)
	}
	for target, n := range m.counts {
		if got := target.InFlight(); got != n {
			m.t.Fatalf("%s: %d in flight, want %d", target.Name(), got, n)
		}
	}
	for _, a := range m.waiting {
		if m.stays[a].shut >= m.timeout+awake.Interval { // a suspension is noticed when the clock is read
			m.t.Fatalf("%s is held beyond its deadline", a.name)
		}
	}
}

// playGate reads a script of operations, one a byte and its argument in the high bits, and plays it
// to a gate and its model. In the end everything that waits must come out of an open gate.
func playGate(t *testing.T, script []byte) {
	m := &gateModel{t: t, limit: 8, timeout: 5 * time.Second, out: map[*asker]*Target{}, counts: map[*Target]int{},
		stays: map[*asker]*stay{}, holds: map[string]bool{}}
	m.gate = New(Settings{Limit: m.limit, Timeout: m.timeout})
	entered := 0
	for _, b := range script {
		m.step(int(b%13), int(b/13), &entered)
		m.check()
	}
	for _, name := range []string{"0", "1", "2"} {
		delete(m.holds, name)
		m.gate.Release(name)
	}
	m.refusal = nil
	m.gate.Refuse(nil)
	m.swap(newProven("last", 0))
	for len(m.out) > 0 || len(m.waiting) > 0 {
		if a := m.anyOut(0); a != nil {
			m.done(a)
		} else {
			m.sleep(maxBackoff)
		}
		m.check()
	}
	if m.ended != entered {
		t.Fatalf("%d entered, %d ended", entered, m.ended)
	}
}

func (m *gateModel) step(op, argument int, entered *int) {
	switch op {
	case 0, 1, 2, 3:
		*entered++
		m.enter(fmt.Sprint("request ", *entered))
	case 4, 5:
		if a := m.anyOut(argument); a != nil {
			m.done(a)
		}
	case 6:
		if a := m.anyOut(argument); a != nil {
			m.requeue(a, argument%2 == 0)
		}
	case 7:
		if len(m.waiting) > 0 {
			m.leave(m.waiting[argument%len(m.waiting)])
		}
	case 8:
		if argument%3 == 0 {
			m.swap(nil)
		} else {
			m.swap(newProven(fmt.Sprint("generation ", argument), argument%4))
		}
	case 9:
		name := fmt.Sprint(argument % 3)
		if m.holds[name] {
			delete(m.holds, name)
			m.gate.Release(name)
		} else {
			m.holds[name] = true
			m.gate.Hold(name)
		}
	case 10:
		m.refusal = nil
		if argument%2 == 0 {
			m.refusal = &Refusal{Cause: "tried"}
		}
		m.gate.Refuse(m.refusal)
	case 11:
		m.sleep(time.Duration(argument) * 30 * time.Millisecond)
	case 12:
		if m.target == nil {
			return
		}
		if proof := m.proof; proof != nil {
			m.proof = nil
			m.target.Suspend(proof)
		} else {
			m.proof = &Proof{}
			m.target.Resume(m.proof)
		}
	}
}

// newProven returns a target that can be suspended.
func newProven(name string, concurrency int) *Target {
	t := NewTarget(TargetOptions{Name: name, Concurrency: concurrency, OnSuspend: func(*Proof) {}})
	t.Resume(&Proof{})
	return t
}

// sleep lets time pass. Taking the gate's lock first orders what the model did before with the
// verdicts the gate's timer gives.
func (m *gateModel) sleep(d time.Duration) {
	m.gate.Snapshot()
	m.mu.Lock()
	m.asleep = time.Now()
	m.mu.Unlock()
	time.Sleep(d)
	synctest.Wait()
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, a := range m.waiting {
		*m.stays[a] = m.stayOf(a)
	}
	m.asleep = time.Time{}
}

func (m *gateModel) swap(t *Target) {
	was := m.target
	m.target, m.proof = t, nil
	if t != nil {
		m.proof, _ = t.Proof()
	}
	if got := m.gate.Swap(t); got != was {
		m.t.Fatalf("swap returned %p, want %p", got, was)
	}
}

func (m *gateModel) done(a *asker) {
	target := m.out[a]
	delete(m.out, a)
	m.counts[target]--
	m.ended++
	if target != m.target {
		for _, w := range m.waiting { // a former target answers: what was counted since the swap is not
			m.stays[w].shut = 0
		}
	}
	m.gate.Done(target, true)
}
