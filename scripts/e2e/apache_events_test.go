//go:build e2e

package e2e

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"tideover/scripts/loadgen"
	"tideover/scripts/testenv"
)

// variant is one way in which Apache reaches the app, and how often each event
// happens there.
type variant struct {
	name   string
	apache testenv.Apache
	unix   bool
	eventCounts
	closing bool    // no client keeps its connection
	loading float64 // seconds that the app's import takes; 0: of usualRelease
}

type eventCounts struct{ reloads, restarts, kills, broken, mute int }

// variants returns the configurations of Apache. The plain ProxyPass has one row for
// each kind of event, and a restart with an import of three seconds; the others go through each
// event once.
func variants() []variant {
	once := onceEach()
	return []variant{
		{name: "event-reloads", eventCounts: eventCounts{reloads: size(15, 300)}},
		{name: "event-restarts", eventCounts: eventCounts{restarts: size(5, 100)}, loading: 3},
		{name: "event-kills", eventCounts: eventCounts{kills: size(5, 100)}},
		{name: "event-broken", eventCounts: eventCounts{broken: size(2, 20), mute: size(1, 20)}},
		{name: "event-debian-slots", eventCounts: once, apache: testenv.Apache{Slots: 150}, closing: true},
		{name: "prefork", eventCounts: once, apache: testenv.Apache{MPM: "prefork"}},
		{name: "status-I", eventCounts: once, apache: testenv.Apache{Params: "status=-I"}},
		{name: "status-I-prefork", eventCounts: once, apache: testenv.Apache{MPM: "prefork", Params: "status=-I"}},
		{name: "balancer", eventCounts: once, apache: testenv.Apache{Balancer: "forcerecovery=Off failonstatus=503"}},
		{name: "unix", eventCounts: once, unix: true},
		{name: "unix-status-I", eventCounts: once, apache: testenv.Apache{Params: "status=-I"}, unix: true},
	}
}

// onceEach is each event once. Without -full the release that never answers is left to the
// row event-broken: until it is given up the row only waits.
func onceEach() eventCounts {
	return eventCounts{times(1), times(1), times(1), times(1), size(0, 10)}
}

func (v variant) mix() []loadgen.Kind {
	mix := loadgen.Everyday()
	for i := range mix {
		mix[i].Keep = mix[i].Keep && !v.closing
	}
	return mix
}

// The case that tideover was written for: Apache with a plain ProxyPass, an app
// that takes seconds to import, a hundred requests a second, and each kind
// of event: reloads, failed reloads, restarts, kills. Beside it the same Apache
// with supervisord.
func TestApacheLosesNothing(t *testing.T) {
	t.Parallel()
	for _, v := range variants() {
		t.Run(v.name, func(t *testing.T) {
			r := begin(t)
			s := newFixture(r, setup{
				front: apache(v.apache), unix: v.unix,
				flags: loadFlags(), release: v.release(),
			})
			s.startLoad(100, v.mix()...)
			s.runEvents(v.eventCounts)
			s.finish()
			s.shutdown()
			supervisordBehind(r, v)
		})
	}
}

func (v variant) release() testenv.Release {
	release := usualRelease()
	if v.loading > 0 {
		release.Import = v.loading
	}
	return release
}

// runEvents lets everything happen to the app that counts says.
func (s *fixture) runEvents(n eventCounts) {
	s.Helper()
	for range n.reloads {
		s.reload()
	}
	for range n.broken {
		s.failedReload("raise")
	}
	for range n.mute {
		s.failedReload("mute")
	}
	for range n.restarts {
		s.restart()
	}
	if n.kills > 0 {
		s.quickImport()
	}
	for range n.kills {
		s.killMaster()
		// An operation resets the count of restarts in the last minute.
		s.reload()
	}
}

// quickImport makes the app's import short from here on.
func (s *fixture) quickImport() {
	s.Helper()
	release := s.app.Release()
	release.Import = 0.2
	s.must(s.app.Deploy(release))
	s.reload()
}

