package supervisor

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"tideover/proxy/remote"
	"tideover/supervisor/api"
	"tideover/supervisor/config"
)

// unixSocket is one that a service manager would pass.
func unixSocket(t *testing.T, path string) *os.File {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	defer l.Close()
	f, err := l.File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// alone is the app of `run -- COMMAND` with a bind that comes from somewhere.
func alone(from string, listen ...string) appOption {
	return func(a *config.App) { a.Listen, a.ListenFrom = listen, from }
}

// openAlone starts the daemon of `run -- COMMAND` with passed sockets.
func (r *harness) openAlone(passed map[string][]*os.File, options ...appOption) {
	r.t.Helper()
	r.tune = func(o *Options) { o.Inherited, o.Alone = passed, true }
	r.open("web", options...)
}

func TestAPassedSocketIsMatchedByItsAddress(t *testing.T) {
	t.Parallel()
	t.Run("tcp", func(t *testing.T) {
		r := prepare(t)
		r.openAlone(map[string][]*os.File{"unknown": {socket(t, r.address)}}, alone("command line", r.address))
		r.page()
		if st := r.status(); st.Listen[0] != r.address {
			t.Errorf("listens on %q", st.Listen)
		}
	})
	t.Run("every interface", func(t *testing.T) { // ListenStream=8000 of a unit
		r := prepare(t)
		_, port, _ := net.SplitHostPort(r.address)
		r.openAlone(map[string][]*os.File{"web": {socket(t, "[::]:"+port)}}, alone("command line", "0.0.0.0:"+port))
		r.page()
	})
	t.Run("unix", func(t *testing.T) {
		r := prepare(t)
		path := filepath.Join(shortDir(t), "a.sock")
		r.openAlone(map[string][]*os.File{"web": {unixSocket(t, path)}}, alone("command line", "unix:"+path))
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
		r.until("ready", func(s api.AppStatus) bool { return s.State == api.Running })
		r.close()
		if _, err := os.Stat(path); err != nil { // it is the service manager's
			t.Errorf("after the shutdown: %v", err)
		}
	})
	t.Run("of a configuration", func(t *testing.T) {
		r := prepare(t)
		r.tune = func(o *Options) { o.Inherited = map[string][]*os.File{"web": {socket(t, r.address)}} }
		r.open("web")
		r.page()
	})
}

func TestPassedSocketsAreTheBindOfACommandThatHasNone(t *testing.T) {
	t.Parallel()
	for _, from := range []string{"default", "PORT"} {
		r := prepare(t)
		second := freeAddress(t)
		r.openAlone(map[string][]*os.File{"a": {socket(t, r.address)}, "b": {socket(t, second)}}, alone(from, freeAddress(t)))
		r.page()
		r.address = second
		r.page()
		if st := r.status(); len(st.Listen) != 2 || !strings.HasPrefix(st.Listen[0], "systemd:a (") || !strings.HasPrefix(st.Listen[1], "systemd:b (") {
			t.Errorf("%s: listens on %q", from, st.Listen)
		}
		r.want(r.do(api.Reload), api.ExitOK)
	}
}

func TestAPassedSocketDoesNotOverrideTheFlag(t *testing.T) {
	t.Parallel()
	r := prepare(t)
	other := socket(t, "127.0.0.1:0")
	r.openAlone(map[string][]*os.File{"web": {socket(t, r.address)}, "other": {other}}, alone("listen", r.address))
	r.page()
	if st := r.status(); len(st.Listen) != 1 || st.Listen[0] != r.address {
		t.Errorf("listens on %q", st.Listen)
	}
}

func TestAPassedSocketThatIsNotTheBindIsRefusedWithTheRemedy(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, from, listen string }{
		{"another port", "command line", "127.0.0.1:1"},
		{"of gunicorn's file", "gunicorn", "127.0.0.1:1"},
		{"of a variable", "UVICORN_PORT", "127.0.0.1:1"},
		{"one of two", "command line", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := prepare(t)
			passed := map[string][]*os.File{"web": {socket(t, r.address)}}
			if c.listen == "" {
				c.listen = r.address
				passed["web"] = append(passed["web"], socket(t, "127.0.0.1:0"))
			}
			cfg := r.settings("web", alone(c.from, c.listen))
			_, err := New(&config.File{Apps: []*config.App{cfg}}, Options{
				Logger: hclog.NewNullLogger(), Name: "shop", RuntimeDir: shortDir(t), StateDir: t.TempDir(), Inherited: passed, Alone: true,
			})
			var e *api.Error
			if !errors.As(err, &e) || e.Exit != api.ExitUsage || !strings.Contains(e.Hint, "--listen systemd:web -- ") || !strings.Contains(e.Message, c.listen) {
				t.Errorf("%v", err)
			}
		})
	}
}

// lingeringRelay has clients keep their connections, at a shutdown, until over is closed.
type lingeringRelay struct {
	remote.Relay
	once    sync.Once
	reached chan struct{} // closed when it is waited for the end of the connections
	over    chan struct{}
}

