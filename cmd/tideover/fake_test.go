package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"tideover/supervisor/api"
	"tideover/supervisor/control"
	"tideover/supervisor/logs"
)

// fakeDaemon answers verbs with what a test wrote down, so that what people
// see can be tested for everything that may happen. The scripts in testdata
// meet the real one.
type fakeDaemon struct {
	records []api.Record
	status  api.Status
	phases  []api.Phase
	results map[string]api.Result // by app
	applied api.ApplyResult
	forever bool // operations never end
	begun   api.HoldReport
	ended   api.HoldReport
	lines   []logs.Line
	stop    func()

	mu    sync.Mutex // guards asked, and status where a test changes it
	asked []string
}

func (d *fakeDaemon) note(words ...string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked = append(d.asked, strings.Join(words, " "))
}

func (d *fakeDaemon) notes() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return strings.Join(d.asked, "\n")
}

func (d *fakeDaemon) Metrics(io.Writer) error { return nil }

func (d *fakeDaemon) Status(names ...string) (api.Status, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	st := d.status
	if len(names) == 0 {
		return st, nil
	}
	st.Apps = []api.AppStatus{}
	selects := func(name string, a api.AppStatus) bool {
		name = strings.TrimSuffix(name, ":*")
		return a.Name == name || name == "all" || strings.HasPrefix(a.Name, name+":") || slices.Contains(a.Labels, name)
	}
	for _, name := range names {
		if !slices.ContainsFunc(d.status.Apps, func(a api.AppStatus) bool { return selects(name, a) }) {
			return st, &api.Error{Exit: api.ExitNoSuchApp, Message: "no " + name}
		}
	}
	for _, a := range d.status.Apps {
		if slices.ContainsFunc(names, func(name string) bool { return selects(name, a) }) {
			st.Apps = append(st.Apps, a)
		}
	}
	return st, nil
}

func (d *fakeDaemon) Check(_ context.Context, names ...string) (api.Status, error) {
	return d.Status(names...)
}

func (d *fakeDaemon) Do(ctx context.Context, r api.Request, progress func(api.Phase)) api.Result {
	d.note(string(r.Verb), r.App)
	for _, p := range d.phases {
		p.App, p.Verb = r.App, r.Verb
		progress(p)
	}
	if d.forever {
		<-ctx.Done()
	}
	result := d.results[r.App]
	result.App, result.Verb = r.App, r.Verb
	return result
}

func (d *fakeDaemon) Apply(ctx context.Context, r api.ApplyRequest, progress func(api.Phase)) api.ApplyResult {
	if r.AllowEmpty {
		d.note("allow-empty")
	}
	d.note("apply", strconv.FormatBool(r.DryRun))
	for _, p := range d.phases {
		progress(p)
	}
	if d.forever {
		<-ctx.Done()
	}
	return d.applied
}

func (d *fakeDaemon) Hold(_ context.Context, app string, r api.HoldRequest) (control.Hold, error) {
	d.note("hold", app, r.For.String())
	return fakeHold{d}, nil
}

type fakeHold struct{ d *fakeDaemon }

func (l fakeHold) Report() api.HoldReport { return l.d.begun }
func (l fakeHold) End() api.HoldReport {
	l.d.note("hold ended")
	return l.d.ended
}

func (d *fakeDaemon) Release(app string, _ api.Caller) (api.HoldReport, error) {
	d.note("release", app)
	return d.ended, nil
}

func (d *fakeDaemon) Drain(app string, r api.DrainRequest) (api.DrainReport, error) {
	d.note("drain", app, r.For.String())
	return api.DrainReport{App: app}, nil
}

func (d *fakeDaemon) Undrain(app, by string) (api.DrainReport, error) {
	d.note("undrain", app)
	return api.DrainReport{App: app}, nil
}

func (d *fakeDaemon) Signal(app string, sig syscall.Signal) error {
	d.note("signal", app, sig.String())
	return nil
}

func (d *fakeDaemon) Logs(_ context.Context, q api.LogQuery, yield func(logs.Line) bool) error {
	for _, l := range d.lines {
		if !yield(l) {
			break
		}
	}
	return nil
}

func (d *fakeDaemon) History(_ context.Context, q api.HistoryQuery, yield func(api.Record) bool) error {
	for _, r := range d.records {
		if r.ID > q.After && !yield(r) {
			break
		}
	}
	return nil
}

func (d *fakeDaemon) Listen(context.Context, api.ListenRequest) error { return nil }
func (d *fakeDaemon) Unlisten(string, bool) error                     { return nil }

func (d *fakeDaemon) Turn(context.Context) error { return nil }
func (d *fakeDaemon) SetFleet(api.Fleet)         {}
func (d *fakeDaemon) Fleet() *api.Fleet          { return nil }

func (d *fakeDaemon) Upgrade(r api.UpgradeRequest) error {
	d.note("upgrade")
	return api.Errorf(api.ExitKeptOld, "%s is not a tideover", r.Program)
}

func (d *fakeDaemon) Shutdown(fast bool) {
	d.note("shutdown")
	d.stop()
}

