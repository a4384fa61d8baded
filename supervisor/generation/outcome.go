package generation

import (
	"fmt"
	"slices"

	"tideover/supervisor/config"
	"tideover/supervisor/process"
)

// ExitAction is what an app's settings make of a process that ended by itself.
type ExitAction int

const (
	ExitRestart ExitAction = iota // it is started again
	ExitDone                      // it has done what it was there for
	ExitFail                      // it has failed, and is not started again
)

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

// DoneText is why an app rests that is finished.
func DoneText(o process.Outcome) string { return fmt.Sprintf("done: exit %d", o.Code) }
