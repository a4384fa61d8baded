package fleet

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// seeds is the number of random orders of events that are tried.
var seeds = flag.Uint64("seeds", 1000, "random orders of events")

// hostModel is a host: its supervisor, which works, and the process that takes turns for it.
type hostModel struct {
	name    string
	replica *replica
	alive   bool // the machine, for ever
	up      bool // the process; another one may come
	run     int  // of tideover
	process int
	session int
	lease   int
	former  []int // leases of former sessions and processes, which may not have ended yet
	valid   bool  // what the process knows of its lease: until its deadline
	known   int64 // revision that the view must have for the next step
	turn    *Turn
	sent    *request // that it waits for
	outcome *Done    // of the turn, to be put

	working  string          // the rollout that the supervisor works for, or the host's own reload; empty: none
	asked    string          // by what id
	ended    map[string]bool // how what was asked for has ended, by id; of this run
	local    bool            // a reload of its own waits
	reloaded map[string]int
}

// request is a transaction on its way.
type request struct {
	host    *hostModel
	process int
	step    Step
	lease   int
	applied bool
	ok      bool
	at      int64
}

// world is a fleet whose events come in any order.
type world struct {
	t       *testing.T
	random  *rand.Rand
	store   *storeModel
	truth   *replica
	hosts   []*hostModel
	network []*request
	trace   []string
	calm    bool // nothing fails any more
	failing float64
	quick   float64 // how soon work ends
	begins  int
}

func newWorld(t *testing.T, seed uint64, hosts, replicas int) *world {
	w := &world{t: t, random: rand.New(rand.NewPCG(seed, 1)), store: newStore()}
	w.truth = newReplica(w.store)
	shared := make([]*replica, replicas)
	for i := range shared {
		shared[i] = newReplica(w.store)
	}
	for i := range hosts {
		h := &hostModel{name: fmt.Sprintf("h%04d", i), replica: shared[i%replicas], alive: true, reloaded: map[string]int{}, ended: map[string]bool{}}
		w.hosts = append(w.hosts, h)
		w.boot(h)
	}
	return w
}

func (w *world) note(format string, args ...any) {
	if len(w.hosts) < 50 {
		w.trace = append(w.trace, fmt.Sprintf("%d: ", w.store.revision)+fmt.Sprintf(format, args...))
	}
}

func (w *world) fail(format string, args ...any) {
	w.t.Helper()
	w.t.Fatalf("%s\n%s", fmt.Sprintf(format, args...), strings.Join(w.trace[max(0, len(w.trace)-120):], "\n"))
}

func (w *world) chance(p float64) bool { return w.random.Float64() < p }

// boot starts the process of a host. It can be a member only when the former one's key is gone.
func (w *world) boot(h *hostModel) {
	h.process++
	h.former = append(h.former, h.lease)
	h.up, h.valid, h.turn, h.sent, h.outcome, h.lease = true, false, nil, nil, nil, 0
	w.join(h)
}

// join opens a session.
func (w *world) join(h *hostModel) {
	if k, ok := w.store.keys[hostKey(h.name)]; ok && !strings.Contains(k.Value, fmt.Sprintf("\"r%d/", h.run)) {
		return
	}
	h.session++
	h.former = append(h.former, h.lease)
	h.lease = w.store.grant()
	h.valid = true
	w.store.commit(Txn{Then: []Op{putLeased(hostKey(h.name), Host{Process: h.processName(), Apps: map[string]AppHost{"shop": {}}})}}, h.lease)
	w.note("%s joins as %d.%d", h.name, h.process, h.session)
}

func (h *hostModel) processName() string { return fmt.Sprintf("r%d/%d", h.run, h.process) }

// operation is the id of what a process has asked its supervisor for in a turn.
func operation(process string, t Turn) string { return fmt.Sprint(process, " ", t.ID, " ", t.Begun) }

// endRun is the end of all of tideover.
func (h *hostModel) endRun() {
	h.up, h.working, h.local = false, "", false
	h.run++
	clear(h.ended)
}

// goOn goes on with the turn of a former process.
func (w *world) goOn(h *hostModel, step Step) {
	w.note("%s goes on with the turn of %s", h.name, step.Former)
	turn, id := step.Turn, operation(step.Former, step.Turn)
	h.turn = &turn
	if h.working != "" && h.asked == id {
		return // finish says it
	}
	h.outcome = &Done{Outcome: Untouched}
	if ok, known := h.ended[id]; known {
		h.outcome = outcomeOf(ok)
	}
}

