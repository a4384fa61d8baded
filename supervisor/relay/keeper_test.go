package relay

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"

	"tideover/listener"
	"tideover/proxy/remote"
	"tideover/proxy/remote/remotetest"
	"tideover/supervisor/process"
)

func TestMain(m *testing.M) {
	process.Shim()
	Role(newLogger)
	if os.Getenv(supervisorVariable) != "" {
		fmt.Fprintln(os.Stderr, superviseAfter())
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func newLogger(level hclog.Level, to hclog.SinkAdapter) hclog.Logger {
	logger := hclog.NewInterceptLogger(&hclog.LoggerOptions{Level: level, Output: io.Discard})
	logger.RegisterSink(to)
	if level == attackLevel {
		go attack(logger)
	}
	return logger
}

// log is what a Keeper has logged.
type log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *log) has(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.text.String(), text)
}

// rig is a relay before one app that answers "hello".
type rig struct {
	*Keeper
	t       *testing.T
	log     *log
	app     *httptest.Server
	started atomic.Int64  // requests that the app has begun
	blocked chan struct{} // requests for /slow are answered when it is closed
	public  *net.TCPListener
	dir     *listener.PrivateDir
	version uint64
}

func newRig(t *testing.T) *rig { return newRigAt(t, hclog.Debug) }

// newRigAt is newRig whose relay logs from a level on.
func newRigAt(t *testing.T, level hclog.Level) *rig {
	r := &rig{t: t, log: &log{}, blocked: make(chan struct{})}
	r.app = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		r.started.Add(1)
		if q.URL.Path == "/ws" {
			echo(w)
			return
		}
		if q.URL.Path == "/slow" {
			select {
			case <-r.blocked:
			case <-q.Context().Done():
			}
		}
		io.WriteString(w, "hello")
	}))
	t.Cleanup(r.app.Close)
	public, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.public = public.(*net.TCPListener)
	t.Cleanup(func() { public.Close() })
	r.dir = newPrivateDir(t)
	r.Keeper, err = New(Options{Logger: hclog.New(&hclog.LoggerOptions{Output: r.log, Level: hclog.Debug}), Confinement: confinedIn(r.dir),
		Settings: remote.Settings{LogLevel: level, SpoolDir: t.TempDir(), SpoolLimit: 1 << 20, Apps: 1}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

// set sets the app with or without its target.
func (r *rig) set(serving bool) error {
	r.version++
	s := remote.Set{App: 1, Name: "shop", Version: r.version, Gate: remote.GateSettings{Limit: 100, Timeout: time.Minute},
		Settings: remote.ProxySettings{PanicOn: "/!"}}
	if serving {
		s.Target = &remote.Target{Generation: 1, Name: "shop#1", Network: "tcp", Address: r.app.Listener.Addr().String(), Concurrency: 100}
	}
	_, err := r.Set(r.t.Context(), s)
	return err
}

// open has the relay accept.
func (r *rig) open() {
	r.t.Helper()
	f, err := r.public.File()
	if err != nil {
		r.t.Fatal(err)
	}
	defer f.Close()
	if err := r.Open(r.t.Context(), remote.Door{Door: 1, App: 1, Address: "127.0.0.1", Socket: f}); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) serve() {
	r.t.Helper()
	if err := r.set(true); err != nil {
		r.t.Fatal(err)
	}
	r.open()
}

// get sends one request on a connection of its own.
func (r *rig) get(path string) error {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Minute}
	resp, err := client.Get("http://" + r.public.Addr().String() + path)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && (resp.StatusCode != 200 || string(body) != "hello") {
		err = fmt.Errorf("%s %q", resp.Status, body)
	}
	return err
}

// kill kills the present relay, and returns when there is another one.
func (r *rig) kill() {
	r.t.Helper()
	former := r.relay()
	if err := syscall.Kill(former.process.Pid(), syscall.SIGKILL); err != nil {
		r.t.Fatal(err)
	}
	<-former.process.Exited()
	waitUntil(r.t, func() bool { p := r.relay(); return p != nil && p != former })
}

func waitUntil(t *testing.T, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(60 * time.Second); !holds(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatal("it never came to that")
		}
	}
}

func TestAKeeperIsARelay(t *testing.T) {
	remotetest.Run(t, func(t *testing.T) remote.Relay {
		k, err := New(Options{Logger: hclog.NewNullLogger(), Settings: remote.Settings{SpoolDir: t.TempDir(), Apps: 1}}) // its apps are at paths outside of a relay's directory
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(k.Close)
		return k
	})
}

