package supervisor

import (
	"testing"
	"time"
)

func TestPausesDoubleUpToTheBound(t *testing.T) {
	var p policy
	want := []time.Duration{0, 500 * time.Millisecond, time.Second, 2 * time.Second,
		4 * time.Second, 8 * time.Second, 16 * time.Second, 30 * time.Second, 30 * time.Second}
	for i, w := range want {
		if got := p.served(time.Second); got.after != w || got.failed {
			t.Fatalf("crash %d: retry after %v (failed %v), want %v", i+1, got.after, got.failed, w)
		}
	}
	if got := p.served(healthyFor); got.after != 0 {
		t.Fatalf("a crash after %v of health waits %v, want none", healthyFor, got.after)
	}
}

func TestFiveStartsWithoutAnAnswerAreEnough(t *testing.T) {
	var p policy
	for i := 1; i < startBudget; i++ {
		if v := p.unansweredStart(); v.failed {
			t.Fatalf("failed after %d starts, want %d", i, startBudget)
		}
	}
	if v := p.unansweredStart(); !v.failed || v.after != slowRetry {
		t.Fatalf("after %d starts: %+v, want failed and a slow retry", startBudget, v)
	}
	p.forget()
	if v := p.unansweredStart(); v.failed || v.after != 0 {
		t.Fatalf("after the operator's start: %+v, want a new budget", v)
	}
}

func TestAnAnswerEndsTheCountOfUnansweredStarts(t *testing.T) {
	var p policy
	for range startBudget - 1 {
		p.unansweredStart()
	}
	p.served(time.Second)
	if v := p.unansweredStart(); v.failed {
		t.Fatal("failed although the start before had answered")
	}
}
