package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"tideover/scripts/loadgen"
)

// holding is what held requests cost.
type holding struct {
	bytes   float64       // of memory, for each request
	cpu     time.Duration // from the first request to the last response, for each request
	idle    float64       // CPU while all wait, in per cent of one processor
	drained time.Duration // from the release to the last response
	failed  int
}

// A holder holds n requests and releases them. For the time look it measures the CPU meanwhile.
type holder func(n int, look time.Duration) (holding, error)

// compareHeld holds many requests, measures what that costs, and releases them. Before and after, it
// measures how fast a gunicorn alone answers as many. Two binaries are compared with many requests
// only: the memory of few says nothing about one.
func compareHeld(b *bench) (*table, error) {
	e, err := b.newEnvironment()
	if err != nil {
		return nil, err
	}
	defer e.close()
	direct, err := e.gunicornAlone("sync")
	if err != nil {
		return nil, err
	}
	e.gunicorn = direct.address
	turns, look, d, sizes := 1, b.length(3*time.Second), b.length(2*time.Second), []int{1000, 9500}
	if b.before != "" {
		turns, look, d, sizes = 2, look/10, d/10, []int{9500}
	}
	holders := map[string]holder{"tideover": e.holdTideover("tideover"), "before": e.holdTideover("before"),
		"haproxy-1": e.holdHAProxy, "kamal-proxy": e.holdKamal}
	var names []string
	holds := map[string]func() (holding, error){}
	number := map[string]int{}
	for _, server := range b.servers([]string{"tideover", "haproxy-1", "kamal-proxy"}) {
		for _, n := range sizes {
			name := fmt.Sprintf("%s, %d,%03d", server, n/1000, n%1000)
			names = append(names, name)
			number[name] = n
			holds[name] = func() (holding, error) { return holders[server](n, look) }
		}
	}
	t := newTable(names, cost("bytes/held", nil), shown("µs/held", lower), shown("CPU, %", lower), shown("drained, s", lower),
		shown("gunicorn alone, s", lower), shown("drained/alone", lower), shown("failed", lower))
	return t, b.interleaved(turns, t, func(name string) ([]float64, error) {
		first, err := sendFor(direct.address, 32, true, d)
		if err != nil {
			return nil, err
		}
		h, err := holds[name]()
		if err != nil {
			return nil, err
		}
		last, err := sendFor(direct.address, 32, true, d)
		if err != nil {
			return nil, err
		}
		alone := float64(number[name]) * (first.Elapsed + last.Elapsed).Seconds() / float64(first.Answered+last.Answered)
		return []float64{h.bytes, h.cpu.Seconds() * 1e6, h.idle, h.drained.Seconds(), alone, h.drained.Seconds() / alone, float64(h.failed)}, nil
	})
}

// holdTideover holds requests in a tideover that has just been started.
func (e *environment) holdTideover(name string) holder {
	return func(n int, look time.Duration) (holding, error) {
		command, err := e.gunicornCommand("sync")
		if err != nil {
			return holding{}, err
		}
		s, err := e.tideover(name, "unix", command...)
		if err != nil {
			return holding{}, err
		}
		defer s.process.Stop(unix.SIGTERM, 10*time.Second)
		if _, err := e.call(s, "hold", s.name, "--for", "100s"); err != nil {
			return holding{}, err
		}
		return measureHeld(s, n, look, func() error {
			held, err := e.heldBy(s)
			if err == nil && held < n {
				err = fmt.Errorf("%d of %d are held", held, n)
			}
			return err
		}, func() (time.Time, error) {
			begun := time.Now()
			_, err := e.call(s, "release", s.name)
			return begun, err
		})
	}
}

// heldBy asks a tideover how many requests it holds.
func (e *environment) heldBy(s *server) (int, error) {
	out, err := e.call(s, "--json", "status", s.name)
	if err != nil {
		return 0, err
	}
	var status struct{ Apps []struct{ Held int } }
	if err := json.Unmarshal(out, &status); err != nil || len(status.Apps) != 1 {
		return 0, fmt.Errorf("status: %v in %s", err, out)
	}
	return status.Apps[0].Held, nil
}

// holdHAProxy lets requests wait in HAProxy's queue behind two that keep both workers busy.
func (e *environment) holdHAProxy(n int, look time.Duration) (holding, error) {
	path, app, err := e.gunicornOnSocket("sync")
	if err != nil {
		return holding{}, err
	}
	defer app.Stop(unix.SIGTERM, 10*time.Second)
	s, err := e.haproxy("queue", 1, 2, path)
	if err != nil {
		return holding{}, err
	}
	defer s.process.Stop(unix.SIGTERM, 10*time.Second)
	busy := make(chan error, 2)
	for range 2 {
		go func() { busy <- exec.Command("curl", "-s", "-o", "/dev/null", "http://"+s.address+"/sleep").Run() }()
	}
	return measureHeld(s, n, min(look, time.Second), unknown, func() (time.Time, error) {
		err := errors.Join(<-busy, <-busy)
		return time.Now(), err
	})
}

