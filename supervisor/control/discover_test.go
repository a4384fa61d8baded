package control

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"tideover/supervisor/api"
)

func TestFindTheDaemonThatKnowsTheApp(t *testing.T) {
	t.Parallel()
	dir := privateDir(t)
	serve(t, newFake("shop"), SocketOptions{Path: SocketPath(dir, "")})
	serve(t, newFake("blog"), SocketOptions{Path: SocketPath(dir, "blog")})
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: SocketPath(dir, "admin")})
	must(t, err)
	dead.SetUnlinkOnClose(false)
	must(t, dead.Close())
	must(t, os.WriteFile(SocketPath(dir, "admin")+".lock", nil, 0o600))
	must(t, os.WriteFile(SocketPath(dir, "file"), nil, 0o600))
	app, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: SocketPath(dir, "shop.1")}) // a private socket of an app
	must(t, err)
	t.Cleanup(func() {
		app.SetDeadline(time.Unix(1, 0))
		if _, err := app.Accept(); err == nil {
			t.Error("an app's private socket was asked for a status")
		}
		app.Close()
	})

	locator := Locator{Dirs: []string{filepath.Join(dir, "nothing-here"), dir}}
	for _, c := range []struct {
		app, socket string
		exit        api.Exit
		message     string
	}{
		{"shop", "control.sock", 0, ""},
		{"blog", "blog.sock", 0, ""},
		{"shpo", "", api.ExitNoSuchApp, "did you mean shop?"},
		{"admin", "", api.ExitNoSuchApp, "known: shop, blog"},
		{"label-of-blog", "blog.sock", 0, ""},
		{"", "", api.ExitNoSuchApp, "name one of shop, blog"},
	} {
		client, app, err := locator.Find(t.Context(), c.app)
		if exitOf(err) != c.exit {
			t.Errorf("%q: exit %d (%v), want %d", c.app, exitOf(err), err, c.exit)
			continue
		}
		if err != nil {
			if !strings.Contains(err.Error(), c.message) {
				t.Errorf("%q: %q, want %q in it", c.app, err, c.message)
			}
			continue
		}
		if filepath.Base(client.Socket()) != c.socket || app != strings.TrimPrefix(c.app, "label-of-") {
			t.Errorf("%q: found %q on %s", c.app, app, client.Socket())
		}
	}
}

// Each daemon is asked for what it knows; what none knows changes nothing.
func TestSelectAppsOfSeveralDaemons(t *testing.T) {
	t.Parallel()
	dir := privateDir(t)
	serve(t, newFake("shop"), SocketOptions{Path: SocketPath(dir, "")})
	serve(t, newFake("blog"), SocketOptions{Path: SocketPath(dir, "blog")})
	locator := Locator{Dirs: []string{dir}}
	found, err := locator.Select(t.Context(), "label-of-blog", "shop", "blog")
	must(t, err)
	if len(found) != 2 || found[0].names() != "shop" || found[1].names() != "blog" {
		t.Errorf("%+v", found)
	}
	if _, err := locator.Select(t.Context(), "shop", "label-of-blgo"); exitOf(err) != api.ExitNoSuchApp {
		t.Errorf("%v", err)
	}
}

func TestFindTheOnlyApp(t *testing.T) {
	t.Parallel()
	dir := privateDir(t)
	serve(t, newFake("blog"), SocketOptions{Path: SocketPath(dir, "blog")})
	_, app, err := Locator{Dirs: []string{dir}}.Find(t.Context(), "")
	if err != nil || app != "blog" {
		t.Errorf("%q, %v", app, err)
	}
}

func TestFindWithTwoDaemonsOfOneName(t *testing.T) {
	t.Parallel()
	dir := privateDir(t)
	serve(t, newFake("shop"), SocketOptions{Path: SocketPath(dir, "")})
	serve(t, newFake("shop"), SocketOptions{Path: SocketPath(dir, "shop")})
	_, _, err := Locator{Dirs: []string{dir}}.Find(t.Context(), "shop")
	if exitOf(err) != api.ExitNoSuchApp || !strings.Contains(err.Error(), "--socket") {
		t.Errorf("%v", err)
	}
	if _, err = (Locator{Dirs: []string{dir}}).One(t.Context()); exitOf(err) != api.ExitNoSuchApp || !strings.Contains(err.Error(), "2 daemons run: shop (pid ") {
		t.Errorf("%v", err)
	}
	_, _, err = Locator{Socket: SocketPath(dir, "shop")}.Find(t.Context(), "shop")
	if err != nil {
		t.Errorf("with --socket: %v", err)
	}
}

