//go:build e2e

package e2e

import (
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"tideover/scripts/loadgen"
	"tideover/scripts/testenv"
)

// workerClasses are the ways in which gunicorn works on requests.
func workerClasses() map[string]testenv.Gunicorn {
	return map[string]testenv.Gunicorn{
		"sync": {App: "odd:app"}, "gthread": {Class: "gthread", App: "odd:app"}, "gevent": {Class: "gevent", App: "odd:app"},
		"uvicorn": {Class: testenv.UvicornWorker("").Class, App: "odd:asgi"},
	}
}

// Workers, masters and whole trees are killed in the middle of requests: the app
// begins no non-idempotent request twice, and none at all three times. A client
// gets its answer, a 502, or an answer that is visibly cut.
func TestNothingTwice(t *testing.T) {
	t.Parallel()
	for class, g := range workerClasses() {
		t.Run(class, func(t *testing.T) {
			r := begin(t)
			r.installOddApp("shop")
			g.Workers = 4
			s := newFixture(r, setup{gunicorn: g, release: testenv.Release{Number: 1, Import: 0.2}, flags: loadFlags()})
			s.startLoad(30, everyMethod()...)
			for round := range times(1) {
				if round > 0 {
					s.resetBackoff()
				}
				s.killInFlight(s.killWorker)
				s.killInFlight(s.killMain)
				s.killInFlight(s.killTree)
			}
			tally := s.load.Stop()
			s.report(tally)
			s.checkBeginCounts(tally)
			if ours := tally.Statuses[502] + tally.Losses[loadgen.Truncated]; tally.Lost() != ours {
				s.Errorf("only a 502 and a visible truncation are right for what was killed: %s\n%v", tally.Ways(), tally.Examples)
			}
			s.shutdown()
		})
	}
}

// everyMethod is a load in which half of the requests must not be repeated.
func everyMethod() []loadgen.Kind {
	return []loadgen.Kind{
		{Name: "get", Keep: true},
		{Name: "post", Body: 300, Keep: true},
		{Name: "patch", Method: "PATCH", Body: 300, Query: "s=0.1"},
		{Name: "put", Method: "PUT", Body: 5000, Query: "s=0.1"},
		{Name: "post chunked", Body: 3000, Chunked: true, Query: "s=0.05"},
		{Name: "delete", Method: "DELETE", Keep: true},
		{Name: "post 200k", Body: 200 << 10},
		{Name: "post, no body", Method: "POST", Query: "s=0.1"},
		{Name: "odd method", Method: "REPORT", Body: 20, Keep: true},
	}
}

// killInFlight does it while requests of every kind are being worked on.
func (s *fixture) killInFlight(kill func()) {
	s.Helper()
	for _, k := range []loadgen.Kind{{Name: "post in flight", Query: "s=1", Body: 300}, {Name: "get in flight", Query: "s=0.5"}} {
		nonce := s.load.Send(k)
		s.must(s.app.Log.Wait(s.timeout(30*time.Second), "begin", nonce))
	}
	kill()
	s.events++
	s.waitRelease(60*time.Second, 1)
}

// killWorker kills the worker that began a request last.
func (s *fixture) killWorker() {
	s.Helper()
	text, err := s.app.Log.Text()
	s.must(err)
	lines := strings.Split(text, "\n")
	for i := len(lines) - 1; i >= 0; i-- {
		if words := strings.Fields(lines[i]); len(words) > 2 && words[0] == "begin" {
			pid, err := strconv.Atoi(words[2])
			s.must(err)
			s.must(syscall.Kill(pid, syscall.SIGKILL))
			return
		}
	}
	s.Fatal("nobody works")
}

// killMain kills the main process alone; what its workers have, they may finish.
func (s *fixture) killMain() { s.Helper(); s.killFrom(func(pid int) int { return pid }) }

// killTree kills all processes of the app at once.
func (s *fixture) killTree() { s.Helper(); s.killFrom(func(pid int) int { return -pid }) }

func (s *fixture) killFrom(which func(pid int) int) {
	s.Helper()
	before, err := s.daemon.Status(s.timeout(10 * time.Second))
	s.must(err)
	s.must(syscall.Kill(which(before.Pid), syscall.SIGKILL))
	s.waitGeneration(before.Generation + 1)
}

