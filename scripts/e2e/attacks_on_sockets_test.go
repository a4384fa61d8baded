//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"tideover/scripts/testenv"
)

// rootServer is a server on a unix socket that only root can reach, such as that of
// a container engine. It counts its connections.
type rootServer struct {
	path     string
	accepted atomic.Int64
}

// serveAsRoot starts one in a directory of root.
func (a *attack) serveAsRoot(path string) *rootServer {
	a.Helper()
	s := &rootServer{path: path}
	l, err := net.Listen("unix", path)
	a.must(err)
	a.must(os.Chmod(path, 0o600))
	server := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, rootSecret) }),
		ConnState: func(_ net.Conn, state http.ConnState) {
			if state == http.StateNew {
				s.accepted.Add(1)
			}
		},
	}
	server.SetKeepAlivesEnabled(false) // every request is a connection of its own
	go server.Serve(l)
	a.Cleanup(func() { server.Close() })
	return s
}

// socketVariations are the ways to have root connect to another socket than the app's
// own. path is that of the app, target that of root's.
func socketVariations() []variation {
	away := func(path string) error { return os.Rename(path, path+".own") }
	return []variation{
		{name: "symlink", begin: func(path, target string) error { return errors.Join(away(path), os.Symlink(target, path)) }},
		{name: "hard-link", asRoot: true, begin: func(path, target string) error { return errors.Join(away(path), os.Link(target, path)) }},
		{name: "directory-swapped", begin: func(path, target string) error {
			dir := filepath.Dir(path)
			return errors.Join(os.Rename(dir, dir+".own"), os.Symlink(filepath.Dir(target), dir))
		}},
		{name: "bind-mount", asRoot: true},
		{name: "race", begin: func(path, target string) error { return os.Symlink(target, path+".evil") },
			repeat: func(path, _ string) error { return exchange(path, path+".evil") }},
		{name: "race-of-directories", begin: func(path, target string) error { return os.Symlink(filepath.Dir(target), filepath.Dir(path)+".evil") },
			repeat: func(path, _ string) error { return exchange(filepath.Dir(path), filepath.Dir(path)+".evil") }},
	}
}

// Root connects to no socket but the app's own, wherever the app's user has the path
// of {socket} lead.
func TestRootConnectsToNoOtherSocketForAnApp(t *testing.T) {
	inParallel(t, socketVariations(), func(a *attack, v variation) {
		address := a.unusedAddress()
		a.start(`
[app.shop]
command = "{program} web socket={socket}"
directory = "{srv}"
listen = "`+address+`"
user = "www-data"
[app.other]
command = "sleep 1000"
ready.after = "10ms"
`, "shop", "other")
		_, where := a.get(address, "/where")
		path := strings.TrimSpace(strings.TrimPrefix(where, "socket="))
		if !filepath.IsAbs(path) {
			a.Fatalf("the app does not say where it listens: %q", where)
		}
		a.Cleanup(func() {
			for _, name := range []string{filepath.Dir(path) + ".own", filepath.Dir(path) + ".evil"} {
				os.RemoveAll(name)
			}
		})
		server := a.serveAsRoot(filepath.Join(a.root, filepath.Base(path)))
		a.files = a.rootFiles()
		if v.name == "bind-mount" {
			v.begin = func(path, target string) error {
				if !a.bind(target, path) {
					a.Log("mount(2) is not permitted here: a symlink instead")
					return replaceByLink(target, path)
				}
				return nil
			}
		}
		begin := v.begin
		v.begin = func(path, target string) error {
			if err := begin(path, target); !errors.Is(err, fs.ErrPermission) {
				return err
			}
			a.addNumbers("refused=1") // the directory of the socket is not the app's to replace
			return nil
		}
		answered := map[string]int{}
		a.run(v, map[string]string{path: server.path}, func() {
			for range times(60) {
				status, text := a.get(address, "/v1/status")
				a.checkNoSecret("the answer of the public socket", text)
				answered[fmt.Sprint(status)]++
			}
			a.call(20*time.Second, "reload", "shop")
			for range times(20) {
				_, text := a.get(address, "/v1/status")
				a.checkNoSecret("the answer of the public socket after a reload", text)
			}
		})
		if n := server.accepted.Load(); n > 0 {
			a.Errorf("root's own socket got %d connections", n)
		}
		a.addNumbers("connections=%d answers=%v", server.accepted.Load(), answered)
		a.wants(0, 10*time.Second, "restart", "other")
		a.checkRootUntouched()
	})
}

