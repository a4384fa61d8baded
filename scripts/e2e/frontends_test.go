//go:build e2e

package e2e

import (
	"fmt"
	"testing"

	"tideover/scripts/testenv"
)

// strictFronts is each front-end in the configuration that is least forgiving to a
// back-end that restarts. deadServer is an address where nothing listens.
func strictFronts(deadServer string) map[string]frontStarter {
	return map[string]frontStarter{
		"apache": apache(testenv.Apache{Params: "status=-I"}),
		"nginx": func(r *testenv.Env, back testenv.Backend) (*testenv.FrontEnd, error) {
			return r.Nginx(back, testenv.ProxyConfig{
				Params:   "max_fails=1 fail_timeout=60s",
				Upstream: fmt.Sprintf("server %s max_fails=1 fail_timeout=60s;", deadServer),
			})
		},
		"haproxy": func(r *testenv.Env, back testenv.Backend) (*testenv.FrontEnd, error) {
			return r.HAProxy(back, testenv.ProxyConfig{Extra: "    retries 0", Params: "check inter 500 fall 1"})
		},
		"caddy": func(r *testenv.Env, back testenv.Backend) (*testenv.FrontEnd, error) {
			return r.Caddy(back, testenv.ProxyConfig{Extra: "fail_duration 30s"})
		},
	}
}

// poolingFronts is each of the others with connections kept to the app and used by
// all, where an idle close at the wrong moment costs a request.
func poolingFronts() map[string]frontStarter {
	return map[string]frontStarter{
		"nginx-keepalive": func(r *testenv.Env, back testenv.Backend) (*testenv.FrontEnd, error) {
			return r.Nginx(back, testenv.ProxyConfig{
				Upstream: "keepalive 16;",
				Extra:    "proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_next_upstream off;",
			})
		},
		"haproxy-reuse": func(r *testenv.Env, back testenv.Backend) (*testenv.FrontEnd, error) {
			return r.HAProxy(back, testenv.ProxyConfig{Extra: "    retries 0\n    http-reuse always"})
		},
	}
}

// unusedAddress returns an address where nothing listens.
func (r *row) unusedAddress() string {
	r.Helper()
	address, err := testenv.Address()
	r.must(err)
	return address
}

// Every front-end in its worst configuration goes through one event of each kind
// and loses no request.
func TestFrontEndsLoseNothing(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"nginx", "haproxy", "caddy", "nginx-keepalive", "haproxy-reuse"} {
		t.Run(name, func(t *testing.T) {
			r := begin(t)
			make := strictFronts(r.unusedAddress())[name]
			if make == nil {
				make = poolingFronts()[name]
			}
			s := newFixture(r, setup{front: make, flags: loadFlags()})
			s.startLoad(100)
			s.runEvents(onceEach())
			s.finish()
			s.shutdown()
		})
	}
}

// The configuration in which Apache disables a back-end for a minute, a
// preloading gunicorn, a restart: no request is held longer than the app was away.
func TestHeldNoLongerThanARestart(t *testing.T) {
	t.Parallel()
	for _, v := range []variant{
		{name: "event", apache: testenv.Apache{Params: "status=-I"}},
		{name: "prefork", apache: testenv.Apache{MPM: "prefork", Params: "status=-I"}},
		{name: "balancer", apache: testenv.Apache{Balancer: "forcerecovery=Off failonstatus=503"}},
	} {
		t.Run(v.name, func(t *testing.T) {
			r := begin(t)
			s := newFixture(r, setup{front: apache(v.apache), gunicorn: testenv.Gunicorn{Args: []string{"--preload"}}})
			s.startLoad(20)
			for range times(1) {
				s.sendInFlight() // so that the requests held by the last restart are answered
				result, outcome, err := s.daemon.Operate(s.timeout(operationTimeout), "restart")
				s.must(err)
				if outcome.Exit != 0 {
					s.Fatalf("restart: %v", outcome)
				}
				s.events++
				if away := outcome.Took.Seconds() + 0.5; result.Requests.HeldMaxS > away || result.Requests.Held == 0 {
					s.Errorf("held %.2f s in a restart of %.2f s", result.Requests.HeldMaxS, away)
				}
			}
			pause(r, shortTimeout)
			s.finish()
		})
	}
}
