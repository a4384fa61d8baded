package relay

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"tideover/proxy/remote"
	"tideover/supervisor/handoff"
)

const (
	// minReplacePause is the time between the first two replacements. It doubles with each one, up to
	// maxReplacePause: a client may send again and again what makes a relay panic.
	minReplacePause = time.Second
	maxReplacePause = time.Minute
	// quietFor is how long no relay has to ask for a replacement until the pause is minReplacePause
	// again.
	quietFor = 10 * time.Minute
)

// A pace says when the next relay may be replaced.
type pace struct {
	last  time.Time // of the last replacement
	pause time.Duration
}

// left is the time until the next replacement.
func (p *pace) left(now time.Time) time.Duration { return max(0, p.last.Add(p.pause).Sub(now)) }

// replaced notes a replacement, or the attempt of one.
func (p *pace) replaced(now time.Time) {
	if now.Sub(p.last) >= quietFor {
		p.pause = 0
	}
	p.last, p.pause = now, min(max(minReplacePause, 2*p.pause), maxReplacePause)
}

// An event is why watch has returned.
type event int

const (
	died     event = iota
	due            // the relay is to be replaced
	outdated       // Renew was called, the relay is of another program, and none drains
	closed         // by Close
)

// watch waits for the next event of the present relay.
func (k *Keeper) watch(p *relayProcess) event {
	asked := p.Replace()
	var pause <-chan time.Time
	var drained <-chan struct{}
	for {
		select {
		case <-p.Done():
			return died
		case <-k.ended:
			return closed
		case <-asked:
			asked, pause = nil, time.After(k.replacements.left(time.Now()))
		case <-pause:
			return due
		case <-k.renewal:
			if p.record.Program != handoff.OwnExecutable() {
				drained = k.drained()
			}
		case <-drained:
			return outdated
		}
	}
}

// Renew replaces the relay of a former supervisor if that is of another program than this process. Everything
// that the relay is to have must have been set before.
func (k *Keeper) Renew() {
	select {
	case k.renewal <- struct{}{}:
	default: // it waits already
	}
}

// replace starts a relay that takes the place of p. It returns the present relay, which is p after an
// error.
func (k *Keeper) replace(p *relayProcess, why string) *relayProcess {
	k.replacements.replaced(time.Now())
	k.endDraining()
	next, err := k.start(p)
	if err != nil {
		k.options.Logger.Error("relay start failed", "error", err, "retry_s", k.replacements.left(time.Now()).Seconds())
		return p
	}
	k.options.Logger.Warn("relay replaced", "pid", next.process.Pid(), "former", p.process.Pid(), "hint", why)
	return next
}

// drained returns a channel that is closed when no relay drains.
func (k *Keeper) drained() <-chan struct{} {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.draining == nil {
		none := make(chan struct{})
		close(none)
		return none
	}
	k.options.Logger.Info("relay replacement waits", "pid", k.draining.process.Pid(),
		"hint", "it has connections, and one relay drains at a time, so that an upgrade cuts nothing")
	return k.draining.counted
}

// retire has a relay accept nothing more, and finish what it has. It still gets every change. k.turnover
// must be held for writing.
func (k *Keeper) retire(p *relayProcess) {
	p.retired = true
	for number := range k.desired.doors {
		p.Shut(context.Background(), number)
	}
	apps := slices.Collect(maps.Keys(k.desired.sets))
	k.running.Go(func() { k.drain(p, apps) })
}

// drain gives the connections of a relay to the present one, each when it is idle, and waits until it has
// none left, or is to end, and ends it.
func (k *Keeper) drain(p *relayProcess, apps []remote.AppID) {
	var handing sync.WaitGroup
	for _, app := range apps {
		handing.Go(func() { k.handOn(p, app) })
	}
	handing.Wait()
	p.Retire(p.draining)
	p.hurry()
	cause := p.Err()
	p.end(k.options.Store)
	lost := k.bookLost(p)
	if cause != nil || lost > 0 {
		k.options.Logger.Warn("replaced relay ended", "pid", p.process.Pid(), "outcome", p.process.Outcome().String(), "error", cause, "lost", lost)
	}
}

// handOn gives the connections of an app to the present relay, until there are none or p is to end.
func (k *Keeper) handOn(p *relayProcess, app remote.AppID) {
	for {
		all, err := p.Yield(p.draining, app)
		if err != nil || len(all) == 0 {
			return
		}
		next, err := k.await(p.draining)
		if err != nil {
			for _, c := range all {
				unix.Close(c.FD)
			}
			return
		}
		_ = next.Admit(p.draining, remote.Admission{App: app, Connections: all}) // an error: they were idle, and are closed
	}
}

// endDraining ends the relay that drains, if any, and returns when no process of it is left. Its requests
// have endTimeout to finish.
func (k *Keeper) endDraining() {
	k.mu.Lock()
	p := k.draining
	k.mu.Unlock()
	if p != nil {
		p.hurry()
		<-p.counted
	}
}

// awaitAll waits until something has come true in each relay: also in one that has become the present
// one meanwhile.
func (k *Keeper) awaitAll(ctx context.Context, a remote.Await) error {
	for {
		all, changed := k.relays()
		for _, p := range all {
			if err := p.Await(ctx, a); err != nil {
				return err
			}
		}
		select {
		case <-changed:
		default:
			return nil
		}
	}
}

// awaitAny waits until something has come true in a relay, or one has ended, or become the present one.
func (k *Keeper) awaitAny(ctx context.Context, a remote.Await) error {
	all, changed := k.relays()
	if len(all) == 0 {
		return nil
	}
	each, cancel := context.WithCancel(ctx)
	answers := make(chan error, len(all))
	for _, p := range all {
		go func() { answers <- p.Await(each, a) }()
	}
	var err error
	left := len(all)
	select {
	case err = <-answers:
		left--
	case <-changed:
	}
	cancel()
	for range left {
		<-answers
	}
	return err
}
