//go:build e2e

package e2e

import (
	"syscall"
	"testing"
	"time"

	"tideover/scripts/loadgen"
	"tideover/scripts/testenv"
)

// inFlight is a request in the middle of its life, with the worker that has it.
type inFlight struct {
	kind  loadgen.Kind
	nonce string
	pid   int
	done  chan loadgen.Answer
}

// send starts a request and waits until a worker has begun it.
func (s *fixture) send(k loadgen.Kind) inFlight {
	s.Helper()
	f := inFlight{kind: k, nonce: s.client.Nonce(), done: make(chan loadgen.Answer, 1)}
	go func() { f.done <- s.client.DoNamed(s.Context(), k, f.nonce) }()
	s.must(s.app.Log.Wait(s.timeout(20*time.Second), "begin", f.nonce))
	var err error
	f.pid, err = s.app.Log.Pid(f.nonce)
	s.must(err)
	return f
}

// killed returns a request for each result of a kill: a GET is sent again, a POST
// is a 502, a stream is cut.
func killed() (get, post, stream loadgen.Kind) {
	get = loadgen.Kind{Name: "get", Query: "s=3"}
	post = loadgen.Kind{Name: "post", Query: "s=20", Body: 300}
	stream = loadgen.Kind{Name: "stream", Path: "/stream", Query: "s=20"}
	return get, post, stream
}

// One worker is killed in the middle of a request, and then all processes of
// the app at once: what may be sent again is answered, a POST is a 502 and
// never run twice, an answer that had begun is cut visibly. All of it is
// counted.
func TestKillInMidRequest(t *testing.T) {
	t.Parallel()
	for _, whole := range []bool{false, true} {
		name := map[bool]string{false: "worker", true: "tree"}[whole]
		t.Run(name, func(t *testing.T) {
			r := begin(t)
			s := newFixture(r, setup{front: apache(testenv.Apache{}), release: testenv.Release{Number: 1, Import: 0.3}})
			rounds := times(2)
			for range rounds {
				s.killOnce(whole)
				s.resetBackoff()
			}
			s.checkNothingTwice(s.app)
			resent, badGateway, cut := s.counter("resent"), s.counter("bad_gateway"), s.counter("cut")
			s.addNumbers("events=%d resent=%d bad_gateway=%d cut=%d", s.events, resent, badGateway, cut)
			if resent != rounds || badGateway != rounds || cut != rounds {
				s.Errorf("resent=%d bad_gateway=%d cut=%d, want %d each", resent, badGateway, cut, rounds)
			}
			s.shutdown()
		})
	}
}

func (s *fixture) killOnce(whole bool) {
	s.Helper()
	before, err := s.daemon.Status(s.timeout(10 * time.Second))
	s.must(err)
	get, post, stream := killed()
	three, two, one := s.send(stream), s.send(post), s.send(get)
	pause(s.row, 300*time.Millisecond) // the stream's first lines are on their way
	if whole {
		s.must(syscall.Kill(-before.Pid, syscall.SIGKILL))
	} else {
		for _, f := range []inFlight{one, two, three} {
			s.must(syscall.Kill(f.pid, syscall.SIGKILL))
		}
	}
	s.events++
	if a := <-one.done; a.Loss != "" {
		s.Errorf("a GET that nobody had answered: %s %s", a.Loss, a.Cause)
	}
	if a := <-two.done; a.Status != 502 {
		s.Errorf("a POST being executed: %d %s %s, want a 502", a.Status, a.Loss, a.Cause)
	}
	if a := <-three.done; a.Loss != loadgen.Truncated {
		s.Errorf("an answer that had begun: %q %s, want it cut", a.Loss, a.Cause)
	}
	if whole {
		s.waitGeneration(before.Generation + 1)
	}
	s.waitRelease(20*time.Second, 1)
}

// A worker of an old generation is killed after a deploy that was broken in
// place: what the message said comes true, status does not lie, and a repaired
// deploy makes it whole.
func TestBrokenInPlace(t *testing.T) {
	r := begin(t)
	s := newFixture(r, setup{
		front: apache(testenv.Apache{Params: "status=-I"}), release: testenv.Release{Number: 1, Import: 0.2},
		flags: flags("--hold-timeout", "4s"), gunicorn: testenv.Gunicorn{Workers: 2},
	})
	for range times(1) {
		s.waitWorkers()
		good := s.app.Release()
		s.must(s.app.DeployBroken("raise"))
		result, outcome, err := s.daemon.Operate(s.timeout(operationTimeout), "reload")
		s.must(err)
		if outcome.Exit != 7 {
			s.Errorf("want exit 7: %v", outcome)
		}
		s.waitWarning(result.Error + outcome.Stderr)
		s.killOneWorker()
		s.workersExit()
		s.must(s.app.Deploy(good))
		_, outcome, err = s.daemon.Operate(s.timeout(operationTimeout), "reload")
		s.must(err)
		if outcome.Exit != 0 {
			s.Errorf("reload of the repaired deploy: %v", outcome)
		}
		begun := time.Now()
		s.waitRelease(10*time.Second, good.Number)
		whole := time.Since(begun)
		s.addNumbers("whole_again_after=%.2fs", whole.Seconds())
		if whole > time.Second {
			s.Errorf("whole again %v after the repaired deploy", whole)
		}
		s.events++
	}
	s.shutdown()
}
