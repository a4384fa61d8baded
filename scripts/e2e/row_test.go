//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"tideover/scripts/load"
	"tideover/scripts/testenv"
)

// row is one promise being tried: a test with a room of its own.
type row struct {
	*testing.T
	name    string
	env     *testenv.Env
	numbers []string
}

// begin starts a row beside the others. When the test ends the row's line is
// printed, and everything it started is gone.
func begin(t *testing.T) *row {
	t.Helper()
	t.Parallel()
	name := strings.TrimPrefix(t.Name(), "Test")
	room, err := testenv.New("row")
	if err != nil {
		t.Fatal(err)
	}
	r := &row{T: t, name: name, env: room}
	t.Cleanup(func() {
		verdict := "ok"
		if t.Failed() {
			verdict = "FAIL"
			t.Logf("the row's files stay in %s\n%s", room.Dir, room.Tails(30))
		}
		if err := room.Close(t.Failed()); err != nil {
			t.Error(err)
		}
		table.add(name, verdict, strings.Join(r.numbers, " "))
	})
	return r
}

// say adds key=value words to the row's line.
func (r *row) say(format string, args ...any) {
	r.numbers = append(r.numbers, fmt.Sprintf(format, args...))
}

// must ends the row when err is not nil.
func (r *row) must(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

// within is a context for one step of the row. How long a step may take counts
// only where it fails, so a busy machine gets three times that.
func (r *row) within(d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(r.Context(), 3*d)
	r.Cleanup(cancel)
	return ctx
}

// nothingLost fails the row for every request without its complete right
// answer, and shows the first of them.
func (r *row) nothingLost(t load.Tally) {
	r.Helper()
	if t.Lost() > 0 {
		r.Errorf("%d of %d requests lost: %s\n%s", t.Lost(), t.Ended, t.Ways(), strings.Join(t.Examples, "\n"))
	}
}

// nothingTwice fails the row when the app began a POST more than once.
func (r *row) nothingTwice(s *testenv.App) {
	r.Helper()
	twice, err := s.Log.BegunTwice("POST")
	r.must(err)
	if len(twice) > 0 {
		r.Errorf("%d POSTs were begun more than once: %v", len(twice), twice[:min(5, len(twice))])
	}
}

// noneLeft fails the row when a process of an app lives on.
func (r *row) noneLeft() {
	r.Helper()
	if left := r.env.AppProcesses(); len(left) > 0 {
		r.Errorf("%d processes of the app are left:\n%s", len(left), strings.Join(left, "\n"))
	}
}

// times is how often an event happens: n, at full size ten times as often.
func times(n int) int {
	if *full {
		return 10 * n
	}
	return n
}
