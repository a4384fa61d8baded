package supervisor

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"

	"tideover/listener"
	"tideover/supervisor/config"
	"tideover/supervisor/logs"
	"tideover/supervisor/process"
)

// Shim must be the first statement of main: children are started by the same
// binary, which becomes the child here and does not return.
func Shim() { process.Shim() }

// Options are what the daemon needs beside the configuration.
type Options struct {
	Logger     hclog.Logger
	Version    string
	Output     io.Writer // the children's output, prefixed; nil: nowhere
	Color      bool
	Unicode    bool    // its prefixes are drawn, not typed
	OwnLog     *OwnLog // the daemon's own last lines, fed by Logger; nil: not kept
	Name       string  // of the records: "control", or the app's for `run --`
	RuntimeDir string  // private sockets; made, 0700
	StateDir   string  // records; made, 0700
	// Load reads the configuration anew before every reload; nil: it cannot
	// change.
	Load func() (*config.File, error)
}

// Supervisor runs every app of a configuration.
type Supervisor struct {
	options Options
	house   *house
	apps    []*App
	doors   []*door
	began   time.Time

	leave func()          // begins the shutdown
	left  <-chan struct{} // ready when it has begun
	rush  func()          // ends every patience
}

// door is one public socket of an app.
type door struct {
	app    *App
	public *listener.Public
}

