package move

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"syscall"
	"time"

	"tideover/supervisor/api"
	"tideover/supervisor/config"
	"tideover/supervisor/control"
	"tideover/supervisor/supervisordconf"
)

const (
	// undoTimeout bounds what an undo does for one app.
	undoTimeout = 10 * time.Minute
	// retryInterval is the pause of gunicorn between two tries to bind an address that is in use.
	retryInterval = time.Second
	// retryMargin is how long before the next try the address is given up.
	retryMargin = 10 * time.Millisecond
	// busyInterval is the time between two looks at what the old command has written.
	busyInterval = 10 * time.Millisecond
	// busyTimeout is how long the old command may take until it finds its address in use.
	busyTimeout = 20 * time.Second
	// keptTime is how long connections that a front-end keeps to tideover have for their last
	// response, which closes them: a shutdown answers them 503.
	keptTime = 2 * time.Second
	// runTimeout is how long supervisord may take until it says RUNNING.
	runTimeout = 2 * time.Minute
)

// Back gives the processes that There has taken back to supervisord, and ends tideover. What There
// had not taken when it was killed stays as it is. After the end of ctx no other app is begun with.
func Back(ctx context.Context, o Options) error {
	m := &mover{Options: o}
	if err := m.compareBack(ctx); err != nil {
		return fmt.Errorf("%w; nothing was changed", err)
	}
	for _, u := range m.plan.moving() {
		m.say("  %s -> %s", u.cfg.Name, strings.Join(u.names(), ", "))
	}
	if o.DryRun {
		return nil
	}
	began := time.Now()
	whole := func(ctx context.Context, u *unit) error { return m.restore(context.WithoutCancel(ctx), u) }
	if err := m.each(ctx, m.plan.moving(), whole); err != nil {
		return fmt.Errorf("%w\n%s", err, goesOn)
	}
	wait(ctx, keptTime)
	if err := m.daemon.Shutdown(ctx, false); err != nil {
		return err
	}
	o.files().RemoveFile(o.movedFile())
	if o.Systemd {
		setDropIn(false)
		m.disableSupervisord("enable")
		m.systemctl("disable", service)
	}
	m.sum(began)
	return nil
}

// compareBack finds the processes that were moved and the daemon that has them.
func (m *mover) compareBack(ctx context.Context) error {
	list, err := m.files().ReadFile(m.movedFile())
	if err != nil {
		return fmt.Errorf("%w: no move has begun with this configuration", err)
	}
	programs, server, err := supervisordconf.Programs(m.Supervisord, supervisordconf.Options{Environ: m.Environ})
	if err != nil {
		return err
	}
	m.supervisord = newSupervisord(server)
	m.daemon = &daemon{Client: control.NewClient(m.Socket)}
	if err := m.refuseItself(ctx, server); err != nil {
		return err
	}
	all, err := m.supervisord.processes(ctx)
	if err != nil {
		return err
	}
	moved := strings.Fields(string(list.Text))
	for i := range all {
		if slices.Contains(moved, all[i].name) {
			all[i].state = "RUNNING" // it did
		} else {
			all[i].state = "STOPPED"
		}
	}
	file, err := config.Load(m.Config)
	if err != nil {
		return err
	}
	m.plan = newPlan(programs, all, file, nil)
	if len(m.plan.unmatched) > 0 {
		return fmt.Errorf("no app of %s replaces %s", m.Config, strings.Join(m.plan.unmatched, ", "))
	}
	return m.sameApps(ctx)
}

// refuseItself returns an error unless a supervisord answers at its address. When it has ended,
// tideover answers there, and would be asked to start the programs itself.
func (m *mover) refuseItself(ctx context.Context, server supervisordconf.Server) error {
	pid, err := m.supervisord.pid(ctx)
	if err != nil {
		return fmt.Errorf("%w: start it with its programs stopped (autostart=false)", err)
	}
	status, err := m.daemon.Status(ctx)
	if err == nil && status.Pid == pid {
		return fmt.Errorf("supervisord has ended, and tideover itself answers on %s: take daemon.supervisor_socket and daemon.supervisor_http out of %s, tideover apply, and start supervisord with its programs stopped (autostart=false)",
			server.Address, m.Config)
	}
	return err
}

