package supervisor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"

	"tideover/listener"
	"tideover/proxy/connlimit"
	"tideover/proxy/remote"
	"tideover/proxy/spool"
	"tideover/supervisor/api"
	"tideover/supervisor/config"
	"tideover/supervisor/filewatch"
	"tideover/supervisor/generation"
	"tideover/supervisor/gunicorn"
	"tideover/supervisor/handoff"
	"tideover/supervisor/history"
	"tideover/supervisor/logs"
	"tideover/supervisor/process"
	"tideover/supervisor/safepath"
	"tideover/supervisor/state"
)

// Options are what the daemon needs beside the configuration.
type Options struct {
	Logger     hclog.Logger
	Version    string
	Pid        int       // of tideover; 0: that of this process
	Output     io.Writer // the children's output, prefixed; nil: nowhere
	Color      bool
	Unicode    bool         // its prefixes are drawn, not typed
	JSON       bool         // each line is a JSON object, for containers
	OwnLog     *logs.OwnLog // the daemon's own last lines, fed by Logger; nil: not kept
	Name       string       // of the records: "control", or the app's for `run --`
	RuntimeDir string       // private sockets; made, 0700
	// RelayDir has the private sockets where Relay is another process. It was prepared.
	RelayDir *listener.PrivateDir
	StateDir string // records; made, 0700
	// Inherited are the sockets a service manager has passed, by name (see the
	// function of that name): "systemd:NAME" as a public address. They stay the
	// caller's, and must stay open until Run has returned.
	Inherited map[string][]*os.File
	// Handoff is what the former supervisor has left; nil: there was none.
	Handoff *handoff.State
	// Store and Record keep what a later supervisor takes over after the death of this one; nil: none
	// comes. Descriptors are names of further ones in the Store.
	Store handoff.Store
	// StateLock is what the former supervisor has kept as StateLockName; nil: nothing. It belongs to New.
	StateLock   *os.File
	Record      *handoff.Journal
	Descriptors []string
	// Restored is called when the relay has everything of a supervisor that has died. It may be nil.
	Restored func()
	// Journal is the socket of the systemd journal; empty: where it is on every
	// system. Journaled says that Output ends up there as well, so that an app
	// with log.journal does not need it.
	Journal   string
	Journaled bool
	// Alone says that the app is the command of `run -- COMMAND`: when it cannot
	// be started at all, the first time, the daemon ends.
	Alone bool
	// TakeOver says that another supervisor still runs the apps: no public socket is opened
	// and no app is started until a client asks for it with Listen and Do.
	TakeOver bool
	// Relay relays; nil: this process does.
	Relay remote.Relay
	// System has the processes of the apps; nil: this machine.
	System generation.System
	// Relink changes the symlink of a release; nil: safepath.Relink.
	Relink func(path, from, to string) error
	// Load reads the configuration anew before every reload; nil: it cannot
	// change.
	Load func() (*config.File, error)
	// Reconfigure prepares what a configuration that is being applied changes outside of the apps.
	// An error means that nothing is changed. nil: nothing.
	Reconfigure func(*config.File) (DaemonChange, error)
	// StopTimeout bounds the whole shutdown, from Announce on; 0: only the timeouts of the apps
	// do.
	StopTimeout time.Duration
	// Processes returns the daemon's other processes, pids by role, for metrics; nil: there is none.
	Processes func() map[string]int
	// FreeMemory returns the available memory of this machine in bytes, 0: unknown;
	// nil: it is read from /proc/meminfo.
	FreeMemory func() uint64
}

// DaemonChange is a change of what is outside of the apps, prepared. Exactly one of its functions is
// called.
type DaemonChange struct{ Commit, Discard func() }

// relayTimeout bounds the wait for the end of the relay, and for the disk of its spool.
const relayTimeout = time.Second

