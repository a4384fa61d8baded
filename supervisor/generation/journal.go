package generation

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"time"

	"tideover/proxy/remote"
	"tideover/supervisor/handoff"
	"tideover/supervisor/logs"
	"tideover/supervisor/process"
)

// A Journal keeps what a later supervisor has to know of the generations of an app. Each method returns
// when that supervisor would know it. They may be called from any goroutine.
type Journal interface {
	// Begin is called before the process is forked.
	Begin(g *handoff.GenerationRecord)
	// Forked is called when it exists.
	Forked(generation int, tree process.Record)
	// Signal is called before the stop signal is sent. What lives at kill gets SIGKILL.
	Signal(generation int, kill time.Time)
	// Gone is called when no process of the generation exists.
	Gone(generation int)
	// HookBegins is called before the process of a hook is forked.
	HookBegins(h handoff.HookRecord)
	// HookEnded is called when no process of the hook exists.
	HookEnded(token string)
}

// noJournal is that of a supervisor after which none comes.
type noJournal struct{}

func (noJournal) Begin(*handoff.GenerationRecord) {}
func (noJournal) Forked(int, process.Record)      {}
func (noJournal) Signal(int, time.Time)           {}
func (noJournal) Gone(int)                        {}
func (noJournal) HookBegins(handoff.HookRecord)   {}
func (noJournal) HookEnded(string)                {}

// keep keeps the descriptors of a generation, and announces its process, for a later supervisor.
func (l *Launcher) keep(log *logs.Log, g *Generation, at upstream, tree process.Record) {
	if l.options.Store == nil {
		return
	}
	r := &handoff.GenerationRecord{Phase: handoff.Starting, Token: tree.Token, Marker: g.marker}
	r.GenerationState = handoff.GenerationState{Number: g.Number, Revision: g.Revision, Dir: g.Dir, Scratch: g.scratchDir, Started: g.Started,
		Network: at.network, Address: cmp.Or(at.socket, at.address), Peer: uint8(at.peer.passing), Single: at.peer.oneRequest, Tree: tree}
	name := func(what string) string { return fmt.Sprintf("%s/%d/%s", g.App.Name, g.Number, what) }
	put := func(name string, f *os.File) {
		if err := l.options.Store.Put(context.Background(), name, f); err != nil {
			l.logger.Warn("cannot keep a descriptor", "name", name, "error", err)
			return
		}
		g.kept = append(g.kept, name)
	}
	if g.private != nil {
		r.SocketName = name("socket")
		put(r.SocketName, g.private.File())
		if path := g.private.PathFile(); path != nil {
			r.PathName = name("path")
			put(r.PathName, path)
		}
	}
	if g.notify != nil {
		if f, err := remote.DuplicateFile(g.notify.conn); err == nil {
			r.NotifyName = name("notify")
			put(r.NotifyName, f)
			f.Close()
		}
	}
	r.Output, r.Spools = map[string]string{}, map[string]string{}
	for _, p := range log.ReadEnds(g.Number) {
		stream := p.Stream.String()
		r.Output[stream] = name(stream)
		put(r.Output[stream], p.File)
		p.File.Close()
		if p.Spool != nil {
			r.Spools[stream] = name(stream + ".spool")
			put(r.Spools[stream], p.Spool)
			p.Spool.Close()
		}
	}
	l.options.Journal.Begin(r)
}

// RecordReady notes what is known of a generation that serves.
func (g *Generation) RecordReady(s *handoff.GenerationState) {
	s.Ready, s.Lenient, s.Status = g.Ready, g.Lenient, g.Status
	if g.Target != nil {
		s.Peer, s.Single = uint8(g.Target.message.Peer), g.Target.message.OneRequest
	}
}

// release drops what keep has kept. A later supervisor has the last lines until they are written.
func (l *Launcher) release(g *Generation) {
	if len(g.kept) > 0 && l.options.Log != nil {
		l.options.Log.AwaitWritten(g.Number)
	}
	l.options.Journal.Gone(g.Number)
	if len(g.kept) > 0 {
		_ = l.options.Store.Drop(context.Background(), g.kept...) // a later supervisor drops what no record names
	}
}
