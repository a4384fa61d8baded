package supervisor

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"tideover/scripts/testenv"
	"tideover/supervisor/api"
	"tideover/supervisor/config"
)

// harness is a supervisor with one app. The command of the app is a test program.
type harness struct {
	t       *testing.T
	s       *Supervisor
	address string
	state   string // where the records are
	marker  string // in the environment of every process of the app
	stopped chan struct{}
	http    *http.Client
	free    func() uint64 // what the machine has left; nil: the truth
	tune    func(*Options)
	ends    bool // by itself: then verdict is what Run returned, once stopped
	verdict error
}

type appOption func(*config.App)

func env(name, value string) appOption { return func(a *config.App) { a.Env[name] = value } }

// open starts a supervisor; it is shut down, and looked after, at the end of
// the test.
func open(t *testing.T, program string, options ...appOption) *harness {
	t.Helper()
	r := prepare(t)
	r.open(program, options...)
	return r
}

func prepare(t *testing.T) *harness {
	t.Helper()
	r := &harness{t: t, state: t.TempDir(), address: freeAddress(t), marker: fmt.Sprint("TESTPROGRAM_MARKER=", t.Name(), "-", os.Getpid(), "-", runs.Add(1))}
	r.http = &http.Client{Timeout: 2 * time.Minute, Transport: &http.Transport{DisableKeepAlives: true}}
	return r
}

var runs atomic.Int64

func (r *harness) settings(program string, options ...appOption) *config.App {
	usedPrograms.Store(program, true)
	exe, err := os.Executable()
	if err != nil {
		r.t.Fatal(err)
	}
	cfg, err := config.FromCommand(config.CommandOptions{
		Command: []string{exe}, Directory: r.t.TempDir(), Environ: os.Environ(),
		Name: "shop", Listen: []string{r.address},
	})
	if err != nil {
		r.t.Fatal(err)
	}
	name, value, _ := strings.Cut(r.marker, "=")
	cfg.Env = map[string]string{"TESTPROGRAM": program, name: value, "GORACE": "atexit_sleep_ms=0"}
	for _, o := range options {
		o(cfg)
	}
	return cfg
}

func (r *harness) open(program string, options ...appOption) {
	r.t.Helper()
	r.run(&config.File{Apps: []*config.App{r.settings(program, options...)}}, nil)
}

// run starts a supervisor over the apps of a file; load is how it is read again.
func (r *harness) run(file *config.File, load func() (*config.File, error)) {
	r.t.Helper()
	var log syncBuffer
	o := Options{
		Logger: hclog.New(&hclog.LoggerOptions{Output: &log, Level: hclog.Debug}), Version: "test", Output: &log,
		Name: "shop", RuntimeDir: shortDir(r.t), StateDir: r.state, Load: load, FreeMemory: r.free,
	}
	if r.tune != nil {
		r.tune(&o)
	}
	s, err := New(file, o)
	if err != nil {
		r.t.Fatal(err)
	}
	r.s, r.stopped = s, make(chan struct{})
	go func() {
		defer close(r.stopped)
		if r.verdict = s.Run(context.Background()); r.verdict != nil && !r.ends {
			r.t.Errorf("Run: %v", r.verdict)
		}
	}()
	r.t.Cleanup(func() {
		r.close()
		if r.t.Failed() {
			r.t.Logf("log:\n%s", log.String())
		}
	})
}

// close shuts down and demands that no process of the app is left.
func (r *harness) close() {
	r.s.Shutdown(false)
	select {
	case <-r.stopped:
	case <-time.After(time.Minute):
		r.s.Shutdown(true)
		<-r.stopped
		r.t.Error("the shutdown took longer than 20 s")
	}
	if pids := r.processes(); len(pids) > 0 {
		r.t.Errorf("after shutdown processes live on: %v", pids)
	}
}

// processes are all that have the app's marker in their environment.
func (r *harness) processes() []int {
	dirs, _ := filepath.Glob("/proc/[0-9]*/environ")
	var pids []int
	for _, path := range dirs {
		text, err := os.ReadFile(path)
		if err == nil && bytes.Contains(text, []byte(r.marker+"\x00")) {
			pid, _ := strconv.Atoi(strings.Split(path, "/")[2])
			pids = append(pids, pid)
		}
	}
	return pids
}

// get asks the app for a page and returns status and body.
func (r *harness) get(path string) (int, string) {
	r.t.Helper()
	resp, err := r.http.Get("http://" + r.address + path)
	if err != nil {
		r.t.Errorf("GET %s: %v", path, err)
		return 0, err.Error()
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Errorf("GET %s: body: %v", path, err)
	}
	return resp.StatusCode, string(body)
}

