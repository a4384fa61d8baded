package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"tideover/supervisor/api"
)

// unit is systemd's side of a service and its socket: it opens and keeps the
// socket, passes it to the daemon, receives its notifications and restarts it.
type unit struct {
	*testing.T
	dir, run string
	address  string   // of the socket
	socket   *os.File // which is named "shop"
	notify   *net.UnixConn
	heard    chan map[string]string
	stderr   *os.File // of the daemon; nil: log
	env      []string
	daemon   *exec.Cmd
	log      *watchedLog
	ended    chan error
}

func newUnit(t *testing.T, release string) *unit {
	t.Helper()
	t.Parallel()
	run, err := os.MkdirTemp("", "tu")
	must(t, err)
	u := &unit{T: t, dir: t.TempDir(), run: run, heard: make(chan map[string]string, 1000)}
	u.deploy(release)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	u.address = l.Addr().String()
	u.socket, err = l.(*net.TCPListener).File()
	must(t, err)
	u.notify, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: filepath.Join(run, "notify")})
	must(t, err)
	listened := make(chan struct{})
	go func() {
		defer close(listened)
		u.listen()
	}()
	t.Cleanup(func() {
		u.end()
		u.notify.Close()
		<-listened
		u.socket.Close()
		os.RemoveAll(run)
	})
	return u
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (u *unit) deploy(release string) {
	must(u.T, os.WriteFile(filepath.Join(u.dir, "release"), []byte(release), 0o600))
}

// listen hears what the daemon says, until notify is closed.
func (u *unit) listen() {
	b := make([]byte, 8192)
	for {
		n, err := u.notify.Read(b)
		if err != nil {
			return
		}
		message := map[string]string{}
		for line := range strings.Lines(string(b[:n])) {
			name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
			message[name] = value
		}
		u.heard <- message
	}
}

// start starts `tideover ARGS...` as systemd does: LISTEN_PID is its own pid.
func (u *unit) start(args ...string) {
	u.Helper()
	u.daemon = exec.Command("sh", append([]string{"-c", `LISTEN_PID=$$ WATCHDOG_PID=$$ exec tideover "$@"`, "tideover"}, args...)...)
	u.daemon.Dir = u.dir
	u.daemon.Env = append([]string{
		"PATH=" + os.Getenv("PATH"), "GOCOVERDIR=" + os.Getenv("GOCOVERDIR"), "GORACE=" + os.Getenv("GORACE"), "PWD=" + u.dir,
		"TIDEOVER_SOCKET=" + filepath.Join(u.run, "control.sock"), "XDG_STATE_HOME=" + u.run,
		"LISTEN_FDS=1", "LISTEN_FDNAMES=shop", "NOTIFY_SOCKET=" + filepath.Join(u.run, "notify"), "WATCHDOG_USEC=2000000",
		"INVOCATION_ID=0123456789abcdef", "SYSTEMD_EXEC_PID=1", "MAINPID=1",
	}, u.env...)
	u.daemon.ExtraFiles = []*os.File{u.socket}
	u.log = newWatchedLog()
	u.daemon.Stdout, u.daemon.Stderr = u.log, u.log
	if u.stderr != nil {
		u.daemon.Stderr = u.stderr
	}
	must(u.T, u.daemon.Start())
	daemon, log, ended := u.daemon, u.log, make(chan error, 1)
	u.ended = ended
	go func() {
		ended <- daemon.Wait()
		log.close()
	}()
}

// await returns the next message that says this.
func (u *unit) await(name, value string) map[string]string {
	u.Helper()
	late := time.After(patience)
	for {
		select {
		case m := <-u.heard:
			if v, said := m[name]; said && (value == "" || v == value) {
				return m
			}
		case <-late:
			u.Fatalf("systemd never heard %s=%s; the daemon said:\n%s", name, value, u.log)
		}
	}
}

// signal sends the daemon a signal; with its end it waits for that.
func (u *unit) signal(s syscall.Signal, isEnd bool) {
	u.Helper()
	must(u.T, u.daemon.Process.Signal(s))
	if isEnd {
		<-u.ended
		u.ended = nil
	}
}

func (u *unit) end() {
	if u.ended != nil {
		u.signal(syscall.SIGQUIT, true)
	}
}

// get is one request on a connection of its own.
func (u *unit) get(path string) (string, error) {
	client := &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Get("http://" + u.address + path)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return fmt.Sprintf("%d %s", response.StatusCode, body), err
}

func (u *unit) wants(want string) {
	u.Helper()
	if got, err := u.get("/"); got != want {
		u.Fatalf("the app answers %q, %v, want %q; the daemon said:\n%s", got, err, want, u.log)
	}
}

func (u *unit) status() api.AppStatus {
	u.Helper()
	out, code := u.tideover("--json", "status")
	var st api.Status
	if err := json.Unmarshal([]byte(out), &st); err != nil || code != 0 || len(st.Apps) != 1 {
		u.Fatalf("status: %v, exit %d: %s", err, code, out)
	}
	return st.Apps[0]
}