// goesOn says what became of the apps of which an error says that they are not back.
const goesOn = "tideover goes on with the apps that were not given back: tideover status, tideover move --back"

// giveBack gives one unit back.
func (m *mover) giveBack(ctx context.Context, u *unit) error {
	if !m.web(ctx, u) {
		if err := m.stopApps(ctx, u, true); err != nil {
			return err
		}
		return m.startPrograms(ctx, u)
	}
	if u.cfg.ReloadMode() == config.Replace || u.cfg.Direct() {
		return m.giveBackReplaced(ctx, u)
	}
	return m.giveBackOverlapped(ctx, u)
}

// giveBackReplaced is for an app of which no two copies may run.
func (m *mover) giveBackReplaced(ctx context.Context, u *unit) error {
	began := time.Now()
	if err := m.stopApps(ctx, u, true); err != nil {
		return err
	}
	if err := m.daemon.Unlisten(ctx, u.cfg.Name, false); err != nil {
		return err
	}
	if err := m.startPrograms(ctx, u); err != nil {
		return err
	}
	m.sayLost("%s: only one copy may run, so requests got 503 or were refused for %s", u.cfg.Name, api.FormatDuration(time.Since(began)))
	return nil
}

// giveBackOverlapped starts the old command while the app still answers. It finds its address in
// use; gunicorn tries again after a second, and the address is given up just before.
func (m *mover) giveBackOverlapped(ctx context.Context, u *unit) error {
	addresses := m.addresses(ctx, u)
	files := socketFiles(addresses)
	if err := m.daemon.Unlisten(ctx, u.cfg.Name, true); err != nil {
		return err
	}
	ends := map[string]map[string]int{}
	for _, name := range u.names() {
		ends[name] = m.supervisord.logEnds(ctx, name)
		if err := m.supervisord.start(ctx, name, false); err != nil {
			return fmt.Errorf("supervisord does not start %s: %w", name, err)
		}
	}
	if len(files) > 0 {
		m.awaitReplaced(ctx, u, files)
	} else {
		m.awaitBusy(ctx, u, ends)
	}
	given := time.Now()
	if err := m.daemon.Unlisten(ctx, u.cfg.Name, false); err != nil {
		return err
	}
	gap, err := m.awaitListening(ctx, addresses, given)
	if err != nil {
		return err
	}
	if err := m.startPrograms(ctx, u); err != nil {
		return err
	}
	if gap == 0 {
		m.say("%s: a process listened on its address at any time, no request was lost", u.cfg.Name)
		return nil
	}
	m.sayLost("%s: no process listened for %s; requests in that time were refused", u.cfg.Name, api.FormatDuration(gap))
	return nil
}

// addresses are the public addresses of the unit's app.
func (m *mover) addresses(ctx context.Context, u *unit) []string {
	status, err := m.daemon.Status(ctx, u.cfg.Name)
	if err != nil || len(status.Apps) != 1 {
		return nil
	}
	return status.Apps[0].Listen
}

// socketFiles are the inodes of the unix sockets among the addresses, by path.
func socketFiles(addresses []string) map[string]uint64 {
	files := map[string]uint64{}
	for _, address := range addresses {
		if path, ok := strings.CutPrefix(address, "unix:"); ok {
			files[path] = inode(path)
		}
	}
	return files
}

func inode(path string) uint64 {
	var st syscall.Stat_t
	if syscall.Lstat(path, &st) != nil {
		return 0
	}
	return st.Ino
}

const (
	// busyText is what every version of gunicorn writes before it waits and tries again to bind.
	busyText = "Connection in use"
	// listeningText is what it writes when it has bound, as it can beside another socket with
	// SO_REUSEPORT.
	listeningText = "Listening at"
)

// awaitBusy returns when the address is to be given up: just before gunicorn's next try. It does
// not wait for a program whose output supervisord does not keep, or that has ended.
func (m *mover) awaitBusy(ctx context.Context, u *unit, ends map[string]map[string]int) {
	last := time.Now() // when gunicorn had not written yet
	for until := time.Now().Add(busyTimeout); time.Now().Before(until) && ctx.Err() == nil; {
		asked, waits := time.Now(), false
		for name, streams := range ends {
			if len(streams) == 0 || !m.hasProcess(ctx, name) {
				continue
			}
			waits = true
			for stream, offset := range streams {
				text, err := m.supervisord.logTail(ctx, name, stream, offset)
				switch {
				case err != nil:
				case strings.Contains(text, listeningText):
					return
				case strings.Contains(text, busyText):
					wait(ctx, time.Until(last.Add(retryInterval-retryMargin)))
					return
				}
			}
		}
		if !waits {
			return
		}
		last = asked
		wait(ctx, busyInterval)
	}
}

