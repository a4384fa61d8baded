package admin

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"

	"tideover/scripts/testenv"
	"tideover/supervisor/api"
	"tideover/supervisor/confine"
	"tideover/supervisor/control"
)

func TestMain(m *testing.M) {
	Role()
	os.Exit(m.Run())
}

// backend answers the control protocol with a status.
type backend struct {
	control.Backend
	status atomic.Pointer[api.Status]
	asked  atomic.Int64
}

func (b *backend) Status(...string) (api.Status, error) {
	b.asked.Add(1)
	return *b.status.Load(), nil
}

func (b *backend) History(ctx context.Context, _ api.HistoryQuery, _ func(api.Record) bool) error {
	<-ctx.Done()
	return nil
}

func (b *backend) Metrics(w io.Writer) error {
	_, err := io.WriteString(w, strings.Repeat("tideover_up 1\n", 50_000)) // as of hundreds of apps
	return err
}

// syncBuffer is a log.
type syncBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// harness is a keeper that runs.
type harness struct {
	*testing.T
	keeper  *Keeper
	backend *backend
	log     *syncBuffer
	jail    string
	user    *confine.User
}

func newHarness(t *testing.T, address string) *harness {
	t.Helper()
	h := &harness{T: t, backend: &backend{}, log: &syncBuffer{}, jail: t.TempDir()}
	h.backend.status.Store(&api.Status{Apps: []api.AppStatus{{Name: "shop", State: api.Running, Generation: 3}}})
	logger := hclog.New(&hclog.LoggerOptions{Output: h.log, Level: hclog.Debug})
	socket := &control.Socket{}
	server := control.NewServer(socket, h.backend, logger)
	var err error
	if h.user, err = confine.FindUser("61011"); err != nil {
		t.Fatal(err)
	}
	h.keeper = NewKeeper(Options{Logger: logger, Serve: server.ServeViewer,
		Confinement: func() (confine.Options, error) { return confine.Options{User: h.user, Root: h.jail}, nil }})
	h.prepare(address).Commit()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		h.keeper.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
		if t.Failed() {
			t.Log(h.log.String())
		}
	})
	return h
}

func (h *harness) prepare(address string) Change {
	h.Helper()
	c, err := h.keeper.Prepare(Addresses{Admin: address}, false)
	if err != nil {
		h.Fatal(err)
	}
	return c
}

// pid waits for a process other than those.
func (h *harness) pid(former ...int) int {
	h.Helper()
	for range 1000 {
		h.keeper.mu.Lock()
		p := h.keeper.process
		h.keeper.mu.Unlock()
		if p != nil && !slices.Contains(former, p.cmd.Process.Pid) {
			return p.cmd.Process.Pid
		}
		<-time.After(10 * time.Millisecond)
	}
	h.Fatal("no process")
	return 0
}

// client returns a client without connections, for "http://admin/PATH".
func client(address string) *http.Client {
	network, at := "tcp", address
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		network, at = "unix", path
	}
	return &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, at)
		}}}
}

// get returns the status and the body.
func (h *harness) get(address, path string) (int, string) {
	h.Helper()
	answer, err := client(address).Get("http://admin" + path)
	if err != nil {
		h.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		h.Fatal(err)
	}
	return answer.StatusCode, string(text)
}

// shortDir is t.TempDir, but with a path that leaves room for that of a socket.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "ta")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func freeAddress(t *testing.T) string {
	t.Helper()
	address, err := testenv.Address()
	if err != nil {
		t.Fatal(err)
	}
	return address
}

func TestTheProcessIsConfinedBeforeItAccepts(t *testing.T) {
	for _, address := range []string{freeAddress(t), "unix:" + filepath.Join(shortDir(t), "a.sock")} {
		h := newHarness(t, address)
		if status, text := h.get(address, "/-/live"); status != 200 || text != "live\n" {
			t.Errorf("%d %q", status, text)
		}
		pid := h.pid()
		if err := confine.Verify(pid, confine.Options{User: h.user, Root: h.jail}); err != nil {
			t.Error(err)
		}
		threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
		if err != nil || len(threads) < 2 {
			t.Fatalf("%d threads: %v", len(threads), err)
		}
		for _, thread := range threads {
			text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/status", pid, thread.Name()))
			if err != nil {
				continue // it has ended
			}
			for _, line := range []string{"\nSeccomp:\t2\n", "\nNoNewPrivs:\t1\n", "\nCapEff:\t0000000000000000\n"} {
				if !strings.Contains(string(text), line) {
					t.Errorf("thread %s has not %q", thread.Name(), line)
				}
			}
			if strings.Contains(string(text), "\nUid:\t0") {
				t.Errorf("thread %s is root", thread.Name())
			}
		}
	}
}