// The file of a public unix socket may be in a directory of the app's user, as gunicorn's is often. The
// daemon makes, replaces and removes it as that user: sockets of root and of other apps with the
// same name in another directory stay.
func TestThePathOfAPublicSocketLeadsToNoSocketOfRoot(t *testing.T) {
	t.Parallel()
	for _, relay := range []string{"http", "none"} {
		for _, v := range fileVariations() {
			t.Run(relay+"-"+v.name, func(t *testing.T) {
				a := newAttack(begin(t))
				a.mkdir(filepath.Join(a.srv, "run"), appUser, 0o755)
				public := filepath.Join(a.srv, "run", "shop.sock")
				a.mkdir(filepath.Join(a.root, "same"), 0, 0o755) // where swapped directories lead to
				for _, path := range []string{"victim.sock", "same/shop.sock", "same/shop.sock.new"} {
					a.leftSocket(filepath.Join(a.root, path))
				}
				if v.prepare != nil {
					v.prepare(a, public)
				}
				a.start(`
[app.shop]
command = "{program} web fd={fd}"
directory = "{srv}"
listen = "unix:`+public+`"
relay = "`+relay+`"
ready.command = ["true"]
user = "www-data"
[app.other]
command = "sleep 1000"
ready.after = "10ms"
`, "shop", "other")
				if text, err := askUnix(public); err != nil || !strings.Contains(text, "app") {
					a.Fatalf("the socket in the app's directory serves %q, %v", text, err)
				}
				a.run(v, map[string]string{public: filepath.Join(a.root, "victim.sock")}, func() {
					for range 3 {
						a.must(a.as(appUser, func() error { os.Remove(public); return nil })) // it is bound again
						a.call(20*time.Second, "apply")
						a.call(20*time.Second, "reload", "shop")
					}
				})
				a.wants(0, 10*time.Second, "restart", "other")
				a.checkRootUntouched()
				a.endBySignal() // the file is removed
				a.checkFilesOfRoot()
			})
		}
	}
}

// leftSocket makes the file of a socket on which no process listens any more.
func (a *attack) leftSocket(path string) {
	a.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: path})
	a.must(err)
	l.SetUnlinkOnClose(false)
	l.Close()
	a.must(os.Chmod(path, 0o600))
}

// askUnix returns the answer to a request on a unix socket.
func askUnix(path string) (string, error) {
	conn, err := net.DialTimeout("unix", path, 5*time.Second)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n")
	text, err := io.ReadAll(conn)
	return string(text), err
}

// An app that never listens, and makes the path of {socket} lead to root's own socket
// from the start, is not ready, and root's socket gets no connection.
func TestRootAsksNoOtherSocketWhetherAnAppIsReady(t *testing.T) {
	a := newAttack(begin(t))
	server := a.serveAsRoot(filepath.Join(a.root, "app.sock"))
	a.write(filepath.Join(a.srv, "link.sh"), appUser, 0o755, "#!/bin/sh\nln -s "+server.path+" $1; exec sleep 1000\n")
	a.start(`
[app.other]
command = "sleep 1000"
ready.after = "10ms"
[app.shop]
command = "./link.sh {socket}"
directory = "{srv}"
listen = "`+a.unusedAddress()+`"
user = "www-data"
ready.timeout = "1s"
`, "other")
	a.must(testenv.Poll(a.timeout(10*time.Second), 20*time.Millisecond, func() error {
		now, err := a.daemon.StatusOf(a.timeout(5*time.Second), "shop")
		switch {
		case err == nil && now.State == "running":
			a.Error("the app is ready")
		case err == nil && now.State != "backoff":
			err = fmt.Errorf("shop is %s", now.State)
		}
		return err
	}))
	if n := server.accepted.Load(); n > 0 {
		a.Errorf("root's own socket got %d connections", n)
	}
	a.checkRootUntouched()
}