func outcomeOf(ok bool) *Done {
	if ok {
		return &Done{Outcome: OK}
	}
	return &Done{Outcome: Failed, Exit: 7, Reason: "kept old"}
}

func (h *hostModel) self(w *world) Self {
	return Self{Host: h.name, Process: h.processName(), Session: fmt.Sprint(h.process, ".", h.session), Turn: h.turn, Local: h.local,
		Busy: h.working != "" && h.turn == nil,
		Away: func(host string) bool { return w.calm || w.chance(0.2) }}
}

// step lets a host do what is next.
func (w *world) step(h *hostModel) bool {
	if !h.up || h.sent != nil || h.lease == 0 {
		return false
	}
	if h.replica.view.Revision < h.known {
		return false
	}
	var next Step
	if h.outcome != nil {
		txn, open := Finish(h.replica.view, h.name, *h.turn, *h.outcome)
		if !open {
			h.turn, h.outcome = nil, nil
			return true
		}
		next = Step{Txn: txn}
	} else if next = Next(h.replica.view, h.self(w)); next.Kind == Wait {
		return false
	} else if next.Kind == GoOn {
		w.goOn(h, next)
		return true
	}
	h.sent = &request{host: h, process: h.process, step: next, lease: h.lease}
	w.network = append(w.network, h.sent)
	return true
}

// apply has the store do a transaction.
func (w *world) apply(r *request) {
	begin := r.step.Kind == Begin
	r.ok = w.store.commit(r.step.Txn, r.lease)
	r.applied, r.at = true, w.store.revision
	w.truth.advance(1 << 30)
	if r.ok && begin {
		w.note("%s begins a turn of %s", r.host.name, r.step.Turn.ID)
		w.begins++
		w.checkBegin(r.host.name, r.step.Turn)
	} else if r.ok {
		w.note("%s: %s", r.host.name, describe(r.step))
		w.checkFailure(r.host.name)
	}
}

func describe(s Step) string {
	text := []string{"wait", "enter", "leave", "begin", "close", "go on", "stop"}[s.Kind]
	for _, op := range s.Txn.Then {
		text += " " + op.Key + "=" + op.Value
	}
	return text
}

// checkBegin is called when a turn was begun: the promises of the package.
func (w *world) checkBegin(host string, turn Turn) {
	v := w.truth.view
	working := map[string]bool{host: true}
	for t := range v.open {
		working[t.host] = true
	}
	for _, h := range w.hosts {
		if h.working != "" {
			working[h.name] = true
		}
	}
	if len(working) > v.max() {
		w.fail("%d turns are open, at most %d may", len(working), v.max())
	}
	if turn.ID == localTurns {
		return
	}
	switch wish := v.wish.record; {
	case turn.ID != wish.id() || turn.Attempt != wish.Attempt:
		w.fail("%s begins a turn of %s.%d, the wish is %s.%d", host, turn.ID, turn.Attempt, wish.id(), wish.Attempt)
	case v.halt() != nil:
		w.fail("%s begins a turn after the halt", host)
	case wish.Canary != "" && wish.Canary != host && !v.settled(wish.Canary):
		w.fail("%s begins before the canary", host)
	}
}

// checkFailure checks that who fails halts the rollout, in the same transaction.
func (w *world) checkFailure(host string) {
	v := w.truth.view
	if v.wish == nil || v.halt() != nil {
		return
	}
	if d := v.done[turnKey{v.wish.record.id(), host}]; d.modified == w.store.revision && d.record.Outcome == Failed {
		w.fail("%s has failed, and the rollout goes on", host)
	}
}

// answer brings the answer of the store to the host, if that still waits for it.
func (w *world) answer(r *request, known bool) {
	h := r.host
	w.network = slices.DeleteFunc(w.network, func(other *request) bool { return other == r && r.applied })
	if h.sent != r {
		return
	}
	h.sent = nil
	if !known {
		return
	}
	h.known = r.at
	switch {
	case !r.ok:
	case r.step.Kind == Begin:
		turn := r.step.Turn
		turn.Begun = r.at
		h.turn = &turn
		if !h.valid {
			h.outcome = &Done{Outcome: Untouched}
			return
		}
		w.work(h, turn.ID)
	case h.outcome != nil && r.step.Kind == Wait:
		h.turn, h.outcome = nil, nil
	}
}

// work starts the reload of a host.
func (w *world) work(h *hostModel, id string) {
	w.truth.advance(1 << 30)
	if h.working != "" {
		w.fail("%s works for %s and for %s", h.name, h.working, id)
	}
	if !w.truth.view.open[turnKey{id, h.name}] {
		w.fail("%s works without an open turn", h.name)
	}
	h.working, h.asked = id, operation(h.processName(), *h.turn)
	if id == localTurns {
		h.local = false
	}
	w.note("%s works for %s", h.name, id)
}

