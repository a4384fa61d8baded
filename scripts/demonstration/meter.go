package main

import (
	"context"
	"math"
	"time"

	"tideover/scripts/loadgen"
	"tideover/scripts/testenv"
)

const (
	sampleInterval = 200 * time.Millisecond
	calm           = 700 * time.Millisecond // of load after a step, and half of it before
	calmTimeout    = 15 * time.Second       // for the requests in flight after a step, and for an answer of the daemon
)

// meter counts the requests of one step.
type meter struct {
	side    *side
	daemon  *testenv.Tideover // nil: not under tideover
	started time.Time
	before  loadgen.Tally
	window  *loadgen.Window
	waiting []int // requests in flight, at every sample
	shown   int   // how many of them are drawn

	heldBefore, heldNow int // the daemon's counter
}

// result is what became of the requests of one step.
type result struct {
	name           string
	ours           bool // under tideover
	requests, lost int
	held           int // where ours
	longest        time.Duration
	ways           string   // the kinds of losses
	examples       []string // of lost requests
}

func (d *demo) newMeter(ctx context.Context, one *side) (*meter, error) {
	if err := d.loadOnly(one); err != nil {
		return nil, err
	}
	m := &meter{side: one, started: time.Now(), before: one.load.Tally(), window: one.load.Open(), shown: math.MaxInt}
	if one == &d.ours {
		m.daemon = d.daemon
	}
	err := m.waitHeld(ctx)
	m.heldBefore = m.heldNow
	return m, err
}

// readHeld reads the counter of held requests.
func (m *meter) readHeld(ctx context.Context) error {
	if m.daemon == nil {
		return nil
	}
	status, err := m.daemon.Status(ctx)
	if err == nil {
		m.heldNow = status.Counters["held"]
	}
	return err
}

// waitHeld is readHeld with more attempts, for a busy machine.
func (m *meter) waitHeld(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, calmTimeout)
	defer cancel()
	return testenv.Poll(ctx, sampleInterval, func() error { return m.readHeld(ctx) })
}

// sample returns the values of the live line.
func (m *meter) sample() reading {
	now := m.side.load.Tally()
	m.waiting = append(m.waiting, now.InFlight)
	return reading{
		answered: now.Right - m.before.Right, lost: now.Lost() - m.before.Lost(), held: m.heldText(),
		waiting: m.waiting[max(0, len(m.waiting)-m.shown):], took: time.Since(m.started),
	}
}

func (m *meter) heldText() string { return heldText(m.daemon != nil, m.heldNow-m.heldBefore) }

// measure runs a step and shows the counts meanwhile, until the requests that had
// to wait are answered.
func (d *demo) measure(ctx context.Context, s screen, st step) (r result, notes []string, err error) {
	m, err := d.newMeter(ctx, st.side)
	if err != nil {
		return r, nil, err
	}
	line := s.live()
	defer line.close()
	err = m.during(ctx, line, func(ctx context.Context) (err error) {
		if err := pause(ctx, calm/2); err != nil {
			return err
		}
		if notes, err = st.do(ctx); err != nil {
			return err
		}
		return m.waitCalm(ctx)
	})
	if err != nil {
		return r, notes, err
	}
	if err := m.waitHeld(ctx); err != nil {
		return r, notes, err
	}
	line.finish(m.sample())
	t := m.window.Close()
	return result{name: st.name, ours: m.daemon != nil, requests: t.Ended, held: m.heldNow - m.heldBefore,
		longest: t.Longest, lost: t.Lost(), ways: t.Ways(), examples: t.Examples}, notes, nil
}

// during shows the live line until do returns.
func (m *meter) during(ctx context.Context, line *liveLine, do func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- do(ctx) }()
	ticker := time.NewTicker(sampleInterval)
	defer ticker.Stop()
	for {
		select {
		case err := <-done:
			return err
		case <-ticker.C:
			_ = m.readHeld(ctx) // without an answer the line shows the last value
			line.draw(m.sample())
		}
	}
}

// waitCalm waits until no more requests are in flight than without a step.
func (m *meter) waitCalm(ctx context.Context) error {
	if err := pause(ctx, calm); err != nil {
		return err
	}
	limit := time.Now().Add(calmTimeout)
	for m.side.load.Tally().InFlight > rate/5 && time.Now().Before(limit) {
		if err := pause(ctx, sampleInterval); err != nil {
			return err
		}
	}
	return nil
}

// meterUntilDone shows the live line of our side until ctx ends.
func (d *demo) meterUntilDone(ctx context.Context, s screen) {
	m, err := d.newMeter(ctx, &d.ours)
	if err != nil {
		return
	}
	m.shown = sparkWidth
	line := s.live()
	defer line.close()
	_ = m.during(ctx, line, func(ctx context.Context) error {
		<-ctx.Done()
		return nil
	})
}

// pause lets the load run on.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