func (u *unit) tideover(args ...string) (string, int) {
	u.Helper()
	var out bytes.Buffer
	code := Main{}.Run(context.Background(), args, strings.NewReader(""), &out, &out, []string{"TIDEOVER_SOCKET=" + filepath.Join(u.run, "control.sock")})
	return out.String(), code
}

func TestUnderSystemd(t *testing.T) {
	u := newUnit(t, "one")
	u.start("run", "--name", "shop", "--listen", "systemd:shop", "--", "webapp")
	ready := u.await("READY", "1")
	if ready["MAINPID"] != strconv.Itoa(u.daemon.Process.Pid) || ready["STATUS"] != "1 app: 1 running; 0 requests held" {
		t.Errorf("said %q", ready)
	}
	u.wants("200 release one")
	st := u.status()
	if st.Listen[0] != "systemd:shop ("+u.address+")" {
		t.Errorf("listens on %q", st.Listen)
	}
	u.childKnowsNothing(st.Pid)
	u.await("WATCHDOG", "1")
	u.await("WATCHDOG", "1")

	u.deploy("two")
	before := monotonic(t)
	u.signal(syscall.SIGHUP, false)
	told := u.await("RELOADING", "1")
	if at, err := strconv.ParseInt(told["MONOTONIC_USEC"], 10, 64); err != nil || at < before {
		t.Errorf("reloading since %q, want after %d", told["MONOTONIC_USEC"], before)
	}
	u.await("READY", "1")
	u.wants("200 release two")

	u.upgrade("200 release two")

	slow := make(chan string, 1)
	go func() {
		body, _ := u.get("/slow")
		slow <- body
	}()
	if !u.log.await("slow request begun") {
		t.Fatal("no request got in")
	}
	u.signal(syscall.SIGTERM, false)
	if told := u.await("STOPPING", "1"); told["EXTEND_TIMEOUT_USEC"] == "" {
		t.Errorf("said %q", told)
	}
	must(t, os.WriteFile(filepath.Join(u.dir, "finish"), nil, 0o600))
	if body := <-slow; body != "200 release two" {
		t.Errorf("the request in flight got %q", body)
	}
	if err := <-u.ended; err != nil {
		t.Errorf("it ended with %v:\n%s", err, u.log)
	}
	u.ended = nil
}

// upgrade makes the daemon another program, which has the sockets of the former
// one; its children have as few descriptors and variables as before.
func (u *unit) upgrade(want string) {
	u.Helper()
	pid := u.status().Pid
	u.signal(syscall.SIGUSR2, false)
	u.await("RELOADING", "1")
	u.await("READY", "1")
	u.wants(want)
	if st := u.status(); st.Pid != pid || st.Listen[0] != "systemd:shop ("+u.address+")" {
		u.Errorf("%+v, want pid %d as before", st, pid)
	}
	u.await("WATCHDOG", "1")
	if out, code := u.tideover("reload"); code != 0 {
		u.Errorf("reload: exit %d: %s", code, out)
	}
	u.childKnowsNothing(u.status().Pid)
}

func monotonic(t *testing.T) int64 {
	t.Helper()
	text, err := os.ReadFile("/proc/uptime") // in hundredths of a second, rounded down
	must(t, err)
	seconds, err := strconv.ParseFloat(strings.Fields(string(text))[0], 64)
	must(t, err)
	return int64(seconds * 1e6)
}

// childKnowsNothing looks for variables that speak of the daemon: gunicorn
// would tell systemd READY itself.
func (u *unit) childKnowsNothing(pid int) {
	u.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	must(u.T, err)
	for kv := range strings.SplitSeq(string(text), "\x00") {
		name, value, _ := strings.Cut(kv, "=")
		switch name {
		case "TIDEOVER_ESTATE", "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "MAINPID", "INVOCATION_ID", "SYSTEMD_EXEC_PID", "JOURNAL_STREAM":
			u.Errorf("the app inherits %s", kv)
		case "LISTEN_PID":
			if value != strconv.Itoa(pid) {
				u.Errorf("the app is told %s", kv)
			}
		case "LISTEN_FDNAMES":
			if value == "shop" {
				u.Errorf("the app is told %s, which is the daemon's", kv)
			}
		}
	}
	var public string
	raw, err := u.socket.SyscallConn() // Fd would make the daemon's accept block
	must(u.T, err)
	must(u.T, raw.Control(func(fd uintptr) { public, err = os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd)) }))
	must(u.T, err)
	links, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	must(u.T, err)
	for _, link := range links {
		if target, _ := os.Readlink(link); target == public {
			u.Errorf("the app has the public socket, as %s", link)
		}
	}
	if len(links) < 4 {
		u.Errorf("the app has %d descriptors, which proves nothing", len(links))
	}
}

