//go:build e2e

package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"tideover/scripts/loadgen"
	"tideover/scripts/testenv"
)

// The supervisor is killed in the middle of what a command has asked for, at another instant each time, also
// in the middle of its hook. The command goes on with the next supervisor: its exit code is the end that
// history has, once, and what serves is the old or the new. A command runs on in its hold, and requests are held until its end.
func TestFaultSupervisorKilledInAnOperation(t *testing.T) {
	r := begin(t)
	s := newFixture(r, setup{gunicorn: testenv.Gunicorn{Workers: 2}, release: testenv.Release{Number: 1, Import: 0.5},
		config: "hold.limit = 4000\nhold.timeout = \"60s\"\nhooks.before_start = [\"sleep\", \"0.25\"]\n"})
	k := &interruptedOperations{supervisorKills{relayKills: relayKills{fixture: s}}}
	k.client.Timeout = 2 * time.Minute
	k.waitWorkers()
	k.load = loadgen.Start(loadgen.Plan{Client: k.client, Rate: k.affordableRate(50)})
	times := fullTimes(2, 20)
	for n := range times {
		instant := 30*time.Millisecond + time.Duration(n+1)*950*time.Millisecond/time.Duration(times)
		k.interrupt("reload", instant)
		k.interrupt("restart", instant)
		k.apply(n, instant)
		k.hold(instant)
		k.events += 4
	}
	tally := k.load.Stop()
	for n := range times { // clients get 503 meanwhile
		k.interrupt("stop", time.Duration(n*20+10)*time.Millisecond)
		k.interrupt("start", 30*time.Millisecond+time.Duration(n)*750*time.Millisecond/time.Duration(times))
		k.events += 2
	}
	k.checkEnds()
	k.report(tally)
	k.checkNothingLost(tally)
	k.checkNothingTwice(k.app)
	s.shutdown()
}

type interruptedOperations struct{ supervisorKills }

// called is a command that runs.
type called struct {
	outcome testenv.Outcome
	err     error
	ended   chan struct{}
}

func (k *interruptedOperations) start(args ...string) *called {
	c, ctx := &called{ended: make(chan struct{})}, k.timeout(operationTimeout)
	go func() {
		defer close(c.ended)
		c.outcome, c.err = k.daemon.Call(ctx, args...)
	}()
	return c
}

// killDuring calls a command and kills the supervisor some time later.
func (k *interruptedOperations) killDuring(instant time.Duration, args ...string) testenv.Outcome {
	k.Helper()
	c := k.start(args...)
	select {
	case <-c.ended:
	case <-time.After(instant):
	}
	k.must(k.daemon.KillSupervisor(k.timeout(30 * time.Second)))
	<-c.ended
	k.must(c.err)
	return c.outcome
}

// since returns the records behind id, once one of a kind is among them: they are written after the answer.
func (k *interruptedOperations) since(id uint64, kind string) (all []record) {
	k.Helper()
	_ = testenv.Poll(k.timeout(20*time.Second), 20*time.Millisecond, func() error {
		all = slices.DeleteFunc(k.history(), func(r record) bool { return r.ID <= id })
		if !slices.ContainsFunc(all, func(r record) bool { return r.Kind == kind }) {
			return errors.New("it is not written yet")
		}
		return nil
	}) // the caller says what is missing
	return all
}

// lastRecord is the highest id of a record. The record that was written last may tell of an earlier moment than another one.
func (k *interruptedOperations) lastRecord() (last uint64) {
	k.Helper()
	for _, r := range k.history() {
		last = max(last, r.ID)
	}
	return last
}

// ends counts the ends of applies, operations and holds in the daemon's log.
func (k *interruptedOperations) ends() (counts [3]int) {
	k.Helper()
	text, err := os.ReadFile(k.daemon.Output)
	k.must(err)
	for line := range strings.Lines(string(text)) {
		for i, what := range []string{"apply f", "operation finished", "hold ended"} {
			if strings.Contains(line, what) {
				counts[i]++
			}
		}
	}
	return counts
}

// checkEnds fails the row unless the log has as many ends as the history: each once. One line may be missing: a
// supervisor that dies between its record and the line has said nothing.
func (k *interruptedOperations) checkEnds() {
	k.Helper()
	var want [3]int
	for _, r := range k.history() {
		for i, kind := range []string{"config", "operation", "release"} {
			if r.Kind == kind {
				want[i]++
			}
		}
	}
	err := testenv.Poll(k.timeout(5*time.Second), 20*time.Millisecond, func() error {
		got, missing := k.ends(), 0
		for i := range got {
			missing += max(want[i]-got[i], 2*(got[i]-want[i]))
		}
		if missing > 1 {
			return fmt.Errorf("the log has %d ends of applies, operations and holds, the history %d", got, want)
		}
		return nil
	})
	if err != nil {
		k.Errorf("%v", err)
	}
}

