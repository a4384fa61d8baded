//go:build e2e

package e2e

import (
	"syscall"
	"testing"
	"time"

	"tideover/scripts/loadgen"
	"tideover/scripts/testenv"
)

// More requests come than the workers can answer, so most wait in the private socket. An
// operation in the middle loses none of them, as kill -HUP of gunicorn alone does not. The
// queue takes longer than hold.timeout and drain.timeout.
func TestBusyQueue(t *testing.T) {
	t.Parallel()
	sync := testenv.Gunicorn{Workers: 2}
	gthread := testenv.Gunicorn{Workers: 1, Class: "gthread", Args: []string{"--threads", "2"}}
	for _, c := range []struct {
		name     string
		gunicorn testenv.Gunicorn
		front    frontStarter
		verb     string
		kinds    []loadgen.Kind
	}{
		{"sync-reload", sync, nil, "reload", busyKinds()},
		{"sync-restart", sync, nil, "restart", busyKinds()},
		{"apache-reload", sync, apache(testenv.Apache{}), "reload", busyKinds()},
		{"apache-restart", sync, apache(testenv.Apache{}), "restart", busyKinds()},
		{"gthread-reload", gthread, nil, "reload", busyKinds()},
		{"gthread-restart", gthread, nil, "restart", busyKinds()}, // its threads work off what they have accepted, and the others wait
		{"uvicorn-reload", testenv.UvicornWorker(""), nil, "reload", busyKinds()},
		{"uvicorn-restart", testenv.UvicornWorker(""), nil, "restart", busyKinds()},
		{"uploads-reload", sync, nil, "reload", uploadKinds()},
		{"uploads-restart", sync, nil, "restart", uploadKinds()},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := begin(t)
			hold := "3s"
			if c.verb == "restart" {
				hold = "6s" // no generation is there for up to 4 s on a busy machine; with the drain the queue waits longer
			}
			s := newFixture(r, setup{gunicorn: c.gunicorn, front: c.front, release: testenv.Release{Number: 1, Import: 0.5},
				config: "hold.timeout = \"" + hold + "\"\ndrain.timeout = \"3s\"\n"})
			s.load = busyLoad(s.client, c.kinds)
			for i := range fullTimes(1, 5) {
				if i > 0 {
					s.load = busyLoad(s.client, c.kinds)
				}
				s.backlogOf(40)
				s.operateAtOnce(c.verb)
				s.finish()
			}
			s.shutdown()
		})
	}
}

// busyKinds take a worker for 0.2 s each.
func busyKinds() []loadgen.Kind {
	return []loadgen.Kind{
		{Name: "get", Query: "s=0.2"}, {Name: "post", Body: 300, Query: "s=0.2"},
		{Name: "get, kept", Query: "s=0.2", Keep: true}, {Name: "post chunked", Body: 900, Chunked: true, Query: "s=0.2"},
	}
}

// uploadKinds are bodies of which a part has been sent to the app, and is kept by no process, when
// a worker accepts the connection.
func uploadKinds() []loadgen.Kind {
	return []loadgen.Kind{
		{Name: "100 KB", Body: 100_000, Query: "s=0.2"}, {Name: "300 KB chunked", Body: 300_000, Chunked: true, Query: "s=0.2"},
		{Name: "1 MB", Body: 1 << 20, Query: "s=0.2"}, {Name: "100 KB slowly", Body: 100_000, Over: 3 * time.Second, Query: "s=0.2"},
	}
}

// busyLoad sends three times as much as two workers can answer.
func busyLoad(c *loadgen.Client, kinds []loadgen.Kind) *loadgen.OpenLoop {
	c.Timeout = time.Minute
	return loadgen.Start(loadgen.Plan{Client: c, Rate: 30, Mix: kinds})
}

// backlogOf waits until the load has sent n requests more than were answered, or, where the app
// takes them all at once, as long as that would need.
func (s *fixture) backlogOf(n int) {
	s.Helper()
	soon := time.After(4 * time.Second)
	for tick := time.Tick(20 * time.Millisecond); s.load.Tally().InFlight < n; {
		select {
		case <-tick:
		case <-soon:
			return
		}
	}
}

