package daemon

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"

	"tideover/cmd/tideover/internal/term"
)

// Without its monitor a daemon serves for a minute, in a terminal not at all, and then stops its apps
// in order. Signals reach it by the pid file meanwhile.
func TestADaemonWithoutItsMonitorEndsAfterAWhile(t *testing.T) {
	const never = -time.Second
	for name, c := range map[string]struct {
		terminal  bool
		meanwhile func(s *shutdown, end func())
		want      time.Duration // from the death to the stop of the apps
	}{
		"a service":            {want: time.Minute},
		"in a terminal":        {terminal: true, want: 0},
		"TERM comes meanwhile": {meanwhile: func(s *shutdown, _ func()) { time.AfterFunc(time.Second, func() { s.begin(false) }) }, want: time.Second},
		"it was ending":        {meanwhile: func(s *shutdown, _ func()) { s.begin(false) }, want: 0},
		"it ends meanwhile":    {meanwhile: func(_ *shutdown, end func()) { time.AfterFunc(time.Second, end) }, want: never},
		"it had ended":         {meanwhile: func(_ *shutdown, end func()) { end() }, want: never},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "pid")
			synctest.Test(t, func(t *testing.T) {
				ended, end := context.WithCancel(t.Context())
				defer end()
				s := newShutdown(t.Context(), 0, func() {})
				s.setSupervisor(&fakeStopper{bound: time.Hour})
				began, stopped := time.Now(), never
				stop := context.AfterFunc(s.requested, func() { stopped = time.Since(began) })
				if c.meanwhile != nil {
					c.meanwhile(s, end)
				}
				d := &daemon{shutdown: s, logger: hclog.NewNullLogger(), Options: Options{PidFile: path, Stdout: term.Screen{Terminal: c.terminal}}}
				dead := make(chan struct{})
				close(dead)
				d.endWithoutMonitor(dead, ended)
				synctest.Wait()
				if stopped != c.want {
					t.Errorf("the apps are stopped after %v, want %v", stopped, c.want)
				}
				if text, _ := os.ReadFile(path); c.meanwhile == nil && strings.TrimSpace(string(text)) != strconv.Itoa(os.Getpid()) {
					t.Errorf("the pid file says %q", text)
				}
				stop()
				s.end()
			})
		})
	}
}
