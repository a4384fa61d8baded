package handoff

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"testing"
	"time"

	"tideover/proxy/remote"
	"tideover/supervisor/api"
	"tideover/supervisor/process"
)

func TestWhatBecomesOfAGeneration(t *testing.T) {
	later := time.Now()
	generation := func(number int, phase Phase) *GenerationRecord {
		return &GenerationRecord{GenerationState: GenerationState{Number: number}, Phase: phase, Token: fmt.Sprint("t", number)}
	}
	told := generation(1, Stopping)
	told.Grace = later
	for name, c := range map[string]struct {
		desired Desired
		record  []*GenerationRecord
		forked  []string
		target  int // of the relay; -1: it has died
		want    AppPlan
	}{
		"serves":                     {Up, []*GenerationRecord{generation(1, Serving)}, []string{"t1"}, 1, AppPlan{Serve: 1}},
		"serves, the relay has died": {Up, []*GenerationRecord{generation(1, Serving)}, []string{"t1"}, -1, AppPlan{Serve: 1, Set: true}},
		"never forked":               {Up, []*GenerationRecord{generation(1, Starting)}, nil, 0, AppPlan{Start: true}},
		"never forked beside one":    {Up, []*GenerationRecord{generation(1, Serving), generation(2, Starting)}, []string{"t1"}, 1, AppPlan{Serve: 1}},
		"not ready":                  {Up, []*GenerationRecord{generation(1, Serving), generation(2, Starting)}, []string{"t1", "t2"}, 1, AppPlan{Serve: 1, Stop: []StopPlan{{2, true, true}}}},
		"ready, not swapped":         {Up, []*GenerationRecord{generation(1, Serving), generation(2, Ready)}, []string{"t1", "t2"}, 1, AppPlan{Serve: 1, Stop: []StopPlan{{2, true, true}}}},
		"swapped, not recorded":      {Up, []*GenerationRecord{generation(1, Serving), generation(2, Ready)}, []string{"t1", "t2"}, 2, AppPlan{Serve: 2, Stop: []StopPlan{{1, false, true}}}},
		"swapped, the relay died":    {Up, []*GenerationRecord{generation(1, Serving), generation(2, Ready)}, []string{"t1", "t2"}, -1, AppPlan{Serve: 1, Set: true, Stop: []StopPlan{{2, true, true}}}},
		"ready, and no other one":    {Up, []*GenerationRecord{told, generation(2, Ready)}, []string{"t1", "t2"}, 0, AppPlan{Serve: 2, Set: true, Stop: []StopPlan{{1, false, false}}}},
		"the old one drains":         {Up, []*GenerationRecord{generation(1, Stopping), generation(2, Serving)}, []string{"t1", "t2"}, 2, AppPlan{Serve: 2, Stop: []StopPlan{{1, false, false}}}},
		"detached, not recorded":     {Up, []*GenerationRecord{generation(1, Serving)}, []string{"t1"}, 0, AppPlan{Serve: 1, Set: true}},
		"restart, in the stop":       {Up, []*GenerationRecord{told}, []string{"t1"}, 0, AppPlan{Stop: []StopPlan{{1, false, false}}, Start: true}},
		"told to stop is no target":  {Up, []*GenerationRecord{told}, []string{"t1"}, 1, AppPlan{Stop: []StopPlan{{1, false, false}}, Start: true}},
		"stop, before the detach":    {Stopped, []*GenerationRecord{generation(1, Serving)}, []string{"t1"}, 1, AppPlan{Stop: []StopPlan{{1, false, true}}}},
		"stopped":                    {Stopped, nil, nil, 0, AppPlan{}},
		"finished":                   {Finished, nil, nil, 0, AppPlan{}},
		"down":                       {Up, nil, nil, 0, AppPlan{Start: true}},
	} {
		r := &Record{Apps: map[string]*AppRecord{"shop": {ID: 1, Desired: c.desired, Generations: c.record}}}
		var children []Child
		for _, token := range c.forked {
			children = append(children, Child{Token: token})
		}
		var serving *RelayState
		if c.target >= 0 {
			r.Relays = []RelayRecord{{Number: 1, Tree: process.Record{Token: "relay"}}}
			children = append(children, Child{Token: "relay"})
			serving = &RelayState{map[remote.AppID]RelayApp{1: {Target: c.target}}}
		}
		plan := Restore(r, children, nil, serving)
		if got := *plan.Apps["shop"]; !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
		if len(plan.End) > 0 {
			t.Errorf("%s: ends %v", name, plan.End)
		}
	}
}

