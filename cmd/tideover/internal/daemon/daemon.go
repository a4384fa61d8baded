package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/go-hclog"

	"tideover/cmd/tideover/internal/term"
	"tideover/listener"
	"tideover/supervisor"
	"tideover/supervisor/admin"
	"tideover/supervisor/api"
	"tideover/supervisor/config"
	"tideover/supervisor/control"
	"tideover/supervisor/logs"
	"tideover/supervisor/process"
	"tideover/supervisor/relay"
)

// Options is what a daemon is started with.
type Options struct {
	Version string
	Config  *config.File
	App     string                       // name of the one app of `run -- COMMAND`; empty: a configuration
	Load    func() (*config.File, error) // reads the configuration again; nil: there is no file
	// TakeOver says that another supervisor still runs the apps (supervisor.Options.TakeOver).
	TakeOver bool

	// Supervision is that of a process with a monitor; nil: there is none.
	Supervision *Supervision

	PidFile    string // empty: none
	Socket     string // path of the control socket (--socket); empty: the usual one
	RuntimeDir string // where the usual control socket is

	Stdin          io.Reader
	Stdout, Stderr term.Screen
	Getenv         func(string) string
	Verbose, Quiet bool // log level debug at least, error at most
}

// Run keeps the apps until a signal, a client or ctx ends the daemon.
func Run(ctx context.Context, o Options) error {
	d := &daemon{Options: o}
	err := d.run(ctx)
	if err != nil && d.logsJSON {
		return d.logEnd(err)
	}
	return err
}

// LoggedError is an error that the log has already.
type LoggedError struct{ Exit api.Exit }

func (e *LoggedError) Error() string { return fmt.Sprintf("exit code %d", e.Exit) }

// logEnd logs why the daemon ends, where a program reads its standard error.
func (d *daemon) logEnd(err error) error {
	exit := api.ExitError
	attrs := []any{"error", err}
	var typed *api.Error
	if errors.As(err, &typed) {
		exit = typed.Exit
		attrs = []any{"error", typed.Message, "exit", int(exit)}
		if typed.Hint != "" {
			attrs = append(attrs, "hint", typed.Hint)
		}
	}
	d.logger.Error("tideover ends", attrs...)
	return &LoggedError{exit}
}

// daemon is the process while it runs.
type daemon struct {
	Options
	tty        controllingTTY
	logger     hclog.Logger
	logsJSON   bool
	outputJSON bool         // lines of the apps are JSON objects, too: log_format says so
	level      atomic.Int32 // hclog.Level of what goes to standard error
	memory     hclog.SinkAdapter
	relaying   *relay.Keeper
	ownLog     *logs.OwnLog
	shutdown   *shutdown
	supervisor atomic.Pointer[supervisor.Supervisor] // nil: the daemon is being started
	admin      *admin.Keeper
	control    *control.Server // set before admin runs
}

func (d *daemon) run(ctx context.Context) error {
	d.tty = findControllingTTY(d.Stdin, d.Stdout.Out, d.Stderr.Out)
	signals := d.signals()
	defer signals.stop()
	inherited, err := listener.SystemdSockets()
	if err != nil {
		return err
	}
	if err := d.openLogger(); err != nil {
		return err
	}
	stopTimeout, err := d.Config.Daemon.StopLimit(d.pid())
	if err != nil {
		return &api.Error{Exit: api.ExitConfig, Message: err.Error(), Hint: "set daemon.stop_timeout"}
	}
	d.shutdown = newShutdown(ctx, d.Config.Daemon.Linger, d.abandon)
	ended, end := context.WithCancel(context.WithoutCancel(ctx))
	var stopSignals sync.WaitGroup
	stopSignals.Go(func() { d.handleStopSignals(ended, signals) })
	defer d.shutdown.end()
	defer stopSignals.Wait()
	defer end()
	d.logRecord()
	d.warnOfSecrets()
	socketPath := d.socketPath()
	if err := d.checkDirectories(socketPath); err != nil {
		return err
	}
	d.relieve(ctx, socketPath)
	if err := d.refuseSecondDaemon(ctx, socketPath); err != nil {
		return err
	}
	socket, err := d.listen(socketPath)
	if err != nil {
		return err
	}
	defer socket.Close()
	if d.admin, err = d.openAdmin(socketPath); err != nil {
		return err
	}
	d.prepareCgroups()
	output := &sharedOutput{screen: d.Stdout}
	var relayDir *listener.PrivateDir
	if d.relaying, relayDir, err = d.startRelay(socketPath); err != nil {
		return err
	}
	stateLock := d.Supervision.lockFile(supervisor.StateLockName, supervisor.StateLockName)
	left := d.planRestoration()
	options := supervisor.Options{
		Pid: d.pid(), StateLock: stateLock, Store: d.Supervision.store(), Record: d.Supervision.record(),
		Logger: d.logger, OwnLog: d.ownLog, Version: d.Version,
		Output: output, Color: d.Stdout.Color, Unicode: d.Stdout.Terminal, JSON: d.outputJSON, Journaled: stdoutIsJournal(),
		Name:       strings.TrimSuffix(filepath.Base(socketPath), ".sock"),
		RuntimeDir: filepath.Dir(socketPath), StateDir: d.stateDir(socketPath),
		Load: d.Load, Alone: d.App != "", Inherited: inherited, Handoff: left, StopTimeout: stopTimeout,
		TakeOver: d.TakeOver && left == nil, Reconfigure: d.reconfigure,
		Processes: func() map[string]int {
			pids := map[string]int{"admin": d.admin.Pid(), "relay": d.relaying.Pid()}
			maps.DeleteFunc(pids, func(_ string, pid int) bool { return pid == 0 })
			return pids
		},
	}
	defer os.Remove(relayDir.Path) // it is empty by then
	defer d.relaying.Close()
	options.Relay, options.RelayDir, options.Restored = d.relaying, relayDir, d.relaying.Renew
	sup, err := supervisor.New(d.Config, options)
	if err != nil {
		return err
	}
	d.supervisor.Store(sup)
	d.shutdown.setSupervisor(sup)
	if d.Supervision != nil {
		d.Supervision.adopted()
	}
	if d.PidFile != "" {
		if err := writePidFile(d.PidFile, d.pid()); err != nil {
			return err
		}
		defer func() { removePidFile(d.PidFile, d.pid()) }()
	}
	return d.serve(ctx, sup, socket, signals, output)
}

