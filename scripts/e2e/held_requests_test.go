//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"tideover/scripts/loadgen"
	"tideover/scripts/testenv"
)

const (
	shortTimeout     = 5 * time.Second
	operationTimeout = 90 * time.Second
)

// hold keeps the gate shut by the operator's verb, for at most so long.
func (s *fixture) hold(d time.Duration) {
	s.Helper()
	outcome, err := s.daemon.Call(s.timeout(operationTimeout), "hold", s.daemon.App, "--for", d.String())
	s.must(err)
	if outcome.Exit != 0 {
		s.Fatalf("hold: %v", outcome)
	}
}

// release ends the hold.
func (s *fixture) release() {
	s.Helper()
	outcome, err := s.daemon.Call(s.timeout(operationTimeout), "release", s.daemon.App)
	s.must(err)
	if outcome.Exit != 0 {
		s.Fatalf("release: %v", outcome)
	}
}

// waitHeld waits until the daemon holds at least n requests.
func (s *fixture) waitHeld(n int) {
	s.Helper()
	s.must(testenv.Poll(s.timeout(20*time.Second), 20*time.Millisecond, func() error {
		now, err := s.daemon.Status(s.timeout(10 * time.Second))
		if err == nil && now.Held < n {
			err = fmt.Errorf("%d held, waiting for %d", now.Held, n)
		}
		return err
	}))
}

// checkHeld tells whether exactly n requests are held.
func (s *fixture) checkHeld(n int) error {
	now, err := s.daemon.Status(s.timeout(10 * time.Second))
	if err == nil && now.Held != n {
		err = fmt.Errorf("%d held, not %d", now.Held, n)
	}
	return err
}

// sendAll sends requests at once by each client and waits for every answer.
func sendAll(clients map[string]*loadgen.Client, kinds []loadgen.Kind) map[string][]loadgen.Answer {
	var mu sync.Mutex
	var sent sync.WaitGroup
	answers := map[string][]loadgen.Answer{}
	for name, c := range clients {
		for _, k := range kinds {
			sent.Go(func() {
				a := c.Do(context.Background(), k)
				mu.Lock()
				defer mu.Unlock()
				answers[name] = append(answers[name], a)
			})
		}
	}
	sent.Wait()
	return answers
}

func slowest(answers map[string][]loadgen.Answer) time.Duration {
	longest := time.Duration(0)
	for _, each := range answers {
		for _, a := range each {
			longest = max(longest, a.Waited)
		}
	}
	return longest
}

// startFronts starts several front-ends before the one app.
func (s *fixture) startFronts(by map[string]frontStarter) map[string]*loadgen.Client {
	s.Helper()
	clients := map[string]*loadgen.Client{}
	for name, start := range by {
		f, err := start(s.env, s.back)
		s.must(err)
		clients[name] = &loadgen.Client{Address: f.Address, Host: "front.test", Timeout: 40 * time.Second, Prefix: name + "-"}
		s.must(waitAnswer(s.row, clients[name]))
	}
	return clients
}

// uploads are the ways in which a request brings a body.
func uploads() []loadgen.Kind {
	return []loadgen.Kind{
		{Name: "post", Body: 5},
		{Name: "post 200k", Body: 200 << 10},
		{Name: "post 900k", Body: 900 << 10},
		{Name: "post chunked", Body: 40 << 10, Chunked: true},
		{Name: "expect", Body: 3000, Expect: true},
		{Name: "expect chunked", Body: 40 << 10, Chunked: true, Expect: true},
	}
}

// Requests with bodies of every kind are held for twelve seconds; Debian's Apache
// waits for a 100 Continue for ten.
func TestUploadsAreHeld(t *testing.T) {
	r := begin(t)
	s := newFixture(r, setup{release: testenv.Release{Number: 1}})
	clients := s.startFronts(map[string]frontStarter{
		"apache":  apache(testenv.Apache{}),
		"ping2":   apache(testenv.Apache{Params: "ping=2"}),
		"prefork": apache(testenv.Apache{MPM: "prefork"}),
	})
	slack := 200*time.Millisecond + 2*slowest(sendAll(clients, uploads())) // of the machine
	const ping = 2 * time.Second                                           // then the Apache with ping=2 gives up
	s.hold(12 * time.Second)
	requests := 0
	quickest100, slowest100 := ping, time.Duration(0)
	for name, answers := range sendAll(clients, uploads()) {
		for _, a := range answers {
			requests++
			if a.Loss != "" || a.Waited < 9*time.Second {
				s.Errorf("%s, %s: %s %s after %v", name, a.Kind.Name, a.Loss, a.Cause, a.Waited)
			}
			if a.Kind.Expect {
				quickest100, slowest100 = min(quickest100, a.Continued), max(slowest100, a.Continued)
				if a.Continued == 0 || a.Continued > ping {
					s.Errorf("%s, %s: 100 Continue after %v", name, a.Kind.Name, a.Continued)
				}
			}
		}
	}
	if quickest100 > slack {
		s.Errorf("the quickest 100 Continue came after %v: it waited for something", quickest100)
	}
	s.checkNothingTwice(s.app)
	s.addNumbers("requests=%d held=12s quickest_100=%.3fs slowest_100=%.3fs", requests, quickest100.Seconds(), slowest100.Seconds())
}

