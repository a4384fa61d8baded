//go:build e2e

package e2e

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"tideover/scripts/loadgen"
	"tideover/scripts/testenv"
)

// After shutdown nothing of the app is left, however it behaves.
func TestNothingIsLeft(t *testing.T) {
	t.Parallel()
	for _, fault := range []string{"none", "deaf", "orphan", "deaf+orphan"} {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			for _, how := range []string{"shutdown", "TERM", "QUIT", "stop"} {
				t.Run(how, func(t *testing.T) {
					r := begin(t)
					s := newFixture(r, setup{
						release: testenv.Release{Number: 1, Fault: fault}, flags: flags("--stop-timeout", "2s"),
						gunicorn: testenv.Gunicorn{Workers: 2},
					})
					s.waitWorkers()
					before := len(s.env.AppProcesses())
					if before < 3 {
						t.Fatalf("%d processes of a gunicorn with two workers: this test looks at the wrong ones", before)
					}
					s.leave(how)
					s.addNumbers("before=%d left=%d", before, len(s.env.AppProcesses()))
				})
			}
		})
	}
}

func (s *fixture) leave(how string) {
	s.Helper()
	switch how {
	case "shutdown":
		s.shutdown()
		return
	case "stop":
		outcome, err := s.daemon.Call(s.timeout(operationTimeout), "stop", s.daemon.App)
		s.must(err)
		if outcome.Exit != 0 {
			s.Errorf("stop: %v", outcome)
		}
		s.checkNoneLeft()
		if a := s.client.Do(s.Context(), loadgen.Kind{}); a.Status != 503 || a.Header.Get("Retry-After") == "" {
			s.Errorf("a stopped app: %d %s %s", a.Status, a.Loss, a.Cause)
		}
		return
	case "TERM":
		s.must(s.daemon.Signal(syscall.SIGTERM))
	case "QUIT":
		s.must(s.daemon.Signal(syscall.SIGQUIT))
	}
	select {
	case <-s.daemon.Exited():
	case <-s.timeout(40 * time.Second).Done():
		s.Fatal("the daemon does not end")
	}
	s.checkNoneLeft()
}

// With a failed generation every process that it started is ended; the old
// generation loses no request.
func TestFailedGenerationLeavesNothing(t *testing.T) {
	t.Parallel()
	for _, fault := range []string{"raise", "mute", "orphan+raise", "orphan+mute", "deaf+mute"} {
		t.Run(fault, func(t *testing.T) {
			r := begin(t)
			s := newFixture(r, setup{
				release: testenv.Release{Number: 1}, gunicorn: testenv.Gunicorn{Workers: 2},
				flags: flags("--ready-timeout", "3s", "--stop-timeout", "2s"),
			})
			s.waitWorkers()
			before := s.env.AppProcesses()
			s.must(s.app.DeployBroken(fault))
			_, outcome, err := s.daemon.Operate(s.timeout(operationTimeout), "reload")
			s.must(err)
			if outcome.Exit != 7 {
				s.Errorf("want exit 7: %v", outcome)
			}
			after := s.env.AppProcesses()
			slices.Sort(before)
			slices.Sort(after)
			if !slices.Equal(before, after) {
				s.Errorf("before:\n%s\nafter:\n%s", strings.Join(before, "\n"), strings.Join(after, "\n"))
			}
			s.addNumbers("before=%d after=%d", len(before), len(after))
			s.shutdown()
		})
	}
}

// kill -9 of the daemon, and a start: the old tree is gone before the new one
// starts.
func TestDaemonKilled(t *testing.T) {
	t.Parallel()
	for _, fault := range []string{"none", "deaf+orphan"} {
		t.Run(fault, func(t *testing.T) {
			r := begin(t)
			s := newFixture(r, setup{front: apache(testenv.Apache{}), release: testenv.Release{Number: 1, Import: 0.5, Fault: fault}})
			for range times(1) {
				old := s.env.AppProcesses()
				s.killDaemon()
				s.must(s.daemon.StartAgain())
				s.waitRelease(40*time.Second, 1)
				for _, process := range s.env.AppProcesses() {
					if slices.Contains(old, process) {
						s.Errorf("of the killed daemon's tree there is still %s", process)
					}
				}
				s.events++
			}
			beside, err := s.app.Log.Overlaps()
			s.must(err)
			if len(beside) > 0 {
				s.Errorf("two copies at once:\n%s", strings.Join(beside, "\n"))
			}
			s.addNumbers("events=%d copies_beside=%d", s.events, len(beside))
			s.shutdown()
		})
	}
}

// With supervisord around it, tideover is safe to try: one line of its
// configuration changes, and supervisorctl can reload.
func TestInsideSupervisord(t *testing.T) {
	r := begin(t)
	shop, err := r.env.NewApp("shop", testenv.Release{Number: 1, Import: 1})
	r.must(err)
	address, err := testenv.Address()
	r.must(err)
	argv := append([]string{testenv.Binary(r.env.Root), "-S", r.env.Path("control.sock"), "run", "--"},
		testenv.Gunicorn{Bind: address}.Argv(r.env)...)
	supervisord, err := r.env.Supervisord(shop, argv, "stopwaitsecs=40",
		fmt.Sprintf("environment=XDG_RUNTIME_DIR=%q,XDG_STATE_HOME=%q", r.env.Path("run"), r.env.Path("state")))
	r.must(err)
	r.must(waitAnswer(r, &loadgen.Client{Address: address, Prefix: "d"}))
	front, err := r.env.Apache(testenv.Backend(address), testenv.Apache{})
	r.must(err)
	s := &fixture{row: r, app: shop, front: front, client: &loadgen.Client{Address: front.Address, Host: "front.test", Prefix: "n"}}
	r.must(waitAnswer(r, s.client))
	s.startLoad(60)
	for range times(2) {
		s.event("supervisorctl signal HUP", func() {
			next, err := shop.DeployNext()
			r.must(err)
			if out, err := supervisord.Ctl("signal", "HUP", "shop"); err != nil {
				r.Fatal(out, err)
			}
			r.must(testenv.Poll(s.timeout(20*time.Second), 50*time.Millisecond, func() error { return s.isRelease(next.Number) }))
		})
	}
	s.finish()
	if out, err := supervisord.Ctl("stop", "shop"); err != nil {
		r.Fatal(out, err)
	}
	r.must(supervisord.Stop(syscall.SIGTERM, 40*time.Second))
	r.checkNoneLeft()
}
