//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"tideover/scripts/load"
	"tideover/scripts/testenv"

	"testing"
)

// town is a configuration of several apps that a test rewrites.
type town struct {
	*row
	path   string
	daemon *testenv.Tideover
	apps   map[string]*citizen
	order  []string
}

// citizen is one app of a town.
type citizen struct {
	shop    *testenv.App
	address string
	more    string // settings beside the usual ones
	client  *load.Client
}

func (w *town) settle(name, more string) {
	w.Helper()
	shop, err := w.env.NewApp(name, testenv.Release{Number: 1, Import: 0.5})
	w.must(err)
	address, err := testenv.Address()
	w.must(err)
	w.apps[name] = &citizen{shop: shop, address: address, more: more, client: &load.Client{Address: address, Prefix: name}}
	w.order = append(w.order, name)
}

// write writes the configuration as it is to be, the way editors do.
func (w *town) write() {
	w.Helper()
	var text strings.Builder
	for _, name := range w.order {
		a := w.apps[name]
		fmt.Fprintf(&text, "[app.%s]\ncommand = %s\nlisten = %q\ndirectory = %q\n%s\n", name,
			tomlArray(testenv.Gunicorn{Workers: 2}.Argv(w.env)), a.address, a.shop.Dir, a.more)
	}
	fresh := w.path + ".new"
	w.must(os.WriteFile(fresh, []byte(text.String()), 0o600))
	w.must(os.Rename(fresh, w.path))
}

// calls runs a verb and wants it to succeed.
func (w *town) calls(args ...string) {
	w.Helper()
	outcome, err := w.daemon.Call(w.within(wholeRestart), args...)
	w.must(err)
	if outcome.Exit != 0 {
		w.Fatalf("%s: %v", strings.Join(args, " "), outcome)
	}
}

// generation waits until an app runs with a generation after this one.
func (w *town) generation(name string, after int) int {
	w.Helper()
	found := 0
	w.must(testenv.Poll(w.within(wholeRestart), 50*time.Millisecond, func() error {
		st, err := w.daemon.StatusOf(w.within(10*time.Second), name)
		if err == nil && (st.Generation <= after || st.State != "running") {
			err = fmt.Errorf("%s is %s with generation %d", name, st.State, st.Generation)
		}
		found = st.Generation
		return err
	}))
	return found
}

// Everything a configuration can change while two apps are under load: what
// need not be touched is not, and nothing is lost.
func TestApply(t *testing.T) {
	w := &town{row: begin(t), apps: map[string]*citizen{}}
	w.settle("first", "")
	w.settle("second", "")
	w.path = w.env.Path("tideover.toml")
	touched := filepath.Join(w.apps["second"].shop.Dir, "tmp", "restart.txt")
	w.apps["second"].more = "watch.files = [\"tmp/restart.txt\"]\nwatch.debounce = \"50ms\""
	w.write()
	daemon, err := w.env.Tideover(w.apps["first"].shop, testenv.RunOptions{Flags: []string{"-c", w.path}, Name: "first"})
	w.must(err)
	w.daemon = daemon
	var loads []*load.Load
	for _, name := range w.order {
		w.must(answering(w.row, w.apps[name].client))
		loads = append(loads, load.Start(load.Plan{Client: w.apps[name].client, Rate: 30}))
	}
	first, second, events := 1, 1, 0
	for round := range times(1) {
		w.apps["second"].more += fmt.Sprintf("\nenv.ROUND%d = \"yes\"", round)
		w.write()
		w.calls("apply")
		second = w.generation("second", second)

		third := fmt.Sprintf("third-%d", round)
		w.settle(third, "")
		w.write()
		w.calls("apply")
		w.must(answering(w.row, w.apps[third].client))

		w.order = w.order[:len(w.order)-1]
		w.apps["first"].more = fmt.Sprintf("hold.limit = %d", 2000+round)
		w.write()
		w.calls("apply")
		if st, err := daemon.StatusOf(w.within(10*time.Second), "first"); err != nil || st.Generation != first {
			w.Errorf("the first app was reloaded for the second one's affairs: %+v, %v", st, err)
		}

		w.must(os.MkdirAll(filepath.Dir(touched), 0o755))
		w.must(os.WriteFile(touched, []byte(fmt.Sprint(round)), 0o644))
		second = w.generation("second", second)

		w.must(daemon.Signal(syscall.SIGHUP))
		first, second = w.generation("first", first), w.generation("second", second)
		events += 5
	}
	for _, l := range loads {
		tally := l.Stop()
		w.say("%v", tally)
		w.nothingLost(tally)
	}
	w.say("events=%d", events)
}