// Supervisor runs every app of a configuration.
type Supervisor struct {
	options  Options
	began    time.Time
	shared   shared
	registry *registry
	reading  chan struct{} // capacity 1: Apply and Upgrade take turns to read the configuration
	reports  *gunicorn.Cache
	usage    usage
	removals removals
	turns    *turns

	journaling sync.Mutex                        // held by journalDaemon
	applying   atomic.Pointer[handoff.Operation] // nil: no configuration is being applied
	applies    applies
	unapplied  *interruptedApply               // of a supervisor that has died; nil: there is none
	upgrade    atomic.Pointer[handoff.Upgrade] // the last one; nil: none

	announced context.Context // ends when the daemon is to end: readiness says no
	announce  func()
	leaving   context.Context // ends when the apps are to stop
	leave     func()
	shutdown  atomic.Pointer[ShutdownCounts] // once Run has returned
	stopAt    atomic.Pointer[time.Time]      // when the shutdown has to be over; nil: not bounded, or not announced
	hurry     context.Context                // ended: every drain and grace period ends at once
	rush      func()                         // ends hurry
}

// StateLockName is the name of the lock file of the state in Options.Store.
const StateLockName = "lock/state"

// New opens every public socket. Only the daemon's user may be able to change o.RuntimeDir and
// o.StateDir. When it returns an error, nothing is open and
// nothing was started.
func New(f *config.File, o Options) (_ *Supervisor, err error) {
	if err := os.MkdirAll(o.RuntimeDir, 0o700); err != nil {
		return nil, api.Errorf(api.ExitError, "cannot make the runtime directory: %v", err)
	}
	store, damaged, err := state.Open(o.StateDir, o.Name, o.StateLock, o.Logger)
	if err != nil {
		return nil, err
	}
	if o.Store != nil { // no other daemon takes the lock while there is no supervisor
		if err := o.Store.Put(context.Background(), StateLockName, store.Lock()); err != nil {
			o.Logger.Warn("cannot keep a descriptor", "name", StateLockName, "error", err)
		}
	}
	if damaged != nil {
		o.Logger.Error("state file damaged", "error", damaged, "hint", "it was renamed to *.damaged; stopped apps start again")
	}
	records := history.Open(history.Options{Path: filepath.Join(o.StateDir, o.Name+".history"), Logger: o.Logger})
	s := &Supervisor{options: o, began: time.Now(), reading: make(chan struct{}, 1), reports: gunicorn.NewCache(o.Handoff.GunicornReports()), turns: newTurns()}
	s.reading <- struct{}{} // until the apps run, which what is applied waits for
	relay := o.Relay
	if relay == nil {
		relay = remote.NewLocal(remote.LocalOptions{Logger: o.Logger, Limiter: newLimiter(f, o.Logger),
			Spool: spool.New(spool.Options{Dir: f.Daemon.SpoolDir, Limit: f.Daemon.Spool, Logger: o.Logger})})
	}
	announced, announce := context.WithCancel(context.Background())
	s.announced, s.announce = announced, func() {
		ctx, cancel := context.WithTimeout(context.Background(), relayTimeout)
		defer cancel()
		relay.Announce(ctx) // before this is logged, and `status --check` says it
		announce()
	}
	leaving, leave := context.WithCancel(context.Background())
	s.leaving, s.leave = leaving, func() { s.Announce(); leave() }
	s.hurry, s.rush = context.WithCancel(context.Background())
	listeners := newListeners(o.Inherited, o.Handoff)
	launcher := generation.NewLauncher(generation.Options{Logger: o.Logger, RuntimeDir: o.RuntimeDir, RelayDir: o.RelayDir, State: store, Gunicorns: s.reports, Relay: relay,
		Hurry: s.hurry, Resolve: listeners.resolve, Store: o.Store, System: o.System})
	s.shared = shared{
		logger: o.Logger, hurry: s.hurry, launcher: launcher, state: store, history: records, listeners: listeners,
		source:      &settingsSource{load: o.Load, launcher: launcher, logger: o.Logger},
		watcher:     filewatch.New(o.Logger, s.reloadTouched),
		failedAfter: f.Daemon.FailedAfter,
		recycler:    make(chan struct{}, 1),
		exit:        newExitWatcher(f.Daemon.ExitWhen, o.Alone, s.leave, s.leaving),
		relink:      o.Relink, logOptions: o.logs, freeMemory: o.FreeMemory,
		announced: announced.Done(),
		relay:     relay, doors: &atomic.Uint64{},
		journal: o.Record, store: o.Store, configurations: newConfigurations(o.Record, o.Logger),
	}
	s.shared.doors.Store(lastDoor(o.Handoff))
	if o.Load == nil { // the command line does not change, but gunicorn's configuration file may
		s.shared.source.load = func() (*config.File, error) { return f, nil }
	}
	s.shared.source.inForce.Store(f)
	if s.shared.freeMemory == nil {
		s.shared.freeMemory = process.MemoryAvailable
	}
	if s.shared.relink == nil {
		s.shared.relink = safepath.Relink
	}
	s.registry = newRegistry(s.shared)
	if o.Handoff != nil {
		daemon := &o.Handoff.Record.Daemon
		s.registry.restored = maps.Clone(o.Handoff.Apps)
		s.registry.made.Store(uint64(lastApp(o.Handoff)))
		s.began = daemon.Began
		s.upgrade.Store(daemon.Upgrade)
	}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if o.Handoff != nil {
		s.addRestored(f, o.Handoff.Restoration)
	} else if err := s.addApps(eachApp(f)); err != nil {
		return nil, err
	}
	s.restore(o.Handoff)
	if o.Handoff != nil {
		s.restoreApply(o.Handoff.Restoration)
	}
	s.journalDaemon()
	for _, name := range listeners.unused() {
		o.Logger.Warn("inherited socket unused", "fd_name", name, "hint", "an app accepts its connections with listen = \""+systemdPrefix+name+"\"")
	}
	return s, nil
}

