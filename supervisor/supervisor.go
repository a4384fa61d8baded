package supervisor

import (
	"context"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"

	"tideover/supervisor/api"
	"tideover/supervisor/config"
	"tideover/supervisor/filewatch"
	"tideover/supervisor/gunicorn"
	"tideover/supervisor/handoff"
	"tideover/supervisor/logs"
	"tideover/supervisor/process"
	"tideover/supervisor/state"
)

// Options are what the daemon needs beside the configuration.
type Options struct {
	Logger     hclog.Logger
	Version    string
	Output     io.Writer // the children's output, prefixed; nil: nowhere
	Color      bool
	Unicode    bool         // its prefixes are drawn, not typed
	OwnLog     *logs.OwnLog // the daemon's own last lines, fed by Logger; nil: not kept
	Name       string       // of the records: "control", or the app's for `run --`
	RuntimeDir string       // private sockets; made, 0700
	StateDir   string       // records; made, 0700
	// Inherited are the sockets a service manager has passed, by name (see the
	// function of that name): "systemd:NAME" as a public address. They stay the
	// caller's, and must stay open until Run has returned.
	Inherited map[string][]*os.File
	// Handoff is what the former program of this process has left; nil: there was
	// none. Its sockets come in the place of Inherited.
	Handoff *handoff.State
	// Journal is the socket of the systemd journal; empty: where it is on every
	// system. Journaled says that Output ends up there as well, so that an app
	// with log.journal does not need it.
	Journal   string
	Journaled bool
	// Alone says that the app is a command somebody has typed: when it cannot
	// be started at all, the first time, the daemon ends.
	Alone bool
	// Load reads the configuration anew before every reload; nil: it cannot
	// change.
	Load func() (*config.File, error)
}

// Supervisor runs every app of a configuration.
type Supervisor struct {
	options Options
	house   *house
	began   time.Time
	roster  *roster
	file    *config.File // as it was applied last; guarded by roster.changing

	leaving context.Context // ends when the shutdown begins
	leave   func()
	rush    func() // ends every patience
}

// New opens every public socket and ends what a daemon that died left behind.
// When it returns an error nothing is open and nothing was started.
func New(f *config.File, o Options) (_ *Supervisor, err error) {
	if err := os.MkdirAll(o.RuntimeDir, 0o700); err != nil {
		return nil, api.Errorf(api.ExitError, "cannot make the runtime directory: %v", err)
	}
	records, damaged, err := state.Open(o.StateDir, o.Name)
	if err != nil {
		return nil, err
	}
	if damaged != nil {
		o.Logger.Error("the records of the last run are damaged and kept aside", "error", damaged)
	}
	leaving, leave := context.WithCancel(context.Background())
	hurry, rush := context.WithCancel(context.Background())
	s := &Supervisor{options: o, began: time.Now(), file: f, leaving: leaving, leave: leave, rush: rush}
	s.house = &house{logger: o.Logger, runtimeDir: o.RuntimeDir, records: records, free: process.MemoryAvailable, load: o.Load, hurry: hurry,
		inherited: newInheritance(o.Inherited, o.Handoff), gunicorns: gunicorn.NewCache(o.Handoff.GunicornReports()), logOptions: o.logs, vigil: newVigil(f.Daemon.ExitWhen, o.Alone, leave, leaving)}
	s.house.watch = filewatch.New(o.Logger, s.touched)
	s.roster = newRoster(s.house)
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	for _, cfg := range each(f) {
		cfg, err := s.house.check(cfg)
		if err != nil {
			return nil, err
		}
		if err := s.roster.admit(cfg); err != nil {
			return nil, err
		}
	}
	s.takeOver(o.Handoff)
	for _, name := range s.house.inherited.unused() {
		o.Logger.Warn("a socket was passed that no app listens on; its clients wait until one does", "name", name, "listen", passed+name)
	}
	return s, nil
}