// operateAtOnce carries an operation out without a wait for its drain.
func (s *fixture) operateAtOnce(verb string) {
	s.Helper()
	next, err := s.app.DeployNext()
	s.must(err)
	waiting, begun := s.load.Tally().InFlight, time.Now()
	result, outcome, err := s.daemon.Operate(s.timeout(90*time.Second), verb)
	s.must(err)
	s.addNumbers("in_flight=%d exit_after=%.1fs", waiting, time.Since(begun).Seconds())
	if outcome.Exit != 0 || result.Exit != 0 {
		s.Errorf("%s: %v", verb, outcome)
	}
	if s.front == nil {
		s.waitGeneration(next.Number)
	}
	s.events++
}

// What kill -HUP of gunicorn alone does with the same load.
func TestBusyQueueOfGunicornAlone(t *testing.T) {
	t.Parallel()
	all := map[string]struct {
		gunicorn testenv.Gunicorn
		front    frontStarter
	}{
		"sync": {gunicorn: testenv.Gunicorn{Workers: 2}},
	}
	if *full {
		one := all["sync"]
		one.front = apache(testenv.Apache{})
		all["apache"] = one
		one.front, one.gunicorn = nil, testenv.Gunicorn{Workers: 1, Class: "gthread", Args: []string{"--threads", "2"}}
		all["gthread"] = one
		one.gunicorn = testenv.UvicornWorker("")
		all["uvicorn"] = one
	}
	for name, c := range all {
		t.Run(name, func(t *testing.T) {
			r := begin(t)
			app, err := r.env.NewApp("shop", testenv.Release{Number: 1, Import: 0.5})
			r.must(err)
			address, err := testenv.Address()
			r.must(err)
			c.gunicorn.Bind = address
			alone, err := r.env.Direct(app, c.gunicorn)
			r.must(err)
			s := &fixture{row: r, app: app, client: &loadgen.Client{Address: address, Prefix: "n"}}
			r.must(testenv.Poll(s.timeout(30*time.Second), 50*time.Millisecond, func() error { return s.isRelease(1) }))
			if c.front != nil {
				s.front, err = c.front(r.env, testenv.Backend(address))
				r.must(err)
				s.client = &loadgen.Client{Address: s.front.Address, Host: "front.test", Prefix: "f"}
			}
			for range fullTimes(1, 5) {
				s.load = busyLoad(s.client, busyKinds())
				s.backlogOf(40)
				_, err = app.DeployNext()
				r.must(err)
				r.must(alone.Signal(syscall.SIGHUP))
				s.events++
				s.report(s.load.Stop())
			}
			twice, err := app.Log.BegunTwice("POST")
			r.must(err)
			r.checked, r.doubled = true, len(twice)
			if tally := r.measured.tally; tally.Lost() > 0 {
				t.Logf("gunicorn alone loses %d of %d", tally.Lost(), tally.Ended)
			}
		})
	}
}

// An open stream keeps neither a deploy hook nor the next reload waiting; with --wait-drain it does.
func TestReloadReturnsWhileAStreamIsOpen(t *testing.T) {
	r := begin(t)
	s := newFixture(r, setup{gunicorn: testenv.Gunicorn{Class: "gthread", Workers: 2}, release: testenv.Release{Number: 1, Import: 0.5}})
	s.startLoad(10)
	stream := loadgen.Kind{Name: "sse", Path: "/sse", Query: "s=12", Header: []string{"Accept: text/event-stream"}}
	s.must(s.app.Log.Wait(s.timeout(20*time.Second), "begin", s.load.Send(stream)))
	for range 2 {
		next, err := s.app.DeployNext()
		s.must(err)
		begun := time.Now()
		_, outcome, err := s.daemon.Operate(s.timeout(60*time.Second), "reload")
		s.must(err)
		if took := time.Since(begun); outcome.Exit != 0 || took > 8*time.Second {
			s.Errorf("reload took %v: %v", took, outcome)
		} else {
			s.addNumbers("exit_after=%.1fs", took.Seconds())
		}
		if err := s.isRelease(next.Number); err != nil {
			s.Errorf("reload said ok, and then: %v", err)
		}
		s.events++
	}
	_, outcome, err := s.daemon.Operate(s.timeout(60*time.Second), "reload", "--wait-drain")
	s.must(err)
	if outcome.Exit != 0 {
		s.Errorf("reload --wait-drain: %v", outcome)
	}
	if tally := s.finish(); tally.Longest < 12*time.Second {
		s.Errorf("the stream took %v only: it cannot have been whole", tally.Longest)
	}
	s.shutdown()
}