// The control socket of tideover itself is such a socket: the app's user cannot shut
// the daemon down through its public address.
func TestAnAppCannotSpeakToTheControlSocket(t *testing.T) {
	a := newAttack(begin(t))
	address := a.unusedAddress()
	a.start(`
[app.shop]
command = "{program} web socket={socket}"
directory = "{srv}"
listen = "`+address+`"
user = "www-data"
[app.other]
command = "sleep 1000"
ready.after = "10ms"
`, "shop", "other")
	before := a.waitRunning("other", 1)
	_, where := a.get(address, "/where")
	path := strings.TrimPrefix(strings.TrimSpace(where), "socket=")
	a.must(a.as(appUser, func() error { return errors.Join(os.Rename(path, path+".own"), os.Symlink(a.daemon.Socket, path)) }))
	for range 3 {
		for _, request := range [][2]string{{"status", "{}"}, {"signal", `{"app":"other","signal":9}`}, {"shutdown", `{"fast":true}`}} {
			client := http.Client{Timeout: 5 * time.Second}
			response, err := client.Post("http://"+address+"/v1/"+request[0], "application/json", strings.NewReader(request[1]))
			if err != nil {
				continue
			}
			text, _ := io.ReadAll(response.Body)
			response.Body.Close()
			if response.StatusCode == 200 && string(text) != "app\n" {
				a.Errorf("%s was answered with %q", request[0], text)
			}
		}
	}
	if now := a.waitRunning("other", 1); now.Pid != before.Pid {
		a.Errorf("other had pid %d and has %d", before.Pid, now.Pid)
	}
	a.checkRootUntouched()
}

// A process outside of the app's tree that takes the port of {port} gets no request,
// whichever user it is of.
func TestAStolenPortGetsNoRequest(t *testing.T) {
	t.Parallel()
	for _, thief := range []struct {
		name string
		uid  uint32
		args string
		hold string
	}{
		{"at-the-start", localUser, "times=1", "20s"},
		{"at-every-start", localUser, "times=1000", "500ms"},
		{"by-the-apps-user", appUser, "times=1", "20s"},
		{"after-a-crash", localUser, "times=1000 wait=yes", "20s"},
	} {
		t.Run(thief.name, func(t *testing.T) {
			a := newAttack(begin(t))
			mark := filepath.Base(a.env.Dir)
			argv := strings.Fields(a.fill("{program} thief mark=" + mark + " " + thief.args))
			p, err := a.env.Start(testenv.Command{Name: "thief", Argv: argv, Dir: "/", User: &syscall.Credential{Uid: thief.uid, Gid: thief.uid}})
			a.must(err)
			address := a.unusedAddress()
			path, err := a.env.Write("tideover.toml", a.fill(`
[app.shop]
command = "{program} web port={port} mark=`+mark+` delay=600ms"
directory = "{srv}"
listen = "`+address+`"
user = "www-data"
hold.timeout = "`+thief.hold+`"
`))
			a.must(err)
			a.files = a.rootFiles()
			a.daemon, err = a.env.Tideover(&testenv.App{Dir: a.env.Dir}, testenv.RunOptions{Flags: []string{"-c", path}, Name: "shop"})
			a.must(err)
			a.must(testenv.Poll(a.timeout(10*time.Second), 20*time.Millisecond, func() error {
				_, err := a.daemon.Status(a.timeout(5 * time.Second))
				return err
			}))
			var mu sync.Mutex
			answers := map[string]int{}
			ask := func(path string) {
				status, text := a.get(address, path, "Cookie: session="+rootSecret)
				if strings.Contains(text, "stolen") {
					text = "stolen"
				} else if status != 200 {
					text = fmt.Sprint(status)
				}
				mu.Lock()
				defer mu.Unlock()
				answers[strings.TrimSpace(text)]++
			}
			if thief.name == "after-a-crash" {
				a.waitRunning("shop", 1)
				var clients sync.WaitGroup
				for n := range 16 {
					clients.Go(func() {
						for range 6 {
							ask("/")
						}
						if n == 0 {
							ask("/exit")
						}
						for range 6 {
							ask("/")
						}
					})
				}
				clients.Wait()
			} else {
				for range 10 {
					ask("/")
				}
				for range 5 { // on a busy machine the thief may be late
					if strings.Contains(p.Tail(1000), "stole ") {
						break
					}
					a.call(30*time.Second, "reload", "shop")
					ask("/")
				}
			}
			said := p.Tail(1000)
			if strings.Contains(said, rootSecret) || answers["stolen"] > 0 {
				a.Errorf("the thief was sent requests: %v\n%s", answers, said)
			}
			if thief.name != "after-a-crash" && !strings.Contains(said, "stole ") {
				a.Errorf("no port was stolen:\n%s", said)
			}
			if thief.name != "at-every-start" && answers["app"] == 0 {
				a.Errorf("the app has answered nothing: %v", answers)
			}
			a.addNumbers("stolen_ports=%d answers=%v", strings.Count(said, "stole "), answers)
			a.checkRootUntouched()
		})
	}
}
