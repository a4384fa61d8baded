package control

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"tideover/supervisor/api"
	"tideover/supervisor/logs"
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
	if exitOf(err) != api.ExitNoSuchApp || !strings.Contains(err.Error(), "2 daemons know shop: pid ") ||
		!strings.Contains(asError(err).Hint, "--socket "+SocketPath(dir, "")+"\n--socket "+SocketPath(dir, "shop")) {
		t.Errorf("%#v", err)
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
		own, foreign, open := t.TempDir(), t.TempDir(), t.TempDir()
		must(t, os.Chmod(own, 0o755), os.Chown(foreign, 1000, -1), os.Chmod(open, 0o777))
		for dir, want := range map[string]string{
			"": "/run/tideover", "/run/user/0": "/run/tideover", "/tmp": "/run/tideover", own: own + "/tideover",
			foreign: "/run/tideover", open: "/run/tideover", own + "/..": "/run/tideover", own[1:]: "/run/tideover",
		} {
			if got := RuntimeDir(func(string) string { return dir }); got != want {
				t.Errorf("root with %q: %s, want %s", dir, got, want)
			}
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

// A process of any user can answer as a daemon does: that the new code serves.
func TestRootAsksNoDaemonOfAnotherUser(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		if OtherUserDirs() != nil {
			t.Error("a user is told about others' daemons")
		}
		return
	}
	own, users := privateDir(t), privateDir(t)
	must(t, os.Chmod(users, 0o755))
	for name, uid := range map[string]int{"tideover-1000": 1000, "33/tideover": 33, "tideover-4712": 0} { // the last path does not match its owner
		dir := filepath.Join(users, name)
		must(t, os.MkdirAll(dir, 0o700))
		notAsked(t, SocketPath(dir, ""))
		must(t, os.Chown(dir, uid, -1))
	}
	patterns := []string{users + "/tideover-*", users + "/*/tideover"}
	locator := Locator{Dirs: []string{own, users + "/tideover-1000"}, OtherUserDirs: patterns}
	hint := "daemons of other users are asked only with --user: " + userName(1000) + ", " + userName(33)
	if _, err := locator.Daemons(t.Context()); exitOf(err) != api.ExitNotRunning || asError(err).Hint != hint {
		t.Errorf("%#v, want the hint %q", err, hint)
	}
	serve(t, newFake("shop"), SocketOptions{Path: SocketPath(own, "")})
	if one, err := locator.One(t.Context()); err != nil || one.Socket() != SocketPath(own, "") {
		t.Errorf("the daemon of its own: %v", err)
	}
	if _, _, err := locator.Find(t.Context(), "blog"); exitOf(err) != api.ExitNoSuchApp || !strings.Contains(asError(err).Hint, hint) {
		t.Errorf("%#v, want the hint %q", err, hint)
	}
}

// notAsked makes a control socket to which no client may connect.
func notAsked(t *testing.T, path string) {
	t.Helper()
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: path})
	must(t, err)
	must(t, os.WriteFile(path+lockSuffix, nil, 0o600))
	t.Cleanup(func() {
		listener.SetDeadline(time.Unix(1, 0))
		if _, err := listener.Accept(); err == nil {
			t.Errorf("a client has connected to %s", path)
		}
		listener.Close()
	})
}

