package main

import (
	"cmp"
	"context"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"

	"tideover/listener"
	"tideover/supervisor"
	"tideover/supervisor/api"
	"tideover/supervisor/config"
	"tideover/supervisor/control"
	"tideover/supervisor/handoff"
	"tideover/supervisor/logs"
)

// daemon is the process behind `run`: a supervisor, its control socket, and
// the signals of the operator.
type daemon struct {
	cli     *cli
	file    *config.File
	name    string // of the one app of `run -- COMMAND`; empty: a configuration
	load    func() (*config.File, error)
	pidfile string
	estate  *handoff.State // what the former program of this process has left; nil: there was none
	tether  tether
	ownLog  *logs.OwnLog
	logger  hclog.Logger
	level   hclog.Level // of what goes to standard error
}

func newDaemon(c *cli, file *config.File, name string, load func() (*config.File, error), f *runFlags) *daemon {
	return &daemon{cli: c, file: file, name: name, load: load, pidfile: f.pidfile, estate: f.estate}
}

// run keeps the apps until a signal or a client ends the daemon.
func (d *daemon) run(ctx context.Context) error {
	d.tether = newTether(d.cli.stdin, d.cli.stdout, d.cli.stderr)
	signals := make(chan os.Signal, 8)
	for _, s := range obeyed {
		signal.Notify(signals, s)
	}
	defer signal.Stop(signals)
	signal.Ignore(syscall.SIGPIPE) // a reader of our output that leaves must not take the service with it
	inherited, err := listener.Inherited()
	if err != nil {
		return err
	}
	if err := d.openLog(); err != nil {
		return err
	}
	socketPath := d.socketPath()
	if err := d.refuseSecondCopy(ctx, socketPath); err != nil {
		return err
	}
	open := d.estate.ControlSocket(socketPath)
	socket, err := control.Listen(control.SocketOptions{Path: socketPath, Open: open, Group: d.file.Daemon.SocketGroup, Mode: d.file.Daemon.SocketMode, Name: cmp.Or(d.name, "this configuration")})
	open.Close() // what listens is a duplicate, if there was one
	if err != nil {
		return err
	}
	defer socket.Close()
	output := &sharedWriter{out: d.cli.stdout, screen: d.cli.results()}
	sup, err := supervisor.New(d.file, supervisor.Options{
		Logger: d.logger, Version: version, Output: output, Color: output.screen.color, Unicode: output.screen.terminal, OwnLog: d.ownLog,
		Name: strings.TrimSuffix(filepath.Base(socketPath), ".sock"), RuntimeDir: filepath.Dir(socketPath), StateDir: d.stateDir(socketPath), Load: d.load, Alone: d.name != "",
		Inherited: inherited, Handoff: d.estate, Journaled: stdoutIsJournal(),
	})
	if err != nil {
		return err
	}
	if d.pidfile != "" {
		if err := writePid(d.pidfile); err != nil {
			return err
		}
		defer removePid(d.pidfile)
	}
	return d.keep(ctx, sup, socket, signals, output)
}

// keep runs the supervisor with everything that speaks to it, and returns when
// all of that has ended.
func (d *daemon) keep(ctx context.Context, sup *supervisor.Supervisor, socket *control.Socket, signals <-chan os.Signal, output *sharedWriter) error {
	var beside sync.WaitGroup
	defer beside.Wait()
	over, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	systemd := newNotifier(d, sup)
	beside.Go(func() { systemd.run(over) })
	beside.Go(func() {
		if err := control.NewServer(socket, apps{sup, systemd}, d.logger).Serve(over); err != nil {
			d.logger.Error("the control socket is closed", "error", err)
		}
	})
	beside.Go(func() { d.obey(over, sup, signals, systemd, socket) })
	if output.screen.terminal && d.level == hclog.Info {
		d.logger.SetLevel(hclog.Warn) // the first screen says the rest better
		beside.Go(func() {
			newFirstScreen(d, output).show(over, sup)
			d.logger.SetLevel(d.level)
		})
	}
	d.logger.Info("listening for commands", "socket", socket.Path())
	return sup.Run(ctx)
}