// serve puts a daemon on a socket until the test ends.
func (d *fakeDaemon) serve(t *testing.T, path string) {
	t.Helper()
	socket, err := control.Listen(control.SocketOptions{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	d.stop = stop
	served := make(chan error, 1)
	go func() { served <- control.NewServer(socket, d, hclog.NewNullLogger()).Serve(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
		socket.Close()
	})
}

// outcome is what one command line did.
type outcome struct {
	stdout, stderr string
	exit           int
}

// tideover runs a command line against the daemons in dir.
func tideover(t *testing.T, dir string, args ...string) outcome {
	t.Helper()
	return tideoverWith(t, dir, []string{"PATH=" + os.Getenv("PATH")}, args...)
}

func tideoverWith(t *testing.T, dir string, env []string, args ...string) outcome {
	t.Helper()
	var stdout, stderr sharedBuffer
	exit := Main{Dirs: []string{dir}}.Run(t.Context(), args, strings.NewReader(""), &stdout, &stderr, env)
	return outcome{stdout.String(), stderr.String(), exit}
}

// sharedBuffer takes the words of tideover and of the command it runs.
type sharedBuffer struct {
	mu  sync.Mutex // guards all
	all bytes.Buffer
}

func (b *sharedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.all.Write(p)
}

func (b *sharedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.all.String()
}

// shopDaemon keeps one app named shop, in dir.
func shopDaemon(t *testing.T) (d *fakeDaemon, dir string) {
	t.Helper()
	d, dir = &fakeDaemon{results: map[string]api.Result{}}, runtimeDir(t)
	d.status = api.Status{Version: "1", Pid: 4710, Apps: []api.AppStatus{serving("shop")}}
	d.serve(t, control.SocketPath(dir, ""))
	return d, dir
}

func serving(app string) api.AppStatus {
	return api.AppStatus{Name: app, State: api.Running, Generation: 8, Pid: 48213, Uptime: 252, Listen: []string{"127.0.0.1:8000"},
		InFlight: 9, Connections: 12, Held: 0, Command: []string{"venv/bin/gunicorn", "shop.wsgi"}, Directory: "/srv/shop", Ready: "GET / -> <500",
		Processes: 5, Memory: 412 << 20, HoldLimit: 1000, HoldFor: 30}
}

// runtimeDir has a name short enough for sockets in it.
func runtimeDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "tt")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// reloaded is the phases of a reload that went well.
func reloaded() []api.Phase {
	done := func(name string, took time.Duration, attrs ...api.Attr) []api.Phase {
		begin := api.Phase{From: 7, To: 8, Name: name}
		end := begin
		end.Result, end.Duration, end.Attrs = "ok", took, attrs
		return []api.Phase{begin, end}
	}
	var all []api.Phase
	all = append(all, done("start", 410*time.Millisecond, api.Attr{Key: "pid", Value: "48213"})...)
	all = append(all, done("ready", 2310*time.Millisecond, api.Attr{Key: "tries", Value: "3"}, api.Attr{Key: "status", Value: "200"})...)
	all = append(all, done("swap", 9*time.Millisecond)...)
	return append(all, done("drain", 4120*time.Millisecond, api.Attr{Key: "cut", Value: "0"})...)
}

func okResult() api.Result {
	return api.Result{Result: "ok", Generation: api.GenerationPair{From: 7, To: 8}, Duration: 7.81,
		Requests: api.RequestCounts{Held: 17, HeldMax: 0.006}, Phases: []api.PhaseResult{}, ChildOutput: []string{}}
}

func keptOld() api.Result {
	r := okResult()
	r.Result, r.Exit = "kept old", api.ExitKeptOld
	r.Error = "generation 8 of shop did not come up: it ended with exit status 3; generation 7 still serves"
	r.Hint = "the release was changed in place"
	r.Probe = "HTTP/1.1 500 Internal Server Error\n\n{\"db\": \"gone\"}"
	r.ChildOutput = []string{"Traceback (most recent call last):", "ModuleNotFoundError: No module named 'shop.wsgi'"}
	return r
}

func socketIn(dir, name string) string { return filepath.Join(dir, name) }

// want checks an outcome: exit code, and words that must be there.
func (o outcome) want(t *testing.T, exit api.Exit, stdout, stderr string) {
	t.Helper()
	if o.exit != int(exit) {
		t.Errorf("exit %d, want %d", o.exit, exit)
	}
	if o.stdout != stdout {
		t.Errorf("stdout:\n%s\nwant:\n%s", o.stdout, stdout)
	}
	if o.stderr != stderr {
		t.Errorf("stderr:\n%s\nwant:\n%s", o.stderr, stderr)
	}
}

// oneDocument checks that text is exactly one JSON object.
func oneDocument(t *testing.T, text string) map[string]any {
	t.Helper()
	decoder := json.NewDecoder(strings.NewReader(text))
	var document map[string]any
	if err := decoder.Decode(&document); err != nil {
		t.Fatalf("%v in %q", err, text)
	}
	if decoder.More() {
		t.Errorf("something follows the document: %q", text)
	}
	return document
}

func (d *fakeDaemon) Programs(bool) ([]api.Program, error) { return nil, nil }

func (d *fakeDaemon) LogText(api.LogTextQuery) (api.LogText, error) { return api.LogText{}, nil }

func (d *fakeDaemon) ClearLog(string) error { return nil }

func (d *fakeDaemon) Reread(context.Context, api.Caller) (api.Reread, error) {
	return api.Reread{}, nil
}

func (d *fakeDaemon) AddGroup(context.Context, string, api.Caller) error { return nil }

func (d *fakeDaemon) RemoveGroup(context.Context, string, api.Caller) error { return nil }

func (d *fakeDaemon) Renew(api.Caller) {}
