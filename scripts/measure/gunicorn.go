package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"tideover/scripts/testenv"
)

// wsgi is an app that does as little as an app can; /sleep keeps its worker busy.
const wsgi = `import time

def app(environ, start_response):
    if environ["PATH_INFO"] == "/sleep":
        time.sleep(4)
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "13")])
    return [b"Hello, world\n"]
`

// gunicorn is the command of an app with two workers.
func (s *stage) gunicorn(class string, more ...string) ([]string, error) {
	if _, err := s.room.Write("hello.py", wsgi); err != nil {
		return nil, err
	}
	argv := []string{s.room.Venv("gunicorn-latest", "gunicorn"), "-w", "2", "-k", class, "--backlog", "2048",
		"--chdir", s.room.Dir, "--log-level", "error", "--no-control-socket"}
	if class == "gthread" {
		argv = append(argv, "--threads", "8")
	}
	return append(append(argv, more...), "hello:app"), nil
}

// bare starts a gunicorn with nothing in front of it.
func (s *stage) bare(class string) (*server, error) {
	address, err := testenv.Address()
	if err != nil {
		return nil, err
	}
	argv, err := s.gunicorn(class, "-b", address)
	if err != nil {
		return nil, err
	}
	p, err := s.room.Start(testenv.Command{Name: "bare-" + class, Argv: argv})
	if err != nil {
		return nil, err
	}
	return &server{name: "bare", address: address, process: p}, eventually(func() error { return answers(address) })
}

// socketed starts a gunicorn on a unix socket.
func (s *stage) socketed(class string) (path string, p *testenv.Process, err error) {
	path = s.room.Path(class + ".sock")
	os.Remove(path)
	argv, err := s.gunicorn(class, "-b", "unix:"+path)
	if err != nil {
		return "", nil, err
	}
	if p, err = s.room.Start(testenv.Command{Name: "socketed-" + class, Argv: argv}); err != nil {
		return "", nil, err
	}
	return path, p, eventually(func() error { os.Chmod(path, 0o777); return answers(path) })
}

// compareGunicorn is how many requests come through a real app that has nothing to do.
func compareGunicorn(class string) func(*bench, context.Context) (*table, error) {
	return func(b *bench, _ context.Context) (*table, error) {
		st, err := b.newStage()
		if err != nil {
			return nil, err
		}
		defer st.room.Close(false)
		command, err := st.gunicorn(class)
		if err != nil {
			return nil, err
		}
		names := b.servers([]string{"bare", "tideover", "tideover-tcp", "haproxy-1", "nginx-1"})
		if st.back, _, err = st.socketed(class); err != nil {
			return nil, err
		}
		servers, err := st.contestants(slices.DeleteFunc(slices.Clone(names), func(name string) bool { return name == "bare" }), command...)
		if err != nil {
			return nil, err
		}
		if slices.Contains(names, "bare") {
			if servers["bare"], err = st.bare(class); err != nil {
				return nil, err
			}
		}
		l := load{connections: 32}
		var turns int
		turns, l.time = b.turns(4*time.Second, 500*time.Millisecond)
		t := newTable(names, column{"req/s", more, []string{"bare"}, true}, shown("failed", less))
		return t, b.interleaved(turns, t, func(name string) ([]float64, error) {
			o, err := l.run(servers[name].address)
			return []float64{float64(o.answered) / o.elapsed.Seconds(), float64(o.failed)}, err
		})
	}
}

// call runs a verb of tideover's.
func (s *stage) call(one *server, args ...string) ([]byte, error) {
	cmd := exec.Command(testenv.Binary(s.room.Root), append([]string{"-S", one.socket}, args...)...)
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return nil, fmt.Errorf("%v: %w\n%s%s", args, err, out, exit.Stderr)
	}
	return out, err
}

// held asks how many requests wait.
func (s *stage) held(one *server) (int, error) {
	out, err := s.call(one, "--json", "status", one.name)
	if err != nil {
		return 0, err
	}
	var answer struct{ Apps []struct{ Held int } }
	if err := json.Unmarshal(out, &answer); err != nil || len(answer.Apps) != 1 {
		return 0, fmt.Errorf("status: %v in %s", err, out)
	}
	return answer.Apps[0].Held, nil
}

// holding is what held requests cost.
type holding struct {
	bytes   float64       // of memory, for each request
	cpu     time.Duration // from the first request to the last response, for each request
	idle    float64       // CPU while all wait, in per cent of one processor
	drained time.Duration // from the release to the last response
	failed  int
}

// A holder holds n requests and releases them. It looks for the time look what that costs meanwhile.
type holder func(n int, look time.Duration) (holding, error)

