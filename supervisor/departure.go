package supervisor

import (
	"context"
	"syscall"
	"time"

	"tideover/proxy"
	"tideover/supervisor/process"
)

// departure is a generation on its way out, from the moment it gets nothing
// new until no process of it exists. A goroutine of its own carries it out;
// the app's goroutine waits for done.
type departure struct {
	number  int
	why     why
	target  *proxy.Target // nil: no request was ever let to it
	drained chan struct{} // nothing is in flight any more, or it waited long enough
	done    chan struct{} // no process of it exists

	// Set before done is closed.
	generation *Generation // nil: it never came to be
	inFlight   int         // requests it had when it was told to go
	cut        int         // of those, the ones that were still there when it was stopped
	stop       process.StopReport
	reclaimed  int // connections that no worker had accepted
}

// why a generation goes decides how.
type why int

const (
	replaced  why = iota // a newer one serves, or the operator wants it down: drain, then stop
	crashed              // its main process is gone; what is left may finish, within a bound
	neverRose            // it did not answer: nothing to drain
)

// patience bounds a departure. Its values are those of the app's settings
// unless requests are waiting for it to be over.
type patience struct {
	drain, tunnels, stop time.Duration
}

// usual is the patience with a generation that has been replaced.
func (g *Generation) usual() patience {
	return patience{drain: g.settings.Drain.Timeout, tunnels: g.settings.Drain.Tunnels, stop: g.settings.Stop.Timeout}
}

// hasty is the patience with a generation while clients wait for the next one: what the hold leaves after the time the app needs to come up.
func (g *Generation) hasty() patience {
	boot := g.ready.Sub(g.started)
	left := max(g.settings.Hold.Timeout-boot-5*time.Second, time.Second)
	return patience{drain: min(g.settings.Drain.Timeout, left), stop: g.settings.Stop.Timeout}
}

// stillImporting is the grace of a generation that never answered. INT, because
// gunicorn notes a TERM and goes on importing.
const stillImporting = 2 * time.Second

// departures are the generations on their way out, the oldest first.
type departures []*departure

// gone is ready when the oldest of them is over.
func (d departures) gone() <-chan struct{} {
	if len(d) == 0 {
		return nil
	}
	return d[0].done
}

// depart begins the departure of g. The gate must not point to it any more.
// When hurry ends, whatever is left of it is killed.
func (h *house) depart(hurry context.Context, g *Generation, w why, p patience) *departure {
	d := newDeparture(g.number, w)
	d.generation, d.target = g, g.target
	if g.target != nil {
		d.inFlight = g.target.InFlight()
	}
	go d.carryOut(h, hurry, p)
	return d
}

// giveUp begins the departure of what has not come up, as far as it exists.
func (h *house) giveUp(hurry context.Context, b *boot) *departure {
	b.cancel(errOvertaken)
	d := newDeparture(b.number, neverRose)
	go func() {
		<-b.done
		if d.generation = b.generation; d.generation == nil {
			close(d.drained)
			close(d.done)
			return
		}
		d.carryOut(h, hurry, d.generation.usual())
	}()
	return d
}

func newDeparture(number int, w why) *departure {
	return &departure{number: number, why: w, drained: make(chan struct{}), done: make(chan struct{})}
}

func (d *departure) carryOut(h *house, hurry context.Context, p patience) {
	defer close(d.done)
	d.run(hurry, p)
	g := d.generation
	if err := h.records.RemoveTree(g.settings.Name, g.number); err != nil {
		h.logger.Warn("cannot record that a generation is gone", "app", g.settings.Name, "generation", g.number, "error", err)
	}
}

func (d *departure) run(hurry context.Context, p patience) {
	g := d.generation
	if g.target != nil {
		g.target.Retire() // at once: an idle connection would keep newer gunicorns from stopping
	}
	d.drain(hurry, p)
	close(d.drained)
	d.end(hurry, p)
	d.reclaim(context.WithoutCancel(hurry))
	if g.target != nil {
		g.target.Abandon()
	}
	g.clean()
}

// drain lets the generation finish what it has.
func (d *departure) drain(hurry context.Context, p patience) {
	g := d.generation
	if g.target == nil || d.why == neverRose {
		return
	}
	ctx, cancel := context.WithTimeout(hurry, p.drain)
	defer cancel()
	if d.why == crashed {
		d.reclaim(hurry) // who waits in its backlog need not wait for it
		// Its workers may all be gone; then nobody will finish anything.
		var stop context.CancelFunc
		ctx, stop = context.WithCancel(ctx)
		defer stop()
		emptied := make(chan struct{})
		go func() {
			defer close(emptied)
			if g.process.WaitEmpty(ctx) == nil {
				stop()
			}
		}()
		_ = g.target.Wait(ctx)
		stop()
		<-emptied
		return
	}
	_ = g.target.Wait(ctx)
	if g.target.Tunnels() > 0 {
		tunnels, cancel := context.WithTimeout(hurry, p.tunnels)
		defer cancel()
		_ = g.target.WaitTunnels(tunnels)
	}
	g.target.CloseTunnels()
}

// end stops the processes and makes sure that none is left.
func (d *departure) end(hurry context.Context, p patience) {
	g := d.generation
	if g.target != nil {
		d.cut = g.target.InFlight()
	}
	switch d.why {
	case replaced:
		d.stop = g.stop(hurry, p.stop)
	case neverRose:
		if g.target == nil { // it may be at work all the same
			d.stop = g.stop(hurry, p.stop)
			return
		}
		d.stop = g.process.Stop(hurry, syscall.SIGINT, min(stillImporting, p.stop))
	case crashed:
		d.stop = g.process.Kill(context.WithoutCancel(hurry))
	}
}

// stop asks the main process to end, or all of them, and kills who does not.
func (g *Generation) stop(hurry context.Context, grace time.Duration) process.StopReport {
	if g.settings.Stop.Tree {
		return g.process.StopTree(hurry, g.settings.Stop.Signal, grace)
	}
	return g.process.Stop(hurry, g.settings.Stop.Signal, grace)
}

// reclaim takes back what no worker has accepted: the marker tells the relay
// that the app never saw those requests, so they go to the next generation,
// whatever their method.
func (d *departure) reclaim(ctx context.Context) {
	if d.generation.private == nil || d.generation.target == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	n, _ := d.generation.private.Reclaim(ctx, d.generation.marker) // what it cannot take back, Abandon cuts
	d.reclaimed += n
}