func TestTheRelayIsAProcessOfItsOwn(t *testing.T) {
	r := newRig(t)
	r.serve()
	if err := r.get("/"); err != nil {
		t.Fatal(err)
	}
	pid := r.Pid()
	if name, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); err != nil || string(name) != "tideover: relay\x00" {
		t.Errorf("its command line is %q, %v", name, err)
	}
	if session, err := unix.Getsid(pid); err != nil || session != pid {
		t.Errorf("its session is %d, %v", session, err)
	}
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2} {
		if err := syscall.Kill(pid, s); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.get("/"); err != nil || r.Pid() != pid {
		t.Errorf("after signals: %v", err)
	}
	waitUntil(t, func() bool { c := r.Counters(1); return c.Requests == 2 && c.Answered == 2 })
}

func TestAKilledRelayIsReplacedAndNothingIsRefused(t *testing.T) {
	r := newRig(t)
	r.serve()
	var clients sync.WaitGroup
	var sent, lost atomic.Int64
	stop := make(chan struct{})
	for range 4 {
		clients.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				sent.Add(1)
				if err := r.get("/"); errors.Is(err, syscall.ECONNREFUSED) {
					t.Errorf("refused: %v", err)
				} else if err != nil {
					lost.Add(1)
				}
			}
		})
	}
	const kills = 10
	for range kills {
		goal := sent.Load() + 20
		waitUntil(t, func() bool { return sent.Load() >= goal })
		r.kill()
	}
	close(stop)
	clients.Wait()
	if lost.Load() > 4*kills {
		t.Errorf("%d requests are lost, at most %d were in flight", lost.Load(), 4*kills)
	}
	t.Logf("%d requests, %d kills, %d lost", sent.Load(), kills, lost.Load())
	if err := r.get("/"); err != nil {
		t.Error(err)
	}
}

