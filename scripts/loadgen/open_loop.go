package loadgen

import (
	"context"
	"sync"
	"time"
)

// Plan says what to send.
type Plan struct {
	Client *Client
	Rate   int          // requests per second
	Mix    []Kind       // in turn; empty: Everyday
	Each   func(Answer) // called for every request at its end, one at a time; nil: not called
}

// OpenLoop is a running load: its requests start by the clock.
type OpenLoop struct {
	plan     Plan
	stop     context.CancelFunc
	running  sync.WaitGroup // the clock and every request
	mu       sync.Mutex
	all      Tally
	windows  map[*Window]bool
	inFlight int
}

// Start begins to send and returns at once. The caller ends it with Stop.
func Start(p Plan) *OpenLoop {
	if len(p.Mix) == 0 {
		p.Mix = Everyday()
	}
	ctx, cancel := context.WithCancel(context.Background())
	l := &OpenLoop{plan: p, stop: cancel, windows: map[*Window]bool{}}
	l.running.Go(func() { l.clock(ctx) })
	return l
}

// clock starts the requests that are due, also those that a busy machine let
// it miss.
func (l *OpenLoop) clock(ctx context.Context) {
	begun := time.Now()
	ticker := time.NewTicker(max(time.Second/time.Duration(l.plan.Rate), time.Millisecond))
	defer ticker.Stop()
	for sent := 0; ; {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		elapsed := time.Since(begun)
		l.late(elapsed - time.Duration(sent)*time.Second/time.Duration(l.plan.Rate))
		due := int(elapsed.Seconds() * float64(l.plan.Rate))
		for ; sent < due; sent++ {
			l.Send(l.plan.Mix[sent%len(l.plan.Mix)])
		}
	}
}

// late remembers by how much the machine was too busy for the clock.
func (l *OpenLoop) late(by time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all.Late = max(l.all.Late, by)
}

// Send sends one more request, counted with the others, and returns its nonce
// at once. It must not be called after Stop.
func (l *OpenLoop) Send(k Kind) string {
	nonce := l.plan.Client.Nonce()
	l.mu.Lock()
	l.inFlight++
	l.mu.Unlock()
	l.running.Go(func() {
		l.count(l.plan.Client.DoNamed(context.Background(), k, nonce))
	})
	return nonce
}

func (l *OpenLoop) count(a Answer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.inFlight--
	l.all.add(a)
	if l.plan.Each != nil {
		l.plan.Each(a)
	}
	for w := range l.windows {
		w.tally.add(a)
	}
}

// Tally returns the counts until now; the requests still out are in InFlight
// and nowhere else.
func (l *OpenLoop) Tally() Tally {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.all.clone()
	t.InFlight = l.inFlight
	return t
}

// Stop ends the sending, waits for every request and returns the final counts.
func (l *OpenLoop) Stop() Tally {
	l.stop()
	l.running.Wait()
	l.plan.Client.Close()
	return l.Tally()
}

// Window counts the requests that end while it is open: those around one
// event.
type Window struct {
	load  *OpenLoop
	tally Tally
}

// Open opens a window.
func (l *OpenLoop) Open() *Window {
	l.mu.Lock()
	defer l.mu.Unlock()
	w := &Window{load: l}
	l.windows[w] = true
	return w
}

// Close closes the window and returns its counts.
func (w *Window) Close() Tally {
	w.load.mu.Lock()
	defer w.load.mu.Unlock()
	delete(w.load.windows, w)
	return w.tally.clone()
}
