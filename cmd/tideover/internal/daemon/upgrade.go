package daemon

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"tideover/proxy/awake"
	"tideover/supervisor"
	"tideover/supervisor/control"
	"tideover/supervisor/handoff"
	"tideover/supervisor/process"
)

// verifyTimeout is how long the new binary has to show that it can take over.
const verifyTimeout = 20 * time.Second

// upgrade is what USR2 asks for: this process executes the tideover binary that
// is installed now and keeps its pid, apps, sockets and clients. It returns only
// when that has failed, which it logs.
func (d *daemon) upgrade(sup *supervisor.Supervisor, socket *control.Socket) {
	path, err := d.lookPath()
	if err == nil {
		err = d.verifyBinary(d.shutdown.announced, path)
	}
	switch {
	case err != nil:
	case d.Supervision != nil:
		d.logger.Info("upgrade started", "program", path)
		err = d.upgradeSupervisor(sup, path)
	default:
		d.logger.Info("upgrade started", "program", path)
		err = sup.Upgrade(socket.Path(), socket, func(variable string) error {
			d.flushLog()
			defer d.admin.Halt()()
			return execBinary(path, append(os.Environ(), variable))
		})
	}
	if err != nil {
		d.logger.Error("upgrade failed", "error", err, "hint", "nothing was changed")
	}
}

// upgradeSupervisor has the monitor start the new program in the place of this process, which ends as if it
// was killed: the next one restores what it leaves, and no request is held. If the new program ends before
// it has restored that, the monitor starts this one again.
func (d *daemon) upgradeSupervisor(sup *supervisor.Supervisor, path string) error {
	program, err := os.OpenFile(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer program.Close()
	return sup.Replace(func() error {
		d.flushLog()
		if err := d.Supervision.client.Replace(program); err != nil {
			return err
		}
		os.Exit(0)
		return nil
	})
}

// lookPath is the binary that the command line of this daemon means now.
func (d *daemon) lookPath() (string, error) {
	program := os.Args[0]
	if d.Supervision != nil {
		program = d.Supervision.client.Program()
	}
	path, err := exec.LookPath(program)
	if err != nil {
		return "", fmt.Errorf("cannot find the new tideover: %w", err)
	}
	return path, nil
}

// verifyBinary checks that the new binary runs, that it reads the format in
// which this one hands over, and that it accepts the configuration.
func (d *daemon) verifyBinary(ctx context.Context, path string) error {
	ctx, cancel := awake.WithTimeoutCause(ctx, verifyTimeout, errVerifyTimeout)
	defer cancel()
	text, err := rehearse(ctx, path, "version", "--json")
	if err != nil {
		return fmt.Errorf("%s version: %w", path, err)
	}
	var about struct {
		Version        string
		HandoffVersion int `json:"estate"`
	}
	if err := json.Unmarshal([]byte(text), &about); err != nil {
		return fmt.Errorf("%s is not a tideover: %w", path, err)
	}
	if about.HandoffVersion != handoff.FormatVersion {
		return fmt.Errorf("tideover %s cannot take over from %s; stop this one and start the new one", about.Version, d.Version)
	}
	if d.Load == nil {
		return nil
	}
	output, err := rehearse(ctx, path, "check", "--color", "never", d.Config.Path)
	if err != nil {
		return fmt.Errorf("%s check %s: %w: %s", path, d.Config.Path, err, strings.TrimSpace(output))
	}
	return nil
}

var errVerifyTimeout = fmt.Errorf("given up after %v", verifyTimeout)

// rehearse runs the new binary and returns its output. When ctx ends, its whole process
// tree is killed: it may be a script, and what that has started keeps the output open.
func rehearse(ctx context.Context, argv ...string) (string, error) {
	var output strings.Builder
	spec := process.Spec{Argv: argv, Env: os.Environ(), Name: "upgrade", Token: rand.Text()}
	outcome, err := process.Run(ctx, spec, func(line string) { output.WriteString(line + "\n") })
	if err == nil && (outcome.Code != 0 || outcome.Signal != 0) {
		err = errors.New(outcome.String())
	}
	return output.String(), err
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
