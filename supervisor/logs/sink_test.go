package logs

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A disk that is full for a while loses nothing and tears no line.
func TestAFailingWriterIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &flaky{failures: 3}
		l := start(t, Options{Writer: out})
		for i := range 100 {
			l.Note(1, "line %d", i)
		}
		began := time.Now()
		synctest.Wait()
		<-time.After(10 * retryInterval) // on the fake clock: lets the retries happen
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		var want strings.Builder
		for i := range 100 {
			fmt.Fprintf(&want, "shop.1 - line %d\n", i)
		}
		if out.String() != want.String() || l.Dropped() != 0 {
			t.Errorf("after %v: %d dropped, got\n%s", time.Since(began), l.Dropped(), out.String())
		}
	})
}

// While it stays full, the oldest lines go, and are counted once it works.
func TestWhatTheRingCannotHoldIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &flaky{failures: 1}
		l := start(t, Options{Writer: out, RingBytes: 50 * (lineCost + 6)})
		l.Note(1, "first.")
		synctest.Wait() // it failed and waits
		for i := range 200 {
			l.Note(1, "%06d", i)
		}
		<-time.After(2 * retryInterval) // on the fake clock
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		text := out.String()
		if l.Dropped() != 150 || !strings.Contains(text, "150 lines dropped: cannot write: no space left on device\n") {
			t.Errorf("%d dropped:\n%s", l.Dropped(), text)
		}
		if !strings.HasPrefix(text, "shop.1 - first.\n") || !strings.HasSuffix(text, "shop.1 - 000199\n") {
			t.Errorf("got\n%s", text)
		}
	})
}

func TestAWriterThatFailsForEverDoesNotStopClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &flaky{failures: 1 << 30}
		l := start(t, Options{Writer: out})
		l.Note(1, "a line that will be torn")
		synctest.Wait()
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if l.Dropped() != 1 {
			t.Errorf("%d dropped, want 1", l.Dropped())
		}
	})
}
