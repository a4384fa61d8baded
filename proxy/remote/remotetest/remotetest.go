// Package remotetest has the tests that every implementation of remote.Relay must pass.
package remotetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tideover/proxy/remote"
)

// patience bounds each wait.
const patience = 20 * time.Second

// Run runs all tests. open returns a relay without apps.
func Run(t *testing.T, open func(t *testing.T) remote.Relay) {
	for _, test := range []struct {
		name string
		run  func(*row)
	}{
		{"RequestsAreHeldUntilATargetIsSet", (*row).held},
		{"ASetAgainChangesNothing", (*row).again},
		{"AnOlderSetIsIgnored", (*row).older},
		{"AHoldWithADeadlineEndsWithoutASupervisor", (*row).deadline},
		{"ASwapTellsTheFormerTargetAndItsRequestsInFlight", (*row).swap},
		{"GoneSendsAnUnansweredRequestToTheNextGeneration", (*row).gone},
		{"TheExitOfTheMainProcessShutsTheGate", (*row).exit},
		{"WhatNoWorkerHasAcceptedGoesToTheNextGeneration", (*row).backlog},
		{"AReplacedGenerationGivesBackWhatItsWorkersDoNotAccept", (*row).replaced},
		{"AnAwaitIsForgottenWithItsContext", (*row).forgotten},
		{"WhatIsUnknownIsNoHindrance", (*row).unknown},
		{"ATargetThatNeedsAProofIsSuspendedWithoutOne", (*row).proof},
		{"AProbeBringsTheBeginningOfTheAnswer", (*row).probe},
		{"AProbeReachesTheSocketOfItsProofOnly", (*row).provenProbe},
		{"ADoorIsShut", (*row).shut},
		{"IdleConnectionsAreClosedAndRequestsAnswered", (*row).closeIdle},
		{"RemoveReturnsTheFinalTotals", (*row).remove},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			r := &row{T: t, ctx: ctx, relay: open(t), set: remote.Set{App: 1, Name: "shop"}}
			t.Cleanup(func() {
				cancel() // clients leave
				r.relay.Shut(context.Background(), 1)
				r.relay.Remove(context.Background(), 1)
			})
			r.set.Gate = remote.GateSettings{Limit: 100, Timeout: time.Minute}
			r.apply()
			r.door()
			test.run(r)
		})
	}
}

// row is one app of a relay with one door.
type row struct {
	*testing.T
	ctx     context.Context
	relay   remote.Relay
	set     remote.Set
	address string // of the door
}

// apply sends the desired state.
func (r *row) apply() remote.Applied {
	r.Helper()
	r.set.Version++
	applied, err := r.relay.Set(r.ctx, r.set)
	if err != nil {
		r.Fatal(err)
	}
	return applied
}

func (r *row) door() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		r.Fatal(err)
	}
	defer l.Close()
	f, err := l.(*net.TCPListener).File()
	if err != nil {
		r.Fatal(err)
	}
	defer f.Close()
	if err := r.relay.Open(r.ctx, remote.Door{Door: 1, App: 1, Address: l.Addr().String(), Socket: f}); err != nil {
		r.Fatal(err)
	}
	r.address = l.Addr().String()
}

// app answers with its name once release is closed; nil: at once. It is generation number.
func (r *row) app(number int, release <-chan struct{}) *remote.Target {
	path := filepath.Join(r.dir(), fmt.Sprint(number))
	l, err := net.Listen("unix", path)
	if err != nil {
		r.Fatal(err)
	}
	ended := r.ctx.Done()
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if release != nil {
			select {
			case <-release:
			case <-ended:
			}
		}
		w.Header().Set("Connection", "close") // so that each request connects
		fmt.Fprint(w, number)
	})}
	go s.Serve(l)
	r.Cleanup(func() { s.Close() })
	return &remote.Target{Generation: number, Name: fmt.Sprint("shop#", number), Network: "unix", Address: path, Concurrency: 4}
}

