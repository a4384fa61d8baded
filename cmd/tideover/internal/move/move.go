package move

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"tideover/supervisor/api"
	"tideover/supervisor/config"
	"tideover/supervisor/process"
	"tideover/supervisor/safepath"
	"tideover/supervisor/supervisordconf"
)

// Options are what a move is about.
type Options struct {
	Supervisord string   // the file that supervisord runs with
	Config      string   // the tideover.toml, absolute
	Socket      string   // the control socket of the tideover that will run
	NamedSocket bool     // Socket was given; else it is what the daemon takes by itself
	Binary      string   // of tideover
	Log         string   // for the daemon's output where systemd does not start it
	Leave       []string // programs that stay with supervisord
	Jobs        int      // how many apps go over at the same time
	DryRun      bool
	Systemd     bool // tideover.service is started, not a process
	Environ     []string
	Out         io.Writer // one line for each step
}

// mover is one move, there or back.
type mover struct {
	Options
	supervisord *supervisord
	daemon      *daemon
	plan        *plan
	pid         int      // of supervisord
	clients     []string // addresses of tideover that supervisord has now

	mu   sync.Mutex // guards Out and lost
	lost bool       // requests were lost, or may have been
}

func (m *mover) say(format string, args ...any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	fmt.Fprintf(m.Out, format+"\n", args...)
}

// sayLost is say about requests that were lost, or may have been.
func (m *mover) sayLost(format string, args ...any) {
	m.say(format, args...)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lost = true
}

// files opens the files of the move itself: as root none that another user can change.
func (Options) files() safepath.Opener { return safepath.Opener{} }

// movedFile lists the processes that a move takes over, one in a line.
func (o Options) movedFile() string { return o.Config + ".moved" }

// There moves the programs of supervisord to tideover. supervisord goes on, with its programs
// stopped. Nothing is stopped before tideover runs, every app's user, directory and command were
// looked for, and, of an app that may run twice, the new processes answer. An error means that
// supervisord has every program again; of those for which it says otherwise tideover goes on.
func There(ctx context.Context, o Options) error {
	m := &mover{Options: o}
	if err := m.compare(ctx); err != nil {
		return fmt.Errorf("%w; nothing was changed", err)
	}
	for _, u := range m.plan.moving() {
		m.say("  %s", u.describe())
	}
	if o.DryRun {
		return nil
	}
	var err error
	if m.daemon, err = o.startDaemon(ctx); err != nil {
		return fmt.Errorf("%w; nothing was changed", err)
	}
	began := time.Now()
	err = m.writeMoved() // before the first is taken: if this process is killed, Back knows what to look for
	if err == nil {
		err = m.takeAll(ctx)
	}
	if err != nil {
		return m.undo(err)
	}
	m.finish()
	m.sum(began)
	if len(m.clients) > 0 {
		m.say("supervisord still answers supervisorctl, Ansible and the like on %s, and they would start its programs again.\nWhen everything works, end it: kill %d. From then on tideover answers there.", strings.Join(m.clients, " and "), m.pid)
	}
	return nil
}

// clientAddresses are those at which clients of supervisord find tideover.
func clientAddresses(file *config.File) (all []string) {
	for _, address := range []string{file.Daemon.Supervisor.Socket, file.Daemon.Supervisor.HTTP} {
		if address != "" {
			all = append(all, address)
		}
	}
	return all
}

// compare asks supervisord what runs, reads the configuration and finds what would keep the move
// from its end. It changes nothing.
func (m *mover) compare(ctx context.Context) error {
	programs, server, err := supervisordconf.Programs(m.Supervisord, supervisordconf.Options{Environ: m.Environ})
	if err != nil {
		return err
	}
	m.supervisord = newSupervisord(server)
	if m.pid, err = m.supervisord.pid(ctx); err != nil {
		return err
	}
	running, err := m.supervisord.processes(ctx)
	if err != nil {
		return err
	}
	m.say("supervisord is pid %d", m.pid)
	file, err := config.Load(m.Config)
	if err != nil {
		return err
	}
	if problems := file.CannotStart(); len(problems) > 0 {
		return fmt.Errorf("%s: %w", m.Config, config.NewError(problems))
	}
	m.clients = clientAddresses(file)
	m.plan = newPlan(programs, running, file, m.Leave)
	switch {
	case len(m.plan.unmatched) > 0:
		return fmt.Errorf("no app of %s replaces %s, which supervisord runs: an app must be named as import names it, or --leave NAME leaves the program with supervisord",
			m.Config, strings.Join(m.plan.unmatched, ", "))
	case len(m.plan.moving()) == 0:
		return errors.New("supervisord runs no program that an app replaces")
	}
	return m.refuseOther(ctx)
}

