//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"tideover/scripts/loadgen"
	"tideover/scripts/testenv"
)

// moveRate is how many requests a second all apps of a move get together.
const moveRate = 200

// Many apps go from supervisord to tideover and back under load: with the permission to duplicate
// sockets no request is lost on the way there; without it, and on the way back, the apps are down
// one by one, and each says for how long. The numbers of lost requests are printed.
func TestMoveOfManyApps(t *testing.T) {
	r := begin(t)
	n := 6
	if *full {
		n = 20
	}
	m := newManyMoves(r, n)
	if os.Geteuid() == 0 {
		if said, lost := m.measured("duplicated"); lost > 0 || !strings.Contains(said, "no request was lost.") {
			m.Errorf("%d requests lost\n%s", lost, said)
		}
		m.measured("back", "--back")
	}
	m.prefix = m.withoutPtrace()
	said, _ := m.measured("bound")
	how := `could not be duplicated .*refused`
	if os.Geteuid() != 0 {
		how += "|was duplicated, no request was lost" // where Yama allows it
	}
	if got := len(regexp.MustCompile(how).FindAllString(said, -1)); got != n {
		m.Errorf("%d apps say for how long they were down, of %d:\n%s", got, n, said)
	}
	m.measured("back", "--back")
	m.prefix = nil
	m.must(m.supervisord.Stop(syscall.SIGTERM, 40*time.Second))
	m.checkNoneLeft()
}

// manyMoves is a supervisord with n gunicorns: on TCP, on unix sockets, and with SO_REUSEPORT.
type manyMoves struct {
	*move
	plans  []loadgen.Plan
	prefix []string // of the command that moves
}

func newManyMoves(r *row, n int) *manyMoves {
	r.Helper()
	shop, err := r.env.NewApp("shop", testenv.Release{Number: 1})
	r.must(err)
	r.must(os.MkdirAll(r.env.Path("bin"), 0o755))
	r.must(os.Symlink(testenv.Binary(r.env.Root), r.env.Path("bin", "tideover")))
	m := &manyMoves{move: &move{fixture: &fixture{row: r, app: shop}}}
	m.vars = []string{"PATH=" + r.env.Path("bin") + ":" + os.Getenv("PATH"), "TIDEOVER_SOCKET=" + r.env.Path("control.sock")}
	var first []string
	more := []string{"stopwaitsecs=40"}
	for i := range n {
		g := testenv.Gunicorn{Workers: 1, Version: []string{"latest", "23.0.0", "20.1.0"}[i%3]}
		address, err := testenv.Address()
		r.must(err)
		g.Bind = address
		switch i % 5 {
		case 3:
			address = filepath.Join(shop.Dir, fmt.Sprintf("app-%d.sock", i)) // the path is relative, as many tutorials have it
			g.Bind = "unix:" + filepath.Base(address)
		case 4:
			g.Workers, g.Args = 2, []string{"--reuse-port"}
		}
		client := &loadgen.Client{Address: address, Host: "front.test", Prefix: fmt.Sprintf("a%d-", i)}
		m.plans = append(m.plans, loadgen.Plan{Client: client, Rate: moveRate / n})
		if i == 0 {
			first = g.Argv(r.env)
			continue
		}
		more = append(more, fmt.Sprintf("[program:app-%d]", i), "command="+strings.Join(g.Argv(r.env), " "),
			"directory="+shop.Dir, "stopwaitsecs=40")
	}
	m.supervisord, err = r.env.Supervisord(shop, first, more...)
	r.must(err)
	for _, plan := range m.plans {
		r.must(waitAnswer(r, plan.Client))
	}
	return m
}

// withoutPtrace is a command that runs another one without the right to trace processes.
func (m *manyMoves) withoutPtrace() []string {
	m.Helper()
	if os.Geteuid() != 0 {
		return nil // Yama or the missing capability forbids it; else nothing is bound again
	}
	path, err := exec.LookPath("setpriv")
	m.must(err)
	return []string{path, "--bounding-set", "-sys_ptrace", "--inh-caps", "-sys_ptrace"}
}

// measured moves under load and adds the number of lost requests to the row.
func (m *manyMoves) measured(name string, more ...string) (said string, lost int) {
	m.Helper()
	stop := m.startAll()
	began := time.Now()
	code, said := m.run(append(m.prefix, m.command(append(more, "--jobs", "8")...)...))
	took := time.Since(began)
	t := stop()
	m.addNumbers("%s: took=%.1fs lost=%d of=%d in=%d/%d", name, took.Seconds(), t.lost, t.ended, t.apps, len(m.plans))
	if code != 0 {
		m.Fatalf("%s ended with %d\n%s", name, code, said)
	}
	m.Logf("%s: lost: %v", name, t.examples)
	if t.lost > max(t.ended/3, 2*moveRate) { // a quick move has few requests, and each app is down for a second
		m.Errorf("%s: more than a third of the requests is lost, and more than those of two seconds: %v", name, t.examples)
	}
	return said, t.lost
}

// sum is what became of the requests to all apps.
type sum struct {
	ended, lost int
	apps        int // that lost one
	examples    []string
}

// startAll starts a load on every app. stop ends it.
func (m *manyMoves) startAll() (stop func() sum) {
	var loads []*loadgen.OpenLoop
	for _, plan := range m.plans {
		loads = append(loads, loadgen.Start(plan))
	}
	return func() (s sum) {
		for _, load := range loads {
			tally := load.Stop()
			s.ended, s.lost = s.ended+tally.Ended, s.lost+tally.Lost()
			s.examples = append(s.examples, tally.Examples...)
			if tally.Lost() > 0 {
				s.apps++
			}
		}
		return s
	}
}
