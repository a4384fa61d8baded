package relay

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"tideover/proxy/remote"
	"tideover/supervisor/handoff"
	"tideover/supervisor/process"
)

// supervisorVariable makes this binary a supervisor that takes over a relay: what it is to do, as JSON.
const supervisorVariable = "RELAY_TEST_SUPERVISOR"

// successor is what such a supervisor is to do.
type successor struct {
	Relay handoff.RelayRecord
	Names []string // of the descriptors from 3 on; then comes the public socket
	Epoch uint64
	App   string // its address
}

// memoryStore is a handoff.Store in this process.
type memoryStore struct {
	mu    sync.Mutex
	files map[string]*os.File
}

func (s *memoryStore) Put(_ context.Context, name string, f *os.File) error {
	dup, err := remote.DuplicateFile(f)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if former := s.files[name]; former != nil {
		former.Close()
	}
	s.files[name] = dup
	return nil
}

func (s *memoryStore) Drop(_ context.Context, names ...string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range names {
		if f := s.files[name]; f != nil {
			f.Close()
		}
		delete(s.files, name)
	}
	return nil
}

func (s *memoryStore) names() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.files))
}

// stranger is a process whose parent is another one.
type stranger struct {
	pid    int
	exited chan struct{}
}

func (p stranger) Pid() int                     { return p.pid }
func (p stranger) Exited() <-chan struct{}      { return p.exited }
func (p stranger) Outcome() (o process.Outcome) { return o }

// Kill would be the end of the test.
func (p stranger) Kill(context.Context) (r process.StopReport) {
	fmt.Println("killed")
	return r
}

// superviseAfter is a supervisor: it attaches, says everything again, says "ready", waits for something
// for ever, and is killed.
func superviseAfter() error {
	var s successor
	if err := json.Unmarshal([]byte(os.Getenv(supervisorVariable)), &s); err != nil {
		return err
	}
	files := map[string]*os.File{}
	for i, name := range s.Names {
		files[name] = os.NewFile(uintptr(3+i), name)
	}
	public := os.NewFile(uintptr(3+len(s.Names)), "public")
	k, err := New(Options{Logger: hclog.NewNullLogger(), Settings: remote.Settings{Apps: 1},

		Former: &Former{Relays: []FormerRelay{{s.Relay, stranger{s.Relay.Tree.Pid, make(chan struct{})}}}, Files: files, Epoch: s.Epoch, Last: s.Relay.Number}})
	if err != nil {
		return err
	}
	d, attached := k.Described()
	if !attached || len(d.Apps) != 1 || len(d.Doors) != 1 || d.Apps[0].Target != 1 {
		return fmt.Errorf("the relay has %+v, %v", d, attached)
	}
	ctx := context.Background()
	set := remote.Set{App: 1, Name: "shop", Version: d.Apps[0].Version + 1, Gate: remote.GateSettings{Limit: 100, Timeout: time.Minute},
		Target: &remote.Target{Generation: 1, Name: "shop#1", Network: "tcp", Address: s.App, Concurrency: 100}}
	if a, err := k.Set(ctx, set); err != nil || a.Version != set.Version || a.Former != 0 {
		return fmt.Errorf("Set: %+v, %w", a, err)
	}
	if err := k.Open(ctx, remote.Door{Door: 1, App: 1, Address: "public", Socket: public}); err != nil {
		return fmt.Errorf("Open: %w", err)
	}
	if u := k.Use(remote.ID{App: 1, Generation: 1}); u.Tunnels != 2 {
		return fmt.Errorf("%d tunnels", u.Tunnels)
	}
	if _, err := k.Mark(ctx, 1); err != nil {
		return err
	}
	go k.Await(ctx, remote.Await{ID: remote.ID{App: 1, Generation: 1}, What: remote.TunnelsClosed})
	fmt.Println("ready")
	io.Copy(io.Discard, os.Stdin) // until it is killed
	return errors.New("the test has ended")
}

