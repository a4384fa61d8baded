package supervisor

import (
	"net"
	"os"

	"golang.org/x/sys/unix"

	"tideover/listener"
	"tideover/supervisor/config"
	"tideover/supervisor/handoff"
	"tideover/supervisor/process"
)

// takeOver has the apps what the former program of this process has left them.
// It comes before anybody collects children. What cannot be taken over is said,
// and the app begins as after any start.
func (s *Supervisor) takeOver(e *handoff.State) {
	if e == nil {
		return
	}
	for _, m := range s.roster.all() {
		a := m.app
		b := e.Apps[a.name]
		if b == nil {
			continue
		}
		b.Name = a.name
		if err := a.takeOver(b); err != nil {
			a.house.logger.Error("cannot take over what the former tideover has left", "app", a.name, "error", err)
		}
		a.publish()
	}
}

func (a *App) takeOver(b *handoff.AppState) error {
	a.desk.last = b.Last
	a.house.attach(a.name, a.log, b.LogPipes())
	var failed error
	switch {
	case b.Current != nil:
		if a.heir, failed = a.house.takeOver(a.settings, b.Current); failed == nil {
			a.comeback.whole()
			a.gate.Refuse(nil)
			a.house.logger.Info("took over", "app", a.name, "generation", a.heir.number, "pid", a.heir.process.Pid())
		}
	case b.Ended:
		a.comeback.lie(ended, b.Reason, b.Failed)
		a.gate.Refuse(refusal(a.settings, "the app has ended"))
	}
	if a.server == nil {
		return failed
	}
	if a.heir != nil {
		a.gate.Swap(a.heir.target)
	}
	a.server.Continue(b.Counters)
	if err := a.server.Admit(b.Connections); err != nil {
		for _, c := range b.Connections {
			unix.Close(c.FD)
		}
		return err
	}
	return failed
}

// heir is a generation that was taken over, until the app's goroutine has it.
type heir struct {
	*Generation
	hooked bool // its after_ready ran
}

// takeOver makes a generation of what was left of it.
func (h *house) takeOver(cfg *config.App, left *handoff.GenerationState) (_ *heir, err error) {
	g := &Generation{post: post{settings: cfg, number: left.Number, dir: left.Dir}, scratch: left.Scratch, started: left.Started, ready: left.Ready, lenient: left.Lenient}
	defer func() {
		if err != nil {
			g.clean()
		}
	}()
	if cfg.User != "" || cfg.Group != "" {
		if g.user, err = process.ResolveUser(cfg.User, cfg.Group); err != nil {
			return nil, err
		}
	}
	at := place{network: left.Network, address: left.Address}
	if left.Private != nil {
		if g.private, err = listener.InheritPrivate(*left.Private, left.Network, left.Address); err != nil {
			return nil, err
		}
		at.private = g.private
	}
	if g.process, err = process.Adopt(left.Tree, left.Started); err != nil {
		return nil, err
	}
	h.records.Adopt(left.Tree.Token)
	if left.Notify != nil {
		if g.notices, err = inheritNotices(*left.Notify); err != nil {
			return nil, err
		}
		g.notices.begin(g.process, h.logger)
	}
	if cfg.Web() {
		g.aim(at, hostOf(h.inherited.real(cfg.Listen[0])))
	}
	return &heir{g, left.Hooked}, nil
}

// inheritNotices takes up a socket that openNotices has made.
func inheritNotices(fd int) (*notices, error) {
	f := os.NewFile(uintptr(fd), "notices")
	defer f.Close()
	conn, err := net.FilePacketConn(f)
	if err != nil {
		return nil, err
	}
	socket := conn.(*net.UnixConn)
	n := newNotices(socket.LocalAddr().String(), socket)
	close(n.ready)
	return n, nil
}

// succeed puts what was taken over where a generation belongs that serves.
func (a *App) succeed() {
	if a.heir == nil {
		return
	}
	heir := a.heir
	a.heir = nil
	heir.settings = a.settings // with what gunicorn has said meanwhile
	a.current = heir.Generation
	if heir.hooked {
		a.hooks.ready(a.current, byStart, 0)
	}
}