func newLingeringRelay() *lingeringRelay {
	return &lingeringRelay{Relay: remote.NewLocal(remote.LocalOptions{Logger: hclog.NewNullLogger()}),
		reached: make(chan struct{}), over: make(chan struct{})}
}

func (r *lingeringRelay) Await(ctx context.Context, a remote.Await) error {
	if a.What == remote.Disconnected {
		r.once.Do(func() { close(r.reached) })
		<-r.over
	}
	return r.Relay.Await(ctx, a)
}

// A keptConn is a client's connection for several requests.
type keptConn struct {
	net.Conn
	t        *testing.T
	received *bufio.Reader
}

func connect(t *testing.T, address string) *keptConn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	conn.SetDeadline(time.Now().Add(time.Minute))
	t.Cleanup(func() { conn.Close() })
	return &keptConn{conn, t, bufio.NewReader(conn)}
}

func (c *keptConn) send(nonce string) {
	fmt.Fprintf(c, "GET /?nonce=%s HTTP/1.1\r\nHost: shop.example\r\n\r\n", nonce)
}

// want demands the right response; last says that it is the last one of the connection.
func (c *keptConn) want(nonce string, last bool) {
	c.t.Helper()
	resp, err := http.ReadResponse(c.received, nil)
	if err != nil {
		c.t.Errorf("%s: %v", nonce, err)
		return
	}
	body, err := io.ReadAll(resp.Body)
	if resp.StatusCode != http.StatusOK || resp.Close != last || err != nil || !strings.Contains(string(body), "nonce="+nonce) {
		c.t.Errorf("%s: %s %q, closes %t, %v", nonce, resp.Status, body, resp.Close, err)
	}
}

func (c *keptConn) wantClosed() {
	c.t.Helper()
	if n, err := c.received.Read(make([]byte, 1)); n > 0 || err != io.EOF {
		c.t.Errorf("%d bytes, %v; want a closed connection", n, err)
	}
}

func TestAShutdownLeavesWhatWaitsInAPassedSocketToTheNextDaemon(t *testing.T) {
	t.Parallel()
	r, relay := prepare(t), newLingeringRelay()
	inherited := map[string][]*os.File{"web": {socket(t, r.address)}}
	r.tune = func(o *Options) { o.Inherited, o.Relay = inherited, relay }
	r.open("web")
	r.page()
	idle, busy, fresh := connect(t, r.address), connect(t, r.address), connect(t, r.address)
	for _, c := range []*keptConn{idle, busy} {
		c.send("before")
		c.want("before", false)
	}
	slow := r.slow()
	r.until("all are accepted", func(api.AppStatus) bool { return relay.Clients().Open == 4 })
	r.s.Shutdown(false)
	<-relay.reached
	waiting := connect(t, r.address)
	waiting.send("waits")
	for _, c := range []*keptConn{busy, fresh} {
		c.send("accepted")
		c.want("accepted", true)
		c.wantClosed()
	}
	close(relay.over)
	idle.wantClosed()
	if body := slow.finish(); !strings.HasPrefix(body, "slow pid=") {
		t.Errorf("in flight: %q", body)
	}
	<-r.stopped
	if counts := r.s.ShutdownCounts(); counts != (ShutdownCounts{}) {
		t.Errorf("the shutdown has cost %+v", counts)
	}
	next := prepare(t)
	next.address, next.tune = r.address, func(o *Options) { o.Inherited = inherited }
	next.open("web")
	waiting.want("waits", false)
}

// What an app has in flight may need those that it comes after.
func TestAPassedSocketIsServedUntilTheAppsThatNeedItHaveEnded(t *testing.T) {
	t.Parallel()
	w := &multiApp{harness: prepare(t)}
	behind := freeAddress(t)
	w.tune = func(o *Options) {
		o.Inherited = map[string][]*os.File{"web": {socket(t, w.address)}, "behind": {socket(t, behind)}}
	}
	w.apps = []*config.App{
		w.app(named("web", func(a *config.App) { a.Listen, a.After = []string{"systemd:web"}, []string{"behind"} })),
		w.app(named("behind", func(a *config.App) { a.Listen = []string{"systemd:behind"} })),
	}
	file, _ := w.load()
	w.run(file, w.load)
	w.page()
	slow := w.slow()
	w.s.Shutdown(false)
	<-w.s.Leaving()
	of := connect(t, behind)
	of.send("needed")
	of.want("needed", true)
	if body := slow.finish(); !strings.HasPrefix(body, "slow pid=") {
		t.Errorf("in flight: %q", body)
	}
	<-w.stopped
}

// A socket that systemd has passed is to outlive an app without a relay, whatever its processes do at their end.
func TestAPassedSocketListensAfterAProcessHasShutItDownAtItsEnd(t *testing.T) {
	t.Parallel()
	r := prepare(t)
	r.tune = func(o *Options) { o.Inherited = map[string][]*os.File{"web": {socket(t, r.address)}} }
	r.open("direct", env("TESTPROGRAM_SHUTDOWN", "1"), func(a *config.App) {
		a.Relay, a.Ready.After = config.RelayNone, 50*time.Millisecond
	})
	r.page()
	r.close()
	connect(t, r.address)
}