// checkBeginCounts reads the app's log: how often each request was begun.
func (s *fixture) checkBeginCounts(tally loadgen.Tally) {
	s.Helper()
	text, err := s.app.Log.Text()
	s.must(err)
	began, method := map[string]int{}, map[string]string{}
	for line := range strings.Lines(text) {
		if words := strings.Fields(line); len(words) > 4 && words[0] == "begin" {
			began[words[1]]++
			method[words[1]] = words[4]
		}
	}
	twice := 0
	for nonce, n := range began {
		switch method[nonce] {
		case "GET", "HEAD", "PUT", "DELETE", "OPTIONS":
			if n > 1 {
				twice++
			}
			if n > 2 {
				s.Errorf("%s %s was begun %d times", method[nonce], nonce, n)
			}
		default:
			if n > 1 {
				s.Errorf("%s %s was begun %d times", method[nonce], nonce, n)
			}
		}
	}
	s.addNumbers("idempotent_begun_twice=%d others_begun_twice=0 resent=%d", twice, s.counter("resent"))
	if len(began) < tally.Right {
		s.Errorf("the app logged %d requests of %d that were answered", len(began), tally.Right)
	}
}

// A request that kills the worker it comes to is tried twice and not a third
// time, where it may be repeated; any other once. One that had run for long is
// not tried again: a worker's own timeout would kill the next worker too.
func TestKillerRequest(t *testing.T) {
	t.Parallel()
	for class, g := range workerClasses() {
		for _, resend := range []string{"safe", "key", "none"} {
			if resend != "safe" && class != "sync" && !*full {
				continue
			}
			t.Run(class+"-"+resend, func(t *testing.T) {
				r := begin(t)
				r.installOddApp("shop")
				g.Workers = 2
				s := newFixture(r, setup{gunicorn: g, release: testenv.Release{Number: 1},
					config: map[string]string{"safe": "", "key": `resend = ["safe", "key"]`, "none": "resend = []"}[resend] + "\n"})
				tried := 0
				for range times(1) {
					for _, k := range killers(resend, class == "sync" || class == "gthread") {
						s.checkKiller(k.Kind, k.begun)
						tried++
					}
				}
				s.addNumbers("requests=%d resent=%d", tried, s.counter("resent"))
				s.shutdown()
			})
		}
	}
}

type killer struct {
	loadgen.Kind
	begun int // how often the app begins it
}

// killers are the requests of a row. Where bodies are buffered a long one can be sent again too: it
// is in the spool.
func killers(resend string, buffered bool) []killer {
	again, key, long := 2, 1, 1
	switch resend {
	case "none":
		again = 1
	case "key":
		key = 2
	}
	if buffered {
		long = again
	}
	return []killer{
		{loadgen.Kind{Name: "get"}, again},
		{loadgen.Kind{Name: "head", Method: "HEAD"}, again},
		{loadgen.Kind{Name: "put", Method: "PUT", Body: 300}, again},
		{loadgen.Kind{Name: "delete", Method: "DELETE"}, again},
		{loadgen.Kind{Name: "put, longer than hold.buffer", Method: "PUT", Body: 200 << 10}, long},
		{loadgen.Kind{Name: "post", Body: 300}, 1},
		{loadgen.Kind{Name: "post, chunked", Body: 300, Chunked: true}, 1},
		{loadgen.Kind{Name: "post, no body", Method: "POST"}, 1},
		{loadgen.Kind{Name: "patch", Method: "PATCH", Body: 300}, 1},
		{loadgen.Kind{Name: "post with a key", Body: 300, Header: []string{"Idempotency-Key: k"}}, key},
		{loadgen.Kind{Name: "get that ran for long", Query: "s=5.5"}, 1},
	}
}

// checkKiller sends a request that kills its worker.
func (s *fixture) checkKiller(k loadgen.Kind, begun int) {
	s.Helper()
	s.waitRelease(60*time.Second, 1)
	k.Path = "/die"
	nonce := s.client.Nonce()
	a := s.client.DoNamed(s.Context(), k, nonce)
	began, err := s.app.Log.BeginCounts()
	s.must(err)
	if a.Status != 502 || began[nonce] != begun {
		s.Errorf("%s was begun %d times, want %d; the client got %d %s %s", k.Name, began[nonce], begun, a.Status, a.Loss, a.Cause)
	}
}
