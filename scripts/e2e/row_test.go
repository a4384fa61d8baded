//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"tideover/scripts/loadgen"
	"tideover/scripts/testenv"
)

// row is one test with an Env of its own and one line of results.
type row struct {
	*testing.T
	name    string
	env     *testenv.Env
	numbers []string
	measured
}

// begin starts a row in parallel with the others. At the end of the test its line
// is printed and its Env closed.
func begin(t *testing.T) *row {
	t.Helper()
	t.Parallel()
	name := strings.TrimPrefix(t.Name(), "Test")
	env, err := testenv.New("row")
	if err != nil {
		t.Fatal(err)
	}
	r := &row{T: t, name: name, env: env}
	t.Cleanup(func() {
		verdict := "ok"
		if t.Failed() {
			verdict = "FAIL"
			t.Logf("the row's files stay in %s\n%s", env.Dir, env.Tails(30))
		}
		if err := env.Close(t.Failed()); err != nil {
			t.Error(err)
		}
		table.add(name, verdict, strings.Join(r.numbers, " "), r.measured)
	})
	return r
}

// addNumbers adds key=value words to the line of the row.
func (r *row) addNumbers(format string, args ...any) {
	r.numbers = append(r.numbers, fmt.Sprintf(format, args...))
}

// must fails and ends the row when err is not nil.
func (r *row) must(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

// timeout returns a context for one step of the row. It allows three times d, for
// busy machines; the time only counts when the step fails.
func (r *row) timeout(d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(r.Context(), 3*d)
	r.Cleanup(cancel)
	return ctx
}

// checkLogged waits for a text in the log of a daemon, which gets its lines a moment after what they
// tell: those of the relay come by way of the supervisor. It fails the row without one.
func (r *row) checkLogged(daemon *testenv.Tideover, text string) {
	r.Helper()
	if err := testenv.Poll(r.timeout(10*time.Second), 20*time.Millisecond, func() error {
		if !strings.Contains(daemon.Tail(100_000), text) {
			return fmt.Errorf("the log does not say %q", text)
		}
		return nil
	}); err != nil {
		r.Errorf("%v: %s", err, daemon.Tail(20))
	}
}

// checkNothingLost fails the row when a request got no complete right answer.
func (r *row) checkNothingLost(t loadgen.Tally) {
	r.Helper()
	if t.Lost() > 0 {
		r.Errorf("%d of %d requests lost: %s\n%s", t.Lost(), t.Ended, t.Ways(), strings.Join(t.Examples, "\n"))
	}
}

// checkNothingTwice fails the row when the app began a POST more than once.
func (r *row) checkNothingTwice(s *testenv.App) {
	r.Helper()
	twice, err := s.Log.BegunTwice("POST")
	r.must(err)
	r.checked, r.doubled = true, len(twice)
	if len(twice) > 0 {
		r.Errorf("%d POSTs were begun more than once: %v", len(twice), twice[:min(5, len(twice))])
	}
}

// checkNoneLeft fails the row when a process of an app is alive.
func (r *row) checkNoneLeft() {
	r.Helper()
	if left := r.env.AppProcesses(); len(left) > 0 {
		r.Errorf("%d processes of the app are left:\n%s", len(left), strings.Join(left, "\n"))
	}
}

// times returns how often an event happens: n, at full size 10 n.
func times(n int) int { return size(n, 10*n) }

// size returns quick, or at full size whole.
func size(quick, whole int) int {
	if *full {
		return whole
	}
	return quick
}

// sampled reports whether a row of a matrix runs: at full size each does, at quick size those that
// together have every value of each of its dimensions.
func sampled(quick bool) bool { return quick || *full }
