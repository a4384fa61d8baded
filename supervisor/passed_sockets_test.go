package supervisor

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"

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