// obey does what signals ask for, until the daemon is over.
func (d *daemon) obey(over context.Context, sup *supervisor.Supervisor, signals <-chan os.Signal, systemd *notifier, socket *control.Socket) {
	var underWay sync.WaitGroup // reloads and upgrades
	defer underWay.Wait()
	interrupted := false
	for {
		select {
		case <-over.Done():
			return
		case s := <-signals:
			d.logger.Info("signal", "name", strings.TrimPrefix(unix.SignalName(s.(syscall.Signal)), "SIG"))
			switch s {
			case syscall.SIGHUP:
				if d.tether.broken() {
					d.logger.Info("the terminal is gone")
					sup.Shutdown(false)
					continue
				}
				underWay.Go(func() { systemd.during(func() { d.renew(over, sup) }) })
			case syscall.SIGINT:
				sup.Shutdown(interrupted)
				interrupted = true
			case syscall.SIGTERM:
				sup.Shutdown(false)
			case syscall.SIGQUIT:
				sup.Shutdown(true)
			case syscall.SIGUSR1:
				d.complain(sup.Reopen())
			case syscall.SIGUSR2:
				underWay.Go(func() { systemd.during(func() { d.complain(d.upgrade(over, sup, socket)) }) })
			case syscall.SIGTTIN, syscall.SIGTTOU:
				d.complain(passOn(sup, s.(syscall.Signal)))
			}
		}
	}
}

// passOn gives the signal to the child when there is one app; with several it
// is nobody's.
func passOn(sup *supervisor.Supervisor, s syscall.Signal) error {
	if len(sup.Apps()) != 1 {
		return nil
	}
	return sup.Signal("", s)
}

func (d *daemon) complain(err error) {
	if err != nil {
		d.logger.Error(err.Error())
	}
}

// apps is the supervisor as the control socket sees it.
type apps struct {
	*supervisor.Supervisor
	systemd *notifier
}

func (a apps) Hold(ctx context.Context, app string, r api.HoldRequest) (control.Lease, error) {
	return a.Supervisor.Hold(ctx, app, r)
}

func (a apps) Apply(ctx context.Context, r api.ApplyRequest, progress func(api.Phase)) (result api.ApplyResult) {
	if r.DryRun {
		return a.Supervisor.Apply(ctx, r, progress)
	}
	a.systemd.during(func() { result = a.Supervisor.Apply(ctx, r, progress) })
	return result
}

// refuseSecondCopy looks whether another daemon keeps an app of this name
// already: two would start the same code twice.
func (d *daemon) refuseSecondCopy(ctx context.Context, socket string) error {
	if d.estate != nil {
		return nil // it was the first one before it was this program
	}
	daemons, err := control.Places{Dirs: []string{filepath.Dir(socket)}}.Daemons(ctx)
	if err != nil {
		return nil // there is none; whoever is on our own socket is met there
	}
	for _, other := range daemons {
		for _, app := range other.Status.Apps {
			if _, ours := d.file.App(app.Name); ours {
				return fault(api.ExitBusy, "--name gives this one another name", "a daemon for %s already runs, pid %d", app.Name, other.Status.Pid)
			}
		}
	}
	return nil
}

// sharedWriter lets the apps' output and our own words take turns, whole lines
// each. On a terminal no child may do more than colour its text.
type sharedWriter struct {
	mu     sync.Mutex // guards out
	out    io.Writer
	screen screen
}

func (w *sharedWriter) Write(p []byte) (int, error) {
	text := string(p)
	if w.screen.terminal {
		text = shownLines(text)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, err := io.WriteString(w.out, text); err != nil {
		return 0, err
	}
	return len(p), nil
}
