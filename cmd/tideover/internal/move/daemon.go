package move

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"tideover/supervisor/api"
	"tideover/supervisor/control"
)

const (
	startTimeout = 60 * time.Second // of tideover, until it answers
	pollInterval = 20 * time.Millisecond
	service      = "tideover.service"
	// dropIn makes the service start with --take-over while the move goes on.
	dropIn = "/run/systemd/system/" + service + ".d/take-over.conf"
)

// daemon is the tideover that this move has started. Commands go to no other one.
type daemon struct {
	*control.Client
	pid  int
	gone chan struct{} // closed when the process has exited; nil: systemd has started it
	log  string
}

// HasSystemd reports whether systemd runs here and has tideover.service.
func HasSystemd() bool {
	if _, err := os.Stat("/run/systemd/system"); err != nil {
		return false
	}
	return exec.Command("systemctl", "cat", service).Run() == nil
}

// refuseOther returns an error if a daemon answers on the socket: its apps are not this move's.
func (o Options) refuseOther(ctx context.Context) error {
	status, err := control.NewClient(o.Socket).Status(ctx)
	var fault *api.Error
	switch {
	case err == nil:
		return fmt.Errorf("a tideover runs already on %s, pid %d, with %s; end it with tideover -S %[1]s shutdown, or name another socket with -S",
			o.Socket, status.Pid, strings.Join(appNames(status), ", "))
	case errors.As(err, &fault) && fault.Exit == api.ExitNotRunning:
		return nil
	}
	return fmt.Errorf("it is not known whether a tideover runs already: %w", err)
}

func appNames(s api.Status) (all []string) {
	for _, a := range s.Apps {
		all = append(all, a.Name)
	}
	return all
}

// startDaemon starts tideover and returns when it answers. It has opened no address and started no
// app then; a daemon that cannot run here has exited, and the error is its own.
func (o Options) startDaemon(ctx context.Context) (*daemon, error) {
	d := &daemon{Client: control.NewClient(o.Socket), log: o.Log}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if o.Systemd {
		if err := setDropIn(true); err != nil {
			return nil, err
		}
		if out, err := exec.CommandContext(ctx, "systemctl", "start", "--no-block", service).CombinedOutput(); err != nil {
			setDropIn(false)
			return nil, fmt.Errorf("systemctl start %s: %w: %s", service, err, bytes.TrimSpace(out))
		}
	} else if err := d.spawn(o); err != nil {
		return nil, err
	}
	if err := d.await(ctx, o.Systemd); err != nil {
		d.leave(o.Systemd)
		return nil, err
	}
	return d, nil
}

// spawn starts the daemon in a session of its own, so that it outlives this command.
func (d *daemon) spawn(o Options) error {
	if err := o.files().ProbeLog(o.Log); err != nil {
		return fmt.Errorf("log %s: %w", o.Log, err)
	}
	os.Rename(o.Log, o.Log+".before")
	log, err := o.files().OpenLog(o.Log, 0o640)
	if err != nil {
		return fmt.Errorf("log %s: %w", o.Log, err)
	}
	defer log.Close()
	args := []string{"run", "-c", o.Config, "--take-over"}
	if o.NamedSocket {
		args = append([]string{"-S", o.Socket}, args...)
	}
	cmd := exec.Command(o.Binary, args...)
	cmd.Env, cmd.Stdout, cmd.Stderr, cmd.Dir = o.Environ, log, log, "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	d.pid, d.gone = cmd.Process.Pid, make(chan struct{})
	go func() {
		defer close(d.gone)
		cmd.Wait()
	}()
	return nil
}

// await returns when the daemon answers and is the one that was started.
func (d *daemon) await(ctx context.Context, systemd bool) error {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		if systemd {
			d.pid = mainPid(ctx)
		}
		status, err := d.Status(ctx)
		switch {
		case err == nil && status.Pid == d.pid:
			return nil
		case err == nil && d.pid > 0:
			return fmt.Errorf("another tideover, pid %d, answers on %s", status.Pid, d.Socket())
		}
		select {
		case <-tick.C:
		case <-d.gone:
			return fmt.Errorf("tideover does not start: %s", d.tail())
		case <-ctx.Done():
			return fmt.Errorf("tideover does not answer on %s: %s", d.Socket(), d.tail())
		}
	}
}

// mainPid returns the pid of the service; 0: it does not run.
func mainPid(ctx context.Context) int {
	out, _ := exec.CommandContext(ctx, "systemctl", "show", "--property", "MainPID", "--value", service).Output()
	pid, _ := strconv.Atoi(strings.TrimSpace(string(out)))
	return pid
}

// tail returns the last lines of the daemon's log.
func (d *daemon) tail() string {
	text, err := os.ReadFile(d.log)
	if err != nil {
		return "journalctl -u " + service + " says why"
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-5):], "\n")
}

// leave ends the daemon: a command on a socket could reach another one, its pid cannot.
func (d *daemon) leave(systemd bool) {
	if systemd {
		setDropIn(false)
		exec.Command("systemctl", "stop", service).Run()
		return
	}
	if d.gone == nil {
		return
	}
	syscall.Kill(d.pid, syscall.SIGTERM)
	<-d.gone
}

// setDropIn makes or removes the drop-in.
func setDropIn(on bool) error {
	os.Remove(dropIn)
	os.Remove(filepath.Dir(dropIn)) // unless there are others
	if on {
		if err := os.MkdirAll(filepath.Dir(dropIn), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(dropIn, []byte("[Service]\nEnvironment=TIDEOVER_TAKE_OVER=1\n"), 0o644); err != nil {
			return err
		}
	}
	return exec.Command("systemctl", "daemon-reload").Run()
}