// holdKamal holds requests in a kamal-proxy that is paused.
func (e *environment) holdKamal(n int, look time.Duration) (holding, error) {
	s, err := e.kamalProxy(e.gunicorn)
	if err != nil {
		return holding{}, err
	}
	defer s.process.Stop(unix.SIGTERM, 10*time.Second)
	if err := e.kamalCall("pause", "app", "--max-pause", "100s"); err != nil {
		return holding{}, err
	}
	return measureHeld(s, n, look, unknown, func() (time.Time, error) {
		return time.Now(), e.kamalCall("resume", "app")
	})
}

// unknown is for servers that do not tell how many requests they hold.
func unknown() error { return nil }

// measureHeld sends n requests at once, measures the server while they wait, and takes their
// responses. waiting returns nil when all are held; release lets them go and returns since when.
func measureHeld(s *server, n int, look time.Duration, waiting func() error, release func() (time.Time, error)) (holding, error) {
	pids := s.pids()
	memoryBefore, cpuBefore := memory(pids), cpuTime(pids)
	clients, err := newClients(s.address, n, true)
	if err != nil {
		return holding{}, err
	}
	defer clients.Close()
	answered := once(clients)
	waitIdle(pids, 100*time.Millisecond)
	if err := eventually(waiting); err != nil {
		return holding{}, err
	}
	settled := time.After(time.Second)
	<-settled
	held, before := memory(pids), cpuTime(pids)
	looked := time.After(look)
	<-looked
	idle := (cpuTime(pids) - before).Seconds() / look.Seconds() * 100
	released, err := release()
	a := <-answered
	waitIdle(pids, 100*time.Millisecond)
	return holding{
		bytes:   float64(held-memoryBefore) / float64(n),
		cpu:     (cpuTime(pids) - cpuBefore) / time.Duration(n),
		idle:    idle,
		drained: a.end.Sub(released),
		failed:  a.Failed,
	}, errors.Join(err, a.err)
}

// answered is what came back for one request of each client.
type answered struct {
	loadgen.LoopResult
	end time.Time
	err error
}

// once lets each client send one request.
func once(clients *loadgen.ClosedLoop) <-chan answered {
	all := make(chan answered, 1)
	go func() {
		r, err := clients.Run(0)
		all <- answered{r, time.Now(), err}
	}()
	return all
}

// compareRelease holds a few requests and releases them, again and again, in an app that takes no
// time.
func compareRelease(b *bench) (*table, error) {
	turns := 4
	if b.before != "" {
		turns = 40
	}
	columns := []column{cost("µs/request", nil), shown("failed", lower)}
	return b.sideBySide(turns, []string{"tideover"}, columns, func(e *environment, s *server) ([]float64, error) {
		return e.holdAndRelease(s, 500)
	})
}

func (e *environment) holdAndRelease(s *server, n int) ([]float64, error) {
	const moment = 10 * time.Millisecond
	if _, err := e.call(s, "hold", s.name, "--for", "60s"); err != nil {
		return nil, err
	}
	pids := s.pids()
	waitIdle(pids, moment)
	before := cpuTime(pids)
	clients, err := newClients(s.address, n, false)
	if err != nil {
		return nil, err
	}
	defer clients.Close()
	answered := once(clients)
	waitIdle(pids, moment)
	if _, err := e.call(s, "release", s.name); err != nil {
		return nil, err
	}
	a := <-answered
	waitIdle(pids, moment)
	return []float64{float64(cpuTime(pids)-before) / 1e3 / float64(n), float64(a.Failed)}, a.err
}

// compareWake restarts an app while clients ask without end.
func compareWake(b *bench) (*table, error) {
	turns := 4
	if b.before != "" {
		turns = 12
	}
	return b.sideBySide(turns, []string{"tideover"}, []column{cost("ms", nil)}, func(e *environment, s *server) ([]float64, error) {
		d, err := e.wake(s)
		return []float64{d.Seconds() * 1e3}, err
	})
}

// wake is the time from the new app's first answer, which the readiness probe gets, to the first
// answer of a request that was held.
func (e *environment) wake(s *server) (time.Duration, error) {
	stamp := e.Path(s.name, "stamp")
	os.Remove(stamp)
	clients, err := newClients(s.address, 8, false)
	if err != nil {
		return 0, err
	}
	defer clients.Close()
	var mu sync.Mutex
	var ends []time.Time
	clients.Answered = func(end time.Time) {
		mu.Lock()
		defer mu.Unlock()
		ends = append(ends, end)
	}
	restarted := make(chan error, 1)
	go func() {
		_, err := e.call(s, "restart", s.name)
		restarted <- err
	}()
	failed := 0
	for over := false; !over; {
		select {
		case err := <-restarted:
			if err != nil {
				return 0, err
			}
			over = true
		default:
		}
		r, err := clients.Run(0)
		if err != nil {
			return 0, err
		}
		failed += r.Failed
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
	slices.SortFunc(ends, time.Time.Compare)
	i := slices.IndexFunc(ends, func(end time.Time) bool { return end.After(first) })
	if i < 0 || failed > 0 {
		return 0, fmt.Errorf("%d answers, %d failed, none after the restart", len(ends), failed)
	}
	return ends[i].Sub(first), nil
}
