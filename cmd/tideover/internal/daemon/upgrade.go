package daemon

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"tideover/supervisor"
	"tideover/supervisor/control"
	"tideover/supervisor/handoff"
)

// verifyTimeout is how long the new binary has to show that it can take over.
const verifyTimeout = 20 * time.Second

// upgrade is what USR2 asks for: this process executes the tideover binary that
// is installed now and keeps its pid, apps, sockets and clients. It returns only
// when that has failed, which it logs.
func (d *daemon) upgrade(ctx context.Context, sup *supervisor.Supervisor, socket *control.Socket) {
	path, err := lookPath()
	if err == nil {
		err = d.verifyBinary(ctx, path)
	}
	if err == nil {
		d.logger.Info("upgrade started", "program", path)
		err = sup.Upgrade(socket.Path(), socket, func(variable string) error {
			return execBinary(path, append(os.Environ(), variable))
		})
	}
	if err != nil {
		d.logger.Error("upgrade failed", "error", err, "hint", "nothing was changed")
	}
}

// lookPath is the binary that the command line of this process means now.
func lookPath() (string, error) {
	path, err := exec.LookPath(os.Args[0])
	if err != nil {
		return "", fmt.Errorf("cannot find the new tideover: %w", err)
	}
	return path, nil
}

// verifyBinary checks that the new binary runs, that it reads the format in
// which this one hands over, and that it accepts the configuration.
func (d *daemon) verifyBinary(ctx context.Context, path string) error {
	ctx, cancel := context.WithTimeout(ctx, verifyTimeout)
	defer cancel()
	text, err := exec.CommandContext(ctx, path, "version", "--json").Output()
	if err != nil {
		return fmt.Errorf("%s version: %w", path, err)
	}
	var about struct {
		Version        string
		HandoffVersion int `json:"estate"`
	}
	if err := json.Unmarshal(text, &about); err != nil {
		return fmt.Errorf("%s is not a tideover: %w", path, err)
	}
	if about.HandoffVersion != handoff.FormatVersion {
		return fmt.Errorf("tideover %s cannot take over from %s; stop this one and start the new one", about.Version, d.Version)
	}
	if d.Load == nil {
		return nil
	}
	output, err := exec.CommandContext(ctx, path, "check", "--color", "never", d.Config.Path).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s check %s: %w: %s", path, d.Config.Path, err, strings.TrimSpace(string(output)))
	}
	return nil
}

// execBinary calls execve(2) with this process's arguments. The handled signals
// are blocked before: one that arrives during the exec stays pending until the
// new program calls signal.Notify.
func execBinary(path string, env []string) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var blocked, before unix.Sigset_t
	for _, s := range handledSignals {
		blocked.Val[(s-1)/64] |= 1 << ((s - 1) % 64)
	}
	if err := unix.PthreadSigmask(unix.SIG_BLOCK, &blocked, &before); err != nil {
		return os.NewSyscallError("sigprocmask", err)
	}
	defer unix.PthreadSigmask(unix.SIG_SETMASK, &before, nil)
	return os.NewSyscallError("execve", syscall.Exec(path, os.Args, env))
}
