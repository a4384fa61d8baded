package supervisor

import (
	"context"
	"fmt"
	"time"

	"tideover/supervisor/api"
	"tideover/supervisor/config"
	"tideover/supervisor/generation"
)

// maxRecyclePause bounds the pause between two recycles of an app.
const maxRecyclePause = time.Hour

// recyclePace decides when an app may be recycled again because of its memory. It is pure. Its zero
// value is an app that never was.
//
// There is at least memory.pause between two recycles. If the new generation reaches the limit again
// within twice the pause, it is not worth much: the pause doubles, up to maxRecyclePause.
type recyclePace struct {
	last  time.Time // when the last one was requested; zero: never
	pause time.Duration
}

// request reports whether a recycle may be requested now, and counts it. wait is how long it must
// wait otherwise.
func (p *recyclePace) request(now time.Time, base time.Duration) (wait time.Duration, ok bool) {
	since := now.Sub(p.last)
	switch {
	case p.last.IsZero():
		p.pause = base
	case since < p.pause:
		return p.pause - since, false
	case since < 2*p.pause:
		p.pause = max(base, min(2*p.pause, maxRecyclePause))
	default:
		p.pause = base
	}
	p.last = now
	return 0, true
}

// recycling is the replacement of generations that hold too much memory. The app's goroutine owns
// it.
type recycling struct {
	pace    recyclePace
	under   bool               // a recycle waits or runs
	waiting int                // generation of which the log says that it waits; 0: none
	stop    context.CancelFunc // ends the goroutine of the recycle under way
	ended   chan struct{}      // closed when that goroutine has ended
}

// onMemory is called when the generation that serves holds more memory than memory.max. It is
// recycled: replaced by a new one, as by a reload. One app of the daemon is recycled at a time.
func (a *App) onMemory(memory uint64) {
	g, r := a.current, &a.recycling
	if g == nil || r.under || a.queue.running != nil || a.starting != nil {
		return
	}
	wait, ok := r.pace.request(time.Now(), a.settings.Memory.Pause)
	if !ok {
		if r.waiting != g.Number {
			r.waiting = g.Number
			a.logger.Warn("memory limit reached again", "app", a.name, "generation", g.Number, "memory", mebibytes(memory), "limit", mebibytes(uint64(a.settings.Memory.Max)),
				"next_s", wait.Round(time.Second).Seconds(), "hint", "the generation before reached memory.max shortly before: it is replaced after a pause")
		}
		return
	}
	why := fmt.Sprintf("its processes hold %s, memory.max is %s", mebibytes(memory), mebibytes(uint64(a.settings.Memory.Max)))
	a.logger.Warn("memory limit reached", "app", a.name, "generation", g.Number, "memory", mebibytes(memory), "limit", mebibytes(uint64(a.settings.Memory.Max)),
		"hint", "the generation is replaced")
	a.log.Note(g.Number, "%s: it is replaced", why)
	ctx, stop := context.WithCancel(context.Background())
	r.under, r.stop, r.ended = true, stop, make(chan struct{})
	go a.recycle(ctx, g, why)
}

// recycle replaces a generation when no other app is recycled, unless it was replaced meanwhile.
func (a *App) recycle(ctx context.Context, g *generation.Generation, why string) {
	defer close(a.recycling.ended)
	select {
	case a.recycler <- struct{}{}:
		defer func() { <-a.recycler }()
	case <-ctx.Done():
		return
	}
	var t *ticket
	if !a.do(ctx, func() {
		if a.current == g {
			verb := a.recycleVerb()
			a.logger.Info("operation requested", "app", a.name, "verb", verb, "by", "memory.max")
			t = newTicket(api.Request{Verb: verb, App: a.name, By: api.Caller{Via: "memory.max"}, Cause: why, WaitDrain: true, NoWait: true})
			a.queue.add(t)
		}
	}) {
		return
	}
	if t != nil {
		t.await(ctx, func(api.Phase) {})
	}
	a.do(ctx, func() { a.recycling.under = false })
}

// recycleVerb is reload, or restart where the machine has no room for two generations.
func (a *App) recycleVerb() api.Verb {
	need, err := a.current.Process.Memory()
	free := a.freeMemory()
	if a.settings.ReloadMode() == config.Overlap && err == nil && free > 0 && free < need {
		return api.Restart
	}
	return api.Reload
}

// endRecycle ends what waits for its turn, when the app ends.
func (a *App) endRecycle() {
	if r := &a.recycling; r.stop != nil {
		r.stop()
		<-r.ended
	}
}