// interrupt kills the supervisor during an operation, and compares what its caller is told with what is.
func (k *interruptedOperations) interrupt(verb string, instant time.Duration) {
	k.Helper()
	before, last := k.status(), k.lastRecord()
	outcome := k.killDuring(instant, "--json", verb, k.daemon.App)
	now := k.status()
	var told testenv.OperationResult
	if err := json.Unmarshal([]byte(outcome.Stdout), &told); err != nil {
		k.Errorf("%s, killed after %v: %v: %s", verb, instant, err, outcome)
		return
	}
	var begun, ended []record
	for _, r := range k.since(last, "operation") {
		switch {
		case r.Verb != verb:
		case r.Kind == "begun":
			begun = append(begun, r)
		case r.Kind == "operation":
			ended = append(ended, r)
		}
	}
	if len(begun) != 1 || len(ended) != 1 {
		k.Errorf("%s, killed after %v: %d beginnings and %d ends in the history: %s", verb, instant, len(begun), len(ended), outcome)
		return
	}
	if e := ended[0]; e.Exit != outcome.Exit || told.Exit != outcome.Exit || e.Result != told.Result || e.Generation != told.Generation {
		k.Errorf("%s, killed after %v: history has %s; the caller was told %s", verb, instant, e.text, outcome)
	}
	switch {
	case outcome.Exit != 0 && outcome.Exit != 7, now.Generation != told.Generation.To:
		k.Errorf("%s, killed after %v: generation %d serves; the caller was told %s", verb, instant, now.Generation, outcome)
	case outcome.Exit == 7 && (now.Pid != before.Pid || verb == "stop" || verb == "start"):
		k.Errorf("%s, killed after %v: pid %d, before %d: %s", verb, instant, now.Pid, before.Pid, outcome)
	case verb == "stop" && now.State != "stopped", verb != "stop" && now.State != "running":
		k.Errorf("%s, killed after %v: it is %s: %s", verb, instant, now.State, outcome)
	}
}

// apply kills the supervisor while a setting is applied that needs a reload. The apps are what the file says
// then.
func (k *interruptedOperations) apply(n int, instant time.Duration) {
	k.Helper()
	path := k.env.Path("tideover.toml")
	text, err := os.ReadFile(path)
	k.must(err)
	lines := slices.DeleteFunc(strings.Split(string(text), "\n"), func(line string) bool { return strings.HasPrefix(line, "env = ") })
	for i, line := range lines {
		if strings.HasPrefix(line, "hold.limit") {
			lines = slices.Insert(lines, i, `env = { APPLIED = "`+strconv.Itoa(n)+`" }`)
			break
		}
	}
	k.must(os.WriteFile(path, []byte(strings.Join(lines, "\n")), 0o644))
	before, last := k.status(), k.lastRecord()
	outcome := k.killDuring(instant, "--json", "apply")
	if now := k.status(); outcome.Exit != 0 || now.Generation == before.Generation || now.State != "running" {
		k.Errorf("apply, killed after %v: generation %d, %s; before %d: %s", instant, now.Generation, now.State, before.Generation, outcome)
	}
	applied := slices.DeleteFunc(k.since(last, "config"), func(r record) bool { return r.Kind != "config" })
	if len(applied) != 1 || applied[0].Exit != outcome.Exit {
		k.Errorf("apply, killed after %v: history has %v: %s", instant, applied, outcome)
	}
}

// hold kills the supervisor while a command runs in a hold.
func (k *interruptedOperations) hold(instant time.Duration) {
	k.Helper()
	last := k.lastRecord()
	outcome := k.killDuring(instant, "hold", k.daemon.App, "--for", "1m", "--", "sh", "-c", "sleep 1; echo done; exit 3")
	if outcome.Exit != 3 || outcome.Stdout != "done\n" || !strings.Contains(outcome.Stderr, "released after") || strings.Contains(outcome.Stderr, "too late") {
		k.Errorf("hold, killed after %v: %s", instant, outcome)
	}
	var kinds []string
	for _, r := range k.since(last, "release") {
		if r.Kind == "hold" || r.Kind == "release" {
			kinds = append(kinds, r.Kind)
		}
	}
	if !slices.Equal(kinds, []string{"hold", "release"}) {
		k.Errorf("hold, killed after %v: history has %v", instant, kinds)
	}
}
