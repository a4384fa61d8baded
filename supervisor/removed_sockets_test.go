package supervisor

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/hashicorp/go-hclog"

	"tideover/supervisor/api"
	"tideover/supervisor/config"
)

// openUnix is open for an app whose public socket is a unix socket. It returns the path of the
// socket and the log.
func openUnix(t *testing.T, options ...appOption) (r *harness, path string, log *syncBuffer) {
	t.Helper()
	r, path, log = prepare(t), filepath.Join(shortDir(t), "shop.sock"), &syncBuffer{}
	r.http.Transport = &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}
	r.tune = func(o *Options) { o.Logger = hclog.New(&hclog.LoggerOptions{Output: log}) }
	r.open("web", append(options, func(a *config.App) { a.Listen = []string{"unix:" + path} })...)
	r.page()
	return r, path, log
}

// untilFound waits until a client can connect to path.
func (r *harness) untilFound(path string) {
	r.t.Helper()
	r.until("found", func(api.AppStatus) bool {
		conn, err := net.Dial("unix", path)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
}

func TestAPublicSocketWhoseFileIsRemovedIsFoundAgain(t *testing.T) {
	t.Parallel()
	r, path, log := openUnix(t)
	pid, slow := pidOf(t, r.page()), r.slow()
	for range 2 {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		r.untilFound(path)
	}
	if now := pidOf(t, r.page()); now != pid {
		t.Errorf("pid %d answers, want %d", now, pid)
	}
	if body := slow.finish(); !strings.Contains(body, "pid=") {
		t.Errorf("the request that was in flight: %q", body)
	}
	if n := strings.Count(log.String(), "public socket bound again"); n != 2 {
		t.Errorf("logged %d times, want 2:\n%s", n, log.String())
	}
	entry := r.s.registry.all()[0]
	r.until("the former sockets are closed", func(api.AppStatus) bool {
		l := entry.listeners[0]
		l.mu.Lock()
		defer l.mu.Unlock()
		return len(l.sockets) == 1
	})
	r.page()
	r.close()
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after the shutdown: %v", err)
	}
}

func TestAPublicSocketIsNotTakenFromAnotherProcess(t *testing.T) {
	t.Parallel()
	r, path, log := openUnix(t)
	other, err := net.Listen("unix", path+".other") // between a removal and a bind the app's would be bound again
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".other", path); err != nil {
		t.Fatal(err)
	}
	r.until("logged", func(api.AppStatus) bool { return strings.Contains(log.String(), "another process is serving there") })
	other.Close()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	r.untilFound(path)
	r.page()
}

func TestTheNextSupervisorHasTheFilesOfItsSockets(t *testing.T) {
	t.Parallel()
	path := filepath.Join(shortDir(t), "shop.sock")
	r, store, file := recorded(t, "web", func(a *config.App) { a.Listen = []string{"unix:" + path} })
	r.until("running", func(s api.AppStatus) bool { return s.State == api.Running })
	left := leftBehind(t, store, file)
	public, private := left.Listeners["unix:"+path].Path, left.Apps["shop"].Current.Path
	for _, f := range []*os.File{public, private} {
		var st syscall.Stat_t
		if f == nil {
			t.Fatalf("public %v, private %v", public, private)
		}
		if err := syscall.Fstat(int(f.Fd()), &st); err != nil || st.Mode&syscall.S_IFMT != syscall.S_IFSOCK {
			t.Errorf("mode %o, %v", st.Mode, err)
		}
	}
}

// A cleaner of temporary files removes sockets, and directories that it has emptied.
func TestAGenerationServesWithoutTheFileOfItsPrivateSocket(t *testing.T) {
	t.Parallel()
	r, _, _ := openUnix(t)
	pid := pidOf(t, r.page())
	network, private := r.s.registry.all()[0].app.snapshot.Load().current.Upstream()
	if network != "unix" {
		t.Fatalf("the private socket is %s", network)
	}
	load := r.load(4)
	if err := os.Remove(private); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if now := pidOf(t, r.page()); now != pid {
			t.Errorf("pid %d answers, want %d", now, pid)
		}
	}
	other, err := net.Listen("unix", private)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	r.page()
	r.noneLost(load)
	if err := os.RemoveAll(filepath.Dir(private)); err != nil {
		t.Fatal(err)
	}
	load = r.load(4)
	r.want(r.do(api.Reload), api.ExitOK)
	r.noneLost(load)
	if now := pidOf(t, r.page()); now == pid {
		t.Error("the reload has changed nothing")
	}
}

// Other users may write in the parent of the runtime directory, as in /tmp.
func TestARuntimeDirectoryOfAnotherUserIsNotUsed(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Log("only the mode of the directory is tried: root is needed for another owner")
	}
	r, _, _ := openUnix(t)
	_, private := r.s.registry.all()[0].app.snapshot.Load().current.Upstream()
	dir := filepath.Dir(private)
	for name, put := range map[string]func() error{
		"of another owner": func() error {
			if os.Geteuid() != 0 {
				return os.Chmod(dir, 0o777)
			}
			return os.Chown(dir, 33, 33)
		},
		"in which others may write": func() error { return os.Chmod(dir, 0o777) },
		"behind a symlink":          func() error { return errors.Join(os.Remove(dir), os.Symlink(t.TempDir(), dir)) },
	} {
		if err := errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o700), put()); err != nil {
			t.Fatal(err)
		}
		if result := r.want(r.do(api.Reload), api.ExitKeptOld); !strings.Contains(result.Error, "cannot use the runtime directory") {
			t.Errorf("%s: %s", name, result.Error)
		}
		r.page()
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	r.want(r.do(api.Reload), api.ExitOK)
}

// An app opens {socket} itself. Without its files it cannot be reached, although it listens.
func TestAnAppWhoseOwnSocketIsRemovedIsStartedAnew(t *testing.T) {
	t.Parallel()
	for _, reload := range []config.ReloadMode{config.Overlap, config.Replace} {
		r := open(t, "listener", listeningItself("{socket}", "word-"+t.Name()), func(a *config.App) { a.Reload = reload })
		r.page()
		before := r.status()
		_, link := r.upstream()
		if err := os.RemoveAll(filepath.Dir(link)); err != nil {
			t.Fatal(err)
		}
		load := r.load(2)
		r.until("started anew", func(s api.AppStatus) bool { return s.State == api.Running && s.Generation > before.Generation })
		r.page()
		r.noneLost(load)
		r.close()
	}
}
