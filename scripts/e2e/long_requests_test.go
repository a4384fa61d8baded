//go:build e2e

package e2e

import (
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"tideover/scripts/loadgen"
	"tideover/scripts/testenv"
)

// Long requests are in flight while the app is reloaded under load, and none
// of them is cut.
func TestAcrossReload(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		kinds []loadgen.Kind
	}{
		{"uploads-10MB", []loadgen.Kind{
			{Name: "10 MB", Body: 10 << 20, Over: 8 * time.Second},
			{Name: "10 MB chunked", Body: 10 << 20, Over: 8 * time.Second, Chunked: true},
			{Name: "10 MB, kept", Body: 10 << 20, Over: 8 * time.Second, Keep: true},
		}},
		{"stream-20s", []loadgen.Kind{
			{Name: "stream", Path: "/stream", Query: "s=20"},
			{Name: "stream, kept", Path: "/stream", Query: "s=20", Keep: true},
		}},
		{"sse-20s", []loadgen.Kind{{Name: "sse", Path: "/sse", Query: "s=20", Header: []string{"Accept: text/event-stream"}}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := begin(t)
			s := newFixture(r, setup{front: apache(testenv.Apache{}), gunicorn: testenv.Gunicorn{Class: "gthread"}})
			s.startLoad(50)
			for range times(1) {
				var nonces []string
				for _, k := range c.kinds {
					nonces = append(nonces, s.load.Send(k))
				}
				for _, nonce := range nonces {
					s.must(s.app.Log.Wait(s.timeout(20*time.Second), "begin", nonce))
				}
				s.reload()
			}
			tally := s.finish()
			if c.kinds[0].Path != "" && tally.Longest < 20*time.Second {
				s.Errorf("the stream took %v only: it cannot have been whole", tally.Longest)
			}
		})
	}
}

// A websocket handshake that is held gets its 101 after the release.
func TestWebSocketHandshakeIsHeld(t *testing.T) {
	r := begin(t)
	s := newFixture(r, setup{gunicorn: testenv.UvicornWorker(""), release: testenv.Release{Number: 1}})
	clients := s.startFronts(map[string]frontStarter{
		"apache": apache(testenv.Apache{Params: "upgrade=websocket"}),
		"nginx": func(r *testenv.Env, b testenv.Backend) (*testenv.FrontEnd, error) {
			return r.Nginx(b, testenv.ProxyConfig{Extra: "proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; " +
				"proxy_set_header Connection $hold_connection;"})
		},
		"haproxy": func(r *testenv.Env, b testenv.Backend) (*testenv.FrontEnd, error) {
			return r.HAProxy(b, testenv.ProxyConfig{})
		},
		"caddy": func(r *testenv.Env, b testenv.Backend) (*testenv.FrontEnd, error) {
			return r.Caddy(b, testenv.ProxyConfig{})
		},
	})
	s.hold(3 * time.Second)
	var shaken sync.WaitGroup
	for name, c := range clients {
		shaken.Go(func() {
			begun := time.Now()
			ws, err := c.WebSocket(s.timeout(20*time.Second), "/ws")
			if err != nil {
				s.Errorf("%s: %v", name, err)
				return
			}
			defer ws.Close()
			waited := time.Since(begun)
			if text, err := ws.Echo("hello", shortTimeout); err != nil || !strings.HasSuffix(text, "echo=hello") {
				s.Errorf("%s: %q %v", name, text, err)
			}
			if waited < 2*time.Second {
				s.Errorf("%s: the handshake was not held, %v only", name, waited)
			}
		})
	}
	shaken.Wait()
	s.addNumbers("websockets=%d held=3s", len(clients))
}

// A websocket stays on its generation across a reload; new ones go to the new
// generation. When it ends, or its time is over, so does the old generation.
func TestWebSocketAcrossReload(t *testing.T) {
	r := begin(t)
	s := newFixture(r, setup{
		front: apache(testenv.Apache{Params: "upgrade=websocket"}), gunicorn: testenv.UvicornWorker(""),
		release: testenv.Release{Number: 1, Import: 1}, config: "[app.shop.drain]\ntunnels = \"6s\"\n",
	})
	s.startLoad(30)
	for range times(1) {
		s.tunnelAcrossReload()
	}
	s.finish()
	s.shutdown()
}

func (s *fixture) tunnelAcrossReload() {
	s.Helper()
	old := "release=" + itoa(s.app.Release().Number) + " "
	kept, err := s.client.WebSocket(s.timeout(shortTimeout), "/ws")
	s.must(err)
	defer kept.Close()
	s.echoes(kept, old)
	next, err := s.app.DeployNext()
	s.must(err)
	reloaded := make(chan testenv.Outcome, 1)
	go func() {
		outcome, _ := s.daemon.Call(s.timeout(operationTimeout), "reload", s.daemon.App)
		reloaded <- outcome
	}()
	s.waitRelease(20*time.Second, next.Number)
	s.echoes(kept, old)
	fresh, err := s.client.WebSocket(s.timeout(shortTimeout), "/ws")
	s.must(err)
	defer fresh.Close()
	s.echoes(fresh, "release="+itoa(next.Number)+" ")
	begun := time.Now()
	if text, err := kept.Read(20 * time.Second); err == nil {
		s.Errorf("the old websocket said %q instead of ending", text)
	} else if !errors.Is(err, io.EOF) && !strings.Contains(err.Error(), "reset") {
		s.Errorf("the old websocket did not end with its time: %v", err)
	}
	s.addNumbers("tunnel_ended_after=%.1fs", time.Since(begun).Seconds())
	if outcome := <-reloaded; outcome.Exit != 0 {
		s.Errorf("reload: %v", outcome)
	}
	s.echoes(fresh, "release="+itoa(next.Number)+" ")
	s.events++
}

// echoes tries a websocket and tells which release is at its other end.
func (s *fixture) echoes(ws *loadgen.WebSocket, want string) {
	s.Helper()
	text, err := ws.Echo("ping", shortTimeout)
	if err != nil || !strings.HasPrefix(text, want) || !strings.HasSuffix(text, "echo=ping") {
		s.Errorf("the websocket said %q, %v; want it from %s", text, err, want)
	}
}
