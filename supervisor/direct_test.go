package supervisor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"

	"tideover/proxy/remote"
	"tideover/supervisor/api"
	"tideover/supervisor/config"
)

// openDirect is open for an app with relay = "none". It counts as ready when it has run for a
// moment.
func openDirect(t *testing.T, path string, options ...appOption) (r *harness, log *syncBuffer) {
	t.Helper()
	r, log = prepare(t), &syncBuffer{}
	if path != "" {
		r.http.Transport = &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		}}
	}
	r.tune = func(o *Options) { o.Logger = hclog.New(&hclog.LoggerOptions{Output: log}) }
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log:\n%s", log.String())
		}
	})
	r.open("direct", append(options, func(a *config.App) {
		a.Relay, a.Ready.After = config.RelayNone, 50*time.Millisecond
		if path != "" {
			a.Listen = []string{"unix:" + path}
		}
	})...)
	r.until("running", func(s api.AppStatus) bool { return s.State == api.Running })
	return r, log
}

func (r *harness) reloadWaitingForDrain() api.Result {
	return r.s.Do(context.Background(), api.Request{Verb: api.Reload, By: api.Caller{Via: "test"}, WaitDrain: true}, func(api.Phase) {})
}

// publicFlags are the flags of the open file description that the generations share.
func (r *harness) publicFlags() int {
	r.t.Helper()
	f, err := r.s.registry.all()[0].listeners[0].current().File()
	if err != nil {
		r.t.Fatal(err)
	}
	defer f.Close()
	flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFL, 0)
	if err != nil {
		r.t.Fatal(err)
	}
	return flags
}

func TestWithoutARelayNoNewConnectionIsLost(t *testing.T) {
	t.Parallel()
	r, _ := openDirect(t, "", env("TESTPROGRAM_IMPORT", "100ms"))
	before := pidOf(t, r.page())
	load := r.load(4)
	for range 3 {
		slow := r.slow()
		reloaded := make(chan api.Result, 1)
		go func() { reloaded <- r.reloadWaitingForDrain() }()
		r.until("replaced", func(s api.AppStatus) bool { return s.LastReload != nil && s.Pid != before && s.State == api.Running })
		if body := slow.finish(); pidOf(t, body) != before {
			t.Errorf("the request in flight: %q, want pid %d", body, before)
		}
		r.want(<-reloaded, api.ExitOK)
		before = r.status().Pid
		if r.publicFlags()&unix.O_NONBLOCK == 0 {
			t.Error("the next generation was given the socket, and the one that accepts on it now waits in accept(2)")
		}
	}
	for range 2 {
		r.want(r.do(api.Restart), api.ExitOK)
	}
	r.noneLost(load)
}

func TestWithoutARelayConnectionsWaitForAStoppedApp(t *testing.T) {
	t.Parallel()
	r, _ := openDirect(t, "")
	r.page()
	r.want(r.do(api.Stop), api.ExitOK)
	answer := make(chan string, 1)
	go func() {
		_, body := r.get("/")
		answer <- body
	}()
	r.until("waiting in the queue", func(api.AppStatus) bool { return r.s.registry.all()[0].listeners[0].current().Pending() })
	select {
	case body := <-answer:
		t.Errorf("a stopped app answers: %q", body)
	default:
	}
	started := r.want(r.do(api.Start), api.ExitOK)
	if body := <-answer; !strings.Contains(body, fmt.Sprintf("generation=%d", started.Generation.To)) {
		t.Errorf("%q, want generation %d", body, started.Generation.To)
	}
}

func TestWithoutARelayAHoldIsRefused(t *testing.T) {
	t.Parallel()
	r, _ := openDirect(t, "")
	_, err := r.s.Hold(context.Background(), "shop", api.HoldRequest{By: api.Caller{Via: "test"}})
	var refused *api.Error
	if !errors.As(err, &refused) || refused.Exit != api.ExitUsage || !strings.Contains(refused.Hint, "tideover stop shop") {
		t.Errorf("%v", err)
	}
	st := r.status()
	if st.Relay != "none" || len(st.Listen) != 1 || st.Counters != (api.Counters{}) {
		t.Errorf("%+v", st)
	}
	if st, err := r.s.Check(context.Background()); err != nil || !*st.Apps[0].Answers {
		t.Errorf("%+v, %v", st, err)
	}
}

