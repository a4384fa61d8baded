//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"tideover/scripts/testenv"
)

// rotations is a configuration whose app writes numbered lines of a kilobyte, so that its log is rotated some
// twenty times a second.
const rotations = `
[app.talker]
command      = "python3 -S -E -u %s"
ready.after  = "0s"
log.file     = "talker.log"
log.max_size = "32KiB"
log.backups  = 400
log.compress = false
log.stdout   = false
`

const talker = `
import time
n = 0
while True:
    n += 1
    print(n, "x" * 1000, "end")
    time.sleep(0.001)
`

// The supervisor is killed again and again while the log of an app is rotated. The next one goes on with it: the
// same process writes, no line is missing, there twice, torn or in the wrong order, and no more files are kept than
// before.
func TestFaultSupervisorKilledInARotation(t *testing.T) {
	r := begin(t)
	program, err := r.env.Write("talker.py", talker)
	r.must(err)
	path, err := r.env.Write("tideover.toml", fmt.Sprintf(rotations, program))
	r.must(err)
	daemon, err := r.env.Tideover(&testenv.App{Dir: r.env.Dir}, testenv.RunOptions{Flags: []string{"-c", path}, Name: "talker"})
	r.must(err)
	log := func(n int) string {
		name := r.env.Path("talker.log")
		if n > 0 {
			name += "." + strconv.Itoa(n)
		}
		return name
	}
	grows := func() { // by lines of the present supervisor
		before, _ := os.ReadFile(log(0))
		r.must(testenv.Poll(r.timeout(30*time.Second), 5*time.Millisecond, func() error {
			if now, err := os.ReadFile(log(0)); err != nil || string(now) == string(before) {
				return errors.New("the log does not grow")
			}
			return nil
		}))
	}
	grows()
	before, err := daemon.Status(r.timeout(10 * time.Second))
	r.must(err)
	kills := fullTimes(3, 20)
	for n := range kills {
		<-time.After(time.Duration(100+n*7) * time.Millisecond) // at another instant of a rotation each time
		r.must(daemon.KillSupervisor(r.timeout(30 * time.Second)))
		grows()
	}
	after, err := daemon.Status(r.timeout(10 * time.Second))
	r.must(err)
	if after.Pid != before.Pid || after.State != "running" {
		r.Errorf("%s with pid %d, before pid %d", after.State, after.Pid, before.Pid)
	}
	outcome, err := daemon.Call(r.timeout(time.Minute), "shutdown")
	r.must(err)
	if outcome.Exit != 0 {
		r.Errorf("shutdown: %s", outcome)
	}
	if _, err := os.Stat(log(401)); err == nil {
		r.Error("more files are kept than the configuration says")
	}
	lines, torn, missing, last := 0, 0, 0, 0
	for n := 400; n >= 0; n-- {
		text, err := os.ReadFile(log(n))
		if errors.Is(err, fs.ErrNotExist) {
			continue // a kill between two renames leaves a gap
		}
		r.must(err)
		for line := range strings.Lines(string(text)) {
			_, said, _ := strings.Cut(line, " | ")
			number, rest, _ := strings.Cut(said, " ")
			i, err := strconv.Atoi(number)
			if err != nil || rest != strings.Repeat("x", 1000)+" end\n" {
				torn++
				continue
			}
			if i <= last {
				r.Fatalf("line %d after line %d, in %s", i, last, log(n))
			}
			if lines > 0 { // older files may have been removed
				missing += i - last - 1
			}
			last = i
			lines++
		}
	}
	if torn > 0 || missing > 0 || lines == 0 {
		r.Errorf("%d lines are torn, %d are missing, %d are there", torn, missing, lines)
	}
	r.addNumbers("kills=%d lines=%d missing=%d torn=%d", kills, lines, missing, torn)
}
