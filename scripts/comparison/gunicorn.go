package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"tideover/scripts/testenv"
)

func gunicornAt(e *testenv.Env, address string, args ...string) []string {
	return testenv.Gunicorn{Workers: workers, Bind: address, Args: args}.Argv(e)
}

func startTideover(c *contestant) (err error) {
	if c.address, err = testenv.Address(); err != nil {
		return err
	}
	daemon, err := c.env.Tideover(c.app, testenv.RunOptions{Name: "shop", Command: gunicornAt(c.env, c.address)})
	if err != nil {
		return err
	}
	verb := func(verb string) func(context.Context) (int, error) {
		return func(ctx context.Context) (int, error) {
			o, err := daemon.Call(ctx, verb, "shop")
			return o.Exit, err
		}
	}
	c.reload, c.restart = verb("reload"), verb("restart")
	c.crash = kill(func() (int, error) {
		s, err := daemon.Status(context.Background())
		return s.Pid, err
	})
	return nil
}

// startHUP is gunicorn under supervisord, reloaded by gunicorn's HUP.
func startHUP(c *contestant) (err error) {
	if c.address, err = testenv.Address(); err != nil {
		return err
	}
	return c.supervise(gunicornAt(c.env, c.address))
}

// startSupervisord has only what supervisord itself offers: a restart.
func startSupervisord(c *contestant) error {
	err := startHUP(c)
	c.reload = nil
	return err
}

// supervise starts a command under supervisord, reloaded by HUP.
func (c *contestant) supervise(argv []string) error {
	s, err := c.env.Supervisord(c.app, argv, "autorestart=true", "stopwaitsecs=40")
	if err != nil {
		return err
	}
	ctl := func(args ...string) func(context.Context) (int, error) {
		return func(context.Context) (int, error) { return exitOf(s.Ctl(args...)) }
	}
	c.restart = ctl("restart", "shop")
	c.reload = ctl("signal", "HUP", "shop")
	c.crash = kill(func() (int, error) {
		out, err := s.Ctl("pid", "shop")
		if err != nil {
			return 0, err
		}
		return strconv.Atoi(strings.TrimSpace(out))
	})
	return nil
}

// exitOf is the exit code of a command that has run, also where that was not 0.
func exitOf(_ string, err error) (int, error) {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode(), nil
	}
	return 0, err
}

// startUSR2 is gunicorn without a supervisor, replaced as its documentation says: USR2, then WINCH
// and TERM to the old master when the new workers have imported the app.
func startUSR2(c *contestant) (err error) {
	if c.address, err = testenv.Address(); err != nil {
		return err
	}
	pidfile := c.env.Path("gunicorn.pid")
	command := testenv.Command{Name: "gunicorn", Argv: gunicornAt(c.env, c.address, "--pid", pidfile), Dir: c.app.Dir, App: true}
	if _, err := c.env.Start(command); err != nil {
		return err
	}
	pid := func() (int, error) { return readPid(pidfile) }
	c.crash = kill(pid)
	c.restart = func(ctx context.Context) (int, error) {
		if old, err := pid(); err == nil {
			if err := stopAndWait(ctx, old); err != nil {
				return 1, err
			}
		}
		_, err := c.env.Start(command)
		return 0, err
	}
	c.reload = func(ctx context.Context) (int, error) { return c.upgradeGunicorn(ctx, pidfile) }
	return nil
}

func (c *contestant) upgradeGunicorn(ctx context.Context, pidfile string) (int, error) {
	old, err := readPid(pidfile)
	if err != nil {
		return 1, err
	}
	release := c.app.Release()
	if err := syscall.Kill(old, syscall.SIGUSR2); err != nil {
		return 1, err
	}
	ready, cancel := context.WithTimeout(ctx, recovery)
	defer cancel()
	err = testenv.Poll(ready, 50*time.Millisecond, func() error {
		text, err := os.ReadFile(c.app.Dir + "/requests.log")
		if n := strings.Count(string(text), fmt.Sprintf("ready %d ", release.Number)); err == nil && n < workers {
			err = fmt.Errorf("%d workers have imported release %d", n, release.Number)
		}
		return err
	})
	if err != nil {
		return 1, ctx.Err() // the operator sees no new workers and leaves the old master alone
	}
	if err := syscall.Kill(old, syscall.SIGWINCH); err != nil {
		return 1, err
	}
	return 0, stopAndWait(ctx, old)
}

func readPid(path string) (int, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(text)))
}

// stopAndWait sends TERM and waits for the exit.
func stopAndWait(ctx context.Context, pid int) error {
	if err := syscall.Kill(pid, syscall.SIGTERM); errors.Is(err, syscall.ESRCH) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	return testenv.Poll(ctx, 20*time.Millisecond, func() error {
		if state, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err != nil || strings.Contains(string(state), ") Z ") {
			return nil
		}
		return fmt.Errorf("process %d still runs", pid)
	})
}

// socketUnitArg makes this program the stand-in for systemd.
const socketUnitArg = "-socket-unit"

// startSocketUnit is gunicorn as in the systemd units of its documentation. Where systemd does not run,
// a stand-in has the socket.
func startSocketUnit(c *contestant) (err error) {
	if c.address, err = testenv.Address(); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	unit, err := c.env.Start(testenv.Command{Name: "unit", Argv: append([]string{self, socketUnitArg, c.address}, gunicornAt(c.env, "")...),
		Dir: c.app.Dir, App: true})
	if err != nil {
		return err
	}
	signal := func(sig syscall.Signal) func(context.Context) (int, error) {
		return func(context.Context) (int, error) { return 0, unit.Signal(sig) }
	}
	c.reload, c.restart = signal(syscall.SIGHUP), signal(syscall.SIGUSR1)
	c.crash = func() error { return unit.Signal(syscall.SIGUSR2) }
	return nil
}

// runSocketUnit does what systemd does for a socket unit and its service: it keeps the socket open,
// starts the service while connections wait, and sends it HUP (a reload, on SIGHUP), or TERM and starts it again
// (a restart, on SIGUSR1). SIGUSR2 kills the service, for the crash.
func runSocketUnit(address string, argv []string) int {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	file, err := listener.(*net.TCPListener).File()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGTERM)
	for {
		service := exec.Command("sh", append([]string{"-c", `LISTEN_PID=$$ exec "$@"`, "sh"}, argv...)...)
		service.Env = append(os.Environ(), "LISTEN_FDS=1")
		service.ExtraFiles = []*os.File{file}
		service.Stdout, service.Stderr = os.Stdout, os.Stderr
		if err := service.Start(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		exited := make(chan error, 1)
		go func() { exited <- service.Wait() }()
		for running := true; running; {
			select {
			case <-exited:
				running = false
				<-time.After(100 * time.Millisecond) // RestartSec
			case sig := <-signals:
				switch sig {
				case syscall.SIGHUP:
					service.Process.Signal(syscall.SIGHUP)
				case syscall.SIGUSR1:
					service.Process.Signal(syscall.SIGTERM)
				case syscall.SIGUSR2:
					service.Process.Kill()
				default:
					service.Process.Signal(syscall.SIGTERM)
					<-exited
					return 0
				}
			}
		}
	}
}