// hasView reports whether the daemon shows on its terminal what happens, instead of the lines
// of the log that only inform.
func (d *daemon) hasView() bool {
	return d.Stdout.Terminal && hclog.Level(d.level.Load()) == hclog.Info
}

// warnOfSecrets logs a warning for each app of another user that inherits a secret of
// this process. The former supervisor has logged it.
func (d *daemon) warnOfSecrets() {
	if d.restores() {
		return
	}
	for _, app := range d.Config.Apps {
		if names := app.InheritedSecrets(os.Environ()); len(names) > 0 {
			d.logger.Warn("app inherits secrets", "app", app.Name, "user", app.User, "variables", names,
				"hint", "env_clear = true keeps them from it; env_pass names those that it is to have")
		}
	}
}

// prepareCgroups removes what former supervisors have left, and keeps an app from taking every process that
// the service may have.
func (d *daemon) prepareCgroups() {
	if d.Supervision == nil {
		return // the cgroup may be that of other programs, too
	}
	process.RemoveFormerCgroups()
	if err := process.EnablePidsLimits(); err != nil {
		d.logger.Warn("pids of apps not limited", "error", err, "hint", "an app that takes every process that the service may have keeps the others from starting one")
	}
}

// listen opens the control socket, or goes on with that of the former supervisor.
func (d *daemon) listen(path string) (*control.Socket, error) {
	open := d.Supervision.controlSocket()
	defer open.Close() // Listen takes a duplicate
	socket, err := control.Listen(control.SocketOptions{
		Path: path, Inherited: open, Listens: d.Supervision.keepControl, Group: d.Config.Daemon.SocketGroup, Mode: d.Config.Daemon.SocketMode,
		Name: cmp.Or(d.App, "this configuration"),
		Lock: d.Supervision.lockFile(controlLockName, control.LockPath(path)), Locked: d.Supervision.keepLock,
	})
	if err != nil {
		return nil, err
	}
	if w := socket.Warning(); w != nil {
		d.logger.Warn("socket_group cannot use the control socket", "error", w.Message, "hint", w.Hint)
	}
	return socket, nil
}

