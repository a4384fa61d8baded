package control

import (
	"context"
	"io"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/hashicorp/go-hclog"

	"tideover/supervisor/api"
	"tideover/supervisor/logs"
)

// fakeBackend keeps one app named shop and does nothing but record what it is
// asked and wait where a real one would.
type fakeBackend struct {
	records []api.Record
	app     string

	mu    sync.Mutex // guards asked
	asked []string

	phases    []api.Phase
	result    api.Result
	waiting   chan struct{} // closed by Do when it begins to wait
	finish    chan struct{} // Do returns when it is closed
	left      chan struct{} // closed when a caller left a Do
	withdrawn chan struct{} // gets a value when an attached request was withdrawn; nil: it is not waited for
	hold      *fakeHold
	lines     chan logs.Line
	shutdown  func()
}

func newFake(app string) *fakeBackend {
	return &fakeBackend{
		app: app, waiting: make(chan struct{}), finish: make(chan struct{}), left: make(chan struct{}),
		lines: make(chan logs.Line, 16), hold: &fakeHold{ended: make(chan struct{})},
		result: api.Result{App: app, Verb: api.Reload, Result: "ok"},
	}
}

func (d *fakeBackend) note(what string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked = append(d.asked, what)
}

func (d *fakeBackend) notes() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]string(nil), d.asked...)
}

func (d *fakeBackend) Check(_ context.Context, names ...string) (api.Status, error) {
	return d.Status(names...)
}

func (d *fakeBackend) Metrics(w io.Writer) error {
	_, err := io.WriteString(w, "up 1\n")
	return err
}

func (d *fakeBackend) Status(names ...string) (api.Status, error) {
	for _, name := range names {
		if name != d.app && name != "label-of-"+d.app {
			return api.Status{}, errNoSuchApp(name, []string{d.app})
		}
	}
	return api.Status{Apps: []api.AppStatus{{Name: d.app, State: api.Running, Generation: 7}}}, nil
}

func (d *fakeBackend) Do(ctx context.Context, r api.Request, progress func(api.Phase)) api.Result {
	d.note(string(r.Verb) + " " + r.App + " by " + r.By.String())
	for _, p := range d.phases {
		progress(p)
	}
	close(d.waiting)
	if d.withdrawn != nil {
		d.withdrawn <- <-r.Withdrawn
	}
	select {
	case <-d.finish:
		return d.result
	case <-ctx.Done():
		close(d.left)
		return api.Result{App: r.App, Exit: api.ExitTimeout}
	}
}

func (d *fakeBackend) Apply(_ context.Context, r api.ApplyRequest, progress func(api.Phase)) api.ApplyResult {
	d.note("apply by " + r.By.String())
	for _, p := range d.phases {
		progress(p)
	}
	return api.ApplyResult{Result: "ok", Apps: []api.AppChange{{App: d.app, Change: api.Added}}}
}

func (d *fakeBackend) Hold(_ context.Context, app string, r api.HoldRequest) (Hold, error) {
	d.note("hold " + app + " by " + r.By.String())
	return d.hold, nil
}

func (d *fakeBackend) Turn(context.Context) error {
	d.note("turn")
	return nil
}

func (d *fakeBackend) SetFleet(f api.Fleet) { d.note("fleet " + f.Group) }

func (d *fakeBackend) Fleet() *api.Fleet { return &api.Fleet{Group: "shop", Hosts: []api.FleetHost{}} }

func (d *fakeBackend) Drain(app string, r api.DrainRequest) (api.DrainReport, error) {
	return api.DrainReport{App: app, For: r.For.Seconds()}, nil
}

func (d *fakeBackend) Undrain(app, by string) (api.DrainReport, error) {
	return api.DrainReport{App: app, Lasted: 1}, nil
}

func (d *fakeBackend) Release(app string, _ api.Caller) (api.HoldReport, error) {
	d.note("release " + app)
	return api.HoldReport{App: app, Held: 3.1}, nil
}

func (d *fakeBackend) Signal(app string, sig syscall.Signal) error {
	d.note("signal " + app + " " + sig.String())
	return nil
}

func (d *fakeBackend) Logs(ctx context.Context, q api.LogQuery, yield func(logs.Line) bool) error {
	for {
		select {
		case l, more := <-d.lines:
			if !more {
				return nil
			}
			if !yield(l) {
				return nil
			}
		case <-ctx.Done():
			d.note("reader left")
			return nil
		}
	}
}

func (d *fakeBackend) History(_ context.Context, q api.HistoryQuery, yield func(api.Record) bool) error {
	for _, r := range d.records {
		if r.ID > q.After && !yield(r) {
			break
		}
	}
	return nil
}

func (d *fakeBackend) Listen(_ context.Context, r api.ListenRequest) error {
	d.note("listen " + r.App)
	return nil
}

func (d *fakeBackend) Unlisten(app string, _ bool) error {
	d.note("unlisten " + app)
	return nil
}

func (d *fakeBackend) Shutdown(fast bool) {
	d.note("shutdown")
	d.shutdown()
}

type fakeHold struct {
	once  sync.Once
	ended chan struct{}
}

func (l *fakeHold) Report() api.HoldReport {
	return api.HoldReport{App: "shop", Drained: true, InFlight: 9}
}
func (l *fakeHold) End() api.HoldReport {
	l.once.Do(func() { close(l.ended) })
	return api.HoldReport{App: "shop", Requests: api.RequestCounts{Held: 88}}
}

// serve runs a server for d until the test ends, and returns its socket.
func serve(t *testing.T, d *fakeBackend, o SocketOptions) *Socket {
	t.Helper()
	return serveBackend(t, d, d, o)
}

// serveBackend is serve for a backend that is based on d.
func serveBackend(t *testing.T, b Backend, d *fakeBackend, o SocketOptions) *Socket {
	t.Helper()
	if o.Path == "" {
		o.Path = filepath.Join(privateDir(t), "run", "control.sock")
	}
	socket, err := Listen(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	d.shutdown = stop
	served := make(chan error, 1)
	go func() { served <- NewServer(socket, b, hclog.NewNullLogger()).Serve(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
		if err := socket.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return socket
}

func exitOf(err error) api.Exit {
	if err == nil {
		return api.ExitOK
	}
	return asError(err).Exit
}

func (d *fakeBackend) Programs(bool) ([]api.Program, error) { return []api.Program{{App: d.app}}, nil }

func (d *fakeBackend) LogText(api.LogTextQuery) (api.LogText, error) {
	return api.LogText{Text: []byte("text"), Size: 4}, nil
}

func (d *fakeBackend) ClearLog(app string) error { d.note("clear " + app); return nil }

func (d *fakeBackend) Reread(context.Context, api.Caller) (api.Reread, error) {
	return api.Reread{}, nil
}

func (d *fakeBackend) AddGroup(_ context.Context, group string, _ api.Caller) error {
	d.note("add " + group)
	return nil
}

func (d *fakeBackend) RemoveGroup(_ context.Context, group string, _ api.Caller) error {
	d.note("remove " + group)
	return nil
}

func (d *fakeBackend) Upgrade(r api.UpgradeRequest) error {
	d.note("upgrade " + r.Program)
	return api.Errorf(api.ExitKeptOld, "it is no program")
}

func (d *fakeBackend) Renew(api.Caller) { d.note("renew") }
