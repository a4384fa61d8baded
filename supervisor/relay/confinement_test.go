package relay

import (
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

	"tideover/listener"
	"tideover/proxy/remote"
	"tideover/supervisor/confine"
)

// relayUser is the user of the relays of the tests, which no account has; nil without root.
func relayUser() *confine.User {
	user, err := confine.FindUser("61001")
	if err != nil {
		panic(err)
	}
	return user
}

func newPrivateDir(t *testing.T) *listener.PrivateDir {
	t.Helper()
	above, err := os.MkdirTemp("", "tide") // shorter than t.TempDir: it has sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(above) })
	d := &listener.PrivateDir{Path: filepath.Join(above, "x.relay")}
	if user := relayUser(); user != nil {
		d.Group = user.GID
	}
	return d
}

// confinedIn is how the daemon confines a relay.
func confinedIn(d *listener.PrivateDir) func() (confine.Options, error) {
	return func() (confine.Options, error) {
		return confine.Options{User: relayUser(), Root: d.Path, Sockets: confine.UnixAndTCP}, d.Prepare()
	}
}

// attackLevel has the relay's process of a test try what it must not be able to do.
const attackLevel = hclog.Trace

// attackSocket is the path of a socket that every user may connect to.
func attackSocket(pid int) string {
	return filepath.Join(os.TempDir(), fmt.Sprintf("tide-attack-%d.sock", pid))
}

// attack tries, in the process of a relay that has a listening socket, what it must not be able to
// do, and logs how each attempt was refused.
func attack(logger hclog.Logger) {
	supervisor := os.Getppid()
	open := descriptors()
	for !slices.ContainsFunc(open, func(fd int) bool {
		listens, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
		return err == nil && listens == 1
	}) {
		<-time.After(time.Millisecond)
		open = descriptors()
	}
	try := func(what string, err error) { logger.Error("tried", "what", what, "refusal", fmt.Sprint(err)) }
	_, err := unix.Open("/etc/passwd", unix.O_RDONLY, 0)
	try("open", err)
	for _, fd := range open {
		for _, path := range []string{"etc/passwd", "../../../../../../etc/passwd", "."} {
			if _, err := unix.Openat(fd, path, unix.O_RDONLY, 0); err != unix.EPERM {
				try(fmt.Sprint("openat by ", fd), err)
			}
		}
		if _, err := unix.OpenByHandleAt(fd, unix.NewFileHandle(1, make([]byte, 8)), unix.O_RDONLY); err != unix.EPERM {
			try(fmt.Sprint("open_by_handle_at by ", fd), err)
		}
	}
	try("openat by each descriptor", unix.EPERM)
	try("execve", unix.Exec("/proc/self/exe", []string{"x"}, nil))
	try("ptrace", unix.PtraceAttach(supervisor))
	try("kill", unix.Kill(supervisor, unix.SIGCONT))
	for _, path := range []string{attackSocket(supervisor), "../../../.." + attackSocket(supervisor)} {
		try("connect to a socket elsewhere", connectTo(path))
	}
	_, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW, 0)
	try("AF_NETLINK", err)
	logger.Error("tried", "what", "everything", "refusal", fmt.Sprint(len(open), " descriptors"))
}

func descriptors() (open []int) {
	for fd := range 1024 {
		var st unix.Stat_t
		if unix.Fstat(fd, &st) == nil {
			open = append(open, fd)
		}
	}
	return open
}

func connectTo(path string) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	defer unix.Close(fd)
	return unix.Connect(fd, &unix.SockaddrUnix{Name: path})
}