// newLimiter returns the bound for client connections. Go's runtime has raised RLIMIT_NOFILE to the
// hard limit, for this process alone.
func newLimiter(f *config.File, logger hclog.Logger) *connlimit.Limiter {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		limit.Cur = 0
	}
	return connlimit.New(connlimit.Options{Max: f.Daemon.MaxConns, Descriptors: int(min(limit.Cur, 1<<30)), Apps: len(eachApp(f)), Logger: logger})
}

// RelaySettings are what a configuration says of the whole relay.
func RelaySettings(f *config.File) remote.Settings {
	return remote.Settings{SpoolDir: f.Daemon.SpoolDir, SpoolLimit: f.Daemon.Spool, MaxConnections: f.Daemon.MaxConns, Apps: len(eachApp(f))}
}

// addApps makes the apps and opens their public sockets. Clients of an address that the
// configuration or the command names wait in the listen queue while gunicorn is queried.
func (s *Supervisor) addApps(apps []*config.App) error {
	var entries []*entry
	for i, cfg := range apps {
		if err := s.shared.source.checkLog(cfg); err != nil {
			return err
		}
		e := s.registry.add(cfg)
		entries = append(entries, e)
		if cfg.QueryGunicorn {
			continue
		}
		cfg, err := s.openFirst(e, cfg)
		if err != nil {
			return err
		}
		apps[i] = cfg
	}
	prepared, errs := s.shared.source.prepareAll(apps)
	for i, err := range errs {
		if err != nil {
			return ofApp(apps[i].Name, err)
		}
	}
	for i, cfg := range prepared {
		if apps[i].QueryGunicorn {
			var err error
			if cfg, err = s.openFirst(entries[i], cfg); err != nil {
				return err
			}
		}
		entries[i].app.settings = cfg // its goroutine does not run yet
		entries[i].app.publish()
	}
	return nil
}

// openFirst opens the public sockets of an app at the start of the daemon, unless a client is to
// open them. The settings that it returns name the passed sockets of `run -- COMMAND`.
func (s *Supervisor) openFirst(e *entry, cfg *config.App) (*config.App, error) {
	if s.options.TakeOver {
		return cfg, nil
	}
	if s.options.Alone {
		var err error
		if cfg, err = s.shared.listeners.assignPassed(cfg); err != nil {
			return nil, err
		}
	}
	return cfg, s.registry.openListeners(e, cfg)
}

// ofApp is an error with the name of the app in front.
func ofApp(name string, err error) error {
	e := &api.Error{Exit: api.ExitError, Message: err.Error(), Cause: err}
	var known *api.Error
	if errors.As(err, &known) {
		*e = *known
	}
	e.Message = "app " + name + ": " + e.Message
	return e
}

