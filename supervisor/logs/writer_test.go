package logs

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// An output that is not read delays nothing. When it is read again, the lines are there in
// order, and a line in the place of those that were dropped says how many.
func TestWriterNeverWaitsAndCountsWhatItDrops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &stuck{entered: make(chan struct{}, 1), free: make(chan struct{})}
		w := NewWriter(out)
		w.FormatDropped(func(n uint64, cause string) string { return fmt.Sprintf("WARN dropped=%d cause=%q\n", n, cause) })
		fmt.Fprint(w, "first\n")
		<-out.entered
		synctest.Wait()
		const lines = 20000
		for i := range lines {
			fmt.Fprintf(w, "%06d\n", i)
		}
		kept := ownRing / (lineCost + 6)
		close(out.free)
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		var want strings.Builder
		fmt.Fprintf(&want, "first\nWARN dropped=%d cause=\"the writer was too slow\"\n", lines-kept)
		for i := lines - kept; i < lines; i++ {
			fmt.Fprintf(&want, "%06d\n", i)
		}
		if out.String() != want.String() {
			t.Errorf("%.200q ... is not %.200q ...", out.String(), want.String())
		}
	})
}

// A line without its newline is written at the end.
func TestWriterWritesTheUnfinishedLine(t *testing.T) {
	t.Parallel()
	var out paper
	w := NewWriter(&out)
	fmt.Fprint(w, "one\ntw")
	fmt.Fprint(w, "o\nthr")
	if err := w.Close(); err != nil || out.String() != "one\ntwo\nthr\n" {
		t.Errorf("%q, %v", out.String(), err)
	}
}

// The end of the daemon does not wait for an output that is stuck, and not for long for a
// slow one.
func TestTheEndOfAWriterIsBounded(t *testing.T) {
	for name, c := range map[string]struct {
		perWrite time.Duration // 0: a write never returns
		most     time.Duration
	}{
		"stuck": {0, writerStuckAfter},
		"slow":  {writerStuckAfter / 2, writerCloseTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				out := &slowOutput{perWrite: c.perWrite, free: make(chan struct{})}
				w := NewWriter(out)
				for i := range 10000 {
					fmt.Fprintf(w, "%0100d\n", i)
				}
				began := time.Now()
				if err := w.Close(); err == nil || time.Since(began) > c.most {
					t.Errorf("after %v: %v", time.Since(began), err)
				}
				close(out.free)
			})
		})
	}
}

// slowOutput takes a time for each write.
type slowOutput struct {
	perWrite time.Duration
	free     chan struct{} // closed, it takes no more time
}

func (o *slowOutput) Write(p []byte) (int, error) {
	var passed <-chan time.Time
	if o.perWrite > 0 {
		passed = time.After(o.perWrite)
	}
	select {
	case <-o.free:
	case <-passed:
	}
	return len(p), nil
}