// takeAll takes the units over in three steps. What fails in the first two costs no request of an
// app that may run twice: those are stopped there in the third step only.
func (m *mover) takeAll(ctx context.Context) error {
	if err := m.sameApps(ctx); err != nil {
		return err
	}
	var twice, once []*unit
	for _, u := range m.plan.units {
		if len(u.processes) > 0 && u.cfg.ReloadMode() == config.Overlap && !u.cfg.Direct() && m.web(ctx, u) {
			twice = append(twice, u)
		} else {
			once = append(once, u)
		}
	}
	if m.fits(twice) {
		if err := m.each(ctx, twice, m.startApps); err != nil {
			return err
		}
	} else {
		m.say("There is not memory for two copies of every app: they are started one after another, and an error of one brings the former ones back.")
		m.Jobs = 1
	}
	if err := m.each(ctx, once, m.takeOnce); err != nil {
		return err
	}
	return m.each(ctx, twice, m.takeOverlapped)
}

// fits reports whether the machine has memory for another copy of what runs of the units.
func (m *mover) fits(units []*unit) bool {
	var running []int
	for _, u := range units {
		for _, p := range u.processes {
			running = append(running, p.pid)
		}
	}
	need, err := process.MemoryOfTrees(running)
	free := process.MemoryAvailable()
	return err != nil || free == 0 || free > need // it is not known, or enough
}

// sameApps checks that the daemon has exactly the apps of the file.
func (m *mover) sameApps(ctx context.Context) error {
	status, err := m.daemon.Status(ctx)
	if err != nil {
		return err
	}
	var wanted []string
	for _, u := range m.plan.units {
		wanted = append(wanted, u.apps...)
	}
	if has := appNames(status); !slices.Equal(slices.Sorted(slices.Values(has)), slices.Sorted(slices.Values(wanted))) {
		return fmt.Errorf("the tideover on %s has other apps than %s: %s", m.Socket, m.Config, strings.Join(has, ", "))
	}
	return nil
}

// each calls do for the units, Jobs at the same time, and for each after those of them in its
// after. After an error no other one begins. It returns the first error, when all that has begun
// has ended.
func (m *mover) each(ctx context.Context, units []*unit, do func(context.Context, *unit) error) error {
	failed, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	done := map[*unit]chan struct{}{}
	for _, u := range units {
		done[u] = make(chan struct{})
	}
	slots := make(chan struct{}, max(1, m.Jobs))
	var going sync.WaitGroup
	for _, u := range units {
		going.Go(func() {
			defer close(done[u])
			for _, other := range u.after {
				if ended := done[other]; ended != nil {
					<-ended
				}
			}
			slots <- struct{}{}
			defer func() { <-slots }()
			if failed.Err() != nil {
				return
			}
			if err := do(ctx, u); err != nil {
				cancel(fmt.Errorf("%s: %w", u.cfg.Name, err))
			}
		})
	}
	going.Wait()
	return context.Cause(failed)
}

// writeMoved lists the processes that the move takes over.
func (m *mover) writeMoved() error {
	var names strings.Builder
	for _, u := range m.plan.moving() {
		for _, name := range u.names() {
			names.WriteString(name + "\n")
		}
	}
	return m.files().WriteFile(m.movedFile(), []byte(names.String()), 0o640)
}

// finish has the next boot start tideover instead of supervisord.
func (m *mover) finish() {
	if !m.Systemd {
		m.say("There is no tideover.service: let what starts supervisord now start\n  tideover run -c %s", m.Config)
		return
	}
	setDropIn(false)
	m.systemctl("enable", service)
	m.disableSupervisord("disable")
}

// disableSupervisord enables or disables the service of supervisord, under either name.
func (m *mover) disableSupervisord(verb string) {
	for _, name := range []string{"supervisor.service", "supervisord.service"} {
		if exec.Command("systemctl", "cat", name).Run() == nil {
			m.systemctl(verb, name)
		}
	}
}

func (m *mover) systemctl(args ...string) {
	m.say("systemctl %s", strings.Join(args, " "))
	if out, err := exec.Command("systemctl", args...).CombinedOutput(); err != nil {
		m.say("  failed: %v: %s", err, strings.TrimSpace(string(out)))
	}
}

// sum says how the move went.
func (m *mover) sum(began time.Time) {
	count := len(m.plan.moving())
	m.mu.Lock()
	lost := "no request was lost"
	if m.lost {
		lost = "requests were lost, or may have been, as said above"
	}
	m.mu.Unlock()
	m.say("%d of %d apps in %s: %s.", count, count, api.FormatDuration(time.Since(began)), lost)
}
