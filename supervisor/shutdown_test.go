package supervisor

import (
	"bufio"
	"context"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"tideover/supervisor/api"
	"tideover/supervisor/config"
	"tideover/supervisor/logs"
)

// stuckOutput is an output of which no write returns before the end of the test.
type stuckOutput struct{ free chan struct{} }

func (o stuckOutput) Write(p []byte) (int, error) {
	<-o.free
	return len(p), nil
}

// Neither an operation nor a crash nor the shutdown waits for the output of the children or
// for that of the daemon.
func TestNothingWaitsForAStuckOutput(t *testing.T) {
	t.Parallel()
	r := prepare(t)
	out := stuckOutput{make(chan struct{})}
	t.Cleanup(func() { close(out.free) })
	own := logs.NewWriter(out)
	r.tune = func(o *Options) {
		o.Output = out
		o.Logger = hclog.New(&hclog.LoggerOptions{Output: own, Level: hclog.Debug})
	}
	r.open("web")
	r.page()
	r.want(r.do(api.Reload), api.ExitOK)
	first := r.page()
	kill(t, pidOf(t, first), 9)
	r.until("the next generation", func(s api.AppStatus) bool { return s.Generation == 3 && s.State == api.Running })
	r.page()
	r.refusesBadRequest()
	began := time.Now()
	r.close() // within 20 s
	if err := own.Close(); err == nil {
		t.Error("a stuck output was written")
	}
	t.Logf("the end took %v", time.Since(began))
}

// refusesBadRequest demands tideover's own 400.
func (r *harness) refusesBadRequest() {
	r.t.Helper()
	conn, err := net.Dial("tcp", r.address)
	if err != nil {
		r.t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Minute))
	io.WriteString(conn, "GET /a b HTTP/1.1\r\nHost: x\r\n\r\n")
	if line, err := bufio.NewReader(conn).ReadString('\n'); !strings.HasPrefix(line, "HTTP/1.1 400 ") {
		r.t.Errorf("a bad request: %q, %v", line, err)
	}
}

// A hook without a time limit that never ends has the time that its app has to stop.
func TestAHookThatNeverEndsDoesNotKeepAShutdown(t *testing.T) {
	t.Parallel()
	r := open(t, "broken", func(a *config.App) {
		a.Hooks.OnFailure = []string{"sleep", "1000"}
		a.Hooks.Timeout = 0
		a.Drain.Timeout, a.Drain.Tunnels, a.Stop.Timeout = 0, 0, 100*time.Millisecond
	})
	r.until("the hook runs", func(api.AppStatus) bool { return len(r.processes()) > 0 && r.status().State == api.Backoff })
	r.close() // within 20 s, and no process of the hook is left
}

// The bound of a shutdown is the longest sum of the timeouts of apps that stop one after
// another, and 30 s.
func TestShutdownTimeoutFollowsTheOrderOfTheApps(t *testing.T) {
	t.Parallel()
	r := prepare(t)
	var apps []*config.App
	for name, after := range map[string][]string{"db": nil, "web": {"db"}, "worker": {"web"}, "alone": nil} {
		app := *r.settings("web")
		app.Name, app.Listen, app.After, app.Autostart = name, nil, after, false
		app.Drain.Timeout, app.Drain.Tunnels, app.Stop.Timeout = 3*time.Second, 2*time.Second, time.Second
		if name == "alone" {
			app.Drain.Timeout = 10 * time.Second
		}
		apps = append(apps, &app)
	}
	r.run(&config.File{Apps: apps}, nil)
	if got, want := r.s.ShutdownTimeout(), 3*6*time.Second+shutdownMargin; got != want {
		t.Errorf("%v, want %v", got, want)
	}
}

// While a shutdown waits, it can be told for what.
func TestUnfinishedNamesTheAppThatStops(t *testing.T) {
	t.Parallel()
	r := open(t, "web")
	r.page()
	request := r.slow()
	r.s.Shutdown(false)
	r.until("draining", func(api.AppStatus) bool {
		return slices.ContainsFunc(r.s.Unfinished(), func(s string) bool { return strings.HasPrefix(s, "app shop stops 1") })
	})
	request.finish()
	<-r.stopped
	if got := r.s.Unfinished(); len(got) != 1 || strings.Contains(got[0], "shop") {
		t.Errorf("after the end: %q", got)
	}
}

// The signal that ends tideover may be there before its supervisor is, as after the death of one.
func TestASupervisorThatIsToEndStartsNoApp(t *testing.T) {
	t.Parallel()
	r := prepare(t)
	var log syncBuffer
	s, err := New(&config.File{Apps: []*config.App{r.settings("web")}}, Options{Logger: hclog.New(&hclog.LoggerOptions{Output: &log, Level: hclog.Debug}),
		Name: "shop", RuntimeDir: shortDir(t), StateDir: r.state})
	if err != nil {
		t.Fatal(err)
	}
	requested, request := context.WithCancel(t.Context())
	request()
	if err := s.Run(requested); err != nil {
		t.Error(err)
	}
	if text := log.String(); strings.Contains(text, "started: app=shop") || !strings.Contains(text, "shutdown finished") {
		t.Errorf("it said\n%s", text)
	}
}
