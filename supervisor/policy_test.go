package supervisor

import (
	"syscall"
	"testing"
	"time"

	"tideover/supervisor/config"
	"tideover/supervisor/process"
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

func TestWhoEndsByItself(t *testing.T) {
	zero, four, killed := process.Outcome{}, process.Outcome{Code: 4}, process.Outcome{Code: -1, Signal: syscall.SIGTERM}
	for _, c := range []struct {
		policy config.RestartPolicy
		codes  []int
		how    process.Outcome
		want   ending
	}{
		{config.RestartAlways, []int{0}, zero, again},
		{config.RestartAlways, []int{0}, killed, again},
		{config.RestartOnFailure, []int{0}, zero, finished},
		{config.RestartOnFailure, []int{0}, four, again},
		{config.RestartOnFailure, []int{0, 4}, four, finished},
		{config.RestartOnFailure, []int{4}, zero, again},
		{config.RestartOnFailure, []int{0, -1}, killed, again},
		{config.RestartNever, []int{0}, zero, finished},
		{config.RestartNever, []int{0}, four, gaveOut},
		{config.RestartNever, []int{0}, killed, gaveOut},
	} {
		if got := judge(&config.App{Restart: c.policy, ExitCodes: c.codes}, c.how); got != c.want {
			t.Errorf("restart = %q, exit_codes = %v, %s: %d, want %d", c.policy, c.codes, c.how, got, c.want)
		}
	}
}