// The socket is in a trusted directory, but the process behind it belongs to another
// user, who learns nothing of the request either.
func TestADaemonIsWhatItsProcessIs(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		dir := privateDir(t)
		serve(t, newFake("shop"), SocketOptions{Path: SocketPath(dir, "")})
		if _, err := (Locator{Dirs: []string{dir}, Owners: []int{os.Geteuid(), 0}}).Daemons(t.Context()); err != nil {
			t.Error(err)
		}
		if _, err := newClient(SocketPath(dir, ""), []int{0}).Status(t.Context()); exitOf(err) != api.ExitDenied {
			t.Errorf("a daemon of this user as root's: %v", err)
		}
		return
	}
	for _, c := range []struct {
		name          string
		directory     int // its owner
		owners        []int
		socket        bool
		exit          api.Exit
		what, message string
	}{
		{"of another user in root's directory", 0, nil, false, api.ExitDenied, "", "belongs to " + userName(1000)},
		{"of another user in a directory of that user", 1000, nil, false, api.ExitNotRunning, "", "no daemon runs"},
		{"of the user that --user names", 1000, []int{1000}, false, 0, "asked", ""},
		{"of another user than --user names", 33, []int{33}, false, api.ExitDenied, "", "belongs to " + userName(1000)},
		{"in root's directory, though --user names its owner", 0, []int{1000}, false, api.ExitNotRunning, "", "no daemon runs"},
		{"on --socket", 0, nil, true, 0, "asked", ""},
		{"on --socket, of another user than --user names", 0, []int{33}, true, api.ExitDenied, "", "belongs to " + userName(1000)},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := privateDir(t)
			must(t, os.Chmod(dir, 0o777))
			path := SocketPath(dir, "")
			heard := listenAs(t, 1000, path)
			must(t, os.WriteFile(path+lockSuffix, nil, 0o600), os.Chown(dir, c.directory, -1))
			locator := Locator{Dirs: []string{dir}, Owners: c.owners}
			if c.socket {
				locator.Socket = path
			}
			_, err := locator.Daemons(t.Context())
			if exitOf(err) != c.exit || err != nil && !strings.Contains(err.Error(), c.message) {
				t.Errorf("%v, want exit %d and %q", err, c.exit, c.message)
			}
			if got := heard(); got != c.what {
				t.Errorf("the process was %q, want %q", got, c.what)
			}
		})
	}
}

// A daemon that hangs costs the commands for other daemons nothing, and an app that is named is
// found; but where no name says which daemon is meant, the one that hangs may be it.
func TestADaemonThatHangsDoesNotDelayCommandsForOthers(t *testing.T) {
	t.Parallel()
	dir := privateDir(t)
	serve(t, newFake("shop"), SocketOptions{Path: SocketPath(dir, "shop")})
	hanging := SocketPath(dir, "") // accepted by the kernel, and never answered: as after SIGSTOP
	listener, err := net.Listen("unix", hanging)
	must(t, err, os.WriteFile(hanging+lockSuffix, nil, 0o600))
	t.Cleanup(func() { listener.Close() })
	// One call of several is in time: a busy machine can delay any of them, a daemon that hangs would delay all.
	inTime := func(what string, call func()) {
		t.Helper()
		var took time.Duration
		for range 10 {
			began := time.Now()
			call()
			if took = time.Since(began); took < lookTimeout {
				return
			}
		}
		t.Errorf("%s took %s", what, took)
	}
	inTime("a status of all", func() {
		var silent []string
		locator := Locator{Dirs: []string{dir}, OnSilent: func(socket string) { silent = append(silent, socket) }}
		daemons, err := locator.Daemons(t.Context())
		if err != nil || len(daemons) != 1 || len(silent) != 1 || silent[0] != hanging {
			t.Errorf("%d daemons, %v, without an answer: %v", len(daemons), err, silent)
		}
	})
	locator := Locator{Dirs: []string{dir}}
	for _, selector := range []string{"shop", "label-of-shop"} {
		inTime(selector, func() {
			if found, err := locator.Select(t.Context(), selector); err != nil || len(found) != 1 || found[0].names() != "shop" {
				t.Errorf("%s: %v, %v", selector, found, err)
			}
		})
	}
	inTime("the only daemon", func() {
		if _, err := locator.One(t.Context()); exitOf(err) != api.ExitNoSuchApp || !strings.Contains(err.Error(), "2 daemons run: shop (pid ") ||
			!strings.Contains(err.Error(), "one that does not answer ("+hanging+")") {
			t.Errorf("the only daemon: %v", err)
		}
	})
	inTime("the only app", func() {
		if _, err := locator.Select(t.Context()); exitOf(err) != api.ExitNoSuchApp {
			t.Errorf("the only app: %v", err)
		}
	})
	if _, err := locator.Select(t.Context(), "blog"); exitOf(err) != api.ExitNoSuchApp || !strings.Contains(asError(err).Hint, "no answer from the daemon on "+hanging) {
		t.Errorf("an app that it may have: %#v", err)
	}
}