// page is the answer to GET /, which must be 200.
func (r *harness) page() string {
	r.t.Helper()
	status, body := r.get("/")
	if status != http.StatusOK {
		r.t.Fatalf("GET /: %d %s", status, body)
	}
	return body
}

func (r *harness) do(v api.Verb) api.Result {
	return r.s.Do(context.Background(), api.Request{Verb: v, By: api.Caller{Via: "test"}}, func(api.Phase) {})
}

func (r *harness) want(res api.Result, exit api.Exit) api.Result {
	r.t.Helper()
	if res.Exit != exit {
		r.t.Fatalf("%s: exit %d (%s: %s), want %d", res.Verb, res.Exit, res.Result, res.Error, exit)
	}
	return res
}

func (r *harness) status() api.AppStatus {
	r.t.Helper()
	st, err := r.s.Status()
	if err != nil {
		r.t.Fatal(err)
	}
	return st.Apps[0]
}

// until waits for the status to be as wanted.
func (r *harness) until(what string, ok func(api.AppStatus) bool) api.AppStatus {
	r.t.Helper()
	deadline := time.After(time.Minute)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		st := r.status()
		if ok(st) {
			return st
		}
		select {
		case <-tick.C:
		case <-deadline:
			r.t.Fatalf("never %s: %+v", what, st)
		}
	}
}

// slow is a request that is in flight until it is told to finish.
type slow struct {
	pipe string
	gate *os.File // closed, it lets the request finish
	body chan string
}

func (r *harness) slow() *slow { return r.slowRequest(http.MethodGet) }

// slowRequest is slow with a method. A POST is lost when its worker is killed.
func (r *harness) slowRequest(method string) *slow {
	r.t.Helper()
	s := &slow{pipe: filepath.Join(r.t.TempDir(), "pipe"), body: make(chan string, 1)}
	if err := syscall.Mkfifo(s.pipe, 0o600); err != nil {
		r.t.Fatal(err)
	}
	go func() {
		body := ""
		if method == http.MethodGet {
			_, body = r.get("/slow?until=" + s.pipe)
		} else if resp, err := r.http.Post("http://"+r.address+"/slow?until="+s.pipe, "", nil); err == nil {
			body = resp.Status
			resp.Body.Close()
		}
		s.body <- body
	}()
	r.until("at work", func(api.AppStatus) bool { // the pipe can be opened when the app reads from it
		pipe, err := os.OpenFile(s.pipe, os.O_WRONLY|syscall.O_NONBLOCK, 0)
		s.gate = pipe
		return err == nil
	})
	return s
}

func (s *slow) finish() string {
	s.gate.Close()
	return <-s.body
}

// load asks in a loop from several clients until it is ended, and counts.
type load struct {
	sent, lost atomic.Int64
	stop       chan struct{}
	clients    sync.WaitGroup
	mu         sync.Mutex
	complaints []string
}

func (r *harness) load(clients int) *load {
	l := &load{stop: make(chan struct{})}
	for range clients {
		l.clients.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-l.stop:
					return
				default:
				}
				nonce := fmt.Sprintf("%p-%d", l, l.sent.Add(1))
				if status, body := r.get("/?nonce=" + nonce); status != 200 || !strings.Contains(body, "nonce="+nonce) {
					l.lost.Add(1)
					l.mu.Lock()
					l.complaints = append(l.complaints, fmt.Sprint(status, " ", body))
					l.mu.Unlock()
				}
			}
		})
	}
	return l
}

func (r *harness) noneLost(l *load) {
	r.t.Helper()
	close(l.stop)
	l.clients.Wait()
	r.t.Logf("%d requests, %d lost", l.sent.Load(), l.lost.Load())
	if l.lost.Load() > 0 {
		r.t.Errorf("lost %d of %d requests: %q", l.lost.Load(), l.sent.Load(), l.complaints[:min(5, len(l.complaints))])
	}
}

var pidPattern = regexp.MustCompile(`pid=(\d+)`)

func pidOf(t *testing.T, body string) int {
	t.Helper()
	m := pidPattern.FindStringSubmatch(body)
	if m == nil {
		t.Fatalf("no pid in %q", body)
	}
	pid, _ := strconv.Atoi(m[1])
	return pid
}

func kill(t *testing.T, pid int, sig syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(pid, sig); err != nil {
		t.Fatalf("kill %d: %v", pid, err)
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	address, err := testenv.Address()
	if err != nil {
		t.Fatal(err)
	}
	return address
}

// shortDir is a directory with a path short enough for a unix socket in it.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "tide")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
