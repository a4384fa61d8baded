//go:build e2e

package e2e

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"tideover/scripts/loadgen"
	"tideover/scripts/testenv"
)

// A front-end's health check is answered by tideover and never held, so that a
// front-end does not take the back-end for dead during a hold.
func TestHealthChecksAreNeverHeld(t *testing.T) {
	r := begin(t)
	s := newFixture(r, setup{release: testenv.Release{Number: 1}, config: "[app.shop.hold]\nalive = \"/-/alive\"\n"})
	clients := s.startFronts(map[string]frontStarter{
		"haproxy": func(r *testenv.Env, b testenv.Backend) (*testenv.FrontEnd, error) {
			return r.HAProxy(b, testenv.ProxyConfig{Upstream: "    option httpchk GET /-/alive", Params: "check inter 500 fall 1"})
		},
		"caddy": func(r *testenv.Env, b testenv.Backend) (*testenv.FrontEnd, error) {
			return r.Caddy(b, testenv.ProxyConfig{Extra: "health_uri /-/alive\nhealth_interval 500ms\nhealth_timeout 1s"})
		},
	})
	loads := map[string]*loadgen.OpenLoop{}
	for name, c := range clients {
		loads[name] = loadgen.Start(loadgen.Plan{Client: c, Rate: 28})
	}
	s.hold(10 * time.Second)
	pause(r, 12*time.Second)
	for name, l := range loads {
		tally := l.Stop()
		s.addNumbers("%s: %v", name, tally)
		s.checkNothingLost(tally)
	}
}

// The requests beyond hold.limit are refused at once, with Retry-After, while those within it are
// held; those are answered after the release.
func TestHoldLimitRefusesTheRest(t *testing.T) {
	r := begin(t)
	s := newFixture(r, setup{front: apache(testenv.Apache{}), release: testenv.Release{Number: 1}, flags: flags("--hold-limit", "20")})
	const requests, limit = 60, 20
	s.client.Timeout = 2 * time.Minute
	s.hold(time.Minute)
	answers := make(chan loadgen.Answer, requests)
	for range requests {
		go func() { answers <- s.client.Do(context.Background(), loadgen.Kind{}) }()
	}
	for range requests - limit {
		s.checkRefused("beyond the limit", <-answers)
	}
	s.must(s.checkHeld(limit))
	s.release()
	for range limit {
		if a := <-answers; a.Loss != "" {
			s.Errorf("within the limit: %d after %v: %s %s", a.Status, a.Waited, a.Loss, a.Cause)
		}
	}
	s.addNumbers("requests=%d answered=%d refused=%d", requests, limit, requests-limit)
}

// Held requests occupy Apache's workers. With a hold.limit well below their
// number, requests that are not for the app are served while the hold lasts.
func TestHoldLimitKeepsApacheFree(t *testing.T) {
	r := begin(t)
	s := newFixture(r, setup{front: apache(testenv.Apache{Slots: 25}), release: testenv.Release{Number: 1}, flags: flags("--hold-limit", "15")})
	s.client.Timeout = 2 * time.Minute
	s.startLoad(40, loadgen.Kind{Name: "get"}, loadgen.Kind{Name: "post", Body: 300})
	s.hold(time.Minute)
	s.waitHeld(15)
	var waits []time.Duration
	static := loadgen.Kind{Name: "static", Path: "/media/file.txt", Plain: true}
	for range 100 {
		a := s.client.Do(t.Context(), static)
		if waits = append(waits, a.Waited); a.Loss != "" {
			s.Errorf("/media/: %s %s", a.Loss, a.Cause)
		}
	}
	s.must(s.checkHeld(15)) // none of them has waited for a worker of Apache that a held request occupies
	s.release()
	tally := s.load.Stop()
	slices.Sort(waits)
	s.addNumbers("static=100 static_p95=%.3fs %v", waits[95].Seconds(), tally)
	if ways := tally.Ways(); tally.Statuses[503] != tally.Lost() || strings.Contains(ways, "reset") {
		s.Errorf("beyond the limit only our 503 is right: %s", ways)
	}
}
