package main

import (
	"context"
	"math"
	"time"

	"tideover/scripts/load"
	"tideover/scripts/testenv"
)

const (
	look      = 200 * time.Millisecond
	plainLook = 2 * time.Second        // where lines cannot be rewritten
	calm      = 700 * time.Millisecond // of load after an act; half of it before
	patience  = 15 * time.Second
)

// meter counts what becomes of requests during one act.
type meter struct {
	stage  *stage
	house  *house
	ours   bool
	begun  time.Time
	before load.Tally
	window *load.Window
	tide   []int // requests waiting for their answer, at every look
	recent int   // how many of them are shown

	heldBefore, heldNow int // the daemon's counter
}

func (st *stage) newMeter(ctx context.Context, h *house) (*meter, error) {
	if err := st.play(h); err != nil {
		return nil, err
	}
	m := &meter{stage: st, house: h, ours: h == &st.ours, begun: time.Now(), before: h.load.Tally(), window: h.load.Open(), recent: math.MaxInt}
	err := m.askUntilTold(ctx)
	m.heldBefore = m.heldNow
	return m, err
}

// ask asks the daemon how many requests it has held since it began.
func (m *meter) ask(ctx context.Context) error {
	if !m.ours {
		return nil
	}
	status, err := m.stage.daemon.Status(ctx)
	if err == nil {
		m.heldNow = status.Counters["held"]
	}
	return err
}

// askUntilTold asks again where the machine was too busy for an answer.
func (m *meter) askUntilTold(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return testenv.Poll(ctx, look, func() error { return m.ask(ctx) })
}

// sample looks at the load and returns what the live line says.
func (m *meter) sample() reading {
	now := m.house.load.Tally()
	m.tide = append(m.tide, now.InFlight)
	return reading{
		answered: now.Right - m.before.Right, lost: now.Lost() - m.before.Lost(), held: heldText(m.ours, m.held()),
		tide: m.tide[max(0, len(m.tide)-m.recent):], took: time.Since(m.begun),
	}
}

func (m *meter) held() int { return m.heldNow - m.heldBefore }

// watch lets an act happen and shows meanwhile how requests fare, until those
// that had to wait have their answers.
func (st *stage) watch(ctx context.Context, s screen, a act) (row, []string, error) {
	m, err := st.newMeter(ctx, a.house)
	if err != nil {
		return row{}, nil, err
	}
	line := s.live()
	defer line.close()
	var notes []string
	acting := func(ctx context.Context) error {
		if err := pause(ctx, calm/2); err != nil {
			return err
		}
		var err error
		notes, err = a.do(ctx)
		return err
	}
	if err := m.during(ctx, line, acting); err != nil {
		return row{}, notes, err
	}
	if err := m.during(ctx, line, m.calmAgain); err != nil {
		return row{}, notes, err
	}
	if err := m.askUntilTold(ctx); err != nil {
		return row{}, notes, err
	}
	line.finish(m.sample())
	tally := m.window.Close()
	return row{name: a.name, ours: m.ours, requests: tally.Ended, held: m.held(),
		longest: tally.Longest, lost: tally.Lost(), ways: tally.Ways(), examples: tally.Examples}, notes, nil
}

// during shows the live line until do returns.
func (m *meter) during(ctx context.Context, line *liveLine, do func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- do(ctx) }() // what waits for it is the loop below
	ticker := time.NewTicker(look)
	defer ticker.Stop()
	for {
		select {
		case err := <-done:
			return err
		case <-ticker.C:
			_ = m.ask(ctx) // a busy machine may take its time; the line then shows what was known
			line.draw(m.sample())
		}
	}
}

// calmAgain waits until nobody waits at the gate, and no more requests are
// out than on a quiet day.
func (m *meter) calmAgain(ctx context.Context) error {
	if err := pause(ctx, calm); err != nil {
		return err
	}
	limit := time.Now().Add(patience)
	for m.house.load.Tally().InFlight > rate/5 && time.Now().Before(limit) {
		if err := pause(ctx, look); err != nil {
			return err
		}
	}
	return nil
}

// watchUntil shows the live line of ours until ctx ends.
func (st *stage) watchUntil(ctx context.Context, s screen) {
	m, err := st.newMeter(ctx, &st.ours)
	if err != nil {
		return
	}
	m.recent = tideWidth // it has no end
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
