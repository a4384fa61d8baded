package supervisor

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/hashicorp/go-hclog"

	"tideover/supervisor/api"
	"tideover/supervisor/config"
	"tideover/supervisor/relay"
)

// relayLogger is the logger of a relay's process.
func relayLogger(level hclog.Level, to hclog.SinkAdapter) hclog.Logger {
	logger := hclog.NewInterceptLogger(&hclog.LoggerOptions{Level: level, Output: io.Discard})
	logger.RegisterSink(to)
	return logger
}

// withRelay has a process of its own relay. kill kills it, and returns when there is another one.
func (r *harness) withRelay() (kill func()) {
	r.t.Helper()
	var keeper *relay.Keeper
	r.tune = func(o *Options) {
		k := relay.Options{Logger: o.Logger}
		k.Settings.LogLevel, k.Settings.SpoolDir, k.Settings.Apps = hclog.Debug, r.t.TempDir(), 1
		var err error
		if keeper, err = relay.New(k); err != nil {
			r.t.Fatal(err)
		}
		r.t.Cleanup(keeper.Close)
		o.Relay = keeper
	}
	return func() {
		r.t.Helper()
		former := keeper.Pid()
		if err := syscall.Kill(former, syscall.SIGKILL); err != nil {
			r.t.Fatal(err)
		}
		r.until("relayed again", func(api.AppStatus) bool { pid := keeper.Pid(); return pid != 0 && pid != former })
	}
}

// The relay dies while the next generation starts, and while the former one drains: the reload goes on
// with the next relay, the drain has nothing to wait for, and what was in flight is counted.
func TestAReloadGoesOnWhenTheRelayDies(t *testing.T) {
	t.Parallel()
	r := prepare(t)
	kill := r.withRelay()
	goOn := filepath.Join(t.TempDir(), "go on")
	create := func() {
		if err := os.WriteFile(goOn, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	create()
	r.open("web", func(a *config.App) {
		a.Hooks.BeforeStart = []string{"sh", "-c", "until [ -e '" + goOn + "' ]; do sleep 0.02; done"}
	})
	r.page()
	lost := r.slowRequest(http.MethodPost)
	if err := os.Remove(goOn); err != nil {
		t.Fatal(err)
	}
	reloaded := make(chan api.Result, 1)
	go func() { reloaded <- r.reload(true) }()
	r.until("in the hook", func(s api.AppStatus) bool { return s.State == api.Reloading })
	kill()
	if body := lost.finish(); body != "" {
		t.Errorf("the request in flight was answered: %q", body)
	}
	if body := r.page(); !strings.Contains(body, "generation=1") {
		t.Errorf("during the reload: %q", body)
	}
	busy := r.slowRequest(http.MethodPost)
	create()
	r.until("draining", func(s api.AppStatus) bool { return len(s.Draining) == 1 })
	kill()
	if body := busy.finish(); body != "" {
		t.Errorf("the request in the drain was answered: %q", body)
	}
	res := r.want(<-reloaded, api.ExitError) // because requests were lost
	if res.Requests.Lost != 2 {
		t.Errorf("%d lost", res.Requests.Lost)
	}
	if body := r.page(); !strings.Contains(body, "generation=2") {
		t.Errorf("after the reload: %q", body)
	}
	r.until("counted", func(s api.AppStatus) bool {
		c := s.Counters
		return c.Requests == c.Answered+2 && c.Cut == 2
	})
}
