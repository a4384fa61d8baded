package supervisor

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"

	"tideover/supervisor/api"
	"tideover/supervisor/config"
)

// socket is one that a service manager would pass.
func socket(t *testing.T, address string) *os.File {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	f, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestInheritedSockets(t *testing.T) {
	t.Parallel()
	r := prepare(t)
	second := freeAddress(t)
	r.tune = func(o *Options) {
		o.Inherited = map[string][]*os.File{"shop": {socket(t, r.address), socket(t, second)}}
	}
	r.open("web", func(a *config.App) { a.Listen = []string{"systemd:shop"} })
	pid := pidOf(t, r.page())
	if st := r.status(); len(st.Listen) != 1 || st.Listen[0] != "systemd:shop ("+r.address+", "+second+")" {
		t.Errorf("listens on %q", st.Listen)
	}
	a, _ := r.s.registry.app("shop")
	if network, _ := a.snapshot.Load().current.Upstream(); network != "tcp" {
		t.Errorf("the private socket is not of the public one's family: %s", network)
	}
	r.want(r.do(api.Reload), api.ExitOK)
	r.address = second
	if again := pidOf(t, r.page()); again == pid {
		t.Error("the old generation answers on the second socket")
	}
}

func TestSocketsThatWereNotPassed(t *testing.T) {
	t.Parallel()
	plain, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	for _, c := range []struct {
		name      string
		listen    string
		inherited map[string][]*os.File
		want      string
	}{
		{"none at all", "systemd:shop", nil, `no socket was passed to tideover, so there is none named "shop": start the .socket unit`},
		{"others", "systemd:shop", map[string][]*os.File{"web": {plain}, "admin": {plain}}, `FileDescriptorName= of its .socket unit); there is "admin", "web"`},
		{"no socket", "systemd:shop", map[string][]*os.File{"shop": {plain}}, "the inherited socket /dev/null cannot serve"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := prepare(t)
			cfg := r.settings("web", func(a *config.App) { a.Listen = []string{c.listen} })
			_, err := New(&config.File{Apps: []*config.App{cfg}}, Options{
				Logger: hclog.NewNullLogger(), Name: "shop", RuntimeDir: shortDir(t), StateDir: t.TempDir(), Inherited: c.inherited,
			})
			if err == nil || !strings.HasPrefix(err.Error(), "app shop: ") || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}

func TestUnusedInheritedSocketsAreSaid(t *testing.T) {
	t.Parallel()
	r := prepare(t)
	var log syncBuffer
	r.tune = func(o *Options) {
		o.Inherited = map[string][]*os.File{"web": {socket(t, "127.0.0.1:0")}}
		o.Logger = hclog.New(&hclog.LoggerOptions{Output: &log})
	}
	r.open("web")
	if text := log.String(); !strings.Contains(text, "inherited socket unused: fd_name=web") || !strings.Contains(text, `listen = \"systemd:web\"`) {
		t.Errorf("said:\n%s", text)
	}
	r.page()
}

func TestJournalOfAnApp(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name      string
		journaled bool // what the daemon says ends up there anyway
	}{{"beside standard output", false}, {"instead of it", true}} {
		t.Run(c.name, func(t *testing.T) {
			r := prepare(t)
			path := filepath.Join(shortDir(t), "journal")
			conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: path})
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			var out syncBuffer
			r.tune = func(o *Options) { o.Journal, o.Journaled, o.Output = path, c.journaled, &out }
			r.open("worker", func(a *config.App) { a.Listen, a.Log.Journal = nil, true })
			entry := make([]byte, 4096)
			n, err := conn.Read(entry)
			if err != nil {
				t.Fatal(err)
			}
			for _, field := range []string{"MESSAGE=working\n", "PRIORITY=6\n", "SYSLOG_IDENTIFIER=shop\n", "TIDEOVER_APP=shop\n", "TIDEOVER_GENERATION=1\n"} {
				if !strings.Contains(string(entry[:n]), field) {
					t.Errorf("no %q in %q", field, entry[:n])
				}
			}
			r.close()
			if printed := strings.Contains(out.String(), "working"); printed == c.journaled {
				t.Errorf("standard output got it: %v", printed)
			}
		})
	}
}