// dir returns a directory whose name is short enough for a unix socket.
func (r *row) dir() string {
	dir, err := os.MkdirTemp("", "relay")
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// get sends a request; the channel gets its body, or the error.
func (r *row) get() <-chan string { return r.request(http.MethodGet) }

func (r *row) request(method string) <-chan string {
	got := make(chan string, 1)
	go func() {
		client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		req, _ := http.NewRequestWithContext(r.ctx, method, "http://"+r.address+"/", nil)
		resp, err := client.Do(req)
		if err != nil {
			got <- err.Error()
			return
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		got <- string(body)
	}()
	return got
}

func (r *row) want(got <-chan string, body string) {
	r.Helper()
	select {
	case text := <-got:
		if text != body {
			r.Errorf("answer %q, want %q", text, body)
		}
	case <-r.ctx.Done():
		r.Fatalf("no answer, want %q", body)
	}
}

// until waits for a condition of what can be read.
func (r *row) until(what string, reached func() bool) {
	r.Helper()
	for !reached() {
		select {
		case <-time.After(5 * time.Millisecond):
		case <-r.ctx.Done():
			r.Fatalf("never %s: %+v", what, r.relay.State(1))
		}
	}
}

func (r *row) heldNow(n int) func() bool {
	return func() bool { return r.relay.State(1).Held == n }
}

func (r *row) inFlight(generation, n int) func() bool {
	return func() bool { return r.relay.Use(remote.ID{App: 1, Generation: generation}).InFlight == n }
}

func (r *row) held() {
	mark, err := r.relay.Mark(r.ctx, 1)
	if err != nil {
		r.Fatal(err)
	}
	got := r.get()
	r.until("held", r.heldNow(1))
	r.set.Target = r.app(1, nil)
	r.apply()
	r.want(got, "1")
	if h := r.relay.Since(r.ctx, remote.Since{Mark: mark, End: true}); h.Held != 1 || h.Longest <= 0 || h.Partial {
		r.Errorf("since the mark: %+v", h)
	}
	if h := r.relay.Since(r.ctx, remote.Since{Mark: mark}); !h.Partial {
		r.Errorf("since a mark that has ended: %+v", h)
	}
	r.until("counted", func() bool { c := r.relay.Counters(1); return c.Answered == 1 && c.Held == 1 })
}

func (r *row) again() {
	r.set.Target = r.app(1, nil)
	r.set.Holds = []remote.Hold{{Name: "operator"}}
	r.apply()
	got := r.get()
	r.until("held", r.heldNow(1))
	if applied, err := r.relay.Set(r.ctx, r.set); err != nil || applied.Former != 0 {
		r.Errorf("again: %+v, %v", applied, err)
	}
	r.set.Holds = nil
	r.apply()
	r.want(got, "1")
}

func (r *row) older() {
	r.set.Target = r.app(1, nil)
	older := r.set
	r.set.Version += 5
	r.apply()
	older.Refusal = &remote.Refusal{Cause: "of yesterday"}
	if applied, err := r.relay.Set(r.ctx, older); err != nil || applied.Version != r.set.Version {
		r.Errorf("%+v, %v", applied, err)
	}
	r.want(r.get(), "1")
}

func (r *row) deadline() {
	r.set.Target = r.app(1, nil)
	r.set.Holds = []remote.Hold{{Name: "operator", Until: time.Now().Add(300 * time.Millisecond)}}
	r.apply()
	began := time.Now()
	r.want(r.get(), "1")
	if waited := time.Since(began); waited < 100*time.Millisecond {
		r.Errorf("answered after %s", waited)
	}
}

func (r *row) swap() {
	release := make(chan struct{})
	r.set.Target = r.app(1, release)
	r.apply()
	got := r.get()
	r.until("in flight", r.inFlight(1, 1))
	r.set.Target = r.app(2, nil)
	if applied := r.apply(); applied.Former != 1 || applied.InFlight != 1 || applied.Version != r.set.Version {
		r.Errorf("%+v", applied)
	}
	r.want(r.get(), "2")
	finished := make(chan error, 1)
	go func() {
		finished <- r.relay.Await(r.ctx, remote.Await{ID: remote.ID{App: 1, Generation: 1}, What: remote.Finished})
	}()
	select {
	case err := <-finished:
		r.Errorf("finished with a request in flight: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	close(release)
	r.want(got, "1")
	if err := <-finished; err != nil {
		r.Error(err)
	}
}

func (r *row) gone() {
	r.set.Target = r.app(1, make(chan struct{}))
	r.apply()
	got := r.get()
	r.until("in flight", r.inFlight(1, 1))
	r.set.Target = nil
	r.apply()
	if _, err := r.relay.Gone(r.ctx, remote.ID{App: 1, Generation: 1}); err != nil {
		r.Error(err)
	}
	r.until("held", r.heldNow(1))
	r.set.Target = r.app(2, nil)
	r.apply()
	r.want(got, "2")
}

// process starts a process, and returns its pidfd (nil: the kernel has none that can be polled) and
// what kills it.
func (r *row) process() (pidfd *os.File, kill func()) {
	cmd := exec.Command("cat")
	in, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		r.Fatal(err)
	}
	kill = func() {
		cmd.Process.Kill()
		in.Close()
		cmd.Wait()
	}
	fd, err := unix.PidfdOpen(cmd.Process.Pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		r.Cleanup(kill)
		return nil, kill
	}
	pidfd = os.NewFile(uintptr(fd), "pidfd")
	r.Cleanup(func() { kill(); pidfd.Close() })
	return pidfd, kill
}

// exited has the main process of generation 1 exit. Without a pidfd the relay learns of it by a Set.
func (r *row) exited(kill func()) {
	kill()
	if r.set.Target.Main == nil {
		r.set.Target = nil
		r.apply()
		r.relay.Reclaim(r.ctx, remote.Reclaim{ID: remote.ID{App: 1, Generation: 1}, Exited: true})
	}
}

func (r *row) exit() {
	var kill func()
	r.set.Target = r.app(1, nil) // which goes on to answer, as workers without their main process do
	r.set.Target.Main, kill = r.process()
	r.apply()
	r.want(r.get(), "1")
	r.exited(kill)
	var got <-chan string
	r.until("held", func() bool {
		got = r.get()
		for r.relay.State(1).Held == 0 {
			select {
			case text := <-got:
				if text != "1" {
					r.Fatalf("answer %q", text)
				}
				return false
			case <-time.After(time.Millisecond):
			}
		}
		return true
	})
	r.apply() // of a supervisor that does not know it yet
	if held := r.relay.State(1).Held; held != 1 {
		r.Errorf("%d held after a Set of the same target", held)
	}
	r.set.Target = r.app(2, nil)
	r.apply()
	r.want(got, "2")
}

// deaf is generation 1, which listens and accepts nothing.
func (r *row) deaf() *remote.Target {
	path := filepath.Join(r.dir(), "1")
	l, err := net.Listen("unix", path)
	if err != nil {
		r.Fatal(err)
	}
	f, err := l.(*net.UnixListener).File()
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() { l.Close(); f.Close() })
	return &remote.Target{Generation: 1, Name: "shop#1", Network: "unix", Address: path, Concurrency: 4, Socket: f, Marker: []byte("never read\r\n")}
}

// post sends a request that may not be sent twice.
func (r *row) post() <-chan string { return r.request(http.MethodPost) }

func (r *row) backlog() {
	var kill func()
	r.set.Target = r.deaf()
	r.set.Target.Main, kill = r.process()
	r.apply()
	got := r.post()
	r.until("in flight", r.inFlight(1, 1))
	r.exited(kill)
	r.until("held", r.heldNow(1))
	r.set.Target = r.app(2, nil)
	r.apply()
	r.want(got, "2")
	r.gives(1)
}

// gives says that no process of generation 1 exists.
func (r *row) gives(reclaimed int) {
	r.Helper()
	if n, err := r.relay.Gone(r.ctx, remote.ID{App: 1, Generation: 1}); n != reclaimed || err != nil {
		r.Errorf("%d reclaimed, %v; want %d", n, err, reclaimed)
	}
}

func (r *row) replaced() {
	r.set.Target = r.deaf()
	r.apply()
	first, second := r.post(), r.post()
	r.until("in flight", r.inFlight(1, 2))
	r.set.Target = r.app(2, nil)
	r.apply()
	id := remote.ID{App: 1, Generation: 1}
	if err := r.relay.Reclaim(r.ctx, remote.Reclaim{ID: id}); err != nil {
		r.Error(err)
	}
	r.want(first, "2")
	r.want(second, "2")
	if err := r.relay.Reclaim(r.ctx, remote.Reclaim{ID: id, End: true}); err != nil {
		r.Error(err)
	}
	r.gives(2)
}

func (r *row) forgotten() {
	r.set.Target = r.app(1, make(chan struct{}))
	r.apply()
	got := r.get()
	r.until("in flight", r.inFlight(1, 1))
	ctx, cancel := context.WithTimeout(r.ctx, 30*time.Millisecond)
	defer cancel()
	id := remote.ID{App: 1, Generation: 1}
	if err := r.relay.Await(ctx, remote.Await{ID: id, What: remote.Finished}); !errors.Is(err, context.DeadlineExceeded) {
		r.Errorf("finished: %v", err)
	}
	if err := r.relay.Await(r.ctx, remote.Await{ID: id, What: remote.Asked}); err != nil {
		r.Errorf("asked: %v", err)
	}
	r.set.Target, r.set.Refusal = nil, &remote.Refusal{Cause: "the test ends"}
	r.apply()
	r.relay.Gone(r.ctx, id)
	<-got
}

func (r *row) unknown() {
	id := remote.ID{App: 7, Generation: 7}
	for _, what := range []remote.Event{remote.Finished, remote.TunnelsClosed, remote.Asked, remote.Disconnected, remote.Sent} {
		if err := r.relay.Await(r.ctx, remote.Await{ID: id, What: what}); err != nil {
			r.Errorf("event %d: %v", what, err)
		}
	}
	_, gone := r.relay.Gone(r.ctx, id)
	for _, err := range []error{gone, r.relay.Reclaim(r.ctx, remote.Reclaim{ID: id}), r.relay.Cut(r.ctx, remote.Cut{ID: id, What: remote.Tunnels}),
		r.relay.Prove(r.ctx, remote.Proof{ID: id, Number: 1}), r.relay.Shut(r.ctx, 9), r.relay.Turn(r.ctx)} {
		if err != nil {
			r.Error(err)
		}
	}
	if s, c, u := r.relay.State(7), r.relay.Counters(7), r.relay.Use(id); s != (remote.State{}) || c != (remote.Counters{}) || u != (remote.Use{}) {
		r.Errorf("%+v %+v %+v", s, c, u)
	}
}

// prover answers for proofs.
type prover struct {
	invalid atomic.Bool
	lost    chan uint64
}

func (p *prover) Holds(uint64) bool { return !p.invalid.Load() }
func (p *prover) Lost(n uint64)     { p.lost <- n }

func (r *row) proof() {
	id := remote.ID{App: 1, Generation: 1}
	p := &prover{lost: make(chan uint64, 10)}
	r.relay.SetProver(id, p)
	r.set.Target = r.app(1, nil)
	r.set.Target.NeedsProof = true
	r.apply()
	got := r.get()
	r.until("held", r.heldNow(1))
	r.relay.Prove(r.ctx, remote.Proof{ID: id, Number: 1, Verify: true})
	r.want(got, "1")
	p.invalid.Store(true)
	got = r.get()
	select {
	case n := <-p.lost:
		if n != 1 {
			r.Errorf("proof %d was lost", n)
		}
	case <-r.ctx.Done():
		r.Fatal("the proof was not lost")
	}
	r.relay.Prove(r.ctx, remote.Proof{ID: id, Number: 1}) // it was lost
	r.until("held", r.heldNow(1))
	p.invalid.Store(false)
	r.relay.Prove(r.ctx, remote.Proof{ID: id, Number: 2, Verify: true})
	r.want(got, "1")
}

func (r *row) probe() {
	target := r.app(3, nil)
	answer, err := r.relay.Probe(r.ctx, remote.Probe{Network: "unix", Address: target.Address, Host: "shop", Path: "/", UserAgent: "test"})
	if err != nil || answer.Status != 200 || answer.Line != "200 OK" || string(answer.Body) != "3" || answer.Error != "" {
		r.Errorf("%+v, %v", answer, err)
	}
	answer, err = r.relay.Probe(r.ctx, remote.Probe{Network: "unix", Address: target.Address + "x", Host: "shop", Path: "/"})
	if err != nil || answer.Failure != remote.ProbeRefused || answer.Error == "" {
		r.Errorf("%+v, %v", answer, err)
	}
}

// provenProbe sends probes before the first Set of their generation.
func (r *row) provenProbe() {
	p := &prover{}
	probe := remote.Probe{ID: remote.ID{App: 1, Generation: 4}, Network: "unix", Address: r.app(4, nil).Address, Host: "shop", Path: "/", Proof: 1, Verify: true}
	r.relay.SetProver(probe.ID, p)
	if answer, err := r.relay.Probe(r.ctx, probe); err != nil || answer.Status != 200 {
		r.Errorf("%+v, %v", answer, err)
	}
	p.invalid.Store(true)
	if answer, err := r.relay.Probe(r.ctx, probe); err != nil || answer.Failure != remote.ProbeRefused || answer.Status != 0 {
		r.Errorf("without a proof that holds: %+v, %v", answer, err)
	}
}

func (r *row) shut() {
	r.set.Target = r.app(1, nil)
	r.apply()
	r.want(r.get(), "1")
	if err := r.relay.Shut(r.ctx, 1); err != nil {
		r.Error(err)
	}
	r.until("refused", func() bool { // a child that is being forked has the socket until its execve
		conn, err := net.Dial("tcp", r.address)
		if err == nil {
			conn.Close()
		}
		return err != nil
	})
}

func (r *row) closeIdle() {
	release := make(chan struct{})
	r.set.Target = r.app(1, release)
	r.apply()
	got := r.get()
	r.until("in flight", r.inFlight(1, 1))
	idle, err := net.Dial("tcp", r.address)
	if err != nil {
		r.Fatal(err)
	}
	defer idle.Close()
	r.until("accepted", func() bool { return r.relay.Clients().Open == 2 })
	r.relay.Shut(r.ctx, 1)
	if err := r.relay.Cut(r.ctx, remote.Cut{ID: remote.ID{App: 1}, What: remote.Idle}); err != nil {
		r.Error(err)
	}
	idle.SetReadDeadline(time.Now().Add(patience))
	if _, err := idle.Read(make([]byte, 1)); err != io.EOF {
		r.Errorf("an idle connection: %v", err)
	}
	close(release)
	r.want(got, "1")
	if err := r.relay.Await(r.ctx, remote.Await{ID: remote.ID{App: 1}, What: remote.Disconnected}); err != nil {
		r.Error(err)
	}
	r.apply() // as the end of the app does
}

func (r *row) remove() {
	r.set.Target = r.app(1, nil)
	r.apply()
	r.want(r.get(), "1")
	r.relay.Shut(r.ctx, 1)
	totals, err := r.relay.Remove(r.ctx, 1)
	if err != nil || totals.Requests != 1 || totals.Answered != 1 {
		r.Errorf("%+v, %v", totals, err)
	}
}