func TestNoDaemon(t *testing.T) {
	t.Parallel()
	dir := privateDir(t)
	for _, locator := range []Locator{{Dirs: []string{dir}}, {Socket: filepath.Join(dir, "control.sock")}} {
		_, _, err := locator.Find(t.Context(), "shop")
		if exitOf(err) != api.ExitNotRunning {
			t.Errorf("%+v: exit %d (%v)", locator, exitOf(err), err)
		}
	}
}

func TestRuntimeDirOfAUser(t *testing.T) {
	t.Parallel()
	if os.Geteuid() == 0 {
		if got := RuntimeDir(func(string) string { return "/run/user/0" }); got != "/run/tideover" {
			t.Errorf("root: %s", got)
		}
		return
	}
	own := t.TempDir()
	if got := RuntimeDir(func(string) string { return own }); got != own+"/tideover" {
		t.Errorf("with XDG_RUNTIME_DIR: %s", got)
	}
	if got, want := RuntimeDir(func(string) string { return "/" }), filepath.Join(os.TempDir(), "tideover-"+strconv.Itoa(os.Geteuid())); got != want {
		t.Errorf("with root's XDG_RUNTIME_DIR: %s, want %s", got, want)
	}
}

// Other users' daemons are found by the number in their directories' names, and
// never before one's own.
func TestOtherUsersDaemons(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		if OtherUserDirs() != nil {
			t.Error("only root looks at others'")
		}
		return
	}
	own, users := privateDir(t), privateDir(t)
	serve(t, newFake("shop"), SocketOptions{Path: SocketPath(own, "")})
	for name, app := range map[string]string{"tideover-4711": "shop", "tideover-4712": "blog", "4713/tideover": "wiki"} {
		dir := filepath.Join(users, name)
		must(t, os.MkdirAll(dir, 0o700))
		serve(t, newFake(app), SocketOptions{Path: SocketPath(dir, "")})
		if uid := map[string]int{"shop": 4711, "wiki": 4713}[app]; uid != 0 { // 4712 belongs to root: the path does not match its owner
			must(t, os.Chown(dir, uid, -1))
		}
	}
	locator := Locator{Dirs: []string{own}, OtherUserDirs: []string{users + "/tideover-*", users + "/*/tideover"}}
	for _, c := range []struct {
		app, socket string
		exit        api.Exit
	}{
		{"shop", SocketPath(own, ""), 0},
		{"", SocketPath(own, ""), 0},
		{"wiki", SocketPath(filepath.Join(users, "4713/tideover"), ""), 0},
		{"blog", "", api.ExitNoSuchApp},
	} {
		client, _, err := locator.Find(t.Context(), c.app)
		if exitOf(err) != c.exit {
			t.Errorf("%q: %v, want exit %d", c.app, err, c.exit)
		} else if err == nil && client.Socket() != c.socket {
			t.Errorf("%q: found on %s, want %s", c.app, client.Socket(), c.socket)
		}
	}
	if one, err := locator.One(t.Context()); err != nil || one.Socket() != SocketPath(own, "") {
		t.Errorf("the only daemon of one's own: %v", err)
	}
	all, err := locator.Daemons(t.Context())
	if err != nil || len(all) != 3 {
		t.Errorf("%d daemons, %v", len(all), err)
	}
}

func TestDistance(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"shop", "shop", 0}, {"shop", "", 4}, {"", "shop", 4}, {"shpo", "shop", 2}, {"shops", "shop", 1}, {"kitten", "sitting", 3}} {
		if got := distance(c.a, c.b); got != c.want {
			t.Errorf("distance(%q, %q) = %d, want %d", c.a, c.b, got, c.want)
		}
	}
}