// Both workers are in the middle of a long request when the restart begins. It
// waits for them, and both are answered.
func TestRestartWaitsForLongRequests(t *testing.T) {
	r := begin(t)
	s := newFixture(r, setup{front: apache(testenv.Apache{}), gunicorn: testenv.Gunicorn{Workers: 2}, release: testenv.Release{Number: 1, Import: 1}})
	s.startLoad(20)
	for range times(2) {
		for range 2 {
			nonce := s.load.Send(loadgen.Kind{Name: "long", Query: "s=3"})
			s.must(s.app.Log.Wait(s.timeout(20*time.Second), "begin", nonce))
		}
		_, outcome, err := s.daemon.Operate(s.timeout(operationTimeout), "restart")
		s.must(err)
		if outcome.Exit != 0 {
			s.Errorf("restart: %v", outcome)
		}
		s.events++
	}
	s.finish()
}

// checkRefused checks that an answer is our own 503.
func (s *fixture) checkRefused(name string, a loadgen.Answer) {
	s.Helper()
	if a.Status != 503 || a.Header.Get("Retry-After") == "" {
		s.Errorf("%s, %s: want our 503, got %d: %s %s", name, a.Kind.Name, a.Status, a.Loss, a.Cause)
	}
}

// A hold longer than hold.timeout is answered with tideover's 503, behind every
// front-end and with every kind of body, and never turned into a 502 or 504.
func TestHoldTimeoutIsA503(t *testing.T) {
	r := begin(t)
	s := newFixture(r, setup{release: testenv.Release{Number: 1}, flags: flags("--hold-timeout", "3s")})
	clients := s.startFronts(map[string]frontStarter{
		"apache": apache(testenv.Apache{}), "prefork": apache(testenv.Apache{MPM: "prefork"}),
		"nginx": func(r *testenv.Env, b testenv.Backend) (*testenv.FrontEnd, error) {
			return r.Nginx(b, testenv.ProxyConfig{})
		},
		"nginx-unbuffered": func(r *testenv.Env, b testenv.Backend) (*testenv.FrontEnd, error) {
			return r.Nginx(b, testenv.ProxyConfig{Extra: "proxy_request_buffering off; proxy_http_version 1.1;"})
		},
		"haproxy": func(r *testenv.Env, b testenv.Backend) (*testenv.FrontEnd, error) {
			return r.HAProxy(b, testenv.ProxyConfig{})
		},
		"caddy": func(r *testenv.Env, b testenv.Backend) (*testenv.FrontEnd, error) {
			return r.Caddy(b, testenv.ProxyConfig{})
		},
	})
	small := []loadgen.Kind{{Name: "get"}, {Name: "post", Body: 5}}
	slack := 500*time.Millisecond + 2*slowest(sendAll(clients, small)) // of the machine
	s.hold(4 * time.Minute)
	requests := 0
	for name, answers := range sendAll(clients, small) {
		for _, a := range answers {
			requests++
			s.checkRefused(name, a)
			if a.Waited < 2500*time.Millisecond || a.Waited > 3*time.Second+slack {
				s.Errorf("%s, %s: the 503 came after %v, want 3 s", name, a.Kind.Name, a.Waited)
			}
		}
	}
	for range size(2, 6) {
		for name, answers := range sendAll(clients, []loadgen.Kind{
			{Name: "1.5 MB over 3 s", Body: 1500 << 10, Over: 3 * time.Second},
			{Name: "1.5 MB over 3 s, chunked", Body: 1500 << 10, Over: 3 * time.Second, Chunked: true},
			{Name: "4 MB", Body: 4 << 20},
		}) {
			for _, a := range answers {
				requests++
				s.checkRefused(name, a)
			}
		}
	}
	s.release()
	for name, c := range clients {
		if a := c.Do(t.Context(), loadgen.Kind{}); a.Loss != "" {
			s.Errorf("%s: after the hold: %s %s", name, a.Loss, a.Cause)
		}
	}
	s.addNumbers("requests=%d expired=%d", requests, s.counter("expired"))
}
