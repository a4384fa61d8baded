package supervisor

import (
	"strings"
	"testing"
	"time"

	"tideover/supervisor/api"
	"tideover/supervisor/config"
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

// tooLarge has any process above memory.max.
func tooLarge(a *config.App) {
	a.Memory = config.Memory{Max: 1 << 10, Interval: 20 * time.Millisecond, Pause: time.Hour}
}

func TestAnAppAboveItsLimitIsReplacedOnceInAPause(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		program string
		option  appOption
		free    uint64
		verb    api.Verb
	}{
		"room for two":    {"web", func(*config.App) {}, 1 << 40, api.Reload},
		"no room for two": {"web", func(*config.App) {}, 1, api.Restart},
		"plain process":   {"worker", func(a *config.App) { a.Listen, a.Ready.After = nil, 10*time.Millisecond }, 1 << 40, api.Reload},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := prepare(t)
			r.free = func() uint64 { return c.free }
			r.open(c.program, tooLarge, c.option)
			st := r.until("replaced", func(s api.AppStatus) bool { return s.Generation == 2 && s.LastReload != nil })
			if st.LastReload.Verb != c.verb || st.LastReload.Exit != api.ExitOK || !strings.Contains(st.LastReload.Cause, "memory.max is") || st.Restarts != 0 {
				t.Errorf("%+v, %d crashes", st.LastReload, st.Restarts)
			}
			<-time.After(20 * 20 * time.Millisecond) // nothing happens meanwhile
			if st := r.status(); st.Generation != 2 {
				t.Errorf("generation %d within the pause", st.Generation)
			}
		})
	}
}

func TestOneAppOfTheDaemonIsReplacedAtATime(t *testing.T) {
	t.Parallel()
	w := openMultiApp(t, named("one", tooLarge), named("two"))
	w.s.shared.recycler <- struct{}{} // another app is being replaced
	w.untilState("one", api.Running)
	<-time.After(20 * 20 * time.Millisecond) // nothing happens meanwhile
	if st := w.untilState("one", api.Running); st.Generation != 1 {
		t.Errorf("generation %d", st.Generation)
	}
	<-w.s.shared.recycler
	w.until("replaced", func(api.AppStatus) bool {
		st, err := w.s.Status("one")
		return err == nil && st.Apps[0].Generation == 2
	})
}
