package main

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

// rehearsal is how long the new binary has to show that it can take over.
const rehearsal = 20 * time.Second

// upgrade is what USR2 asks for: this process becomes whatever tideover is
// installed where it was started from, and keeps its pid, its apps, its
// sockets and its clients. It returns only when that has not come about.
func (d *daemon) upgrade(ctx context.Context, sup *supervisor.Supervisor, socket *control.Socket) error {
	path, err := successor()
	if err == nil {
		err = d.rehearse(ctx, path)
	}
	if err == nil {
		d.logger.Info("upgrading", "to", path)
		err = sup.Upgrade(socket.Path(), socket, func(variable string) error { return become(path, append(os.Environ(), variable)) })
	}
	if err != nil {
		return fmt.Errorf("the upgrade was given up, and nothing was changed: %w", err)
	}
	return nil
}

// successor is the binary that would be started by the words this one was
// started with.
func successor() (string, error) {
	path, err := exec.LookPath(os.Args[0])
	if err != nil {
		return "", fmt.Errorf("cannot find the new tideover: %w", err)
	}
	return path, nil
}

// rehearse makes sure that the new binary runs, that it understands what this
// one would leave, and that it has nothing against the configuration.
func (d *daemon) rehearse(ctx context.Context, path string) error {
	ctx, cancel := context.WithTimeout(ctx, rehearsal)
	defer cancel()
	text, err := exec.CommandContext(ctx, path, "version", "--json").Output()
	if err != nil {
		return fmt.Errorf("%s version: %w", path, err)
	}
	var about struct {
		Version string
		Estate  int
	}
	if err := json.Unmarshal(text, &about); err != nil {
		return fmt.Errorf("%s is not a tideover: %w", path, err)
	}
	if about.Estate != handoff.FormatVersion {
		return fmt.Errorf("tideover %s cannot take over from %s, only be started anew", about.Version, version)
	}
	if d.load == nil {
		return nil
	}
	said, err := exec.CommandContext(ctx, path, "check", "--color", "never", d.file.Path).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s check %s: %w: %s", path, d.file.Path, err, strings.TrimSpace(string(said)))
	}
	return nil
}

// become calls exec(2). What a signal asks for in the moment in which nobody
// listens is done by the next program: until it asks for signals they wait.
func become(path string, env []string) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var wait, before unix.Sigset_t
	for _, s := range obeyed {
		wait.Val[(s-1)/64] |= 1 << ((s - 1) % 64)
	}
	if err := unix.PthreadSigmask(unix.SIG_BLOCK, &wait, &before); err != nil {
		return os.NewSyscallError("sigprocmask", err)
	}
	defer unix.PthreadSigmask(unix.SIG_SETMASK, &before, nil)
	return os.NewSyscallError("execve", syscall.Exec(path, os.Args, env))
}

// obeyed are the signals that mean something to the daemon.
var obeyed = []syscall.Signal{syscall.SIGHUP, syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGTTIN, syscall.SIGTTOU}