func TestWhatTheRecordDoesNotNameIsGivenUp(t *testing.T) {
	r := &Record{
		Daemon: DaemonRecord{Descriptors: []string{"control"}},
		Relays: []RelayRecord{{Number: 4, Tree: process.Record{Token: "r4"}, Attach: "relay/4/attach", Counts: "page/0"}, {Number: 3, Draining: true, Tree: process.Record{Token: "r3"}, Attach: "relay/3/attach", Counts: "page/1"}},
		Apps: map[string]*AppRecord{"shop": {ID: 1, Desired: Up,
			Listeners:   []ListenerRecord{{Sockets: []Socket{{Socket: "listener/:80/0"}}}},
			Generations: []*GenerationRecord{{Phase: Serving, Token: "t1", SocketName: "shop/1/socket", Output: map[string]string{"stdout": "shop/1/stdout"}}, {Phase: Starting, Token: "t2", SocketName: "shop/2/socket"}},
			Hooks:       []HookRecord{{Hook: "after_ready", Token: "h1"}, {Hook: "before_start", Token: "h2"}, {Hook: "before_start", Token: "h3"}}}},
	}
	children := []Child{{Token: "r4"}, {Token: "r3"}, {Token: "t1"}, {Token: "h1"}, {Token: "h2", Exited: true}, {Token: "stray"}, {Token: "stray and dead", Exited: true}}
	names := []string{"control", "relay/4/attach", "relay/3/attach", "page/0", "page/1", "listener/:80/0", "listener/:81/0", "shop/1/socket", "shop/1/stdout", "shop/2/socket"}
	serving := &RelayState{map[remote.AppID]RelayApp{1: {}, 7: {}, 5: {}}}
	plan := Restore(r, children, names, serving)
	if want := []string{"h1", "h2", "stray", "stray and dead"}; !slices.Equal(plan.End, want) {
		t.Errorf("ends %v", plan.End)
	}
	if want := []string{"listener/:81/0", "shop/2/socket"}; !slices.Equal(plan.Drop, want) {
		t.Errorf("drops %v", plan.Drop)
	}
	if want := []remote.AppID{5, 7}; !slices.Equal(plan.Remove, want) || plan.Relay != 4 {
		t.Errorf("removes %v, relay %d", plan.Remove, plan.Relay)
	}
	if hooks := plan.Apps["shop"].Hooks; len(hooks) != 1 || hooks[0].Token != "h1" {
		t.Errorf("hooks %v", hooks)
	}
	plan = Restore(r, children, names, nil)
	if plan.Relay != 0 || !slices.Contains(plan.End, "r4") || slices.Contains(plan.End, "r3") || !slices.Contains(plan.Drop, "relay/4/attach") {
		t.Errorf("a relay that does not answer: %+v", plan)
	}
	if plan = Restore(&Record{}, nil, names, nil); slices.Contains(plan.Drop, "page/0") || slices.Contains(plan.Drop, "page/1") {
		t.Errorf("drops what dead relays have counted: %v", plan.Drop)
	}
}

// While an app is replaced there are two of its name. The new one goes on, on the sockets of both; the processes of
// the former one are ended, so that never two copies run.
func TestOfTwoAppsOfANameTheNewOneGoesOn(t *testing.T) {
	app := func(id remote.AppID, token string) *AppRecord {
		return &AppRecord{Name: "shop", ID: id, Desired: Up, Generations: []*GenerationRecord{{GenerationState: GenerationState{Number: 1}, Phase: Serving, Token: token}},
			Listeners: []ListenerRecord{{Address: "unix:/s", Sockets: []Socket{{Socket: "listener/" + token}}}}}
	}
	r := &Record{Apps: map[string]*AppRecord{"1": app(1, "former"), "2": app(2, "new")}, Relays: []RelayRecord{{Number: 1, Tree: process.Record{Token: "relay"}}}}
	serving := &RelayState{map[remote.AppID]RelayApp{1: {Target: 1}, 2: {Target: 1}}}
	plan := Restore(r, []Child{{Token: "former"}, {Token: "new"}, {Token: "relay"}}, []string{"listener/former", "listener/new"}, serving)
	if !slices.Equal(plan.End, []string{"former"}) || !slices.Equal(plan.Remove, []remote.AppID{1}) || len(plan.Drop) != 0 ||
		plan.Apps["2"].Serve != 1 || plan.Apps["1"].Serve != 0 || plan.Apps["1"].Start {
		t.Errorf("%+v", plan)
	}
}

