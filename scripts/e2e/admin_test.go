//go:build e2e

package e2e

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"tideover/scripts/testenv"
)

// The admin process is killed again and again, filled with idle connections and half heads, moved to
// another address, and replaced with tideover itself: no request of an app is lost, and a health
// check is answered in each state.
func TestAdminProcessCostsTheAppsNothing(t *testing.T) {
	r := begin(t)
	address, err := testenv.Address()
	r.must(err)
	s := newFixture(r, setup{release: testenv.Release{Number: 1, Import: 0.2}, gunicorn: testenv.Gunicorn{Workers: 2},
		config: "[daemon]\nadmin = \"" + address + "\"\n"})
	a := &adminProbe{fixture: s, address: address}
	a.want("200", "/-/live", "/-/ready", "/-/ready/"+s.daemon.App)
	a.want("200", "/")
	a.want("404", "/-/ready/other", "/other")
	a.isConfined()
	was := s.daemonStatus()
	s.startLoad(50)

	for range 1000 {
		conn, err := net.Dial("tcp", address)
		r.must(err)
		defer conn.Close()
	}
	for range 300 { // slowloris
		conn, err := net.Dial("tcp", address)
		r.must(err)
		defer conn.Close()
		io.WriteString(conn, "GET /-/live HTTP/1.1\r\nHost: a\r\nX-A: ")
	}
	a.want("200", "/-/live", "/-/ready")

	var former []int
	for range fullTimes(5, 8) { // the pause doubles
		pid := a.pid(former...)
		r.must(syscall.Kill(pid, syscall.SIGKILL))
		former = append(former, pid)
		a.want("200", "/-/live")
		s.events++
	}

	path := filepath.Join(r.env.Dir, "tideover.toml")
	text, err := os.ReadFile(path)
	r.must(err)
	other, err := testenv.Address()
	r.must(err)
	taken := string(s.back)
	r.must(os.WriteFile(path, []byte(strings.ReplaceAll(string(text), address, taken)), 0o600))
	if outcome, err := s.daemon.Call(s.timeout(operationTimeout), "apply"); err != nil || outcome.Exit != 5 {
		s.Errorf("an address of an app: %v %v", outcome, err)
	}
	a.want("200", "/-/live")
	r.must(os.WriteFile(path, []byte(strings.ReplaceAll(string(text), address, other)), 0o600))
	if outcome, err := s.daemon.Call(s.timeout(operationTimeout), "apply"); err != nil || outcome.Exit != 0 {
		s.Errorf("another address: %v %v", outcome, err)
	}
	if _, err := net.Dial("tcp", address); err == nil {
		s.Error("the former address is open")
	}
	a.address = other
	a.want("200", "/-/ready")

	upgraded := a.pid()
	r.must(s.daemon.Signal(syscall.SIGUSR2))
	a.pid(append(former, upgraded)...)
	a.want("200", "/-/live", "/-/ready")
	a.isConfined()

	if now := s.daemonStatus(); now.Pid != was.Pid || now.Generation != was.Generation {
		s.Errorf("the app was started again: %v, %v", was, now)
	}
	s.finish()

	if outcome, err := s.daemon.Call(s.timeout(operationTimeout), "stop"); err != nil || outcome.Exit != 0 {
		s.Errorf("stop: %v %v", outcome, err)
	}
	a.want("503", "/-/ready", "/-/ready/"+s.daemon.App)
	a.want("200", "/-/live")
	if outcome, err := s.daemon.Call(s.timeout(operationTimeout), "start"); err != nil || outcome.Exit != 0 {
		s.Errorf("start: %v %v", outcome, err)
	}
	a.want("200", "/-/ready")
	pid := a.pid()
	s.shutdown()
	if _, err := os.Stat("/proc/" + strconv.Itoa(pid)); err == nil {
		s.Error("the admin process has outlived tideover")
	}
}

// adminProbe asks the admin process of a fixture.
type adminProbe struct {
	*fixture
	address string
}

// want asks by curl until each path is answered with a status, because a former answer is good for a
// moment, and what a killed process had accepted is lost.
func (a *adminProbe) want(status string, paths ...string) {
	a.Helper()
	for _, path := range paths {
		a.must(testenv.Poll(a.timeout(20*time.Second), 50*time.Millisecond, func() error {
			out, err := exec.Command("curl", "-s", "-o", "/dev/null", "-m", "10", "-w", "%{http_code}", "http://"+a.address+path).Output()
			if err != nil || string(out) != status {
				return fmt.Errorf("%s: %s, want %s: %v", path, out, status, err)
			}
			return nil
		}))
	}
}

// pid waits for an admin process other than those.
func (a *adminProbe) pid(former ...int) (found int) {
	a.Helper()
	a.must(testenv.Poll(a.timeout(20*time.Second), 20*time.Millisecond, func() error {
		files, err := filepath.Glob("/proc/[0-9]*/cmdline")
		if err != nil {
			return err
		}
		for _, file := range files {
			text, _ := os.ReadFile(file)
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
			status, _ := os.ReadFile(filepath.Dir(file) + "/status")
			if strings.HasPrefix(string(text), "tideover: admin") && !slices.Contains(former, pid) &&
				strings.Contains(string(status), fmt.Sprintf("\nPPid:\t%d\n", a.daemon.RolePid("supervisor"))) {
				found = pid
				return nil
			}
		}
		return os.ErrNotExist
	}))
	return found
}

// isConfined checks each thread of the admin process.
func (a *adminProbe) isConfined() {
	a.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", a.pid()))
	a.must(err)
	want := []string{"\nSeccomp:\t2\n", "\nNoNewPrivs:\t1\n", "\nCapEff:\t0000000000000000\n"}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		for _, line := range want {
			if !strings.Contains(string(text), line) {
				a.Errorf("%s: not %q", file, line)
			}
		}
		if os.Geteuid() == 0 && strings.Contains(string(text), "\nUid:\t0\t") {
			a.Errorf("%s: it is root", file)
		}
	}
}