// New opens every public socket and ends what a daemon that died left behind.
// When it returns an error nothing is open and nothing was started.
func New(f *config.File, o Options) (_ *Supervisor, err error) {
	if err := os.MkdirAll(o.RuntimeDir, 0o700); err != nil {
		return nil, errorf(ExitError, "cannot make the runtime directory: %v", err)
	}
	records, damaged, err := openRecords(o.StateDir, o.Name)
	if err != nil {
		return nil, err
	}
	if damaged != nil {
		o.Logger.Error("the records of the last run are damaged and kept aside", "error", damaged)
	}
	leaving, leave := context.WithCancel(context.Background())
	hurry, rush := context.WithCancel(context.Background())
	s := &Supervisor{options: o, began: time.Now(), leave: leave, left: leaving.Done(), rush: rush}
	s.house = &house{logger: o.Logger, runtimeDir: o.RuntimeDir, records: records, free: process.MemoryAvailable, load: o.Load, hurry: hurry, over: make(chan struct{})}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	for _, cfg := range f.Apps {
		if err := s.admit(cfg); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// admit makes one app and opens its doors.
func (s *Supervisor) admit(cfg *config.App) error {
	cfg, err := s.house.check(cfg)
	if err != nil {
		return err
	}
	output := s.options.Output
	if !cfg.Log.Stdout {
		output = nil
	}
	log, err := logs.New(logs.Options{App: cfg.Name, RingBytes: int(cfg.Log.Buffer), Writer: output, Color: s.options.Color, Unicode: s.options.Unicode, File: logFile(cfg)})
	if err != nil {
		return errorf(ExitError, "cannot open the log of %s: %v", cfg.Name, err)
	}
	app := newApp(s.house, cfg, log)
	s.apps = append(s.apps, app)
	for _, address := range cfg.Listen {
		parsed, err := listener.Parse(address)
		if err != nil {
			return errorf(ExitConfig, "app %s: %v", cfg.Name, err)
		}
		public, err := listener.Open(parsed, listener.Options{Mode: cfg.ListenMode})
		if err != nil {
			return errorf(ExitError, "app %s: %v", cfg.Name, err)
		}
		s.doors = append(s.doors, &door{app, public})
	}
	return nil
}

// Run starts the apps and keeps them until Shutdown. It returns when no
// process of any app exists, every request has its ending and every socket is
// closed.
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
	stop := context.AfterFunc(ctx, s.leave)
	defer stop()
	if err := s.endStale(); err != nil {
		return err
	}
	serving, stopServing := context.WithCancel(context.Background())
	var relays sync.WaitGroup
	for _, d := range s.doors {
		relays.Go(func() {
			if err := d.app.server.Serve(serving, d.public.Listener()); err != nil {
				s.options.Logger.Error("cannot accept any more", "app", d.app.name, "error", err)
			}
		})
	}
	s.runApps()
	s.linger()
	stopServing() // the doors close last: until here everybody got an answer
	relays.Wait()
	for _, a := range s.apps {
		if a.server != nil {
			a.server.End()
		}
	}
	return nil
}

// lastAnswer is how long a front-end's idle connections may wait for their last
// answer once nothing is left to drain.
const lastAnswer = time.Second

// linger lets connections in a front-end's pool end with an answer, as far as
// that comes soon.
func (s *Supervisor) linger() {
	soon, cancel := context.WithTimeout(s.house.hurry, lastAnswer)
	defer cancel()
	for _, a := range s.apps {
		if a.server != nil {
			a.server.Linger(soon)
		}
	}
}

func (s *Supervisor) runApps() {
	leaving, cancel := context.WithCancel(context.Background())
	defer cancel()
	var running sync.WaitGroup
	for _, a := range s.apps {
		running.Go(func() { a.run(leaving) })
	}
	<-s.left
	s.options.Logger.Info("shutting down")
	for _, a := range s.apps {
		if a.server != nil {
			a.server.Lame()
		}
	}
	cancel()
	running.Wait()
	close(s.house.over)
}

// endStale ends the trees of a daemon that died, so that there is never a
// second copy of any app.
func (s *Supervisor) endStale() error {
	var ends sync.WaitGroup
	for _, tree := range s.house.records.left() {
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
	if err := s.house.records.forgetTrees(); err != nil {
		s.options.Logger.Warn("cannot write the records", "error", err)
	}
	return nil
}

func (s *Supervisor) close() {
	for _, d := range s.doors {
		d.public.Close()
	}
	for _, a := range s.apps {
		a.log.Close()
	}
	s.house.records.close()
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
func (s *Supervisor) Do(ctx context.Context, r Request, progress func(Phase)) Result {
	a, err := s.app(r.App)
	if err != nil {
		return Result{App: r.App, Verb: r.Verb, Result: "failed", Exit: err.Exit, Error: err.Message, Hint: err.Hint,
			Phases: []PhaseResult{}, ChildOutput: []string{}}
	}
	r.App = a.name
	if r.DryRun {
		return a.plan(r)
	}
	t := newTicket(r)
	s.options.Logger.Info("asked for", "app", a.name, "verb", r.Verb, "by", r.By)
	if !a.do(ctx, func() { a.desk.add(t) }) {
		return refused(t, ExitNotRunning, "tideover is shutting down")
	}
	return t.await(ctx, progress)
}

// Signal sends a signal to the main process of the generation that serves, or
// else of the one that is starting.
func (s *Supervisor) Signal(name string, sig syscall.Signal) error {
	a, err := s.app(name)
	if err != nil {
		return err
	}
	seen := a.seen.Load()
	g := seen.current
	if g == nil {
		g = seen.booting
	}
	if g == nil {
		return errorf(ExitNotRunning, "%s is not running", a.name)
	}
	if err := g.process.Signal(sig); err != nil {
		return errorf(ExitNotRunning, "cannot signal %s (pid %d): %v", a.name, g.process.Pid(), err)
	}
	return nil
}

// Apps returns the names of all apps, in the order of the configuration.
func (s *Supervisor) Apps() []string {
	names := make([]string, len(s.apps))
	for i, a := range s.apps {
		names[i] = a.name
	}
	return names
}

// Reopen reopens the log files, after they were moved away.
func (s *Supervisor) Reopen() error {
	for _, a := range s.apps {
		if err := a.log.Reopen(); err != nil {
			return errorf(ExitError, "cannot reopen the log of %s: %v", a.name, err)
		}
	}
	return nil
}

// app finds an app; the empty name is the only one there is.
func (s *Supervisor) app(name string) (*App, *Error) {
	if name == "" {
		if len(s.apps) == 1 {
			return s.apps[0], nil
		}
		return nil, errorf(ExitNoSuchApp, "which app? there are %d: %s", len(s.apps), strings.Join(s.Apps(), ", "))
	}
	i := slices.IndexFunc(s.apps, func(a *App) bool { return a.name == name })
	if i < 0 {
		return nil, &Error{Exit: ExitNoSuchApp, Message: fmt.Sprintf("there is no app %q", name), Hint: "there is " + strings.Join(s.Apps(), ", ")}
	}
	return s.apps[i], nil
}

// logFile is where the app's output is kept.
func logFile(cfg *config.App) logs.FileOptions {
	return logs.FileOptions{Path: cfg.Log.File, MaxSize: cfg.Log.MaxSize, Every: cfg.Log.Every, MaxAge: cfg.Log.MaxAge,
		Backups: cfg.Log.Backups, Compress: cfg.Log.Compress, Mode: cfg.Log.Mode}
}

// plainPath takes the operation off a path error, which the sentence around it
// names already.
func plainPath(err error) error {
	if p, ok := err.(*os.PathError); ok {
		return p.Err
	}
	return err
}
