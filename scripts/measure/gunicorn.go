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

	"tideover/scripts/rig"
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
	address, err := rig.Address()
	if err != nil {
		return nil, err
	}
	argv, err := s.gunicorn(class, "-b", address)
	if err != nil {
		return nil, err
	}
	p, err := s.room.Start(rig.Command{Name: "bare-" + class, Argv: argv})
	if err != nil {
		return nil, err
	}
	return &server{name: "bare", address: address, process: p}, eventually(func() error { return answers(address) })
}

// socketed starts a gunicorn on a unix socket.
func (s *stage) socketed(class string) (path string, p *rig.Process, err error) {
	path = s.room.Path(class + ".sock")
	os.Remove(path)
	argv, err := s.gunicorn(class, "-b", "unix:"+path)
	if err != nil {
		return "", nil, err
	}
	if p, err = s.room.Start(rig.Command{Name: "socketed-" + class, Argv: argv}); err != nil {
		return "", nil, err
	}
	return path, p, eventually(func() error { os.Chmod(path, 0o777); return answers(path) })
}

// compareGunicorn is how many requests come through a real app that has nothing to do.
func compareGunicorn(class string) func(*bench, context.Context) (*table, error) {
	return func(b *bench, _ context.Context) (*table, error) {
		st, err := newStage()
		if err != nil {
			return nil, err
		}
		defer st.room.Close(false)
		command, err := st.gunicorn(class)
		if err != nil {
			return nil, err
		}
		names := []string{"bare", "tideover", "tideover-tcp", "haproxy-1", "nginx-1"}
		bare, err := st.bare(class)
		if err != nil {
			return nil, err
		}
		fast, err := st.tideover("tideover", "unix", command...)
		if err != nil {
			return nil, err
		}
		usual, err := st.tideover("tideover-tcp", "tcp", command...)
		if err != nil {
			return nil, err
		}
		if st.back, _, err = st.socketed(class); err != nil {
			return nil, err
		}
		others, err := st.contestants(names[3:])
		if err != nil {
			return nil, err
		}
		l := load{connections: 32, time: b.length(4*time.Second) / turns}
		t := newTable(names, column{"req/s", more, names[:1]}, column{"failed", less, nobody})
		return t, b.interleaved(append([]*server{bare, fast, usual}, others...), t, func(s *server) ([]float64, error) {
			o, err := l.run(s.address)
			return []float64{float64(o.answered) / o.elapsed.Seconds(), float64(o.failed)}, err
		})
	}
}

