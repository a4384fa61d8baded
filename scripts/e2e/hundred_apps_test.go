//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"tideover/scripts/testenv"
)

// A hundred apps from one file, four web apps to each plain process: all start,
// all are reloaded, all stop. What the daemon itself takes for an app is
// printed, and when nothing happens it does next to nothing: it is not woken
// once a second, all of its threads together.
func TestHundredApps(t *testing.T) {
	r := begin(t)
	n := 20
	if *full {
		n = 100
	}
	c := newManyApps(r, n, "")
	c.timed("start", func() { c.waitState("running") })
	c.countWakeups(5 * time.Second)
	c.timed("reload", func() { c.mustCall("reload", "--all") })
	c.countWakeups(5 * time.Second)
	c.timed("stop", func() { c.mustCall("stop", "--all"); c.waitState("stopped") })
	c.checkNoneLeft()
	c.timed("shutdown", func() { c.mustCall("shutdown"); <-c.daemon.Exited() })
}

// manyApps is a daemon with n apps.
type manyApps struct {
	*row
	n      int
	daemon *testenv.Tideover
}

func newManyApps(r *row, n int, daemon string) *manyApps {
	r.Helper()
	app, err := filepath.Abs("testdata/small.py")
	r.must(err)
	var text strings.Builder
	text.WriteString(daemon)
	for i := range n {
		fmt.Fprintf(&text, "[app.app-%d]\n", i)
		if i%5 == 4 {
			fmt.Fprintf(&text, "command = \"sleep infinity\"\nready.after = \"1s\"\n\n")
			continue
		}
		address, err := testenv.Address()
		r.must(err)
		fmt.Fprintf(&text, "command = \"python3 -S -E %s {fd}\"\nlisten = %q\n\n", app, address)
	}
	path, err := r.env.Write("tideover.toml", text.String())
	r.must(err)
	c := &manyApps{row: r, n: n}
	c.daemon, err = r.env.Tideover(&testenv.App{Dir: r.env.Dir}, testenv.RunOptions{Flags: []string{"-c", path}})
	r.must(err)
	return c
}

// mustCall runs a verb, which must succeed.
func (m *manyApps) mustCall(args ...string) {
	m.Helper()
	outcome, err := m.daemon.Call(m.timeout(2*time.Minute), args...)
	m.must(err)
	if outcome.Exit != 0 {
		m.Errorf("%v: %v", args, outcome)
	}
}

// waitState waits until every app is in this state.
func (m *manyApps) waitState(state string) {
	m.Helper()
	m.must(testenv.Poll(m.timeout(time.Minute), 100*time.Millisecond, func() error {
		outcome, err := m.daemon.Call(m.timeout(10*time.Second), "--json", "status")
		if err != nil {
			return err
		}
		var all struct{ Apps []testenv.AppStatus }
		if err := json.Unmarshal([]byte(outcome.Stdout), &all); err != nil {
			return err
		}
		reached := 0
		for _, app := range all.Apps {
			if app.State == state {
				reached++
			}
		}
		if reached != m.n {
			return fmt.Errorf("%d of %d apps are %s", reached, m.n, state)
		}
		return nil
	}))
}

// timed reports how long a step took and what it cost the daemon.
func (m *manyApps) timed(name string, do func()) {
	m.Helper()
	began, before := time.Now(), m.cpu()
	do()
	m.addNumbers("%s_all=%.1fs", name, time.Since(began).Seconds())
	if name == "shutdown" {
		return
	}
	m.addNumbers("cpu=%.1fms/app rss=%.1fMiB (%.0fKiB/app)", float64((m.cpu()-before).Milliseconds())/float64(m.n),
		float64(m.statusField("VmRSS:"))/1024, float64(m.statusField("VmRSS:"))/float64(m.n))
}

// countWakeups counts the wake-ups of the daemon while nothing happens. What the step before has left
// to do, also for Go's runtime, which gives memory back to the kernel in small steps, may take two
// more periods, and in each third one the supervisor beats: Go's scheduler makes some 40 switches of
// each wake-up of its own thread.
func (m *manyApps) countWakeups(d time.Duration) {
	m.Helper()
	pause(m.row, 2*time.Second)
	woken := 0
	for range 6 {
		before, cpu := m.wakeups(), m.cpu()
		if len(before) == 0 || slices.Max(slices.Collect(maps.Values(before))) == 0 {
			m.Fatalf("the daemon's threads were never woken at all: %v", before)
		}
		pause(m.row, d)
		woken = m.wokenSince(before)
		m.addNumbers("idle=%v wakeups=%d cpu=%v", d, woken, m.cpu()-cpu)
		if float64(woken) <= d.Seconds() {
			return
		}
	}
	m.Errorf("%d wake-ups in %v of idleness, and as many before", woken, d)
}

// wokenSince counts the wake-ups since the counts before.
func (m *manyApps) wokenSince(before map[string]int) (n int) {
	for thread, count := range m.wakeups() {
		n += count - before[thread]
	}
	return n
}

// wakeups reads the voluntary context switches of each thread of tideover.
func (m *manyApps) wakeups() map[string]int {
	m.Helper()
	all := map[string]int{}
	for _, pid := range m.daemon.Processes() {
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
		m.must(err)
		for _, thread := range threads {
			all[thread] = procField(thread, "voluntary_ctxt_switches:")
		}
	}
	return all
}

// statusField reads one number of /proc/PID/status, the sum of tideover's processes.
func (m *manyApps) statusField(name string) (sum int) {
	for _, pid := range m.daemon.Processes() {
		sum += procField(fmt.Sprintf("/proc/%d/status", pid), name)
	}
	return sum
}

// procField reads one number of a status file of /proc; 0 without the file.
func procField(path, name string) int {
	text, _ := os.ReadFile(path)
	for line := range strings.Lines(string(text)) {
		if words := strings.Fields(line); len(words) > 1 && words[0] == name {
			n, _ := strconv.Atoi(words[1])
			return n
		}
	}
	return 0
}

// cpu returns the processor time of tideover's processes.
func (m *manyApps) cpu() (sum time.Duration) {
	for _, pid := range m.daemon.Processes() {
		sum += cpuOf(pid)
	}
	return sum
}

func cpuOf(pid int) time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	words := strings.Fields(rest)
	user, _ := strconv.Atoi(words[11])
	system, _ := strconv.Atoi(words[12])
	return time.Duration(user+system) * time.Second / clockTicks
}

// clockTicks is USER_HZ, which is 100 on every architecture we build for.
const clockTicks = 100
