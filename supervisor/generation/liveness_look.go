package generation

import (
	"cmp"
	"context"
	"errors"
	"net"
	"time"

	"tideover/proxy/remote"
	"tideover/supervisor/process"
)

// idleShare is the part of one CPU below which a tree counts as using none: a gunicorn whose workers
// are stuck still wakes up once a second, and uvicorn ten times.
const idleShare = 0.01

// livenessLook is what a LivenessWatch sees of a generation. One goroutine uses it.
type livenessLook struct {
	*Generation
	holder process.Descriptor // of the listening socket, as it was found last; zero: not found yet

	before   process.Activity // at the look before
	lookedAt time.Time        // zero: there was none since the last response
}

func newLivenessLook(g *Generation) *livenessLook { return &livenessLook{Generation: g} }

func (l *livenessLook) awaitAsked(ctx context.Context) {
	_ = l.Target.await(ctx, remote.Asked)
}

func (l *livenessLook) heard() bool {
	heard := l.Target.relay.Heard(l.Target.id)
	if heard {
		l.lookedAt = time.Time{}
	}
	return heard
}

func (l *livenessLook) probe(ctx context.Context, path string) probeOutcome {
	_, err := l.Generation.probe.request(ctx, cmp.Or(path, l.Generation.probe.path))
	var stranger *strangerError
	var none *noAnswerError
	errors.As(err, &none)
	switch {
	case errors.Is(err, remote.ErrEnded): // it was not found out
		return probeAccepted
	case errors.Is(err, errNotListening), errors.As(err, &stranger), none != nil && none.failure == remote.ProbeRefused:
		return probeRefused
	case err != nil && ctx.Err() != nil, none != nil && (none.failure == remote.ProbeTimeout || none.failure == remote.ProbeOther):
		return probeUnanswered
	}
	return probeAccepted
}

// look begins with what costs least. It reads the activity of the whole tree only if nothing else
// shows that the generation may live.
func (l *livenessLook) look() evidence {
	e := evidence{listens: l.listens(), accepted: true, usesCPU: true}
	if !e.listens {
		return e
	}
	if l.child != nil && l.child.present.Load() == nil { // a request tells whether nothing listens, or it could not be found out
		e.accepted = false
		return e
	}
	if !l.Process.MainStopped() {
		if e.accepted = l.hasAccepted(); e.accepted {
			l.lookedAt = time.Time{}
			return e
		}
	}
	now, err := l.Process.Activity()
	if err != nil {
		return e
	}
	e.stopped, e.usesCPU = now.Stopped, l.usesCPU(now)
	l.before, l.lookedAt = now, time.Now()
	return e
}

// usesCPU reports whether the tree has used CPU time since the look before. It is false at the first
// look at a generation of which nothing was heard.
func (l *livenessLook) usesCPU(now process.Activity) bool {
	if l.lookedAt.IsZero() {
		return false
	}
	cpu, same := now.Since(l.before)
	return !same || cpu >= max(2*process.ClockTick, time.Duration(idleShare*float64(time.Since(l.lookedAt))))
}

// listens reports whether a process of the tree has the listening socket. It is true if that cannot
// be found out, and for a socket that the child has opened itself: a connection tells that.
func (l *livenessLook) listens() bool {
	if l.private == nil {
		return true
	}
	if !l.private.Listens() {
		return false
	}
	if l.holder.PID != 0 && l.holder.IsOpen() {
		return true
	}
	found, err := l.Process.Holders([]uint64{l.private.Inode()})
	l.holder = found[l.private.Inode()]
	return err != nil || l.holder.PID != 0
}

// hasAccepted reports whether a connection to the generation is accepted and open, or may be. Where
// none waits in the backlog, those of the requests in flight are.
func (l *livenessLook) hasAccepted() bool {
	if l.private != nil && !l.private.Pending() && l.Target.InFlight() > 0 {
		return true
	}
	network, address := l.listener()
	if address == "" {
		return true
	}
	n, err := process.AcceptedConnections(network, address)
	return err != nil || n > 0
}

// listener returns the address of the listening socket as the kernel lists it; empty: unknown.
func (l *livenessLook) listener() (network, address string) {
	network, address = l.Upstream()
	if l.private != nil {
		return network, address
	}
	open, err := l.Process.Listening()
	if err != nil {
		return network, ""
	}
	for _, o := range open {
		if o.Network == network && (o.Address == l.child.address || network == "tcp" && samePort(o.Address, l.child.address)) {
			return network, o.Address
		}
	}
	return network, ""
}

func samePort(one, other string) bool {
	_, a, err := net.SplitHostPort(one)
	_, b, oerr := net.SplitHostPort(other)
	return err == nil && oerr == nil && a == b
}