// finish ends the reload of a host.
func (w *world) finish(h *hostModel) {
	ok := !w.chance(w.failing)
	w.note("%s has worked for %s: %v", h.name, h.working, ok)
	if ok {
		h.reloaded[h.working]++
	}
	if h.turn != nil {
		h.outcome = outcomeOf(ok)
	}
	h.ended[h.asked] = ok
	h.working = ""
}

// living counts the machines that have not died.
func (w *world) living() (n int) {
	for _, h := range w.hosts {
		if h.alive {
			n++
		}
	}
	return n
}

// event is one random thing.
func (w *world) event() {
	h := w.hosts[w.random.IntN(len(w.hosts))]
	switch p := w.random.Float64(); {
	case p < 0.35:
		w.step(h)
	case p < 0.55:
		h.replica.advance(1 + w.random.IntN(4))
	case p < 0.85 && len(w.network) > 0:
		r := w.network[w.random.IntN(len(w.network))]
		if !r.applied {
			w.apply(r)
		} else {
			w.answer(r, w.calm || w.chance(0.9))
		}
	case p < 0.93 && h.working != "" && w.chance(w.quick):
		w.finish(h)
	case w.calm || p < 0.93:
	case p < 0.94 && h.sent != nil: // it waits no longer; the transaction may still come
		h.sent = nil
	case p < 0.95 && h.lease != 0: // the deadline of the lease
		h.valid = false
	case p < 0.96:
		w.loseLease(h)
	case p < 0.97:
		if h.up && !h.valid {
			w.join(h)
		}
	case p < 0.973 && h.up: // the process alone dies
		w.note("%s: its process dies", h.name)
		h.up = false
	case p < 0.976 && h.up: // all of tideover
		w.note("%s: tideover dies", h.name)
		h.endRun()
	case p < 0.9765 && h.alive && w.living() > 1:
		w.note("%s: the machine dies", h.name)
		h.endRun()
		h.alive = false
	case p < 0.99:
		if !h.up && h.alive {
			w.boot(h)
		}
	case p < 0.992 && h.up:
		h.local = true
	case p >= 0.992:
		w.operate()
	}
}

// loseLease ends a lease whose host knows that it may have ended.
func (w *world) loseLease(h *hostModel) {
	if !h.up || !h.valid {
		w.expireAll(h)
	} else if n := len(h.former); n > 0 {
		w.store.expire(h.former[n-1])
	}
}

// expireAll ends all leases of a host.
func (w *world) expireAll(h *hostModel) {
	for _, lease := range append(h.former, h.lease) {
		w.store.expire(lease)
	}
	w.note("%s: leases ended", h.name)
}

// operate is what an operator does: by the state of the store, and sometimes of a moment ago.
func (w *world) operate() {
	view := w.truth.view
	if w.chance(0.3) {
		view = w.hosts[w.random.IntN(len(w.hosts))].replica.view
	} else {
		w.truth.advance(1 << 30)
	}
	var dead []string
	for _, h := range w.hosts {
		if !h.alive {
			dead = append(dead, h.name)
		}
	}
	var txn Txn
	var err error
	what := ""
	switch p := w.random.Float64(); {
	case p < 0.5:
		what = "resume"
		_, txn, err = Resume(view, dead)
	case p < 0.55:
		what = "abort"
		_, txn, err = Abort(view, "operator")
	default:
		what = "rollout"
		wish := Wish{App: "shop", Skipped: dead}
		if w.chance(0.3) {
			wish.Canary = w.hosts[w.random.IntN(len(w.hosts))].name
		}
		_, txn, err = Start(view, wish, []string{"1", "2", "3", "50%"}[w.random.IntN(4)], w.chance(0.3))
	}
	var refusal *Refusal
	if errors.As(err, &refusal) {
		return
	}
	if w.store.commit(txn, 0) {
		w.truth.advance(1 << 30)
		wish := w.truth.view.wish.record
		w.note("operator: %s: %d.%d max %d canary %q", what, wish.ID, wish.Attempt, wish.Max, wish.Canary)
	}
}