// roleOf is the pid of a process of a daemon.
func roleOf(t *testing.T, daemon int, role string) string {
	t.Helper()
	for _, pid := range children(t, daemon) {
		if name, _ := os.ReadFile("/proc/" + pid + "/cmdline"); strings.HasPrefix(string(name), "tideover: "+role) {
			return pid
		}
	}
	t.Fatalf("process %d has no %s", daemon, role)
	return ""
}

// awaitExit returns when there is no process of that pid, or only what is left to be waited for.
func awaitExit(t *testing.T, pid string) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	late := time.After(patience)
	for {
		if words, err := os.ReadFile("/proc/" + pid + "/cmdline"); err != nil || len(words) == 0 {
			return
		}
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("process %s has not ended", pid)
		}
	}
}

// The daemon is killed and started again under load: no connection is refused,
// and requests that arrive without a daemon are answered by the next one.
func TestNobodyIsRefusedWhileTheDaemonIsDead(t *testing.T) {
	u := newUnit(t, "one")
	args := []string{"run", "--name", "shop", "--listen", "systemd:shop", "--", "webapp"}
	u.start(args...)
	u.await("READY", "1")
	stop := make(chan struct{})
	var clients sync.WaitGroup
	var answered, cut, refused int
	clients.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			switch _, err := u.get("/"); {
			case err == nil:
				answered++
			case errors.Is(err, syscall.ECONNREFUSED):
				refused++
			default:
				cut++ // its connection was the dead daemon's
			}
		}
	})
	const times, waiting = 3, 5
	for range times {
		old, relay := u.status().Pid, roleOf(t, u.daemon.Process.Pid, "relay")
		supervisor, err := strconv.Atoi(roleOf(t, u.daemon.Process.Pid, "supervisor"))
		must(t, err)
		u.signal(syscall.SIGKILL, false)
		must(t, syscall.Kill(supervisor, syscall.SIGKILL)) // as KillMode=mixed does
		<-u.ended
		u.ended = nil
		awaitExit(t, relay) // until then it finishes what it has accepted
		answers := make(chan string, waiting)
		for range waiting {
			clients.Go(func() {
				answer, err := u.get("/")
				if err != nil {
					answer = err.Error()
				}
				answers <- answer
			})
		}
		u.start(args...)
		for range waiting {
			if answer := <-answers; answer != "200 release one" {
				t.Errorf("who came while there was no daemon got %q", answer)
			}
		}
		u.await("READY", "1")
		if words, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", old)); err == nil && len(words) > 0 { // a zombie has none
			t.Errorf("the old app, pid %d, lives on", old)
		}
	}
	close(stop)
	clients.Wait()
	if refused > 0 || cut > times || answered == 0 {
		t.Errorf("%d answered, %d cut with the daemon that died, %d refused", answered, cut, refused)
	}
	t.Logf("kills=%d answered=%d cut=%d refused=%d", times, answered, cut, refused)
}

// A relay that does not end is killed some seconds later. The supervisor, which waits for that, runs.
func TestASlowEndIsNoMissedBeat(t *testing.T) {
	u := newUnit(t, "one")
	u.start("run", "--name", "shop", "--listen", "systemd:shop", "--", "webapp")
	u.await("READY", "1")
	relay, err := strconv.Atoi(roleOf(t, u.daemon.Process.Pid, "relay"))
	must(t, err)
	must(t, syscall.Kill(relay, syscall.SIGSTOP))
	u.signal(syscall.SIGTERM, false)
	if err := <-u.ended; err != nil {
		t.Errorf("it ended with %v", err)
	}
	u.ended = nil
	if log := u.log.String(); strings.Contains(log, "supervisor restored") || !strings.Contains(log, "shutdown finished") {
		t.Errorf("it said\n%s", log)
	}
}

// A broken app does not keep the service from starting.
func TestReadyWithABrokenApp(t *testing.T) {
	u := newUnit(t, "broken")
	u.start("run", "--name", "shop", "--listen", "systemd:shop", "--", "webapp")
	if ready := u.await("READY", "1"); strings.Contains(ready["STATUS"], "running") {
		t.Errorf("said %q", ready)
	}
}

func TestSocketsByName(t *testing.T) {
	u := newUnit(t, "one")
	u.start("run", "--name", "shop", "--listen", "systemd:web", "--", "webapp")
	err := <-u.ended
	u.ended = nil
	var exit *exec.ExitError
	want := `app shop: no socket named "web" was passed to tideover`
	if !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.Contains(u.log.String(), want) || !strings.Contains(u.log.String(), `there is "shop"`) {
		t.Errorf("%v:\n%s", err, u.log)
	}
	u.start("run", "--name", "shop", "--listen", "unix:"+filepath.Join(u.run, "shop"), "--", "webapp")
	if !u.log.await("inherited socket unused: fd_name=shop") || !u.log.await("systemd:shop") {
		t.Errorf("an unused socket is not said:\n%s", u.log)
	}
}
