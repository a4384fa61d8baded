package supervisor

import (
	"testing"
	"time"
)

func TestAnAppThatLeaksAtOnceIsRecycledLessAndLessOften(t *testing.T) {
	var p recyclePace
	now := time.Unix(0, 0)
	var gaps []time.Duration
	for last := now; len(gaps) < 12; now = now.Add(time.Second) { // it is always above the limit
		if _, ok := p.request(now, time.Minute); ok {
			gaps = append(gaps, now.Sub(last))
			last = now
		}
	}
	want := time.Minute
	for i, gap := range gaps[1:] {
		if gap != want {
			t.Errorf("recycle %d came after %v, want %v", i+2, gap, want)
		}
		want = min(2*want, maxRecyclePause)
	}
}

func TestAnAppThatLeaksSlowlyIsRecycledAtOnce(t *testing.T) {
	var p recyclePace
	now := time.Unix(0, 0)
	for range 3 { // a leak at once, then a slow one
		p.request(now, time.Minute)
		now = now.Add(70 * time.Second)
	}
	for range 5 {
		now = now.Add(5 * time.Minute)
		if wait, ok := p.request(now, time.Minute); !ok || p.pause != time.Minute {
			t.Errorf("it waits %v, the pause is %v", wait, p.pause)
		}
	}
	if wait, ok := p.request(now.Add(20*time.Second), time.Minute); ok || wait != 40*time.Second {
		t.Errorf("within the pause: %v, %v", wait, ok)
	}
}
