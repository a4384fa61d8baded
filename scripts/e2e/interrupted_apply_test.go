//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"testing"
	"time"

	"tideover/scripts/loadgen"
	"tideover/scripts/testenv"
)

// The supervisor is killed in the middle of an apply that adds an app, replaces it by one of the same name, gives
// its address to an app of another name, which takes its place or comes beside it, or removes both, at another
// instant each time. The next supervisor goes on with the apply: the apps are those of the file, each with one
// generation, what was in flight in an app that goes is answered, its processes end, and the app beside it has the
// same process.
func TestFaultSupervisorKilledInAnApply(t *testing.T) {
	r := begin(t)
	k := &interruptedApplies{multiApp: &multiApp{row: r, apps: map[string]*configuredApp{}, path: r.env.Path("tideover.toml")}}
	k.addApp("base", "")
	k.writeConfig()
	base := k.apps["base"]
	daemon, err := r.env.Tideover(base.shop, testenv.RunOptions{Flags: []string{"-c", k.path}, Name: "base"})
	r.must(err)
	k.fixture, k.multiApp.daemon = &fixture{row: r, app: base.shop, daemon: daemon, client: base.client, workers: applyWorkers}, daemon
	r.must(waitAnswer(r, base.client))
	k.load = loadgen.Start(loadgen.Plan{Client: base.client, Rate: 20})
	before, rounds := k.status(), fullTimes(2, 20)
	for n := range rounds {
		k.round(n, time.Second*time.Duration(n+1)/time.Duration(rounds+1))
	}
	if now := k.status(); now.Pid != before.Pid || now.State != "running" {
		k.Errorf("base is %s with pid %d; before pid %d", now.State, now.Pid, before.Pid)
	}
	k.checkEnds()
	k.fixture.finish()
	k.shutdown()
}

// applyWorkers is the number of workers of each app of a multiApp.
const applyWorkers = 2

type interruptedApplies struct {
	interruptedOperations
	*multiApp
}

// round is the life of one app. at is how far each apply comes until it is interrupted, of a second.
func (k *interruptedApplies) round(n int, at time.Duration) {
	k.Helper()
	name, other := fmt.Sprintf("one-%d", n), fmt.Sprintf("two-%d", n)
	k.addApp(name, "")
	a := k.apps[name]
	a.client.Timeout = 2 * time.Minute // a busy machine is no loss
	k.change("add", a, at)
	k.must(waitAnswer(k.row, a.client))
	load := loadgen.Start(loadgen.Plan{Client: a.client, Rate: 20})
	for _, mode := range []string{"none", "http"} {
		a.more = fmt.Sprintf("relay = %q\n", mode)
		k.change("replace, relay "+mode, a, at*7/2)
	}
	k.order[len(k.order)-1], k.apps[other] = other, a
	k.change("rename", a, at*3)
	moved := *a
	var err error
	moved.address, err = testenv.Address()
	k.must(err)
	third := fmt.Sprintf("three-%d", n)
	k.order, k.apps[other], k.apps[third] = append(k.order, third), &moved, a
	k.change("give the address to an app that is added", a, at*5/2)
	k.must(k.daemon.KillSupervisor(k.timeout(30 * time.Second)))
	k.checkApps("nothing", 0)
	tally := load.Stop()
	k.addNumbers("%v", tally)
	k.checkNothingLost(tally)
	k.order = k.order[:len(k.order)-2]
	k.change("remove both", a, at*5/2)
	k.checkNothingTwice(a.shop)
	for _, address := range []string{a.address, moved.address} {
		if c, err := net.Dial("tcp", address); err == nil {
			c.Close()
			k.Errorf("the app is removed, and its address %s is open", address)
		}
	}
}

// inFlight sends requests that take a second or two, which have begun when it returns. end waits for their answers.
func (k *interruptedApplies) inFlight(a *configuredApp) (end func() []loadgen.Answer) {
	k.Helper()
	takes := fmt.Sprintf("s=%d", size(1, 2))
	kinds := []loadgen.Kind{{Name: "get in flight", Query: takes}, {Name: "post in flight", Query: takes, Body: 2000}}
	answers := make(chan loadgen.Answer, len(kinds))
	for _, kind := range kinds {
		nonce := a.client.Nonce()
		go func() { answers <- a.client.DoNamed(k.Context(), kind, nonce) }()
		k.must(a.shop.Log.Wait(k.timeout(30*time.Second), "begin", nonce))
	}
	return func() (all []loadgen.Answer) {
		for range kinds {
			all = append(all, <-answers)
		}
		return all
	}
}

// change applies what the apps are now, and kills the supervisor meanwhile. Requests are in flight in a, unless it is
// added.
func (k *interruptedApplies) change(what string, a *configuredApp, instant time.Duration) {
	k.Helper()
	k.writeConfig()
	last := k.lastRecord()
	ended := func() []loadgen.Answer { return nil }
	if what != "add" {
		ended = k.inFlight(a)
	}
	outcome := k.killDuring(instant, "--json", "apply")
	for _, a := range ended() {
		if a.Loss != "" {
			k.Errorf("%s, killed after %v: %s: %s %s", what, instant, a.Kind.Name, a.Loss, a.Cause)
		}
	}
	if outcome.Exit != 0 {
		k.Errorf("%s, killed after %v: %s", what, instant, outcome)
	}
	var applied []record
	open := map[string]int{}
	for _, r := range k.since(last, "config") {
		switch r.Kind {
		case "config":
			applied = append(applied, r)
		case "begun":
			open[r.Verb]++
		case "operation":
			open[r.Verb]--
		}
	}
	if len(applied) != 1 || applied[0].Exit != outcome.Exit {
		k.Errorf("%s, killed after %v: history has %v: %s", what, instant, applied, outcome)
	}
	for verb, n := range open {
		if n != 0 {
			k.Errorf("%s, killed after %v: %s has begun %d times more than it has ended", what, instant, verb, n)
		}
	}
	k.checkApps(what, instant)
	k.events++
}

// checkApps fails the row unless the apps are those of the file, and each runs once.
func (k *interruptedApplies) checkApps(what string, instant time.Duration) {
	k.Helper()
	err := testenv.Poll(k.timeout(5*time.Second), 20*time.Millisecond, func() error {
		var all struct{ Apps []testenv.AppStatus }
		if err := json.Unmarshal([]byte(k.call("--json", "status").Stdout), &all); err != nil {
			return err
		}
		var names []string
		for _, a := range all.Apps {
			names = append(names, a.Name)
			if a.State != "running" {
				return fmt.Errorf("%s is %s", a.Name, a.State)
			}
		}
		processes := k.env.AppProcesses()
		if !slices.Equal(names, k.order) || len(processes) != len(k.order)*(1+applyWorkers) {
			return fmt.Errorf("apps %q, the file has %q; processes %q", names, k.order, processes)
		}
		return nil
	})
	if err != nil {
		k.Errorf("%s, killed after %v: %v", what, instant, err)
	}
}