// Supervisors come and are killed, at any point of their attaching too, under load.
func TestARelayLosesNothingWithItsSupervisors(t *testing.T) {
	takeovers := 12
	if testing.Short() {
		takeovers = 3
	}
	r := newRig(t)
	store := &memoryStore{files: map[string]*os.File{}}
	confinement, err := confinedIn(r.dir)()
	if err != nil {
		t.Fatal(err)
	}
	page, err := remote.NewPage()
	if err != nil {
		t.Fatal(err)
	}
	store.Put(t.Context(), "page/0", page.File())
	recorded := 0
	p, err := fork(forkOptions{number: 7, page: page, logger: hclog.New(&hclog.LoggerOptions{Output: r.log, Level: hclog.Debug}), store: store,
		settings: Settings{Settings: remote.Settings{Apps: 1}, Confinement: &confinement}, announce: func(announced handoff.RelayRecord) error {
			if announced.Tree.Token != "" && announced.Tree.Pid == 0 {
				recorded++
			}
			return nil
		}})
	if err != nil {
		t.Fatal(err)
	}
	defer p.kill()
	names := store.names()
	if recorded != 1 || p.record.Tree.Pid == 0 || !slices.Equal(names, []string{"page/0", "relay/7/attach", "relay/7/log"}) {
		t.Fatalf("announced %d times, recorded %+v, stored %v", recorded, p.record, names)
	}
	set := remote.Set{App: 1, Name: "shop", Version: 1, Gate: remote.GateSettings{Limit: 100, Timeout: time.Minute},
		Target: &remote.Target{Generation: 1, Name: "shop#1", Network: "tcp", Address: r.app.Listener.Addr().String(), Concurrency: 100}}
	if _, err := p.Set(t.Context(), set); err != nil {
		t.Fatal(err)
	}
	public, err := r.public.File()
	if err != nil {
		t.Fatal(err)
	}
	defer public.Close()
	if err := p.Open(t.Context(), remote.Door{Door: 1, App: 1, Address: "public", Socket: public}); err != nil {
		t.Fatal(err)
	}
	tunnels := []*client{r.tunnel(), r.tunnel()}

	var clients sync.WaitGroup
	var sent atomic.Int64
	stop := make(chan struct{})
	for i := range 4 {
		keepAlive := &http.Client{Transport: &http.Transport{DisableKeepAlives: i%2 == 0}, Timeout: time.Minute}
		clients.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				resp, err := keepAlive.Get("http://" + r.public.Addr().String() + "/")
				if err == nil {
					var body []byte
					body, err = io.ReadAll(resp.Body)
					resp.Body.Close()
					if err == nil && string(body) != "hello" {
						err = fmt.Errorf("%s %q", resp.Status, body)
					}
				}
				if err != nil {
					t.Errorf("lost: %v", err)
					return
				}
				sent.Add(1)
			}
		})
	}
	p.Client.Close() // this supervisor has died
	for i := range takeovers {
		goal := sent.Load() + 20
		s := successor{Relay: p.record, Names: names, Epoch: uint64(100 + i), App: r.app.Listener.Addr().String()}
		r.takeOver(s, store, i%3 == 2)
		waitUntil(t, func() bool { return sent.Load() >= goal || t.Failed() })
	}
	for _, c := range tunnels {
		c.echoes()
	}
	close(stop)
	clients.Wait()
	if c := page.Counters(1); c.Cut != 0 || c.Answered < uint64(sent.Load()) {
		t.Errorf("%d requests were cut, %d of %d counted", c.Cut, c.Answered, sent.Load())
	}
	t.Logf("%d takeovers, %d requests", takeovers, sent.Load())
}

// A supervisor that dies while a relay is replaced leaves two that accept.
func TestOfTwoRelaysThatAcceptTheOneThatWasBeingStartedDrains(t *testing.T) {
	r := newRig(t)
	store := &memoryStore{files: map[string]*os.File{}}
	former := &Former{Files: store.files, Epoch: 2, Last: 8}
	public, err := remote.DuplicateFile(r.public)
	if err != nil {
		t.Fatal(err)
	}
	defer public.Close()
	set := remote.Set{App: 1, Name: "shop", Version: 1, Gate: remote.GateSettings{Limit: 100, Timeout: time.Minute},
		Target: &remote.Target{Generation: 1, Name: "shop#1", Network: "tcp", Address: r.app.Listener.Addr().String(), Concurrency: 100}}
	for i := range 2 {
		page, err := remote.NewPage()
		if err != nil {
			t.Fatal(err)
		}
		store.Put(t.Context(), pageName(i), page.File())
		p, err := fork(forkOptions{number: uint64(7 + i), page: page, pageIndex: i, logger: hclog.NewNullLogger(), store: store,
			settings: Settings{Settings: remote.Settings{Apps: 1}}, announce: func(handoff.RelayRecord) error { return nil }})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Set(t.Context(), set); err != nil {
			t.Fatal(err)
		}
		if err := p.Open(t.Context(), remote.Door{Door: 1, App: 1, Address: "public", Socket: public}); err != nil {
			t.Fatal(err)
		}
		former.Relays = append(former.Relays, FormerRelay{p.record, p.process})
		p.Client.Close() // this supervisor has died
	}
	k, err := New(Options{Logger: hclog.NewNullLogger(), Settings: remote.Settings{Apps: 1}, Former: former})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Close)
	if d, attached := k.Described(); !attached || len(d.Doors) != 1 || k.Pid() != former.Relays[0].Process.Pid() {
		t.Errorf("the present relay is %d, of %+v, and has %+v", k.Pid(), former.Relays, d)
	}
	<-former.Relays[1].Process.Exited() // it had no connection
	set.Version, set.Target = 2, nil
	if _, err := k.Set(t.Context(), set); err != nil {
		t.Fatal(err)
	}
	asked := r.started.Load()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	q, _ := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+r.public.Addr().String()+"/", nil)
	if _, err := (&http.Client{Transport: &http.Transport{}}).Do(q); err == nil || r.started.Load() != asked {
		t.Error("a request passed a gate that is shut", err)
	}
}

// takeOver starts a supervisor and kills it: when it is ready, or early.
func (r *rig) takeOver(s successor, store *memoryStore, early bool) {
	r.t.Helper()
	order, err := json.Marshal(s)
	if err != nil {
		r.t.Fatal(err)
	}
	public, err := remote.DuplicateFile(r.public) // a File of package net would become blocking, for the relay too
	if err != nil {
		r.t.Fatal(err)
	}
	defer public.Close()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), supervisorVariable+"="+string(order))
	for _, name := range s.Names {
		cmd.ExtraFiles = append(cmd.ExtraFiles, store.files[name])
	}
	cmd.ExtraFiles = append(cmd.ExtraFiles, public)
	cmd.Stderr = os.Stderr
	if _, err := cmd.StdinPipe(); err != nil {
		r.t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		r.t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	if early {
		pause := time.NewTimer(time.Duration(rand.IntN(30)) * time.Millisecond)
		<-pause.C
		return
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		r.t.Fatalf("the supervisor says %q, %v", line, err)
	}
}