// logOpened logs the public addresses of an app, and that the command of `run -- COMMAND` is not
// known to listen on the socket that it gets.
func (s *Supervisor) logOpened(cfg *config.App) {
	if !cfg.Listens() {
		return
	}
	s.options.Logger.Info("public socket opened", "app", cfg.Name, "listen", s.shared.listeners.describe(cfg.Listen), "from", cfg.ListenFrom)
	if s.options.Alone && !cfg.TakesSocket() && cfg.Web() {
		s.options.Logger.Warn("command not known", "app", cfg.Name, "command", generation.ProgramOf(cfg), "listen", cfg.Listen,
			"hint", "it must listen on the socket that it inherits (LISTEN_FDS), or be told where by {fd}, {socket} or {port} in the command")
	}
}

// Run ends what a daemon that died has left, starts the apps and keeps them until
// Shutdown. It returns when no process of any app exists, every request has ended
// and every socket is closed. The error says why the daemon exits by itself:
// exit_when, or Alone.
func (s *Supervisor) Run(ctx context.Context) error {
	defer s.close()
	reaping, stopReaping := context.WithCancel(context.Background())
	var background sync.WaitGroup
	defer background.Wait()
	defer stopReaping()
	background.Go(func() {
		if err := process.Reap(reaping); err != nil {
			s.options.Logger.Warn("cannot become a subreaper", "error", err)
		}
	})
	s.endStale()
	return s.keep(ctx)
}

// keep is Run without what it has to do with processes that nothing knows any more.
func (s *Supervisor) keep(ctx context.Context) error {
	var background sync.WaitGroup
	defer background.Wait()
	background.Go(func() { s.shared.watcher.Run(s.leaving) })
	if ctx.Err() != nil { // before an app is started
		s.leave()
	}
	stop := context.AfterFunc(ctx, s.leave)
	defer stop()
	began := "started"
	if left := s.options.Handoff; left != nil {
		began = s.concludeUpgrade()
		if left.Record.Daemon.Leaving {
			s.leave()
		}
	}
	s.recordDaemon(began)
	s.registry.changing.Lock()
	entries := s.registry.all()
	for _, e := range entries {
		if s.options.Handoff == nil && !s.options.TakeOver {
			s.logOpened(e.settings())
		}
		if s.leaving.Err() != nil && e.app.relay != nil {
			e.closePassed() // the next daemon accepts
		}
		if s.unapplied.takesDown(e.app) != "" {
			s.startGoing(e)
			continue
		}
		dependencies := e.dependencies(entries)
		if s.options.TakeOver || s.leaving.Err() != nil {
			dependencies = []<-chan struct{}{make(chan struct{})} // an operation starts it, or nothing does
		}
		s.registry.start(e, dependencies)
	}
	s.registry.changing.Unlock()
	if s.unapplied == nil { // else resumeApply has reading
		<-s.reading
	}
	var unknown sync.WaitGroup
	gone := s.dropUnknown(&unknown)
	unknown.Go(func() {
		s.resumeApply()
		for _, key := range gone {
			_ = s.options.Record.SetApp(key, nil) // it is committed with what changes next
		}
	})
	if s.options.Handoff != nil && s.options.Restored != nil {
		s.options.Restored()
	}

	<-s.leaving.Done()
	s.journalDaemon()
	s.removals.close()
	unknown.Wait()
	s.options.Logger.Info("shutdown started")
	s.recordDaemon("stopping")
	count := s.countShutdown()
	s.limitStop()
	s.registry.changing.Lock()
	defer s.registry.changing.Unlock()
	s.registry.shutDown()
	s.registry.running.Wait()
	counts := count()
	s.shutdown.Store(&counts)
	s.options.Logger.Info("shutdown finished", "lost", counts.Lost, "refused", counts.Refused)
	return s.shared.exit.err()
}

