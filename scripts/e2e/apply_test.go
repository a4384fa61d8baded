//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"tideover/scripts/loadgen"
	"tideover/scripts/testenv"

	"testing"
)

// multiApp is a daemon with a configuration of several apps, which the test
// changes.
type multiApp struct {
	*row
	path   string
	daemon *testenv.Tideover
	apps   map[string]*configuredApp
	order  []string
}

// configuredApp is one app of a multiApp.
type configuredApp struct {
	shop    *testenv.App
	address string
	more    string // settings beside the usual ones
	client  *loadgen.Client
}

func (m *multiApp) addApp(name, more string) {
	m.Helper()
	shop, err := m.env.NewApp(name, testenv.Release{Number: 1, Import: 0.5})
	m.must(err)
	address, err := testenv.Address()
	m.must(err)
	m.apps[name] = &configuredApp{shop: shop, address: address, more: more, client: &loadgen.Client{Address: address, Prefix: name}}
	m.order = append(m.order, name)
}

// writeConfig replaces the configuration by a rename, as editors do.
func (m *multiApp) writeConfig() {
	m.Helper()
	var text strings.Builder
	for _, name := range m.order {
		a := m.apps[name]
		fmt.Fprintf(&text, "[app.%s]\ncommand = %s\nlisten = %q\ndirectory = %q\n%s\n", name,
			tomlArray(testenv.Gunicorn{Workers: 2}.Argv(m.env)), a.address, a.shop.Dir, a.more)
	}
	fresh := m.path + ".new"
	m.must(os.WriteFile(fresh, []byte(text.String()), 0o600))
	m.must(os.Rename(fresh, m.path))
}

// mustCall runs a verb, which must succeed.
func (m *multiApp) mustCall(args ...string) {
	m.Helper()
	outcome, err := m.daemon.Call(m.timeout(operationTimeout), args...)
	m.must(err)
	if outcome.Exit != 0 {
		m.Fatalf("%s: %v", strings.Join(args, " "), outcome)
	}
}

// waitGeneration waits until an app runs with a generation later than after.
func (m *multiApp) waitGeneration(name string, after int) int {
	m.Helper()
	found := 0
	m.must(testenv.Poll(m.timeout(operationTimeout), 50*time.Millisecond, func() error {
		st, err := m.daemon.StatusOf(m.timeout(10*time.Second), name)
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
	w := &multiApp{row: begin(t), apps: map[string]*configuredApp{}}
	w.addApp("first", "")
	w.addApp("second", "")
	w.path = w.env.Path("tideover.toml")
	touched := filepath.Join(w.apps["second"].shop.Dir, "tmp", "restart.txt")
	w.apps["second"].more = "watch.files = [\"tmp/restart.txt\"]\nwatch.debounce = \"50ms\""
	w.writeConfig()
	daemon, err := w.env.Tideover(w.apps["first"].shop, testenv.RunOptions{Flags: []string{"-c", w.path}, Name: "first"})
	w.must(err)
	w.daemon = daemon
	var loads []*loadgen.OpenLoop
	for _, name := range w.order {
		w.must(waitAnswer(w.row, w.apps[name].client))
		loads = append(loads, loadgen.Start(loadgen.Plan{Client: w.apps[name].client, Rate: 30}))
	}
	first, second, events := 1, 1, 0
	for round := range times(1) {
		w.apps["second"].more += fmt.Sprintf("\nenv.ROUND%d = \"yes\"", round)
		w.writeConfig()
		w.mustCall("apply")
		second = w.waitGeneration("second", second)

		third := fmt.Sprintf("third-%d", round)
		w.addApp(third, "")
		w.writeConfig()
		w.mustCall("apply")
		w.must(waitAnswer(w.row, w.apps[third].client))

		w.order = w.order[:len(w.order)-1]
		w.apps["first"].more = fmt.Sprintf("hold.limit = %d", 2000+round)
		w.writeConfig()
		w.mustCall("apply")
		if st, err := daemon.StatusOf(w.timeout(10*time.Second), "first"); err != nil || st.Generation != first {
			w.Errorf("the first app was reloaded for the second one's affairs: %+v, %v", st, err)
		}

		w.must(os.MkdirAll(filepath.Dir(touched), 0o755))
		w.must(os.WriteFile(touched, []byte(fmt.Sprint(round)), 0o644))
		second = w.waitGeneration("second", second)

		w.must(daemon.Signal(syscall.SIGHUP))
		first, second = w.waitGeneration("first", first), w.waitGeneration("second", second)
		events += 5
	}
	for _, l := range loads {
		tally := l.Stop()
		w.addNumbers("%v", tally)
		w.checkNothingLost(tally)
	}
	w.addNumbers("events=%d", events)
}