// supervisordBehind is the control group: one restart by supervisorctl behind
// the same Apache. If no loss is counted here, the test would not see one.
func supervisordBehind(r *row, v variant) {
	r.Helper()
	tally, away := restartBySupervisord(r, v, testenv.Gunicorn{Args: []string{"--preload"}}, 100, time.Duration(size(2, 4))*time.Second)
	r.addNumbers("| supervisord: requests=%d lost=%d away=%.1fs", tally.Ended, tally.Lost(), away.Seconds())
	if tally.Lost() == 0 {
		r.Error("the control group lost nothing: this test would not see a loss")
	}
}

// restartBySupervisord restarts gunicorn under a real supervisord, keeps the
// load up for a while after the app itself answers again, and tells how long
// it was away.
func restartBySupervisord(r *row, v variant, g testenv.Gunicorn, rate int, after time.Duration) (loadgen.Tally, time.Duration) {
	r.Helper()
	shop, err := r.env.NewApp("control", usualRelease())
	r.must(err)
	address, err := testenv.Address()
	r.must(err)
	back, bind := testenv.Backend(address), address
	if v.unix {
		back = testenv.Backend(r.env.Path("control.s"))
		bind = "unix:" + string(back)
	}
	g.Bind = bind
	supervisord, err := r.env.Supervisord(shop, g.Argv(r.env))
	r.must(err)
	direct := &loadgen.Client{Address: string(back), Host: "front.test", Prefix: "d"}
	r.must(waitAnswer(r, direct))
	front, err := r.env.Apache(back, v.apache)
	r.must(err)
	client := &loadgen.Client{Address: front.Address, Host: "front.test", Prefix: "c"}
	r.must(waitAnswer(r, client))
	l := loadgen.Start(loadgen.Plan{Client: client, Rate: rate})
	r.must(testenv.Poll(r.timeout(20*time.Second), 20*time.Millisecond, func() error {
		if l.Tally().Right < 2*rate {
			return fmt.Errorf("waiting for two seconds of load: %v", l.Tally())
		}
		return nil
	}))
	begun := time.Now()
	if _, err := supervisord.Ctl("restart", "shop"); err != nil {
		r.Fatal(err)
	}
	r.must(waitAnswer(r, direct))
	away := time.Since(begun)
	pause(r, after)
	tally := l.Stop()
	r.must(supervisord.Stop(syscall.SIGTERM, 40*time.Second))
	return tally, away
}

// waitAnswer waits for any right answer.
func waitAnswer(r *row, c *loadgen.Client) error { return waitAnswerTo(r, c, loadgen.Kind{}) }

// waitPlainAnswer waits for any complete answer of an app that echoes nothing.
func waitPlainAnswer(r *row, c *loadgen.Client) error {
	return waitAnswerTo(r, c, loadgen.Kind{Plain: true})
}

func waitAnswerTo(r *row, c *loadgen.Client, k loadgen.Kind) error {
	return testenv.Poll(r.timeout(30*time.Second), 50*time.Millisecond, func() error {
		a := c.Do(r.Context(), k)
		if a.Loss != "" {
			return fmt.Errorf("%s: %s", a.Loss, a.Cause)
		}
		return nil
	})
}

// pause lets the load run on for a while: how long is part of what is
// measured.
func pause(r *row, d time.Duration) {
	select {
	case <-time.After(d):
	case <-r.Context().Done():
	}
}

// A1c: without tideover, where Apache honours its error state, requests fail long
// after the app is back.
func TestControlStaysDownForAMinute(t *testing.T) {
	r := begin(t)
	v := variant{apache: testenv.Apache{Params: "status=-I"}}
	tally, away := restartBySupervisord(r, v, testenv.Gunicorn{Args: []string{"--preload"}}, 20, time.Duration(size(12, 32))*time.Second)
	since := tally.Last.Sub(tally.First) - away
	r.addNumbers("%v away=%.1fs last_error_after_return=%.1fs", tally, away.Seconds(), since.Seconds())
	if longest := time.Duration(size(10, 30)) * time.Second; since < longest {
		r.Errorf("no error %v after the app was back: the test does not reproduce the outage", longest)
	}
}
