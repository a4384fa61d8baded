package supervisor

import (
	"testing"
	"time"
)

func TestBackoffDoublesUpToTheBound(t *testing.T) {
	var b backoff
	want := []time.Duration{0, 500 * time.Millisecond, time.Second, 2 * time.Second,
		4 * time.Second, 8 * time.Second, 16 * time.Second, 30 * time.Second, 30 * time.Second}
	for i, w := range want {
		if got := b.exited(time.Second); got.after != w || got.failed {
			t.Fatalf("crash %d: retry after %v (failed %v), want %v", i+1, got.after, got.failed, w)
		}
	}
	if got := b.exited(resetAfter); got.after != 0 {
		t.Fatalf("a crash after %v of health waits %v, want none", resetAfter, got.after)
	}
}

func TestAppFailsAfterFiveFailedStarts(t *testing.T) {
	var b backoff
	for i := 1; i < maxFailedStarts; i++ {
		if v := b.startFailed(); v.failed {
			t.Fatalf("failed after %d starts, want %d", i, maxFailedStarts)
		}
	}
	if v := b.startFailed(); !v.failed || v.after != failedRetryInterval {
		t.Fatalf("after %d starts: %+v, want failed and a slow retry", maxFailedStarts, v)
	}
	b = backoff{}
	if v := b.startFailed(); v.failed || v.after != 0 {
		t.Fatalf("after the operator's start: %+v, want a new budget", v)
	}
}

func TestAnAnswerResetsTheCountOfFailedStarts(t *testing.T) {
	var b backoff
	for range maxFailedStarts - 1 {
		b.startFailed()
	}
	b.exited(time.Second)
	if v := b.startFailed(); v.failed {
		t.Fatal("failed although the start before had answered")
	}
}
