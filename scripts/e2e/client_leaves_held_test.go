//go:build e2e

package e2e

import (
	"context"
	"strings"
	"testing"
	"time"

	"tideover/scripts/loadgen"
	"tideover/scripts/testenv"
)

// A client closes its connection while its request is held. Where the front-end
// closes its own connection then, the request never reaches the app. Apache does
// not close it, and the app gets the request after the release.
func TestClientLeavesWhileHeld(t *testing.T) {
	r := begin(t)
	s := newFixture(r, setup{release: testenv.Release{Number: 1}})
	clients := s.startFronts(map[string]frontStarter{
		"nginx": func(r *testenv.Env, b testenv.Backend) (*testenv.FrontEnd, error) {
			return r.Nginx(b, testenv.ProxyConfig{})
		},
		"caddy": func(r *testenv.Env, b testenv.Backend) (*testenv.FrontEnd, error) {
			return r.Caddy(b, testenv.ProxyConfig{})
		},
		"apache": apache(testenv.Apache{}),
	})
	clients["direct"] = &loadgen.Client{Address: string(s.back), Prefix: "direct-"}
	s.hold(6 * time.Second)
	leaving, leave := context.WithCancel(t.Context())
	left := make(chan string, 2*len(clients))
	for _, c := range clients {
		for _, k := range []loadgen.Kind{{Name: "get"}, {Name: "post", Body: 300}} {
			nonce := c.Nonce()
			go func() {
				c.DoNamed(leaving, k, nonce)
				left <- nonce
			}()
		}
	}
	s.waitHeld(2 * len(clients))
	leave()
	gone := map[string]bool{}
	for range 2 * len(clients) {
		gone[<-left] = true
	}
	s.answersAfterHold()
	began, err := s.app.Log.BeginCounts()
	s.must(err)
	reached := 0
	for nonce := range gone {
		if began[nonce] > 0 {
			reached++
			if !strings.HasPrefix(nonce, "apache-") {
				s.Errorf("%s reached the app although its client had left", nonce)
			}
		}
	}
	s.addNumbers("left=%d reached_by_apache=%d client_left=%d", len(gone), reached, s.counter("client_left"))
	if n := s.counter("client_left"); n < 6 {
		s.Errorf("client_left=%d, want 6 at least", n)
	}
}

// answersAfterHold waits for the hold's end: a request that is answered came
// after all that were held.
func (s *fixture) answersAfterHold() {
	s.Helper()
	if a := s.client.Do(s.Context(), loadgen.Kind{Name: "after the hold"}); a.Loss != "" {
		s.Fatalf("after the hold: %s %s", a.Loss, a.Cause)
	}
}

// A POST that is held for three seconds arrives once, and whole, also when it
// is longer than what is kept in memory.
func TestHeldPostArrivesOnce(t *testing.T) {
	r := begin(t)
	s := newFixture(r, setup{front: apache(testenv.Apache{}), release: testenv.Release{Number: 1}})
	var kinds []loadgen.Kind
	for _, size := range []int{1, 300, 8 << 10, 64 << 10, 200 << 10, 3 << 20} {
		kinds = append(kinds,
			loadgen.Kind{Name: "post", Body: size}, loadgen.Kind{Name: "chunked", Body: size, Chunked: true},
			loadgen.Kind{Name: "post, kept", Body: size, Keep: true})
	}
	rounds := times(1)
	for range rounds {
		s.hold(3 * time.Second)
		for _, a := range sendAll(map[string]*loadgen.Client{"": s.client}, kinds)[""] {
			if a.Loss != "" || a.Waited < 2*time.Second {
				s.Errorf("%s of %d bytes: %s %s after %v", a.Kind.Name, a.Kind.Body, a.Loss, a.Cause, a.Waited)
			}
		}
	}
	s.checkNothingTwice(s.app)
	s.addNumbers("requests=%d held=3s", rounds*len(kinds))
}

// A client that leaves while held frees its place at once.
func TestLeavingFreesAPlace(t *testing.T) {
	r := begin(t)
	s := newFixture(r, setup{release: testenv.Release{Number: 1}, flags: flags("--hold-limit", "10")})
	s.hold(8 * time.Second)
	leaving, leave := context.WithCancel(t.Context())
	answers := make(chan loadgen.Answer, 10)
	for range 10 {
		go func() { answers <- s.client.Do(leaving, loadgen.Kind{Name: "leaves"}) }()
	}
	s.waitHeld(10)
	if a := s.client.Do(t.Context(), loadgen.Kind{Name: "beyond the limit"}); a.Status != 503 {
		s.Errorf("beyond the limit: %d %s", a.Status, a.Cause)
	}
	leave()
	for range 10 {
		<-answers
	}
	s.must(testenv.Poll(s.timeout(5*time.Second), 20*time.Millisecond, func() error { return s.checkHeld(0) }))
	if a := s.client.Do(t.Context(), loadgen.Kind{Name: "in a freed place"}); a.Loss != "" {
		s.Errorf("in a freed place: %s %s", a.Loss, a.Cause)
	}
	s.addNumbers("left=10 client_left=%d", s.counter("client_left"))
}