// call runs a verb of tideover's.
func (s *stage) call(one *server, args ...string) ([]byte, error) {
	cmd := exec.Command(rig.Binary(s.room.Root), append([]string{"-S", one.socket}, args...)...)
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

// A holder holds n requests and lets them go.
type holder struct {
	name string
	n    int
	hold func(n int, look time.Duration) ([]float64, error)
}

// compareHeld holds many requests, looks what that costs, and lets them go.
func compareHeld(b *bench, _ context.Context) (*table, error) {
	st, err := newStage()
	if err != nil {
		return nil, err
	}
	defer st.room.Close(false)
	bare, err := st.bare("sync")
	if err != nil {
		return nil, err
	}
	st.kamal, st.alone = b.kamal, bare.address
	holders := []holder{{"tideover, 1,000", 1000, st.holdOurs}, {"tideover, 9,500", 9500, st.holdOurs},
		{"haproxy, 1,000", 1000, st.holdQueue}, {"haproxy, 9,500", 9500, st.holdQueue}}
	if b.kamal != "" {
		holders = append(holders, holder{"kamal-proxy, 1,000", 1000, st.holdPaused}, holder{"kamal-proxy, 9,500", 9500, st.holdPaused})
	}
	var names []string
	for _, h := range holders {
		names = append(names, h.name)
	}
	t := newTable(names, column{"bytes/held", less, nobody}, column{"CPU, %", less, nobody}, column{"drained, s", less, nobody},
		column{"gunicorn alone, s", less, nobody}, column{"drained/alone", less, nobody}, column{"failed", less, nobody})
	rate := load{connections: 32, reconnect: true, time: b.length(2 * time.Second)}
	for range b.rounds {
		for _, h := range holders {
			before, err := rate.run(bare.address)
			if err != nil {
				return nil, err
			}
			values, err := h.hold(h.n, b.length(3*time.Second))
			if err != nil {
				return nil, fmt.Errorf("%s: %w", h.name, err)
			}
			after, err := rate.run(bare.address)
			if err != nil {
				return nil, err
			}
			ideal := float64(h.n) * (before.elapsed + after.elapsed).Seconds() / float64(before.answered+after.answered)
			t.add(h.name, values[0], values[1], values[2], ideal, values[2]/ideal, values[3])
		}
	}
	return t, nil
}

// holdOurs holds n requests in a tideover that has just been started.
func (s *stage) holdOurs(n int, look time.Duration) ([]float64, error) {
	command, err := s.gunicorn("sync")
	if err != nil {
		return nil, err
	}
	one, err := s.tideover("holding", "unix", command...)
	if err != nil {
		return nil, err
	}
	defer one.process.Stop(unix.SIGTERM, 10*time.Second)
	if _, err := s.call(one, "hold", one.name, "--for", "100s"); err != nil {
		return nil, err
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

// holdQueue lets n requests wait in HAProxy's queue behind two that keep both workers busy.
func (s *stage) holdQueue(n int, look time.Duration) ([]float64, error) {
	path, app, err := s.socketed("sync")
	if err != nil {
		return nil, err
	}
	defer app.Stop(unix.SIGTERM, 10*time.Second)
	one, err := s.haproxy("queue", 1, 2, path)
	if err != nil {
		return nil, err
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
func (s *stage) holdPaused(n int, look time.Duration) ([]float64, error) {
	one, err := s.kamalProxy(s.alone)
	if err != nil {
		return nil, err
	}
	defer one.process.Stop(unix.SIGTERM, 10*time.Second)
	if err := s.kamalCall("pause", "app", "--max-pause", "100s"); err != nil {
		return nil, err
	}
	return gather(one, n, look, nobodyAsks, func() (time.Time, error) {
		return time.Now(), s.kamalCall("resume", "app")
	})
}

// nobodyAsks is for servers that do not tell how many they hold.
func nobodyAsks() error { return nil }

// gather sends n requests at once, looks at the server while they wait, and takes their answers. waiting is nil when they all wait;
// release lets them go and says since when they may.
func gather(one *server, n int, look time.Duration, waiting func() error, release func() (time.Time, error)) ([]float64, error) {
	pids := one.pids()
	empty := resident(pids)
	c, err := newCrowd(load{connections: n, reconnect: true}, one.address)
	if err != nil {
		return nil, err
	}
	defer c.leave()
	if err := c.begin(); err != nil {
		return nil, err
	}
	if err := eventually(waiting); err != nil {
		return nil, err
	}
	settled := time.After(time.Second)
	<-settled
	full, before := resident(pids), busy(pids)
	pause := time.After(look)
	<-pause
	idle := (busy(pids) - before).Seconds() / look.Seconds() * 100
	begun := make(chan time.Time, 1)
	var refused error
	go func() {
		var since time.Time
		since, refused = release()
		begun <- since
	}()
	failed, err := c.collect(n, 60*time.Second)
	end := time.Now()
	drained := end.Sub(<-begun).Seconds()
	return []float64{float64(full-empty) / float64(n), idle, drained, float64(failed)}, errors.Join(err, refused)
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

// compareWake restarts an app while clients ask without end.
func compareWake(b *bench, _ context.Context) (*table, error) {
	st, err := newStage()
	if err != nil {
		return nil, err
	}
	defer st.room.Close(false)
	one, err := st.tideover("tideover", "unix")
	if err != nil {
		return nil, err
	}
	t := newTable([]string{"tideover"}, column{"ms", less, nobody})
	for range b.rounds * 2 {
		ms, err := st.wake(one)
		if err != nil {
			return nil, err
		}
		t.add("tideover", ms)
	}
	return t, nil
}

// wake is the time from the new app's first answer, to the question whether it is ready, to the first answer of a request that
// had waited for it.
func (s *stage) wake(one *server) (ms float64, err error) {
	stamp := s.room.Path("tideover", "stamp")
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
		c.end = time.Now()
		before := len(c.waits)
		if err := c.loop(); err != nil {
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