// The relay has a listening socket, its channel, its log, the page of counters and files of the
// spool. None of them leads out.
func TestTheRelaysProcessReachesNothingThatItWasNotGiven(t *testing.T) {
	path := attackSocket(os.Getpid())
	os.Remove(path)
	elsewhere, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer elsewhere.Close()
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	r := newRigAt(t, attackLevel)
	r.serve()
	waitUntil(t, func() bool { return r.log.has("what=everything") })
	if err := r.get("/"); err != nil {
		t.Errorf("afterwards: %v", err)
	}
	r.log.mu.Lock()
	defer r.log.mu.Unlock()
	tried := 0
	for line := range strings.Lines(r.log.text.String()) {
		_, what, found := strings.Cut(line, "tried: what=")
		switch {
		case !found || strings.HasPrefix(what, "everything"):
			continue
		case strings.Contains(what, "a socket elsewhere") && relayUser() == nil && strings.Contains(what, "<nil>"):
			// Only a chroot refuses it, or Landlock from ABI 9 on.
		case strings.Contains(what, "a socket elsewhere"):
			if strings.Contains(what, "<nil>") {
				t.Errorf("not refused: %s", what)
			}
		case !strings.Contains(what, `"operation not permitted"`):
			t.Errorf("not refused by seccomp: %s", what)
		}
		tried++
	}
	if tried != 8 {
		t.Errorf("%d attempts:\n%s", tried, r.log.text.String())
	}
}

// threadsOf returns what /proc says of each thread of a process.
func threadsOf(t *testing.T, pid int) (all []map[string]string) {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil || len(files) == 0 {
		t.Fatalf("no threads: %v", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue // the thread has ended
		}
		if err != nil {
			t.Fatal(err)
		}
		fields := map[string]string{}
		for line := range strings.Lines(string(text)) {
			name, value, _ := strings.Cut(line, ":")
			fields[name] = strings.TrimSpace(value)
		}
		all = append(all, fields)
	}
	return all
}

func TestNoThreadOfTheRelayIsRootOrHasAPrivilege(t *testing.T) {
	r := newRig(t)
	r.serve()
	var clients sync.WaitGroup
	for range 50 { // more threads
		clients.Go(func() {
			for range 20 {
				if err := r.get("/"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	check := func() {
		for _, is := range threadsOf(t, r.Pid()) {
			for name, want := range map[string]string{"CapEff": "0000000000000000", "CapPrm": "0000000000000000", "NoNewPrivs": "1", "Seccomp": "2"} {
				if is[name] != want {
					t.Errorf("%s is %s, want %s", name, is[name], want)
				}
			}
			if user := relayUser(); user != nil && strings.Contains("\t"+is["Uid"]+"\t"+is["Gid"]+"\t", "\t0\t") {
				t.Errorf("Uid %s, Gid %s", is["Uid"], is["Gid"])
			}
		}
	}
	check()
	clients.Wait()
	check()
	r.kill()
	check() // the next one is confined, too
	if err := r.get("/"); err != nil {
		t.Error(err)
	}
}

// A unix socket is reached by its name in the directory, by the group alone.
func TestTheRelayReachesAPrivateSocketInItsDirectory(t *testing.T) {
	r := newRig(t)
	private, err := listener.OpenPrivate(listener.PrivateOptions{Family: "unix", Dir: filepath.Dir(r.dir.Path), Name: "shop", Generation: 7})
	if err != nil {
		t.Fatal(err)
	}
	defer private.Close()
	l, err := net.FileListener(private.File())
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: r.app.Config.Handler}
	go server.Serve(l)
	defer server.Close()
	name, err := private.Offer(r.dir)
	if err != nil {
		t.Fatal(err)
	}
	set := remote.Set{App: 1, Name: "shop", Version: 1, Gate: remote.GateSettings{Limit: 100, Timeout: time.Minute},
		Target: &remote.Target{Generation: 7, Name: "shop#7", Network: "unix", Address: name, Concurrency: 10}}
	if _, err := r.Set(t.Context(), set); err != nil {
		t.Fatal(err)
	}
	answer, err := r.Probe(t.Context(), remote.Probe{ID: remote.ID{App: 1, Generation: 7}, Network: "unix", Address: name, Host: "localhost", Path: "/"})
	if err != nil || answer.Status != 200 {
		t.Errorf("a probe: %+v %v", answer, err)
	}
	r.open()
	for range 3 {
		if err := r.get("/"); err != nil {
			t.Error(err)
		}
	}
	r.kill()
	if err := r.get("/"); err != nil {
		t.Error(err)
	}
}
