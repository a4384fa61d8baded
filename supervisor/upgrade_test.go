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
			e := readEstate(t, variable)
			b := e.Apps["shop"]
			if len(e.Doors) != 1 || e.Control["/run/control.sock"] == 0 || b.Current == nil || b.Current.Tree.Pid != pid || b.Current.Private == nil || len(b.Pipes) != 2 || !b.Current.Hooked {
				t.Errorf("%+v %+v", e, b)
			}
			for _, fd := range e.descriptors() {
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
func (r *rig) upgrade(exec func(string) error) error {
	r.t.Helper()
	control, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		r.t.Fatal(err)
	}
	defer control.Close()
	return r.s.Upgrade("/run/control.sock", control.(*net.TCPListener), exec)
}

// readEstate reads what exec would pass on.
func readEstate(t *testing.T, variable string) *Estate {
	t.Helper()
	fd, err := strconv.Atoi(strings.TrimPrefix(variable, estateVariable+"="))
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
	e := &Estate{}
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
		if b := readEstate(t, variable).Apps["shop"]; b.Current != nil || b.Ended {
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
	r.until("standing still", func(api.AppStatus) bool { return r.s.roster.all()[0].app.gate.Snapshot().Holds != nil })
	r.s.Shutdown(false)
	slow.finish()
	if err := <-given; err == nil {
		t.Error("the upgrade came about")
	}
	<-r.stopped
}

func TestEstateOfAStranger(t *testing.T) {
	for value, want := range map[string]string{
		"none":    "is no descriptor",
		"1000000": "cannot read",
	} {
		t.Setenv(estateVariable, value)
		if e, err := TakeEstate(); e != nil || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", value, err)
		}
		if _, left := os.LookupEnv(estateVariable); left {
			t.Error("the apps would inherit the variable")
		}
	}
	if e, err := TakeEstate(); e != nil || err != nil {
		t.Error(e, err)
	}
	for _, version := range []int{0, EstateVersion + 1} {
		if err := takeAgain(t, &Estate{Version: version}); err == nil || !strings.Contains(err.Error(), "version "+strconv.Itoa(version)) {
			t.Errorf("version %d: %v", version, err)
		}
	}
	if err := takeAgain(t, &Estate{Version: EstateVersion}); err != nil {
		t.Error(err)
	}
}

// takeAgain has an estate read as the next program reads it.
func takeAgain(t *testing.T, e *Estate) error {
	t.Helper()
	f, err := e.write()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fd, err := syscall.Dup(int(f.Fd())) // TakeEstate closes it
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(estateVariable, strconv.Itoa(fd))
	_, err = TakeEstate()
	return err
}
