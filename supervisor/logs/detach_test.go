package logs

import (
	"fmt"
	"strings"
	"testing"
)

// A child writes on while its pipe goes from one log to the other and back, and nothing is lost or out of order; a line that is under
// way when its pipe goes is in two pieces.
func TestPipesChangeHands(t *testing.T) {
	shown := &paper{}
	from, to := start(t, Options{Writer: shown}), start(t, Options{Writer: shown})
	w, err := from.Pipe(7, Stderr)
	if err != nil {
		t.Fatal(err)
	}
	const lines, changes = 20_000, 20
	var want strings.Builder
	for i := range lines {
		fmt.Fprintf(&want, "line %d;", i)
	}
	written := make(chan struct{})
	go func() {
		defer close(written)
		defer w.Close()
		for line := range strings.SplitAfterSeq(want.String(), ";") {
			fmt.Fprintln(w, line)
		}
	}()
	for range changes {
		pipes, err := from.Detach()
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range pipes {
			if p.Generation != 7 || p.Stream != Stderr {
				t.Fatalf("%+v", p)
			}
			if err := to.Attach(p); err != nil {
				t.Fatal(err)
			}
		}
		from, to = to, from
	}
	<-written
	for _, l := range []*Log{from, to} {
		l.Settle(t.Context(), 7)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	var got strings.Builder
	for line := range strings.Lines(shown.String()) {
		got.WriteString(strings.TrimSuffix(strings.TrimPrefix(line, "shop.7 : "), "\n"))
	}
	if got.String() != want.String() {
		t.Errorf("%d bytes arrived, want %d: %.200q...", got.Len(), want.Len(), got.String())
	}
	t.Logf("%d lines, %d changes of hands, nothing lost", lines, changes)
	if err := from.Attach(Pipe{File: w}); err == nil {
		t.Error("a closed log takes a pipe")
	}
}