// serve runs the supervisor and what speaks to it, and returns when all of that
// has ended.
func (d *daemon) serve(ctx context.Context, sup *supervisor.Supervisor, socket *control.Socket,
	signals signalQueue, output *sharedOutput) (err error) {
	var helpers sync.WaitGroup
	defer helpers.Wait()
	ended, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	systemd := newNotifier(d, sup)
	helpers.Go(func() { systemd.run(ended) })
	renewals := newCoalescer()
	helpers.Go(func() {
		renewals.serve(ended, func() { systemd.reloading(func() { d.applyAndReload(ended, sup, "renew") }) })
	})
	d.control = control.NewServer(socket, backend{sup, systemd, d, renewals}, d.logger)
	helpers.Go(func() { d.admin.Run(ended) })
	helpers.Go(func() {
		if err := d.control.Serve(ended); err != nil {
			d.logger.Error("control socket failed", "error", err)
		}
	})
	helpers.Go(func() { d.handleSignals(ended, sup, signals, systemd) })
	if d.hasView() {
		lines := logs.NewWriter(daemonLines{output})
		defer lines.Close() // an error could not be printed
		view := newStartupView(d, lines)
		if !d.restores() { // else nothing has started
			d.logger.SetLevel(hclog.Warn) // the startup view says the rest
			helpers.Go(func() {
				view.show(ended, sup)
				if d.shutdown.announced.Err() == nil {
					d.logger.SetLevel(hclog.Level(d.level.Load()))
				}
			})
		}
		defer context.AfterFunc(d.shutdown.announced, func() { view.printStopping(sup) })()
		defer func() { view.printStopped(sup.ShutdownCounts(), err) }()
	}
	helpers.Go(func() { // exit_when
		select {
		case <-sup.Leaving():
			d.shutdown.leave()
		case <-ended.Done():
		}
	})
	defer context.AfterFunc(d.shutdown.hurried, func() { sup.Shutdown(true) })()
	defer context.AfterFunc(d.shutdown.announced, func() {
		if d.shutdown.requested.Err() == nil {
			d.logger.Info("shutdown announced", "linger_s", d.Config.Daemon.Linger.Seconds())
		}
	})()
	if d.Supervision != nil {
		if err := d.Supervision.up(); err != nil {
			return err
		}
		helpers.Go(debug.FreeOSMemory) // what the start has used; requests may wait for it to go on
		helpers.Go(func() { d.endWithoutMonitor(d.Supervision.client.Ended(), ended) })
	}
	d.logger.Info("control socket opened", "socket", socket.Path())
	return sup.Run(d.shutdown.requested)
}

// refuseSecondDaemon fails when another daemon in the same directory has an app
// of the same name: its code would be started twice.
func (d *daemon) refuseSecondDaemon(ctx context.Context, socket string) error {
	if d.restores() {
		return nil // its former supervisor was that daemon
	}
	daemons, err := control.Locator{Dirs: []string{filepath.Dir(socket)}}.Daemons(ctx)
	if err != nil {
		return nil // there is none; control.Listen refuses one on the same path
	}
	for _, other := range daemons {
		same := slices.DeleteFunc(other.Apps(), func(name string) bool { _, has := d.Config.App(name); return !has })
		if len(same) > 0 {
			return d.errSecond(same, other)
		}
	}
	return nil
}

// errSecond is the error when another daemon has the same apps.
func (d *daemon) errSecond(same []string, other control.Daemon) error {
	hint := "new settings: tideover apply; new code: tideover reload all; its end: tideover -S " + other.Socket() + " shutdown\n" +
		"a second one beside it: give its apps other names, or run it with --socket PATH in another directory"
	if d.App != "" {
		hint = "new code: tideover reload " + d.App + "; its end: tideover -S " + other.Socket() + " shutdown\n" +
			"a second one beside it: tideover run --name ANOTHER -- COMMAND"
	}
	return &api.Error{Exit: api.ExitBusy, Message: fmt.Sprintf("a daemon for %s already runs, pid %d", strings.Join(same, ", "), other.Status.Pid), Hint: hint}
}

// backend is what the control socket needs of the supervisor.
type backend struct {
	*supervisor.Supervisor
	systemd  *notifier
	daemon   *daemon
	renewals coalescer
}

func (b backend) Status(selectors ...string) (api.Status, error) {
	status, err := b.Supervisor.Status(selectors...)
	if status.MonitorEnded = b.daemon.Supervision.ended(); status.MonitorEnded {
		status.Pid = os.Getpid()
	}
	return status, err
}

func (b backend) Renew(by api.Caller) {
	b.daemon.logger.Info("renewal requested", "by", by.String())
	b.renewals.add()
}

func (b backend) Shutdown(fast bool) { b.daemon.shutdown.begin(fast) }

// Upgrade returns only when it has failed. It is a reload to systemd.
func (b backend) Upgrade(r api.UpgradeRequest) (err error) {
	b.systemd.reloading(func() { err = b.daemon.upgrade(b.Supervisor, r) })
	return err
}

func (b backend) Hold(ctx context.Context, app string, r api.HoldRequest) (control.Hold, error) {
	return b.Supervisor.Hold(ctx, app, r)
}

// Apply is a reload to systemd unless it only looks.
func (b backend) Apply(ctx context.Context, r api.ApplyRequest, progress func(api.Phase)) (result api.ApplyResult) {
	if r.DryRun {
		return b.Supervisor.Apply(ctx, r, progress)
	}
	b.systemd.reloading(func() { result = b.Supervisor.Apply(ctx, r, progress) })
	return result
}