// All sockets are asked at the same time, and for as long as one would be.
func TestManySilentSocketsCostTheTimeOfOne(t *testing.T) {
	t.Parallel()
	dir := privateDir(t)
	serve(t, newFake("shop"), SocketOptions{Path: SocketPath(dir, "shop")})
	const silent = 20
	for i := range silent {
		path := SocketPath(dir, fmt.Sprintf("silent%d", i))
		listener, err := net.Listen("unix", path)
		must(t, err, os.WriteFile(path+lockSuffix, nil, 0o600))
		t.Cleanup(func() { listener.Close() })
	}
	began := time.Now()
	daemons, err := Locator{Dirs: []string{dir}}.Daemons(t.Context())
	if err != nil || len(daemons) != 1 {
		t.Errorf("%d daemons, %v", len(daemons), err)
	}
	if took := time.Since(began); took > silent*lookTimeout/4 {
		t.Errorf("it took %s", took)
	}
}

// Nothing that a daemon sends makes a client hold more than maxAnswer of it.
func TestAnEndlessAnswerIsAnError(t *testing.T) {
	for _, c := range []struct{ name, answer, endless string }{
		{"a text", `{"version":"`, "xxxxxxxxxxxxxxxx"},
		{"a list", `{"apps":[`, `{"name":"a"},`},
		{"white space", ``, "                "},
		{"a head", "X: ", "xxxxxxxxxxxxxxxx"},
		{"many fields", "", "X: 1\r\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := privateDir(t) + "/control.sock"
			head := "HTTP/1.1 200 OK\r\n"
			if !strings.Contains(c.name, "head") && !strings.Contains(c.name, "fields") {
				head += "\r\n"
			}
			answerWith(t, path, head+c.answer, c.endless)
			var err error
			held := allocated(func() { _, err = NewClient(path).Status(t.Context()) })
			if exitOf(err) != api.ExitError {
				t.Errorf("exit %d, %v", exitOf(err), err)
			}
			if held > 32*maxAnswer {
				t.Errorf("%d bytes were allocated", held)
			}
			_, err = NewClient(path).Do(t.Context(), api.Request{Verb: api.Reload}, nil)
			if exitOf(err) != api.ExitError {
				t.Errorf("in a stream: exit %d, %v", exitOf(err), err)
			}
		})
	}
}

// The status of 500 apps has more than 1 MiB.
func TestAnAnswerMayBeOfHundredsOfApps(t *testing.T) {
	t.Parallel()
	a := api.AppStatus{Name: "shop", State: api.Running, Generation: 7, Command: []string{strings.Repeat("x", 3000)}, Durations: make([]uint64, 30)}
	st := api.Status{Version: "1", Apps: slices.Repeat([]api.AppStatus{a}, 500)}
	text, err := json.Marshal(st)
	must(t, err)
	path := privateDir(t) + "/control.sock"
	answerWith(t, path, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"+string(text)+"\n", "")
	if got, err := NewClient(path).Status(t.Context()); err != nil || len(got.Apps) != 500 || len(text) < 3<<19 {
		t.Errorf("%d apps in %d bytes, %v", len(got.Apps), len(text), err)
	}
}

// A stream may be longer than maxEvent: its events may not.
func TestALongStreamIsReadToItsEnd(t *testing.T) {
	t.Parallel()
	path := privateDir(t) + "/control.sock"
	line := `{"line":{"text":"` + strings.Repeat("x", maxEvent/2) + `"}}` + "\n"
	answerWith(t, path, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"+strings.Repeat(line, 5)+`{"end":true}`, "")
	lines := 0
	err := NewClient(path).Logs(t.Context(), api.LogQuery{}, func(logs.Line) bool { lines++; return true })
	if err != nil || lines != 5 {
		t.Errorf("%d lines, %v", lines, err)
	}
}

// answerWith makes a socket that answers every request with a text, and with another one
// again and again until the client leaves.
func answerWith(t *testing.T, path, text, endless string) {
	t.Helper()
	listener, err := net.Listen("unix", path)
	must(t, err)
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			http.ReadRequest(bufio.NewReader(conn))
			_, err = io.WriteString(conn, text)
			for more := strings.Repeat(endless, 1000); err == nil && more != ""; {
				_, err = io.WriteString(conn, more)
			}
			conn.Close()
		}
	})
	t.Cleanup(func() {
		listener.Close()
		serving.Wait()
	})
}

// allocated is how many bytes f allocates.
func allocated(f func()) int {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return int(after.TotalAlloc - before.TotalAlloc)
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
