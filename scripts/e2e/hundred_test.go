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
	c := newCrowd(r, n)
	c.timed("start", func() { c.all("running") })
	c.idle(5 * time.Second)
	c.timed("reload", func() { c.verb("reload", "--all") })
	c.idle(5 * time.Second)
	c.timed("stop", func() { c.verb("stop", "--all"); c.all("stopped") })
	c.noneLeft()
	c.timed("shutdown", func() { c.verb("shutdown"); <-c.daemon.Exited() })
}

// crowd is a daemon with many apps.
type crowd struct {
	*row
	n      int
	daemon *testenv.Tideover
}

func newCrowd(r *row, n int) *crowd {
	r.Helper()
	app, err := filepath.Abs("testdata/small.py")
	r.must(err)
	var text strings.Builder
	for i := range n {
		fmt.Fprintf(&text, "[app.app-%d]\n", i)
		if i%5 == 4 {
			fmt.Fprintf(&text, "command = \"sleep infinity\"\n\n")
			continue
		}
		address, err := testenv.Address()
		r.must(err)
		fmt.Fprintf(&text, "command = \"python3 -S -E %s {fd}\"\nlisten = %q\n\n", app, address)
	}
	path, err := r.env.Write("tideover.toml", text.String())
	r.must(err)
	c := &crowd{row: r, n: n}
	c.daemon, err = r.env.Tideover(&testenv.App{Dir: r.env.Dir}, testenv.RunOptions{Flags: []string{"-c", path}})
	r.must(err)
	return c
}

// verb asks the daemon for something that must come true.
func (c *crowd) verb(args ...string) {
	c.Helper()
	outcome, err := c.daemon.Call(c.within(2*time.Minute), args...)
	c.must(err)
	if outcome.Exit != 0 {
		c.Errorf("%v: %v", args, outcome)
	}
}

// all waits until every app is in this state.
func (c *crowd) all(state string) {
	c.Helper()
	c.must(testenv.Poll(c.within(time.Minute), 100*time.Millisecond, func() error {
		outcome, err := c.daemon.Call(c.within(10*time.Second), "--json", "status")
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
		if reached != c.n {
			return fmt.Errorf("%d of %d apps are %s", reached, c.n, state)
		}
		return nil
	}))
}

// timed says how long a step took, and what it cost the daemon.
func (c *crowd) timed(name string, do func()) {
	c.Helper()
	began, before := time.Now(), c.cpu()
	do()
	c.say("%s_all=%.1fs", name, time.Since(began).Seconds())
	if name == "shutdown" {
		return
	}
	c.say("cpu=%.1fms/app rss=%.1fMiB (%.0fKiB/app)", float64((c.cpu()-before).Milliseconds())/float64(c.n),
		float64(c.field("VmRSS:"))/1024, float64(c.field("VmRSS:"))/float64(c.n))
}

// idle counts how often the daemon was woken while nothing happened.
func (c *crowd) idle(d time.Duration) {
	c.Helper()
	pause(c.row, 2*time.Second) // what the step before it left to do
	before, cpu := c.wakeups(), c.cpu()
	if len(before) == 0 || slices.Max(slices.Collect(maps.Values(before))) == 0 {
		c.Fatalf("the daemon's threads were never woken at all: %v", before)
	}
	pause(c.row, d)
	woken := 0
	for thread, count := range c.wakeups() {
		woken += count - before[thread]
	}
	c.say("idle=%v wakeups=%d cpu=%v", d, woken, c.cpu()-cpu)
	if float64(woken) > d.Seconds() {
		c.Errorf("%d wake-ups in %v of idleness", woken, d)
	}
}

// wakeups counts how often each thread of the daemon waited and was woken.
func (c *crowd) wakeups() map[string]int {
	c.Helper()
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", c.daemon.Pid()))
	c.must(err)
	all := map[string]int{}
	for _, thread := range threads {
		all[thread] = field(thread, "voluntary_ctxt_switches:")
	}
	return all
}

// field reads one number of the daemon's status file.
func (c *crowd) field(name string) int {
	return field(fmt.Sprintf("/proc/%d/status", c.daemon.Pid()), name)
}

// field reads one number of a status file of /proc; of what is gone it is 0.
func field(path, name string) int {
	text, _ := os.ReadFile(path)
	for line := range strings.Lines(string(text)) {
		if words := strings.Fields(line); len(words) > 1 && words[0] == name {
			n, _ := strconv.Atoi(words[1])
			return n
		}
	}
	return 0
}

// cpu is the processor time of the daemon, without its children.
func (c *crowd) cpu() time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", c.daemon.Pid()))
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