// holders are the servers that hold, each with few and with many requests; with many only where two
// binaries are compared, as few do not tell them apart.
func (b *bench) holders(st *stage) (names []string, holds map[string]func(look time.Duration) (holding, int, error)) {
	by := map[string]holder{"tideover": st.holdOurs("tideover"), "before": st.holdOurs("before"),
		"haproxy-1": st.holdQueue, "kamal-proxy": st.holdPaused}
	holds = map[string]func(time.Duration) (holding, int, error){}
	for _, server := range b.servers([]string{"tideover", "haproxy-1", "kamal-proxy"}) {
		for _, n := range []int{1000, 9500} {
			if n == 1000 && b.before != "" {
				continue
			}
			name := fmt.Sprintf("%s, %d,%03d", server, n/1000, n%1000)
			names = append(names, name)
			holds[name] = func(look time.Duration) (holding, int, error) {
				h, err := by[server](n, look)
				return h, n, err
			}
		}
	}
	return names, holds
}

// compareHeld holds many requests, looks what that costs, and releases them. Before and after, it
// looks how fast a gunicorn alone answers as many.
func compareHeld(b *bench, _ context.Context) (*table, error) {
	st, err := b.newStage()
	if err != nil {
		return nil, err
	}
	defer st.room.Close(false)
	bare, err := st.bare("sync")
	if err != nil {
		return nil, err
	}
	st.alone = bare.address
	names, holds := b.holders(st)
	t := newTable(names, costs("bytes/held", nil), shown("µs/held", less), shown("CPU, %", less), shown("drained, s", less),
		shown("gunicorn alone, s", less), shown("drained/alone", less), shown("failed", less))
	turns, look, rate := 1, b.length(3*time.Second), load{connections: 32, reconnect: true, time: b.length(2 * time.Second)}
	if b.before != "" {
		turns, look, rate.time = 2, look/10, rate.time/10
	}
	return t, b.interleaved(turns, t, func(name string) ([]float64, error) {
		before, err := rate.run(bare.address)
		if err != nil {
			return nil, err
		}
		h, n, err := holds[name](look)
		if err != nil {
			return nil, err
		}
		after, err := rate.run(bare.address)
		if err != nil {
			return nil, err
		}
		alone := float64(n) * (before.elapsed + after.elapsed).Seconds() / float64(before.answered+after.answered)
		return []float64{h.bytes, h.cpu.Seconds() * 1e6, h.idle, h.drained.Seconds(), alone, h.drained.Seconds() / alone, float64(h.failed)}, nil
	})
}

// holdOurs holds n requests in a tideover that has just been started.
func (s *stage) holdOurs(name string) holder {
	return func(n int, look time.Duration) (holding, error) {
		command, err := s.gunicorn("sync")
		if err != nil {
			return holding{}, err
		}
		one, err := s.tideover(name, "unix", command...)
		if err != nil {
			return holding{}, err
		}
		defer one.process.Stop(unix.SIGTERM, 10*time.Second)
		if _, err := s.call(one, "hold", one.name, "--for", "100s"); err != nil {
			return holding{}, err
		}
		return gather(one, n, look, func() error {
			got, err := s.held(one)
			if err == nil && got < n {
				err = fmt.Errorf("%d of %d are held", got, n)
			}
			return err
		}, func() (time.Time, error) {
			asked := time.Now()
			_, err := s.call(one, "release", one.name)
			return asked, err
		})
	}
}

// holdQueue lets n requests wait in HAProxy's queue behind two that keep both workers busy.
func (s *stage) holdQueue(n int, look time.Duration) (holding, error) {
	path, app, err := s.socketed("sync")
	if err != nil {
		return holding{}, err
	}
	defer app.Stop(unix.SIGTERM, 10*time.Second)
	one, err := s.haproxy("queue", 1, 2, path)
	if err != nil {
		return holding{}, err
	}
	defer one.process.Stop(unix.SIGTERM, 10*time.Second)
	busy := make(chan error, 2)
	for range 2 {
		go func() { busy <- exec.Command("curl", "-s", "-o", "/dev/null", "http://"+one.address+"/sleep").Run() }()
	}
	return gather(one, n, min(look, time.Second), nobodyAsks, func() (time.Time, error) {
		err := errors.Join(<-busy, <-busy)
		return time.Now(), err
	})
}

// holdPaused holds n requests in a kamal-proxy that is paused.
func (s *stage) holdPaused(n int, look time.Duration) (holding, error) {
	one, err := s.kamalProxy(s.alone)
	if err != nil {
		return holding{}, err
	}
	defer one.process.Stop(unix.SIGTERM, 10*time.Second)
	if err := s.kamalCall("pause", "app", "--max-pause", "100s"); err != nil {
		return holding{}, err
	}
	return gather(one, n, look, nobodyAsks, func() (time.Time, error) {
		return time.Now(), s.kamalCall("resume", "app")
	})
}

// nobodyAsks is for servers that do not tell how many they hold.
func nobodyAsks() error { return nil }