// endStale kills the process trees of a daemon that died, so that no app runs twice.
func (s *Supervisor) endStale() {
	store := s.shared.state
	unrecorded, err := process.FindTrees(store.TreePrefix(), store.IsKnown)
	if err != nil {
		s.options.Logger.Warn("cannot look for leftover processes", "error", err)
	}
	var ends sync.WaitGroup
	for _, tree := range append(store.StaleTrees(), unrecorded...) {
		ends.Go(func() {
			report, err := process.EndStale(s.hurry, tree)
			if err != nil || !report.Empty() {
				s.options.Logger.Error("cannot kill leftover processes", "process", tree.Name, "pids", report.Left, "error", err)
				return
			}
			if report.Found == 0 {
				return // they have ended, as at a boot of the machine
			}
			s.options.Logger.Warn("leftover processes stopped", "process", tree.Name, "pid", tree.Pid, "killed", report.Killed)
		})
	}
	ends.Wait()
	if err := store.ForgetStale(); err != nil {
		s.options.Logger.Warn("cannot save state", "record", "leftover processes", "error", err)
	}
}

func (s *Supervisor) close() {
	for _, e := range s.registry.all() {
		e.close()
	}
	s.shared.listeners.close()
	s.leave()
	s.rush()
	s.shared.source.close()
	ending, cancel := context.WithTimeout(context.Background(), relayTimeout)
	defer cancel()
	s.shared.relay.End(ending)
	if err := s.shared.history.Close(); err != nil {
		s.options.Logger.Warn("cannot write the history", "error", err)
	}
	s.shared.state.Close()
}

// Identity names this tideover: a supervisor that takes the place of this one has the same name, any other has another.
func (s *Supervisor) Identity() string { return strconv.FormatInt(s.began.UnixNano(), 36) }

// pid is that of tideover.
func (s *Supervisor) pid() int { return cmp.Or(s.options.Pid, os.Getpid()) }

// Shutdown begins the shutdown: drain, stop all. It does not wait; Run returns when
// all is stopped. With fast, every drain and grace period ends at once: what still
// runs is killed.
func (s *Supervisor) Shutdown(fast bool) {
	if fast {
		s.rush()
	}
	s.leave()
}

// Do carries out a reload, restart, start or stop of one app and returns the
// result. progress gets the phases as they happen, from the caller's goroutine.
// When ctx ends, Do stops waiting and the operation goes on.
func (s *Supervisor) Do(ctx context.Context, r api.Request, progress func(api.Phase)) api.Result {
	a, err := s.registry.app(r.App)
	if err != nil {
		return api.Result{App: r.App, Verb: r.Verb, Result: "failed", Exit: err.Exit, Error: err.Message, Hint: err.Hint,
			Phases: []api.PhaseResult{}, ChildOutput: []string{}}
	}
	r.App = a.name
	t := newTicket(r)
	if r.Revision != "" {
		if err := api.CheckRevision(r.Revision); err != nil {
			return t.refused(api.ExitUsage, fmt.Sprintf("%q cannot be a revision: %v", r.Revision, err))
		}
	}
	if r.DryRun {
		return a.planReload(r)
	}
	about := []any{"app", a.name, "verb", r.Verb, "by", r.By.String()}
	if len(r.Command) > 0 {
		about = append(about, "command", strings.Join(r.Command, " "))
	}
	if r.ID != "" {
		joined := false
		if !a.do(ctx, func() { joined = a.rejoin(t) }) {
			return t.refused(api.ExitNotRunning, "tideover is shutting down")
		}
		if joined {
			return t.await(ctx, progress)
		}
	}
	if r.Known {
		unknown := t.refused(api.ExitError, "tideover has ended on this host before the "+string(r.Verb)+" had begun")
		unknown.Result = api.Unknown
		return unknown
	}
	s.options.Logger.Info("operation requested", about...)
	if s.takesTurns(r) {
		if r.NoWait { // it is carried out although the caller leaves, and the turn lasts until then
			ctx = s.leaving
		}
		end, refused := s.awaitTurn(ctx, t, progress)
		if refused != nil {
			return *refused
		}
		defer end()
	}
	if !a.do(ctx, func() { a.queue.add(t) }) {
		return t.refused(api.ExitNotRunning, "tideover is shutting down")
	}
	return t.await(ctx, progress)
}

// reloadTouched reloads an app after one of its watched files was touched. The
// result is in the log.
func (s *Supervisor) reloadTouched(app, file string) {
	s.Do(s.leaving, api.Request{Verb: api.Reload, App: app, By: api.Caller{Via: "touch of " + file}}, func(api.Phase) {})
}