// end runs without failures until nothing happens, and checks that the rollout has ended.
func (w *world) end() {
	w.calm = true
	for _, h := range w.hosts {
		if !h.up || !h.valid {
			w.expireAll(h)
		}
		if h.alive && !h.up {
			w.boot(h)
		} else if h.alive && !h.valid {
			w.join(h)
		}
	}
	for rounds, changed := 0, true; changed; rounds++ {
		if changed = false; rounds > 1000+20*len(w.hosts) {
			w.fail("something happens for ever")
		}
		for _, r := range slices.Clone(w.network) {
			if !r.applied {
				w.apply(r)
			}
			w.answer(r, true)
			changed = true
		}
		for _, i := range w.random.Perm(len(w.hosts)) {
			h := w.hosts[i]
			h.replica.advance(1 << 30)
			if h.working != "" && (h.up || h.alive) {
				w.finish(h)
				changed = true
			}
			changed = w.step(h) || changed
		}
		if !changed { // a reload of a host's own does not wait for ever
			for _, h := range w.hosts {
				changed = changed || h.local
				h.local = false
			}
		}
	}
	w.checkEnd()
}

func (w *world) checkEnd() {
	w.truth.advance(1 << 30)
	v := w.truth.view
	if v.wish == nil {
		return
	}
	if v.state() == Running {
		w.fail("nothing happens any more, and the rollout is neither complete nor halted: open %v, queue %v", v.open, v.queue)
	}
	for _, h := range w.hosts {
		for t := range v.open {
			if t.host == h.name && h.alive {
				w.fail("the turn %v of a host that lives stays open", t)
			}
		}
		if d := v.done[turnKey{v.wish.record.id(), h.name}]; d.record.Outcome == OK && h.reloaded[v.wish.record.id()] == 0 {
			w.fail("%s is said to serve the revision, and has not reloaded", h.name)
		}
	}
	if len(v.queue) > 0 {
		w.fail("slots are left: %v", v.queue)
	}
}

func (w *world) run(events int) {
	for range events {
		w.event()
	}
	w.end()
}

// Whatever is lost, late or dead: never more than max turns are open, none begins after a halt, and
// the rollout ends.
func TestInAnyOrderOfEventsARolloutKeepsItsBoundAndEnds(t *testing.T) {
	states := map[State]int{}
	begins := 0
	for seed := range *seeds {
		w := newWorld(t, seed, 3+int(seed%6), 3+int(seed%6))
		w.failing = []float64{0, 0.1, 0.5}[seed%3]
		w.quick = []float64{1, 0.1}[seed/3%2]
		w.operateFirst()
		w.run(1500)
		if w.truth.view.wish != nil {
			states[w.truth.view.state()]++
		}
		begins += w.begins
	}
	t.Logf("%v, %d turns", states, begins)
	if states[Complete] == 0 || states[Halted] == 0 || states[Aborted] == 0 {
		t.Errorf("the runs do not reach every end: %v", states)
	}
}

// A thousand hosts follow the same rules: each writes a few keys, whatever their number.
func TestAThousandHostsTakeTurns(t *testing.T) {
	for _, at := range []string{"1", "25%"} {
		w := newWorld(t, 7, 1000, 5)
		joined, changes := w.store.revision, len(w.store.log)
		w.truth.advance(1 << 30)
		_, txn, err := Start(w.truth.view, Wish{App: "shop"}, at, false)
		if err != nil {
			t.Fatal(err)
		}
		w.store.commit(txn, 0)
		w.end()
		v := w.truth.view
		if v.state() != Complete || w.begins != 1000 {
			t.Errorf("max %s: %s with %d turns", at, v.state(), w.begins)
		}
		writes := float64(w.store.revision-joined) / 1000
		watched := 0
		for _, c := range w.store.log[changes:] {
			watched += len(c.kv.Key) + len(c.kv.Value)
		}
		t.Logf("max %s: %.2f revisions and %.2f keys for each host, and a watch of %.0f KB by each", at, writes, float64(len(w.store.log)-changes)/1000, float64(watched)/1000)
		if writes > 3.1 {
			t.Errorf("max %s: %.2f revisions for each host: more than the slot, the beginning and the end of its turn", at, writes)
		}
	}
}

// In a large fleet with failures, too, the bound holds and the rollout ends.
func TestALargeFleetWithFailuresKeepsItsBoundAndEnds(t *testing.T) {
	for seed := range uint64(2) {
		w := newWorld(t, seed, []int{100, 1000}[seed%2], 5)
		w.failing, w.quick = 0.001, 0.5
		w.operateFirst()
		w.run(60_000)
	}
}

// operateFirst begins a rollout.
func (w *world) operateFirst() {
	w.truth.advance(1 << 30)
	_, txn, err := Start(w.truth.view, Wish{App: "shop"}, []string{"1", "2", "25%"}[w.random.IntN(3)], false)
	if err != nil {
		w.fail("%v", err)
	}
	w.store.commit(txn, 0)
}