func TestARequestInFlightOrHeldEndsWithItsRelay(t *testing.T) {
	r := newRig(t)
	r.serve()
	slow := make(chan error)
	go func() { slow <- r.get("/slow") }()
	waitUntil(t, func() bool { return r.started.Load() == 1 })
	if got := r.Use(remote.ID{App: 1, Generation: 1}); got.InFlight != 1 {
		t.Errorf("in use: %+v", got)
	}
	awaited := make(chan error)
	go func() {
		awaited <- r.Await(t.Context(), remote.Await{ID: remote.ID{App: 1, Generation: 1}, What: remote.Finished})
	}()
	mark, err := r.Mark(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	r.kill()
	if err := <-slow; err == nil {
		t.Error("a request was answered that was in flight")
	}
	if err := <-awaited; err != nil {
		t.Errorf("Await: %v", err)
	}
	if held := r.Since(t.Context(), remote.Since{Mark: mark, End: true}); !held.Partial {
		t.Errorf("Since: %+v", held)
	}
	if err := r.set(false); err != nil {
		t.Fatal(err)
	}
	held := make(chan error, 2)
	go func() { held <- r.get("/") }()
	waitUntil(t, func() bool { return r.State(1).Held == 1 })
	r.kill()
	if err := <-held; err == nil {
		t.Error("a request was answered that was held")
	}
	go func() { held <- r.get("/") }() // the next relay holds, as the former did
	waitUntil(t, func() bool { return r.State(1).Held == 1 })
	if err := r.set(true); err != nil {
		t.Fatal(err)
	}
	if err := <-held; err != nil {
		t.Error(err)
	}
	// What the clients have seen is what is counted, over the deaths of two relays.
	waitUntil(t, func() bool { return r.Counters(1).Answered == 1 })
	c := r.Counters(1)
	if c.Requests != 3 || c.Cut != 2 {
		t.Errorf("%+v", c)
	}
	waitUntil(t, func() bool { return r.State(1).Held == 0 && r.Use(remote.ID{App: 1, Generation: 1}).InFlight == 0 })
	r.kill()
	if got := r.Counters(1); got != c {
		t.Errorf("%+v after another death, %+v before", got, c)
	}
	if final, err := r.Remove(t.Context(), 1); err != nil || final != c {
		t.Errorf("Remove: %+v, %v", final, err)
	}
}

// Without a relay, or with one that dies, a removal has the totals all the same.
func TestAnAppIsRemovedWithItsTotalsWhileTheRelayDies(t *testing.T) {
	r := newRig(t)
	r.serve()
	if err := r.get("/"); err != nil {
		t.Fatal(err)
	}
	waitUntil(t, func() bool { return r.Counters(1).Answered == 1 })
	go r.get("/slow")
	waitUntil(t, func() bool { return r.started.Load() == 2 })
	former := r.relay()
	if err := r.Shut(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	removed := make(chan remote.Counters)
	go func() {
		c, err := r.Remove(t.Context(), 1)
		if err != nil {
			t.Error(err)
		}
		removed <- c
	}()
	if err := syscall.Kill(former.process.Pid(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if c := <-removed; c.Requests != 2 || c.Answered != 1 || c.Cut != 1 {
		t.Errorf("%+v", c)
	}
	waitUntil(t, func() bool { p := r.relay(); return p != nil && p != former })
	if c := r.Counters(1); c != (remote.Counters{}) {
		t.Errorf("the next relay has the app: %+v", c)
	}
	close(r.blocked)
}

func TestWhatChangesWhileNoRelayIsThereIsWhatTheNextOneGets(t *testing.T) {
	r := newRig(t)
	r.serve()
	for range 5 {
		former, err := r.await(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		syscall.Kill(former.process.Pid(), syscall.SIGKILL)
		changes := make(chan error, 3)
		go func() { changes <- r.set(true) }()
		if err := <-changes; err != nil {
			t.Error(err)
		}
		if err := r.Announce(t.Context()); err != nil {
			t.Error(err)
		}
		if err := r.get("/"); err != nil {
			t.Errorf("a request after the death: %v", err)
		}
	}
	if _, err := r.await(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.kill()
	if err := r.Shut(t.Context(), 1); err != nil {
		t.Error(err)
	}
	r.kill()
	conn, err := net.Dial("tcp", r.public.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	r.public.SetDeadline(time.Now().Add(30 * time.Second))
	if accepted, err := r.public.Accept(); err != nil { // the relay does not
		t.Error(err)
	} else {
		accepted.Close()
	}
}

func TestWhatIsConfiguredReachesTheRelayAndTheNextOne(t *testing.T) {
	r := newRig(t)
	r.serve()
	pid := r.Pid()
	for _, limit := range []int{50, 7} {
		if err := r.Configure(t.Context(), remote.Settings{SpoolDir: t.TempDir(), MaxConnections: limit, Apps: 1}); err != nil {
			t.Fatal(err)
		}
		if got := r.Clients().Limit; got != limit {
			t.Errorf("%d clients may be connected, want %d", got, limit)
		}
	}
	if err := r.Configure(t.Context(), remote.Settings{SpoolDir: t.TempDir(), MaxConnections: 1 << 29, Apps: 1}); err != nil {
		t.Fatal(err)
	}
	waitUntil(t, func() bool { return r.log.has("daemon.max_connections out of reach") }) // the level is that of the start
	r.SetLogLevel(hclog.Error)
	if err := r.Configure(t.Context(), remote.Settings{SpoolDir: t.TempDir(), MaxConnections: 1 << 28, Apps: 1}); err != nil {
		t.Fatal(err)
	}
	if err := r.Configure(t.Context(), remote.Settings{SpoolDir: t.TempDir(), MaxConnections: 7, Apps: 1}); err != nil {
		t.Fatal(err)
	}
	if r.Pid() != pid {
		t.Error("another relay was started")
	}
	r.kill()
	if got := r.Clients().Limit; got != 7 {
		t.Errorf("in the next relay %d clients may be connected, want 7", got)
	}
	if r.log.has(fmt.Sprint(1 << 28)) {
		t.Error("a warning was logged below the level")
	}
}

func TestARelayThatDoesNotAnswerIsKilled(t *testing.T) {
	r := newRig(t)
	r.serve()
	former := r.relay()
	if err := syscall.Kill(former.process.Pid(), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	waitUntil(t, func() bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", former.process.Pid()))
		return err == nil && bytes.Contains(stat, []byte(") T "))
	})
	if err := r.set(true); err != nil {
		t.Error(err)
	}
	<-former.process.Exited()
	if err := r.get("/"); err != nil {
		t.Error(err)
	}
	waitUntil(t, func() bool { return r.log.has("does not answer") })
}

func TestCloseEndsTheRelay(t *testing.T) {
	r := newRig(t)
	r.serve()
	p := r.relay()
	if err := r.Shut(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if counters, err := r.Remove(t.Context(), 1); err != nil || counters.Requests != 0 {
		t.Errorf("%+v %v", counters, err)
	}
	if err := r.End(t.Context()); err != nil {
		t.Error(err)
	}
	k := r.Keeper
	k.Close()
	r.Keeper, _ = New(k.options) // for the cleanup
	select {
	case <-p.process.Exited():
	default:
		t.Error("the process lives")
	}
	if err := k.Turn(t.Context()); !errors.Is(err, remote.ErrEnded) {
		t.Errorf("Turn: %v", err)
	}
}