// awaitReplaced returns when another socket is at each path.
func (m *mover) awaitReplaced(ctx context.Context, u *unit, files map[string]uint64) {
	for until := time.Now().Add(busyTimeout); time.Now().Before(until) && ctx.Err() == nil && !replaced(files); {
		if !slices.ContainsFunc(u.names(), func(name string) bool { return m.hasProcess(ctx, name) }) {
			return
		}
		wait(ctx, pollInterval)
	}
}

// wait returns after d, or when ctx ends.
func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// hasProcess reports whether supervisord has a process of a program.
func (m *mover) hasProcess(ctx context.Context, name string) bool {
	p, err := m.supervisord.process(ctx, name)
	return err == nil && p.runs() && p.pid > 0
}

// replaced reports whether another socket is at each path.
func replaced(files map[string]uint64) bool {
	for path, ino := range files {
		if now := inode(path); now == 0 || now == ino {
			return false
		}
	}
	return true
}

// awaitListening returns how long no process listened on one of the addresses.
func (m *mover) awaitListening(ctx context.Context, addresses []string, given time.Time) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, runTimeout)
	defer cancel()
	var gap time.Duration
	for _, address := range addresses {
		network, at := "tcp", address
		if path, ok := strings.CutPrefix(address, "unix:"); ok {
			network, at = "unix", path
		}
		refused := false
		for {
			conn, err := net.Dial(network, at)
			if err == nil {
				conn.Close()
				break
			}
			refused = true
			if ctx.Err() != nil {
				return 0, fmt.Errorf("no process listens on %s: %w", address, err)
			}
			wait(ctx, time.Millisecond)
		}
		if refused {
			gap = max(gap, time.Since(given))
		}
	}
	return gap, nil
}

// startPrograms starts the unit's processes in supervisord and returns when it says RUNNING.
func (m *mover) startPrograms(ctx context.Context, u *unit) error {
	return eachName(u.names(), func(name string) error {
		err := m.supervisord.start(ctx, name, true)
		for until := time.Now().Add(runTimeout); err == nil; {
			p, fault := m.supervisord.process(ctx, name)
			switch {
			case fault != nil:
				return fault
			case p.state == "RUNNING":
				return nil
			case !p.runs(), time.Now().After(until):
				return fmt.Errorf("supervisord says that %s is %s", name, p.state)
			}
			wait(ctx, pollInterval)
		}
		return fmt.Errorf("supervisord does not start %s: %w", name, err)
	})
}

// undo gives back what was taken over, after an error.
func (m *mover) undo(cause error) error {
	first, _, _ := strings.Cut(cause.Error(), "\n")
	m.say("It did not work: %s\nBack to supervisord.", first)
	ctx, cancel := context.WithTimeout(context.Background(), undoTimeout)
	defer cancel()
	errs := []error{cause}
	for _, u := range m.plan.moving() {
		if err := m.restore(ctx, u); err != nil {
			errs = append(errs, fmt.Errorf("%s is NOT back: %w", u.cfg.Name, err))
		}
	}
	if len(errs) > 1 {
		return fmt.Errorf("%w\n%s", errors.Join(errs...), goesOn)
	}
	m.daemon.leave(m.Systemd)
	m.files().RemoveFile(m.movedFile())
	return cause
}

// restore gives one unit back to supervisord, also one of which only a part was taken over.
func (m *mover) restore(ctx context.Context, u *unit) error {
	running, err := m.supervisord.processes(ctx)
	if err != nil {
		return err
	}
	names := u.names()
	stopped := slices.ContainsFunc(running, func(p processInfo) bool { return slices.Contains(names, p.name) && !p.runs() })
	if !stopped { // it answers as before
		if m.web(ctx, u) {
			return m.daemon.Unlisten(ctx, u.cfg.Name, false)
		}
		return nil
	}
	return m.giveBack(ctx, u)
}
