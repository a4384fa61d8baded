package process

import (
	"fmt"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Outcome says how a main process ended.
type Outcome struct {
	Code     int            // exit status; -1: killed by a signal, or unknown
	Signal   syscall.Signal // 0: it called exit
	CoreDump bool
	Runtime  time.Duration // since Start
}

// String returns "exit status 3" or "killed by SIGKILL".
func (o Outcome) String() string {
	switch {
	case o.Signal != 0 && o.CoreDump:
		return fmt.Sprintf("killed by %s, core dumped", signalName(o.Signal))
	case o.Signal != 0:
		return fmt.Sprintf("killed by %s", signalName(o.Signal))
	case o.Code < 0:
		return "exit status unknown"
	}
	return fmt.Sprintf("exit status %d", o.Code)
}

// outcomeOf returns the outcome for the result of wait, which fails only if the child was
// reaped elsewhere.
func outcomeOf(status syscall.WaitStatus, err error, runtime time.Duration) Outcome {
	if err != nil {
		return Outcome{Code: -1, Runtime: runtime}
	}
	o := Outcome{Code: status.ExitStatus(), Runtime: runtime}
	if status.Signaled() {
		o.Signal, o.CoreDump = status.Signal(), status.CoreDump()
	}
	return o
}

func signalName(sig syscall.Signal) string {
	if name := unix.SignalName(sig); name != "" {
		return name
	}
	return fmt.Sprintf("signal %d", int(sig))
}

// OutcomeText says how a process with this wait status has ended.
func OutcomeText(status syscall.WaitStatus) string { return outcomeOf(status, nil, 0).String() }
