package generation

import (
	"fmt"
	"slices"

	"tideover/supervisor/config"
	"tideover/supervisor/process"
)

// ExitAction is what follows when a main process has exited by itself.
type ExitAction int

const (
	ExitRestart ExitAction = iota // a new generation is started
	ExitDone                      // the app is done
	ExitFail                      // the app has failed and stays down
)

// OnExit applies the restart policy and exit_codes of an app.
func OnExit(cfg *config.App, o process.Outcome) ExitAction {
	good := o.Signal == 0 && slices.Contains(cfg.ExitCodes, o.Code)
	switch {
	case cfg.Restart == config.RestartAlways:
		return ExitRestart
	case good:
		return ExitDone
	case cfg.Restart == config.RestartNever:
		return ExitFail
	}
	return ExitRestart
}

// OnDeath applies the restart policy of an app to a generation that is killed because it is dead: it
// has failed, whatever its exit code is.
func OnDeath(cfg *config.App) ExitAction {
	if cfg.Restart == config.RestartNever {
		return ExitFail
	}
	return ExitRestart
}

// DoneText is the reason in status of an app that is done.
func DoneText(o process.Outcome) string { return fmt.Sprintf("done: exit %d", o.Code) }
