package generation

import (
	"syscall"
	"testing"

	"tideover/supervisor/config"
	"tideover/supervisor/process"
)

func TestOnExit(t *testing.T) {
	zero, four, killed := process.Outcome{}, process.Outcome{Code: 4}, process.Outcome{Code: -1, Signal: syscall.SIGTERM}
	for _, c := range []struct {
		policy config.RestartPolicy
		codes  []int
		how    process.Outcome
		want   ExitAction
	}{
		{config.RestartAlways, []int{0}, zero, ExitRestart},
		{config.RestartAlways, []int{0}, killed, ExitRestart},
		{config.RestartOnFailure, []int{0}, zero, ExitDone},
		{config.RestartOnFailure, []int{0}, four, ExitRestart},
		{config.RestartOnFailure, []int{0, 4}, four, ExitDone},
		{config.RestartOnFailure, []int{4}, zero, ExitRestart},
		{config.RestartOnFailure, []int{0, -1}, killed, ExitRestart},
		{config.RestartNever, []int{0}, zero, ExitDone},
		{config.RestartNever, []int{0}, four, ExitFail},
		{config.RestartNever, []int{0}, killed, ExitFail},
	} {
		if got := OnExit(&config.App{Restart: c.policy, ExitCodes: c.codes}, c.how); got != c.want {
			t.Errorf("restart = %q, exit_codes = %v, %s: %d, want %d", c.policy, c.codes, c.how, got, c.want)
		}
	}
}
