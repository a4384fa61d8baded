package supervisor

import (
	"context"
	"strings"

	"tideover/listener"
	"tideover/supervisor/api"
	"tideover/supervisor/process"
)

// Listen opens the public addresses of an app that has none open yet, because another supervisor
// had them (Options.TakeOver), and accepts from then on. With a pid the sockets of that process
// are duplicated; it can go on to accept on its own until it ends. Without one they are bound, as
// soon as they are free: it waits for r.For at most. All of the addresses are opened, or none.
func (s *Supervisor) Listen(ctx context.Context, r api.ListenRequest) error {
	e, fault := s.registry.find(r.App)
	if fault != nil {
		return fault
	}
	ctx, cancel := context.WithTimeout(ctx, r.For)
	defer cancel()
	defer context.AfterFunc(s.leaving, cancel)()
	cfg := e.settings()
	var opened []*publicListener
	err := func() error {
		for _, address := range cfg.Listen {
			sockets, err := s.openElsewhere(ctx, address, socketOptions(cfg), r.Pid)
			if err != nil {
				return api.Errorf(api.ExitError, "app %s: %v", cfg.Name, err)
			}
			opened = append(opened, &publicListener{address: address, sockets: sockets, borrowed: r.Pid > 0})
		}
		return s.adoptListeners(e, opened)
	}()
	if err != nil {
		for _, l := range opened {
			l.leavePath()
			l.close()
		}
		return err
	}
	for _, l := range opened {
		l.awaitArmed()
	}
	how := "bound"
	if r.Pid > 0 {
		how = "duplicated"
	}
	s.options.Logger.Info("public sockets opened", "app", e.app.name, "addresses", cfg.Listen, "sockets", how, "pid", r.Pid)
	return nil
}

// openElsewhere opens an address that another process has.
func (s *Supervisor) openElsewhere(ctx context.Context, address string, o listener.Options, pid int) ([]*listener.Public, error) {
	switch {
	case strings.HasPrefix(address, systemdPrefix):
		sockets, _, err := s.shared.listeners.open(address, o)
		return sockets, err
	case pid > 0:
		tree, err := process.Descendants(pid)
		if err != nil {
			return nil, err
		}
		return s.shared.listeners.duplicate(address, o, tree)
	}
	return s.shared.listeners.openWhenFree(ctx, address, o)
}

// adoptListeners gives an app its public sockets.
func (s *Supervisor) adoptListeners(e *entry, opened []*publicListener) error {
	s.registry.changing.Lock()
	defer s.registry.changing.Unlock()
	if s.leaving.Err() != nil {
		return errShuttingDown
	}
	if current, err := s.registry.find(e.app.name); err != nil || current != e || len(e.listeners) > 0 {
		return api.Errorf(api.ExitError, "%s listens already", e.app.name)
	}
	e.listeners = opened
	for _, l := range opened {
		l.serve(e.app)
	}
	return nil
}

// Unlisten gives the public addresses of an app up, for another supervisor. The app answers what
// was accepted before. Files of unix sockets stay: the next server of the path replaces them.
// With pathOnly unix sockets go on to accept, and only their paths are given up.
func (s *Supervisor) Unlisten(name string, pathOnly bool) error {
	e, fault := s.registry.find(name)
	if fault != nil {
		return fault
	}
	s.registry.changing.Lock()
	defer s.registry.changing.Unlock()
	for _, l := range e.listeners {
		l.leavePath()
	}
	if pathOnly {
		return nil
	}
	e.app.relay.closeAfterNextResponse()
	e.closeListeners(everyListener)
	s.options.Logger.Info("public sockets closed", "app", e.app.name)
	return nil
}