func TestAnInterruptedOperationEndsAsOldOrNew(t *testing.T) {
	for name, c := range map[string]struct {
		o       Operation
		desired Desired
		plan    AppPlan
		want    OperationPlan
	}{
		"reload, not swapped":   {Operation{Verb: api.Reload, From: 1, To: 2}, Up, AppPlan{Serve: 1}, OperationPlan{Old, 1}},
		"reload, swapped":       {Operation{Verb: api.Reload, From: 1, To: 2}, Up, AppPlan{Serve: 2}, OperationPlan{New, 2}},
		"reload, not begun":     {Operation{Verb: api.Reload, From: 1}, Up, AppPlan{Serve: 1}, OperationPlan{Old, 1}},
		"restart, in the stop":  {Operation{Verb: api.Restart, From: 1}, Up, AppPlan{Start: true}, OperationPlan{Continue, 0}},
		"restart, in the start": {Operation{Verb: api.Restart, From: 1, To: 2}, Up, AppPlan{Start: true}, OperationPlan{Continue, 0}},
		"start":                 {Operation{Verb: api.Start}, Up, AppPlan{Start: true}, OperationPlan{New, 0}},
		"stop":                  {Operation{Verb: api.Stop, From: 1}, Stopped, AppPlan{}, OperationPlan{New, 0}},
		"stop, not recorded":    {Operation{Verb: api.Stop, From: 1}, Up, AppPlan{Serve: 1}, OperationPlan{New, 1}},
	} {
		if got := planOperation(&AppRecord{Operation: &c.o, Desired: c.desired}, &c.plan); *got != c.want {
			t.Errorf("%s: %+v, want %+v", name, *got, c.want)
		}
	}
}

// world is everything that a supervisor acts on: what outlives it, and what it has in its memory.
type world struct {
	t *testing.T

	// What outlives it.
	slots    *memory
	children map[string]*Child
	store    map[string]bool
	target   int // of the relay
	relay    bool

	// What it has.
	own     AppRecord
	journal *Journal
	steps   int // until it dies; negative: it does not

	number  int
	serving string // token that has to go on serving; empty: an operation may stop it
}

// died is what a supervisor that dies panics with.
type died struct{}

// step is a step that cannot be taken back. The supervisor may have died before it.
func (w *world) step(do func()) {
	if w.steps == 0 {
		panic(died{})
	}
	w.steps--
	do()
}

func (w *world) commit() {
	w.journal.SetApp("shop", &w.own)
	w.step(func() {
		if err := w.journal.Commit(); err != nil {
			w.t.Fatal(err)
		}
	})
}

func (w *world) find(number int) *GenerationRecord {
	i := slices.IndexFunc(w.own.Generations, func(g *GenerationRecord) bool { return g.Number == number })
	if i < 0 {
		return nil
	}
	return w.own.Generations[i]
}

// current is the generation that the supervisor takes for the one that serves; nil: none.
func (w *world) current() *GenerationRecord {
	for _, g := range w.own.Generations {
		if g.Phase == Serving {
			return g
		}
	}
	return nil
}

// launch starts a generation: descriptors, intent, fork, ready.
func (w *world) launch() *GenerationRecord {
	w.number++
	name := fmt.Sprintf("shop/%d/socket", w.number)
	g := &GenerationRecord{GenerationState: GenerationState{Number: w.number}, Phase: Starting, Token: fmt.Sprint("t", w.number), SocketName: name}
	w.step(func() { w.store[name] = true })
	w.own.Generations = append(w.own.Generations, g)
	w.own.NextNumber = w.number + 1
	w.commit()
	w.step(func() { w.children[g.Token] = &Child{Token: g.Token} })
	g.Phase = Ready
	w.commit()
	return g
}

// swap makes g the target and takes the former one out of service.
func (w *world) swap(g *GenerationRecord) {
	w.step(func() {
		w.target, w.relay = g.Number, true
		w.serving = g.Token
	})
	for _, other := range w.own.Generations {
		if other.Phase == Serving {
			other.Phase = Stopping
		}
	}
	g.Phase = Serving
	w.commit()
}

// end stops a generation that is out of service.
func (w *world) end(g *GenerationRecord) {
	w.step(func() {}) // the signal
	g.Grace = time.Unix(1, 0)
	w.commit()
	w.step(func() { w.children[g.Token].Exited = true })
	w.own.Generations = slices.DeleteFunc(w.own.Generations, func(other *GenerationRecord) bool { return other == g })
	w.commit()
	w.step(func() { delete(w.children, g.Token) })
	w.step(func() { delete(w.store, g.SocketName) })
}

