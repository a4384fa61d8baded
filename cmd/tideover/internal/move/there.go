package move

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"tideover/supervisor/api"
)

const (
	// bindTimeout is how long an address may be in use after the process that had it is gone.
	bindTimeout = 10 * time.Second
	// longStop bounds the time until an old process has ended; supervisord has a timeout of its own.
	longStop = time.Hour
)

// takeOnce takes a unit over of which no two copies run at any time, or that does not run there.
func (m *mover) takeOnce(ctx context.Context, u *unit) error {
	switch {
	case len(u.processes) == 0:
		return m.settleIdle(ctx, u)
	case m.web(ctx, u):
		return m.takeReplaced(ctx, u)
	}
	return m.takePlain(ctx, u)
}

// settleIdle starts an app that is new in the configuration. One whose program was stopped under
// supervisord stays stopped.
func (m *mover) settleIdle(ctx context.Context, u *unit) error {
	if u.known || !u.cfg.Autostart {
		m.say("%s does not run under supervisord, and stays stopped here: tideover start %[1]s", u.cfg.Name)
		return m.stopApps(ctx, u, false)
	}
	if m.web(ctx, u) {
		if err := m.daemon.Listen(ctx, api.ListenRequest{App: u.cfg.Name}); err != nil {
			return err
		}
	}
	return m.startApps(ctx, u)
}

// web reports whether the daemon has addresses for the app: gunicorn can have been asked for them.
func (m *mover) web(ctx context.Context, u *unit) bool {
	status, err := m.daemon.Status(ctx, u.apps[0])
	return err == nil && len(status.Apps) == 1 && len(status.Apps[0].Listen) > 0
}

func (m *mover) takePlain(ctx context.Context, u *unit) error {
	began := time.Now()
	if err := m.stopPrograms(ctx, u); err != nil {
		return err
	}
	stopped := time.Now()
	if err := m.startApps(ctx, u); err != nil {
		return err
	}
	m.say("%s: stopped there in %s, runs here %s later", u.cfg.Name, api.FormatDuration(stopped.Sub(began)), api.FormatDuration(time.Since(stopped)))
	return nil
}

// takeOverlapped starts the app, unless it runs already, while the old processes still answer, and
// then stops them.
func (m *mover) takeOverlapped(ctx context.Context, u *unit) error {
	if err := m.startApps(ctx, u); err != nil {
		return err
	}
	refused := m.duplicate(ctx, u)
	if refused == nil {
		return m.stopDuplicated(ctx, u)
	}
	return m.stopAndBind(ctx, u, refused)
}

// takeReplaced is for an app of which no two copies may run. With a duplicated socket requests are
// held meanwhile.
func (m *mover) takeReplaced(ctx context.Context, u *unit) error {
	refused := m.duplicate(ctx, u)
	if refused != nil {
		if err := m.stopAndBind(ctx, u, refused); err != nil {
			return err
		}
	} else if err := m.stopDuplicated(ctx, u); err != nil {
		return err
	}
	return m.startApps(ctx, u)
}

// duplicate has the daemon duplicate the sockets of one of the unit's processes.
func (m *mover) duplicate(ctx context.Context, u *unit) error {
	var refused error
	for _, p := range u.processes {
		if p.pid == 0 {
			continue
		}
		err := m.daemon.Listen(ctx, api.ListenRequest{App: u.cfg.Name, Pid: p.pid})
		if err == nil {
			return nil
		}
		refused = errors.Join(refused, err)
	}
	if refused == nil {
		refused = errors.New("supervisord has no process of it now")
	}
	return refused
}

// stopDuplicated stops the old processes, whose sockets the daemon has, too.
func (m *mover) stopDuplicated(ctx context.Context, u *unit) error {
	took, err := m.timeStop(ctx, u)
	if err != nil {
		return err
	}
	if took >= u.stopWait {
		m.sayLost("%s: its socket was duplicated; supervisord killed it after its stopwaitsecs of %s, so requests that it had in flight were cut",
			u.cfg.Name, api.FormatDuration(u.stopWait))
		return nil
	}
	m.say("%s: its socket was duplicated, no request was lost; stopped there in %s", u.cfg.Name, api.FormatDuration(took))
	return nil
}

// stopAndBind stops the old processes; meanwhile the daemon tries to bind the addresses.
func (m *mover) stopAndBind(ctx context.Context, u *unit, refused error) error {
	waiting, cancel := context.WithCancel(ctx)
	defer cancel()
	var bound error
	var listening sync.WaitGroup
	began := time.Now()
	listening.Go(func() {
		bound = m.daemon.Listen(waiting, api.ListenRequest{App: u.cfg.Name, For: longStop})
	})
	_, err := m.timeStop(ctx, u)
	defer time.AfterFunc(bindTimeout, cancel).Stop()
	if err != nil {
		cancel()
	}
	listening.Wait()
	if err = errors.Join(err, bound); err != nil {
		return err
	}
	m.sayLost("%s: its socket could not be duplicated (%s), so its address was bound again: requests that no worker had accepted in these %s were refused",
		u.cfg.Name, cause(refused), api.FormatDuration(time.Since(began)))
	return nil
}

// cause shortens an error to its end: the beginning names the app again.
func cause(err error) string {
	text, _, _ := strings.Cut(err.Error(), "\n")
	_, short, ok := strings.Cut(text, "duplicate the listening socket: ")
	if !ok {
		return text
	}
	return short
}

// timeStop stops the unit's processes in supervisord, all at the same time.
func (m *mover) timeStop(ctx context.Context, u *unit) (time.Duration, error) {
	began := time.Now()
	err := m.stopPrograms(ctx, u)
	return time.Since(began), err
}

func (m *mover) stopPrograms(ctx context.Context, u *unit) error {
	return eachName(u.names(), func(name string) error {
		if err := m.supervisord.stop(ctx, name); err != nil {
			return fmt.Errorf("supervisord does not stop %s: %w", name, err)
		}
		return nil
	})
}

// eachName calls f for all names at the same time.
func eachName(names []string, f func(string) error) error {
	errs := make([]error, len(names))
	var going sync.WaitGroup
	for i, name := range names {
		going.Go(func() { errs[i] = f(name) })
	}
	going.Wait()
	return errors.Join(errs...)
}

// startApps starts the unit's apps and returns when they are ready.
func (m *mover) startApps(ctx context.Context, u *unit) error {
	return eachName(u.apps, func(app string) error {
		result, err := m.daemon.Do(ctx, api.Request{Verb: api.Start, App: app}, nil)
		if err != nil {
			return err
		}
		if result.Exit != api.ExitOK {
			return fmt.Errorf("%s\n%s", result.Error, strings.Join(result.ChildOutput, "\n"))
		}
		return nil
	})
}

// stopApps stops the unit's apps. A new start of the daemon starts them again if unrecorded.
func (m *mover) stopApps(ctx context.Context, u *unit, unrecorded bool) error {
	return eachName(u.apps, func(app string) error {
		result, err := m.daemon.Do(ctx, api.Request{Verb: api.Stop, App: app, Unrecorded: unrecorded}, nil)
		if err == nil && result.Exit != api.ExitOK {
			err = errors.New(result.Error)
		}
		return err
	})
}
