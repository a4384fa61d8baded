//go:build linux

package process

import (
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Outcome is how a main process ended.
type Outcome struct {
	Code     int            // exit status; -1: killed by a signal, or unknown
	Signal   syscall.Signal // 0: it exited by itself
	CoreDump bool
	Runtime  time.Duration // from Start on
}

// String says "exit status 3" or "killed by SIGKILL".
func (o Outcome) String() string {
	switch {
	case o.Signal != 0 && o.CoreDump:
		return fmt.Sprintf("killed by %s, core dumped", nameOf(o.Signal))
	case o.Signal != 0:
		return fmt.Sprintf("killed by %s", nameOf(o.Signal))
	case o.Code < 0:
		return "exit status unknown"
	}
	return fmt.Sprintf("exit status %d", o.Code)
}

// outcomeOf reads what the wait returned. It fails only if somebody else has collected the child.
func outcomeOf(s *os.ProcessState, err error, runtime time.Duration) Outcome {
	if err != nil {
		return Outcome{Code: -1, Runtime: runtime}
	}
	o := Outcome{Code: s.ExitCode(), Runtime: runtime}
	if status, ok := s.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		o.Signal, o.CoreDump = status.Signal(), status.CoreDump()
	}
	return o
}

func nameOf(sig syscall.Signal) string {
	if name := unix.SignalName(sig); name != "" {
		return name
	}
	return fmt.Sprintf("signal %d", int(sig))
}