func (w *world) detach() {
	w.step(func() { w.target = 0 })
	if g := w.current(); g != nil {
		g.Phase = Stopping
		w.commit()
	}
}

func (w *world) endAll(phase Phase) {
	for _, g := range slices.Clone(w.own.Generations) {
		if g.Phase == phase {
			w.end(g)
		}
	}
}

// operate carries out one operation.
func (w *world) operate(verb api.Verb) {
	w.own.Operation = &Operation{Verb: verb}
	w.commit()
	switch verb {
	case api.Reload:
		if w.own.Desired != Up {
			break
		}
		w.swap(w.launch())
		w.endAll(Stopping)
	case api.Restart:
		w.serving = ""
		w.own.Desired = Up
		w.detach()
		w.endAll(Stopping)
		w.swap(w.launch())
	case api.Stop:
		w.serving = ""
		w.own.Desired = Stopped
		w.commit()
		w.detach()
		w.endAll(Stopping)
	case api.Start:
		w.own.Desired = Up
		if w.current() == nil {
			w.swap(w.launch())
		}
	}
	w.own.Operation = nil
	w.commit()
}

// crash is the exit of the generation that serves, which the relay sees by itself.
func (w *world) crash() {
	g := w.current()
	if g == nil || w.own.Desired != Up {
		return
	}
	w.serving = ""
	w.children[g.Token].Exited = true
	w.target = 0
	w.detach()
	w.endAll(Stopping)
	w.swap(w.launch())
}

// restore is what a supervisor does first.
func (w *world) restore() {
	_, text, err := OpenSlots(w.slots)
	if err != nil {
		w.t.Fatal(err)
	}
	r, err := decodeRecord(text)
	if err != nil {
		w.t.Fatal(err)
	}
	slots, _, _ := OpenSlots(w.slots)
	if w.journal, err = NewJournal(slots, r); err != nil {
		w.t.Fatal(err)
	}
	var children []Child
	for _, c := range w.children {
		children = append(children, *c)
	}
	children = append(children, Child{Token: "relay"})
	r.Relays = []RelayRecord{{Number: 1, Tree: process.Record{Token: "relay"}}}
	var serving *RelayState
	if w.relay {
		serving = &RelayState{map[remote.AppID]RelayApp{1: {Target: w.target}}}
	}
	w.own = *r.Apps["shop"]
	w.number = max(w.number, w.own.NextNumber-1)
	plan := Restore(r, children, slices.Collect(maps.Keys(w.store)), serving)
	w.check(plan)
	w.carryOut(plan)
}

// check checks what holds for each plan.
func (w *world) check(plan Plan) {
	a := plan.Apps["shop"]
	count := map[int]int{}
	if a.Serve != 0 {
		count[a.Serve]++
	}
	for _, s := range a.Stop {
		count[s.Number]++
	}
	named := map[string]bool{}
	for number, n := range count {
		g := w.find(number)
		if n != 1 || g == nil || w.children[g.Token] == nil {
			w.t.Fatalf("generation %d is planned %d times: %+v", number, n, a)
		}
		named[g.Token] = true
		if slices.Contains(plan.Drop, g.SocketName) {
			w.t.Fatalf("the socket of generation %d is dropped", number)
		}
	}
	for token := range w.children {
		if named[token] == slices.Contains(plan.End, token) {
			w.t.Fatalf("child %s: %+v, ends %v", token, a, plan.End)
		}
	}
	if w.serving != "" && !w.children[w.serving].Exited && (a.Serve == 0 || w.find(a.Serve).Token != w.serving) {
		w.t.Fatalf("%s has served, and is not to serve any more: %+v", w.serving, a)
	}
	if a.Start == (a.Serve != 0) && w.own.Desired == Up || a.Start && w.own.Desired != Up {
		w.t.Fatalf("desired %s: %+v", w.own.Desired, a)
	}
}