// Signal sends a signal to the main process of the generation that serves, or
// else of the one that is starting.
func (s *Supervisor) Signal(name string, sig syscall.Signal) error {
	a, err := s.registry.app(name)
	if err != nil {
		return err
	}
	seen := a.snapshot.Load()
	g := seen.current
	if g == nil {
		g = seen.spawned
	}
	if g == nil {
		return api.Errorf(api.ExitNotRunning, "%s is not running", a.name)
	}
	if err := g.Process.Signal(sig); err != nil {
		return api.Errorf(api.ExitNotRunning, "cannot signal %s (pid %d): %v", a.name, g.Process.Pid(), err)
	}
	return nil
}

// Apps returns the names of all apps, in the order of the configuration.
func (s *Supervisor) Apps() []string { return s.registry.names() }

// Reopen reopens the log files, after they were renamed. It takes a few seconds at most.
func (s *Supervisor) Reopen() error {
	entries := s.registry.all()
	failed := make([]error, len(entries))
	var opens sync.WaitGroup
	for i, e := range entries {
		opens.Go(func() {
			err := e.app.log.Reopen()
			if own := e.app.access.own.Load(); own != nil {
				err = cmp.Or(err, own.Reopen())
			}
			if err != nil {
				failed[i] = api.Errorf(api.ExitError, "cannot reopen the log of %s: %v", e.app.name, err)
			}
		})
	}
	opens.Wait()
	return cmp.Or(failed...)
}

// StartupComplete reports whether every app that is to run has been ready once, or
// has failed. An app counts as failed, too, when a dependency of it has failed: it
// would wait for ever.
func (s *Supervisor) StartupComplete() bool {
	waits, failed := false, false
	for _, e := range s.registry.all() {
		switch seen := e.app.snapshot.Load(); {
		case seen.tried:
			failed = failed || seen.current == nil && (seen.failed || seen.desired == desiredUp)
		case seen.waits:
			waits = true
		default:
			return false
		}
	}
	return !waits || failed
}

// CheckAlive returns when every event loop that accepts has shown that it runs. The error is
// that of ctx, with the app and the address. One call at a time.
func (s *Supervisor) CheckAlive(ctx context.Context) error {
	if err := s.shared.relay.Turn(ctx); err != nil {
		return api.Errorf(api.ExitError, "%v", err)
	}
	return nil
}

// Announce says that the daemon is to end: from here on health checks and
// `status --check` say no, so that no front-end sends new clients. Requests are served as
// before until Shutdown.
func (s *Supervisor) Announce() {
	if limit := s.options.StopTimeout; limit > 0 {
		at := time.Now().Add(limit)
		s.stopAt.CompareAndSwap(nil, &at)
	}
	s.announce()
}

// stopBy is when the shutdown has to be over.
func (s *Supervisor) stopBy() (at time.Time, limited bool) {
	if at := s.stopAt.Load(); at != nil {
		return *at, true
	}
	return time.Time{}, false
}

// ShutdownCounts is what the shutdown meant for clients, once Run has returned.
func (s *Supervisor) ShutdownCounts() ShutdownCounts {
	if counts := s.shutdown.Load(); counts != nil {
		return *counts
	}
	return ShutdownCounts{}
}

// ShuttingDown is closed when the shutdown was announced.
func (s *Supervisor) ShuttingDown() <-chan struct{} { return s.announced.Done() }

// Leaving is closed when the apps are to stop.
func (s *Supervisor) Leaving() <-chan struct{} { return s.leaving.Done() }

// logs returns the destinations of an app's output.
func (o Options) logs(cfg *config.App) logs.Options {
	l := logs.Options{
		App: cfg.Name, RingBytes: int(cfg.Log.Buffer), Writer: o.Output, Color: o.Color, Unicode: o.Unicode, JSON: o.JSON,
		File: logFile(cfg), Spools: o.Store != nil,
	}
	if cfg.Log.Journal {
		l.Journal = cmp.Or(o.Journal, logs.JournalSocket)
	}
	if !cfg.Log.Stdout || cfg.Log.Journal && o.Journaled {
		l.Writer = nil
	}
	return l
}