// gather sends n requests at once, looks at the server while they wait, and takes their answers. waiting is nil when they all wait;
// release lets them go and says since when they may.
func gather(one *server, n int, look time.Duration, waiting func() error, release func() (time.Time, error)) (holding, error) {
	pids := one.pids()
	empty, begun := resident(pids), busy(pids)
	c, err := newCrowd(load{connections: n, reconnect: true}, one.address)
	if err != nil {
		return holding{}, err
	}
	defer c.leave()
	if err := c.begin(); err != nil {
		return holding{}, err
	}
	quiet(pids, 100*time.Millisecond)
	if err := eventually(waiting); err != nil {
		return holding{}, err
	}
	settled := time.After(time.Second)
	<-settled
	full, before := resident(pids), busy(pids)
	pause := time.After(look)
	<-pause
	idle := (busy(pids) - before).Seconds() / look.Seconds() * 100
	released := make(chan time.Time, 1)
	var refused error
	go func() {
		var since time.Time
		since, refused = release()
		released <- since
	}()
	failed, err := c.collect(n, 60*time.Second)
	end := time.Now()
	quiet(pids, 100*time.Millisecond)
	used := busy(pids) - begun
	return holding{float64(full-empty) / float64(n), used / time.Duration(n), idle, end.Sub(<-released), failed}, errors.Join(err, refused)
}

// collect waits until every client has one answer, or its connection has ended.
func (c *crowd) collect(n int, patience time.Duration) (failed int, err error) {
	events := make([]unix.EpollEvent, 256)
	good := 0
	for deadline := time.Now().Add(patience); good+failed < n; {
		got, err := unix.EpollWait(c.epoll, events, 100)
		if err != nil && err != unix.EINTR {
			return failed, err
		}
		if time.Now().After(deadline) {
			return failed, fmt.Errorf("%d of %d were answered", good, n)
		}
		for _, e := range events[:max(0, got)] {
			v := c.clients[int(e.Fd)]
			got, err := unix.Read(v.fd, c.buffer[:])
			switch {
			case err == unix.EAGAIN:
				continue
			case got > 0:
				if v.got = append(v.got, c.buffer[:got]...); !whole(v.got) {
					continue
				}
			}
			if len(v.got) > 12 && string(v.got[9:12]) == "200" {
				good++
			} else {
				failed++
			}
			c.hangUp(v)
		}
	}
	return failed, nil
}

// compareRelease holds a few requests and releases them, again and again, in an app that takes no
// time.
func compareRelease(b *bench, _ context.Context) (*table, error) {
	turns := 4
	if b.before != "" {
		turns = 40
	}
	return b.race(turns, []string{"tideover"}, []column{costs("µs/request", nil), shown("failed", less)}, func(st *stage, s *server) ([]float64, error) {
		return st.release(s, 500)
	})
}

func (s *stage) release(one *server, n int) ([]float64, error) {
	const moment = 10 * time.Millisecond
	if _, err := s.call(one, "hold", one.name, "--for", "60s"); err != nil {
		return nil, err
	}
	pids := one.pids()
	quiet(pids, moment)
	begun := busy(pids)
	c, err := newCrowd(load{connections: n}, one.address)
	if err != nil {
		return nil, err
	}
	defer c.leave()
	if err := c.begin(); err != nil {
		return nil, err
	}
	quiet(pids, moment)
	if _, err := s.call(one, "release", one.name); err != nil {
		return nil, err
	}
	failed, err := c.collect(n, 60*time.Second)
	quiet(pids, moment)
	return []float64{float64(busy(pids)-begun) / 1e3 / float64(n), float64(failed)}, err
}

// compareWake restarts an app while clients ask without end.
func compareWake(b *bench, _ context.Context) (*table, error) {
	return b.race(4, []string{"tideover"}, []column{costs("ms", nil)}, func(st *stage, s *server) ([]float64, error) {
		ms, err := st.wake(s)
		return []float64{ms}, err
	})
}

// wake is the time from the new app's first answer, to the question whether it is ready, to the first answer of a request that
// had waited for it.
func (s *stage) wake(one *server) (ms float64, err error) {
	stamp := s.room.Path(one.name, "stamp")
	os.Remove(stamp)
	c, err := newCrowd(load{connections: 8}, one.address)
	if err != nil {
		return 0, err
	}
	defer c.leave()
	if err := c.begin(); err != nil {
		return 0, err
	}
	restarted := make(chan error, 1)
	go func() {
		_, err := s.call(one, "restart", one.name)
		restarted <- err
	}()
	begun := time.Now()
	c.end = begun.Add(time.Minute)
	var ends []time.Time
	for over := false; !over; {
		select {
		case err := <-restarted:
			if err != nil {
				return 0, err
			}
			over = true
		default:
		}
		before := len(c.waits)
		if err := c.step(); err != nil {
			return 0, err
		}
		for range c.waits[before:] {
			ends = append(ends, time.Now())
		}
	}
	text, err := os.ReadFile(stamp)
	if err != nil {
		return 0, err
	}
	ns, err := strconv.ParseInt(string(text), 10, 64)
	if err != nil {
		return 0, err
	}
	first := time.Unix(0, ns)
	i := slices.IndexFunc(ends, func(t time.Time) bool { return t.After(first) })
	if i < 0 || c.failed > 0 {
		return 0, fmt.Errorf("%d answers in %v, %d failed, none after the restart", len(ends), time.Since(begun), c.failed)
	}
	return ends[i].Sub(first).Seconds() * 1e3, nil
}