// carryOut does what a plan says.
func (w *world) carryOut(plan Plan) {
	a := plan.Apps["shop"]
	for _, token := range plan.End {
		w.step(func() { delete(w.children, token) })
	}
	for _, name := range plan.Drop {
		w.step(func() { delete(w.store, name) })
	}
	w.own.Generations = slices.DeleteFunc(w.own.Generations, func(g *GenerationRecord) bool { return w.children[g.Token] == nil })
	if a.Serve != 0 {
		w.swap(w.find(a.Serve))
	} else {
		w.detach()
	}
	for _, s := range a.Stop {
		g := w.find(s.Number)
		g.Phase = Stopping
		w.commit()
		w.end(g)
	}
	w.own.Operation = nil
	w.commit()
	switch {
	case a.Serve != 0 && w.children[w.find(a.Serve).Token].Exited:
		w.crash()
	case a.Start:
		w.swap(w.launch())
	}
}

// live runs a supervisor until it dies or do returns, and reports which.
func (w *world) live(steps int, do func()) (survived bool) {
	w.steps = steps
	defer func() {
		if r := recover(); r != nil {
			if _, is := r.(died); !is {
				panic(r)
			}
		}
	}()
	do()
	return true
}

// settled checks the state in which nothing is under way.
func (w *world) settled() {
	var live []string
	for token, c := range w.children {
		if !c.Exited {
			live = append(live, token)
		}
	}
	g := w.current()
	switch {
	case w.own.Desired == Up && (g == nil || !slices.Equal(live, []string{g.Token}) || w.target != g.Number):
		w.t.Fatalf("up: children %v, target %d, record %+v", live, w.target, w.own)
	case w.own.Desired != Up && (g != nil || len(live) > 0 || w.target != 0):
		w.t.Fatalf("stopped: children %v, target %d", live, w.target)
	case len(w.store) != len(w.own.Generations):
		w.t.Fatalf("the store has %v", slices.Collect(maps.Keys(w.store)))
	}
}

// newWorld is an app of which one generation serves.
func newWorld(t *testing.T) *world {
	slots := &memory{pages: map[int64]byte{}, left: -1}
	journal, err := NewJournal(&Slots{file: slots}, &Record{Version: RecordVersion})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, slots: slots, children: map[string]*Child{}, store: map[string]bool{}, relay: true, journal: journal, steps: -1,
		own: AppRecord{ID: 1, Desired: Up}}
	w.commit()
	w.swap(w.launch())
	return w
}

// Whatever supervisors do, and whenever they die, also while they restore: what serves goes on to
// serve, nothing is forked twice, and in the end one generation serves, or none of a stopped app.
func TestSupervisorsMayDieAtAnyStep(t *testing.T) {
	verbs := []api.Verb{api.Reload, api.Restart, api.Stop, api.Start, ""}
	rounds := 800
	if testing.Short() {
		rounds = 200
	}
	for range rounds {
		w := newWorld(t)
		for range 6 {
			verb := verbs[rand.IntN(len(verbs))]
			survived := w.live(rand.IntN(30), func() {
				if verb == "" {
					w.crash()
				} else {
					w.operate(verb)
				}
			})
			for !survived {
				if rand.IntN(10) == 0 {
					w.relay, w.target, w.serving = false, 0, "" // the record decides
				}
				survived = w.live(rand.IntN(30), w.restore)
			}
			w.steps = -1
			w.settled()
			w.relay = true
		}
	}
}

// The same for every single step of every operation.
func TestEachStepOfAnOperationMayBeTheLast(t *testing.T) {
	for _, verb := range []api.Verb{api.Reload, api.Restart, api.Stop, api.Start} {
		for at := 0; ; at++ {
			w := newWorld(t)
			if w.live(at, func() { w.operate(verb) }) {
				break
			}
			w.steps = -1
			w.restore()
			w.settled()
		}
	}
}

// A generation whose processes have ended, and whose last lines are not written yet, is restored as its output.
func TestTheOutputOfAGenerationThatIsGoneIsTaken(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	a := &AppRecord{Name: "shop", ID: 1, Desired: Up, Generations: []*GenerationRecord{{GenerationState: GenerationState{Number: 3}, Phase: Stopping, Token: "t3", Output: map[string]string{"stdout": "shop/3/stdout"}}}}
	record := &Record{Apps: map[string]*AppRecord{"1": a}}
	left := &Restoration{Record: record, Plan: Restore(record, nil, []string{"shop/3/stdout"}, nil), Files: map[string]*os.File{"shop/3/stdout": r}}
	got := left.State().Apps["shop"]
	if len(got.Pipes) != 1 || got.Pipes[0].File != r || got.Pipes[0].Generation != 3 || len(got.Stopping) > 0 {
		t.Errorf("%+v", got)
	}
	r.Close()
}