func TestAChildThatShutsThePublicSocketDownClosesItForAMomentOnly(t *testing.T) {
	t.Parallel()
	r, log := openDirect(t, "")
	pid := pidOf(t, r.page())
	for n := 1; n <= 3; n++ {
		kill(t, pid, syscall.SIGUSR1)
		r.until("listening again", func(api.AppStatus) bool { return strings.Count(log.String(), "public socket listens again") == n })
		if now := pidOf(t, r.page()); now != pid {
			t.Errorf("pid %d answers, want %d", now, pid)
		}
	}
}

func TestAPublicUnixSocketThatWasShutDownIsReplacedAndTheAppReloaded(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(pid int, path string) error{
		"shut down": func(pid int, _ string) error { return syscall.Kill(pid, syscall.SIGUSR1) },
		"removed":   func(_ int, path string) error { return os.Remove(path) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(shortDir(t), "shop.sock")
			r, log := openDirect(t, path, func(a *config.App) { a.ListenMode = 0o640 })
			pid := pidOf(t, r.page())
			if err := spoil(pid, path); err != nil {
				t.Fatal(err)
			}
			r.until("bound again", func(api.AppStatus) bool { return strings.Contains(log.String(), "public socket bound again") })
			if now := pidOf(t, r.page()); now == pid {
				t.Errorf("pid %d answers, which has the former socket", now)
			}
			r.until("settled", func(s api.AppStatus) bool { return s.State == api.Running && s.Generation == 2 })
			if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o640 {
				t.Errorf("%v, %v", info.Mode(), err)
			}
			r.until("the former socket is closed", func(api.AppStatus) bool {
				l := r.s.registry.all()[0].listeners[0]
				l.mu.Lock()
				defer l.mu.Unlock()
				return len(l.sockets) == 1
			})
			r.page()
			if n := strings.Count(log.String(), "public socket bound again"); n != 1 {
				t.Errorf("bound again %d times:\n%s", n, log.String())
			}
		})
	}
}

// callsOfRelay writes down the calls to a relay that tell how an app leaves it.
type callsOfRelay struct {
	remote.Relay
	mu    sync.Mutex
	calls []string
}

func (r *callsOfRelay) note(call string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.calls) == 0 || r.calls[len(r.calls)-1] != call {
		r.calls = append(r.calls, call)
	}
}

func (r *callsOfRelay) Shut(ctx context.Context, door uint64) error {
	r.note("nothing more is accepted")
	return r.Relay.Shut(ctx, door)
}

func (r *callsOfRelay) Await(ctx context.Context, a remote.Await) error {
	err := r.Relay.Await(ctx, a)
	if a.What == remote.Disconnected && err == nil {
		r.note("no client is connected")
	}
	return err
}

func (r *callsOfRelay) Set(ctx context.Context, s remote.Set) (remote.Applied, error) {
	if s.Refusal != nil {
		r.note("requests are refused")
	}
	return r.Relay.Set(ctx, s)
}

// A client whose connection the relay has accepted when its app is replaced is answered: requests are
// refused when none is connected any more.
func TestTheRelayIsSwitchedOffWhenItsClientsAreAnswered(t *testing.T) {
	t.Parallel()
	calls := &callsOfRelay{Relay: remote.NewLocal(remote.LocalOptions{Logger: hclog.NewNullLogger()})}
	w := &multiApp{harness: prepare(t)}
	w.tune = func(o *Options) { o.Relay = calls }
	w.apps = []*config.App{w.app(named("shop"))}
	file, _ := w.load()
	w.run(file, w.load)
	w.untilState("shop", api.Running)
	w.edit("shop", func(a *config.App) {
		a.Relay, a.Ready.After, a.Env["TESTPROGRAM"] = config.RelayNone, 50*time.Millisecond, "direct"
		usedPrograms.Store("direct", true)
	})
	w.wantApplied("shop:replace")
	calls.mu.Lock()
	defer calls.mu.Unlock()
	want := []string{"nothing more is accepted", "no client is connected", "requests are refused"}
	if got := calls.calls; len(got) < len(want) || !slices.Equal(got[:len(want)], want) {
		t.Errorf("%q, want %q first", got, want)
	}
}
