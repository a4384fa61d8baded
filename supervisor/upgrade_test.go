package supervisor

import (
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"tideover/supervisor/api"
	"tideover/supervisor/config"
	"tideover/supervisor/handoff"
)

// An exec that fails is an upgrade that never was: everything that stood still
// goes on.
func TestUpgradeThatFailsChangesNothing(t *testing.T) {
	t.Parallel()
	r := open(t, "web", func(a *config.App) { a.Hooks.AfterReady = shell("echo beside; exec sleep 1000") })
	pid := pidOf(t, r.page())
	load := r.load(4)
	for range 5 {
		err := r.upgrade(func(variable string) error {
			e := readHandoff(t, variable)
			b := e.Apps["shop"]
			if len(e.Listeners) != 1 || e.Control["/run/control.sock"] == 0 || b.Current == nil || b.Current.Tree.Pid != pid || b.Current.Private == nil || len(b.Pipes) != 2 || !b.Current.Hooked {
				t.Errorf("%+v %+v", e, b)
			}
			for _, fd := range e.Descriptors() {
				if _, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd)); err != nil {
					t.Error(err)
				}
			}
			return syscall.ENOEXEC
		})
		if !errors.Is(err, syscall.ENOEXEC) {
			t.Fatal(err)
		}
	}
	if now := pidOf(t, r.page()); now != pid {
		t.Errorf("pid %d answers, want %d", now, pid)
	}
	r.noneLost(load)
	r.until("its hook runs again", func(api.AppStatus) bool {
		lines := r.output()
		return strings.HasSuffix(lines[len(lines)-1], "beside")
	})
	r.want(r.do(api.Reload), api.ExitOK) // its output, its process and its gate are as they were
}

// upgrade is Upgrade, with a socket that stands for the control socket.
func (r *harness) upgrade(exec func(string) error) error {
	r.t.Helper()
	control, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		r.t.Fatal(err)
	}
	defer control.Close()
	return r.s.Upgrade("/run/control.sock", control.(*net.TCPListener), exec)
}

// readHandoff reads what exec would pass on.
func readHandoff(t *testing.T, variable string) *handoff.State {
	t.Helper()
	_, number, _ := strings.Cut(variable, "=")
	fd, err := strconv.Atoi(number)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open("/proc/self/fd/" + strconv.Itoa(fd))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	text, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	e := &handoff.State{}
	if err := json.Unmarshal(text, e); err != nil {
		t.Fatal(err)
	}
	return e
}

// An app that is down does not keep an upgrade from coming about, and is tried
// again after one that has not.
func TestUpgradeOfAnAppThatIsDown(t *testing.T) {
	t.Parallel()
	r, swap := switchable(t, "broken", func(a *config.App) { a.Ready.Timeout = 2 * time.Second })
	r.until("failed", func(s api.AppStatus) bool { return s.State == api.Failed })
	err := r.upgrade(func(variable string) error {
		if b := readHandoff(t, variable).Apps["shop"]; b.Current != nil || b.Ended {
			t.Errorf("%+v", b)
		}
		return syscall.ENOEXEC
	})
	if !errors.Is(err, syscall.ENOEXEC) {
		t.Fatal(err)
	}
	swap("web")
	r.until("running", func(s api.AppStatus) bool { return s.State == api.Running })
}

// A shutdown is not kept waiting by an upgrade that waits for a request.
func TestShutdownOvertakesAnUpgrade(t *testing.T) {
	t.Parallel()
	r := open(t, "web")
	r.page()
	slow := r.slow()
	given := make(chan error, 1)
	go func() { given <- r.upgrade(func(string) error { t.Error("exec was called"); return nil }) }()
	r.until("standing still", func(api.AppStatus) bool { return r.s.registry.all()[0].app.relay.holding() })
	r.s.Shutdown(false)
	slow.finish()
	if err := <-given; err == nil {
		t.Error("the upgrade came about")
	}
	<-r.stopped
}

// What waits in the private socket, because the only worker is at work, is taken back: the next program sends it. An
// exec that fails sends it to the generation that serves.
func TestAnUpgradeTakesBackWhatNoWorkerHasAccepted(t *testing.T) {
	t.Parallel()
	r := open(t, "sequential")
	const n = 5
	b := r.backlog(n)
	given := make(chan error, 1)
	go func() {
		given <- r.upgrade(func(variable string) error {
			if got := len(readHandoff(t, variable).Apps["shop"].Connections); got < n {
				t.Errorf("%d connections are passed on, want %d", got, n)
			}
			return syscall.ENOEXEC
		})
	}()
	r.until("taken back", func(s api.AppStatus) bool { return s.Held == n && s.InFlight == 1 })
	if body := b.busy.finish(); !strings.HasPrefix(body, "slow pid=") {
		t.Error(body)
	}
	if err := <-given; !errors.Is(err, syscall.ENOEXEC) {
		t.Fatal(err)
	}
	b.answeredBy(r, 1)
}
