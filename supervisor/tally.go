package supervisor

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"tideover/supervisor/api"
	"tideover/supervisor/metrics"
)

// tally counts what has happened to an app since this program was started. Its methods may be called
// from any goroutine.
type tally struct {
	mu         sync.Mutex // guards the fields below
	starts     uint64     // generations that became ready,
	failed     uint64     // and that did not
	operations map[operationKind]uint64
	phases     map[phaseKind]phaseTotal
}

type operationKind struct {
	verb   api.Verb
	result string
}

type phaseKind struct {
	verb api.Verb
	name string
}

type phaseTotal struct {
	count uint64
	took  time.Duration
}

func newTally() *tally {
	return &tally{operations: map[operationKind]uint64{}, phases: map[phaseKind]phaseTotal{}}
}

// start counts a generation that was to be ready.
func (t *tally) start(ready bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if ready {
		t.starts++
	} else {
		t.failed++
	}
}

// operation counts an operation that has ended.
func (t *tally) operation(verb api.Verb, result string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.operations[operationKind{verb, result}]++
}

// phase counts a phase that has ended.
func (t *tally) phase(verb api.Verb, name string, took time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	total := t.phases[phaseKind{verb, name}]
	t.phases[phaseKind{verb, name}] = phaseTotal{total.count + 1, total.took + took}
}

// fill sets the counts of an app.
func (t *tally) fill(a *metrics.App) {
	t.mu.Lock()
	defer t.mu.Unlock()
	a.Starts, a.StartsFailed = t.starts, t.failed
	for kind, n := range t.operations {
		a.Operations = append(a.Operations, metrics.Operation{Verb: kind.verb, Result: kind.result, Count: n})
	}
	for kind, total := range t.phases {
		a.Phases = append(a.Phases, metrics.Phase{Verb: kind.verb, Name: kind.name, Count: total.count, Took: total.took})
	}
	slices.SortFunc(a.Operations, func(one, other metrics.Operation) int {
		return cmp.Or(cmp.Compare(one.Verb, other.Verb), cmp.Compare(one.Result, other.Result))
	})
}