func TestTheProcessHandsOnTheSupervisorsMetrics(t *testing.T) {
	address := freeAddress(t)
	h := newHarness(t, address)
	for range 3 {
		if status, text := h.get(address, "/metrics"); status != 200 || len(text) != 50_000*len("tideover_up 1\n") {
			t.Errorf("%d, %d bytes", status, len(text))
		}
		if status, _ := h.get(address, "/-/live"); status != 200 {
			t.Errorf("/-/live: %d", status)
		}
	}
}

func TestAKilledProcessRefusesNobody(t *testing.T) {
	address := freeAddress(t)
	h := newHarness(t, address)
	var former []int
	for range 5 {
		pid := h.pid(former...)
		if status, _ := h.get(address, "/-/live"); status != 200 {
			t.Fatalf("status %d", status)
		}
		unix.Kill(pid, unix.SIGKILL)
		former = append(former, pid)
		// From here on clients wait until the next process accepts. What the former one has accepted
		// at the instant of its death is lost.
		for readable := true; readable; {
			_, err := os.Stat(fmt.Sprintf("/proc/%d", pid))
			readable = err == nil
		}
	}
	if status, _ := h.get(address, "/-/live"); status != 200 {
		t.Fatalf("status %d", status)
	}
}

func TestAnAddressThatCannotBeBoundChangesNothing(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	address := freeAddress(t)
	h := newHarness(t, address)
	pid := h.pid()
	if _, err := h.keeper.Prepare(Addresses{Admin: taken.Addr().String()}, false); err == nil {
		t.Fatal("a taken address is accepted")
	}
	h.prepare(freeAddress(t)).Discard()
	h.prepare(address).Commit()
	if status, _ := h.get(address, "/-/live"); status != 200 {
		t.Errorf("status %d", status)
	}
	if h.pid() != pid {
		t.Error("the process was started again")
	}
}

func TestTheAddressChangesAndEndsWithTheConfiguration(t *testing.T) {
	first, second := freeAddress(t), "unix:"+filepath.Join(shortDir(t), "a.sock")
	h := newHarness(t, first)
	h.get(first, "/-/live")
	h.prepare(second).Commit()
	if status, _ := h.get(second, "/-/live"); status != 200 {
		t.Errorf("status %d", status)
	}
	if conn, err := net.Dial("tcp", first); err == nil {
		conn.Close()
		t.Error("the former address is open")
	}
	pid := h.pid()
	h.prepare("").Commit()
	for range 1000 {
		if err := unix.Kill(pid, 0); err != nil {
			return
		}
		<-time.After(10 * time.Millisecond)
	}
	t.Error("the process lives without an address")
}

// Idle connections, half heads and connections that are kept take no place from others: those that
// have waited longest are closed for the newest, and a health check is answered.
func TestIdleAndSlowClientsDoNotKeepOthersOut(t *testing.T) {
	for name, text := range map[string]string{"idle": "", "half a head": "GET /-/live HTTP/1.1\r\nHost: a\r\nX-Slow: ", "answered": "GET /-/live HTTP/1.1\r\nHost: a\r\n\r\n"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := freeAddress(t)
			h := newHarness(t, address)
			var others []net.Conn
			for range 1000 {
				conn, err := net.Dial("tcp", address)
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				io.WriteString(conn, text) // an error says that it was closed already
				others = append(others, conn)
			}
			open := openOnes(t, others)
			for ; len(open) > maxConnections; open = openOnes(t, others) {
				<-time.After(10 * time.Millisecond)
			}
			if name != "answered" && len(open) > 0 && open[0] < len(others)-maxConnections { // none is open: headTimeout was over
				t.Errorf("connection %d is open, and %d others that are younger", open[0], len(open)-1)
			}
			for range 20 {
				if status, _ := h.get(address, "/-/ready/shop"); status != 200 {
					t.Errorf("status %d", status)
				}
			}
			files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", h.pid()))
			if err == nil && len(files) > maxConnections+20 {
				t.Errorf("%d descriptors", len(files))
			}
		})
	}
}

// openOnes returns the places of the connections that the server has not closed.
func openOnes(t *testing.T, all []net.Conn) (open []int) {
	t.Helper()
	for i, conn := range all {
		raw, err := conn.(*net.TCPConn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		raw.Control(func(fd uintptr) {
			n := 1
			for text := make([]byte, 1024); n > 0; {
				n, err = unix.Read(int(fd), text)
			}
		})
		if err == unix.EAGAIN {
			open = append(open, i)
		}
	}
	return open
}