// Run starts the apps and keeps them until Shutdown. It returns when no
// process of any app exists, every request has its ending and every socket is
// closed. The error says why it has ended by itself: exit_when, or Alone.
func (s *Supervisor) Run(ctx context.Context) error {
	defer s.close()
	reaping, stopReaping := context.WithCancel(context.Background())
	var background sync.WaitGroup
	defer background.Wait()
	defer stopReaping()
	background.Go(func() {
		if err := process.Reap(reaping); err != nil {
			s.options.Logger.Warn("processes that escape from their app will not be found by parentage", "error", err)
		}
	})
	background.Go(func() { s.house.watch.Run(s.leaving) })
	stop := context.AfterFunc(ctx, s.leave)
	defer stop()
	if err := s.endStale(); err != nil {
		return err
	}
	s.roster.changing.Lock()
	members := s.roster.all()
	for _, m := range members {
		s.roster.begin(m, firstOf(m, members))
	}
	s.roster.changing.Unlock()

	<-s.leaving.Done()
	s.options.Logger.Info("shutting down")
	s.roster.changing.Lock()
	defer s.roster.changing.Unlock()
	s.roster.dismiss(s.roster.all(), s.roster.all())
	s.roster.running.Wait()
	return s.house.vigil.verdict()
}

// endStale ends the trees of a daemon that died, so that there is never a
// second copy of any app.
func (s *Supervisor) endStale() error {
	var ends sync.WaitGroup
	for _, tree := range s.house.records.StaleTrees() {
		ends.Go(func() {
			report, err := process.EndStale(s.house.hurry, tree)
			if err != nil || !report.Empty() {
				s.options.Logger.Error("cannot end what the last tideover left", "tree", tree.Name, "pids", report.Left, "error", err)
				return
			}
			s.options.Logger.Warn("ended what the last tideover left", "tree", tree.Name, "pid", tree.Pid, "killed", report.Killed)
		})
	}
	ends.Wait()
	if err := s.house.records.ForgetStale(); err != nil {
		s.options.Logger.Warn("cannot write the records", "error", err)
	}
	return nil
}

func (s *Supervisor) close() {
	for _, m := range s.roster.all() {
		m.close()
	}
	s.house.records.Close()
	s.leave()
	s.rush()
}

// Shutdown begins the end: drain, stop all. Run returns when it is reached.
// With fast, or when called a second time with it, patience ends: whatever
// still runs is killed. It does not wait.
func (s *Supervisor) Shutdown(fast bool) {
	if fast {
		s.rush()
	}
	s.leave()
}

// Do carries out a reload, restart, start or stop of one app and returns how
// it ended. Progress gets the phases as they happen, from this goroutine. When
// ctx ends, Do stops waiting and the operation goes on.
func (s *Supervisor) Do(ctx context.Context, r api.Request, progress func(api.Phase)) api.Result {
	a, err := s.roster.app(r.App)
	if err != nil {
		return api.Result{App: r.App, Verb: r.Verb, Result: "failed", Exit: err.Exit, Error: err.Message, Hint: err.Hint,
			Phases: []api.PhaseResult{}, ChildOutput: []string{}}
	}
	r.App = a.name
	if r.DryRun {
		return a.plan(r)
	}
	t := newTicket(r)
	s.options.Logger.Info("asked for", "app", a.name, "verb", r.Verb, "by", r.By)
	if !a.do(ctx, func() { a.desk.add(t) }) {
		return refused(t, api.ExitNotRunning, "tideover is shutting down")
	}
	return t.await(ctx, progress)
}

// touched reloads an app one of whose files was touched. How it ended stands in
// the log.
func (s *Supervisor) touched(app, file string) {
	s.Do(s.leaving, api.Request{Verb: api.Reload, App: app, By: "touch of " + file}, func(api.Phase) {})
}

// Signal sends a signal to the main process of the generation that serves, or
// else of the one that is starting.
func (s *Supervisor) Signal(name string, sig syscall.Signal) error {
	a, err := s.roster.app(name)
	if err != nil {
		return err
	}
	seen := a.seen.Load()
	g := seen.current
	if g == nil {
		g = seen.booting
	}
	if g == nil {
		return api.Errorf(api.ExitNotRunning, "%s is not running", a.name)
	}
	if err := g.process.Signal(sig); err != nil {
		return api.Errorf(api.ExitNotRunning, "cannot signal %s (pid %d): %v", a.name, g.process.Pid(), err)
	}
	return nil
}

// Apps returns the names of all apps, in the order of the configuration.
func (s *Supervisor) Apps() []string { return s.roster.names() }

// Reopen reopens the log files, after they were moved away.
func (s *Supervisor) Reopen() error {
	for _, m := range s.roster.all() {
		if err := m.app.log.Reopen(); err != nil {
			return api.Errorf(api.ExitError, "cannot reopen the log of %s: %v", m.app.name, err)
		}
	}
	return nil
}
