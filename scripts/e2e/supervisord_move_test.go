//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"tideover/scripts/loadgen"
	"tideover/scripts/testenv"
)

// A host goes from supervisord to tideover and back, under load behind Apache. The way there loses
// no request: the listening socket is duplicated out of gunicorn. The way back costs one short
// moment in which no process listens, and nothing before and after it.
func TestMoveAndBack(t *testing.T) {
	r := begin(t)
	m := newMove(r)
	before, err := m.supervisord.Ctl("status")
	m.must(err)
	m.move("--dry-run")
	after, err := m.supervisord.Ctl("status")
	if err != nil || pids(before) != pids(after) {
		m.Fatalf("a rehearsal changed something: %v\n%s%s", err, before, after)
	}
	m.there()
	m.calm("reload", func() { m.celeryRuns(); m.reload() })
	m.gap("--back")
	m.calm("supervisorctl status", func() {
		m.celeryRuns()
		if out, err := m.supervisord.Ctl("status", "shop", "celery"); err != nil {
			m.Error(out, err)
		}
	})
	if *full {
		m.there()
		m.calm("as after the first move", func() { m.celeryRuns() })
		m.gap("--back")
	}
	tally := m.load.Stop()
	m.addNumbers("requests=%d", tally.Ended)
	m.checkNothingTwice(m.app)
	m.must(m.supervisord.Stop(syscall.SIGTERM, 40*time.Second))
	m.checkNoneLeft()
}

// pids are the names and pids of supervisorctl's status.
func pids(status string) string {
	var all []string
	for line := range strings.Lines(status) {
		if words := strings.Fields(line); len(words) > 3 {
			all = append(all, words[0]+words[3])
		}
	}
	return strings.Join(all, " ")
}

// move is a host under supervisord that is about to be moved.
type move struct {
	*fixture
	supervisord *testenv.Supervisord
	vars        []string
}

func newMove(r *row) *move {
	r.Helper()
	shop, err := r.env.NewApp("shop", testenv.Release{Number: 1, Import: 1})
	r.must(err)
	address, err := testenv.Address()
	r.must(err)
	standin, err := filepath.Abs("testdata/standin.py")
	r.must(err)
	for name, target := range map[string]string{"tideover": testenv.Binary(r.env.Root), "celery": standin} {
		r.must(os.MkdirAll(r.env.Path("bin"), 0o755))
		r.must(os.Symlink(target, r.env.Path("bin", name)))
	}
	supervisord, err := r.env.Supervisord(shop, testenv.Gunicorn{Bind: address}.Argv(r.env), "stopwaitsecs=40",
		"[program:celery]", "command=python3 "+r.env.Path("bin/celery")+" worker")
	r.must(err)
	r.must(waitAnswer(r, &loadgen.Client{Address: address, Prefix: "d"}))
	front, err := r.env.Apache(testenv.Backend(address), testenv.Apache{})
	r.must(err)
	m := &move{supervisord: supervisord, fixture: &fixture{row: r, app: shop, front: front,
		client: &loadgen.Client{Address: front.Address, Host: "front.test", Prefix: "n"}}}
	m.vars = []string{"PATH=" + r.env.Path("bin") + ":" + os.Getenv("PATH"), "TIDEOVER_SOCKET=" + r.env.Path("control.sock")}
	r.must(waitAnswer(r, m.client))
	m.startLoad(50)
	return m
}

// command is tideover move, with more arguments.
func (m *move) command(more ...string) []string {
	return append([]string{m.env.Path("bin/tideover"), "-c", m.env.Path("tideover.toml"), "move",
		"--supervisord", m.env.Path("supervisord.conf"), "--log", m.env.Path("tideover.log")}, more...)
}

// run runs a command to its end, and returns its exit code and its last lines.
func (m *move) run(argv []string) (int, string) {
	m.Helper()
	p, err := m.env.Start(testenv.Command{Name: "move", Argv: argv, Env: m.vars, App: true})
	m.must(err)
	select {
	case <-p.Exited():
	case <-m.timeout(2 * time.Minute).Done():
		m.Fatalf("%v does not end:\n%s", argv, p.Tail(50))
	}
	return p.Code(), p.Tail(50)
}

// move runs tideover move, which must succeed.
func (m *move) move(more ...string) string {
	m.Helper()
	code, said := m.run(m.command(more...))
	if code != 0 {
		m.Fatalf("move %v ended with %d:\n%s", more, code, said)
	}
	return said
}

// there moves to tideover under load: nothing is lost.
func (m *move) there() {
	m.Helper()
	window := m.load.Open()
	began := time.Now()
	m.move()
	took := time.Since(began)
	tally := window.Close()
	m.addNumbers("move: took=%.1fs lost=%d of=%d longest=%.2fs", took.Seconds(), tally.Lost(), tally.Ended, tally.Longest.Seconds())
	m.checkNothingLost(tally)
}

// gap moves under load: what is lost is lost in one moment of it.
func (m *move) gap(way string) {
	m.Helper()
	window := m.load.Open()
	began := time.Now()
	m.move(way)
	took := time.Since(began)
	tally := window.Close()
	span := tally.Last.Sub(tally.First)
	m.addNumbers("%s: took=%.1fs lost=%d of=%d within=%.2fs longest=%.2fs", strings.TrimLeft(way, "-"), took.Seconds(), tally.Lost(), tally.Ended, span.Seconds(), tally.Longest.Seconds())
	if span > took/2 || tally.Right == 0 {
		m.Errorf("%s lost requests over %v: %s\n%s", way, span, tally.Ways(), strings.Join(tally.Examples, "\n"))
	}
}

// calm does something, and for a second nothing is lost.
func (m *move) calm(name string, do func()) {
	m.Helper()
	window := m.load.Open()
	do()
	pause(m.row, time.Second)
	if tally := window.Close(); tally.Lost() > 0 || tally.Ended == 0 {
		m.Errorf("%s: %v\n%s", name, tally, strings.Join(tally.Examples, "\n"))
	}
}

// celeryRuns looks for the one stand-in that there is to be.
func (m *move) celeryRuns() {
	m.Helper()
	all := slices.DeleteFunc(m.env.AppProcesses(), func(line string) bool { return !strings.Contains(line, "celery worker") })
	if len(all) != 1 {
		m.Errorf("celery runs %d times: %v", len(all), all)
	}
}

// reload is a deploy after the move.
func (m *move) reload() {
	m.Helper()
	next, err := m.app.DeployNext()
	m.must(err)
	p, err := m.env.Start(testenv.Command{Name: "reload", Argv: []string{m.env.Path("bin/tideover"), "reload", "shop"}, Env: m.vars})
	m.must(err)
	<-p.Exited()
	if p.Code() != 0 {
		m.Errorf("reload: %d\n%s", p.Code(), p.Tail(20))
	}
	m.must(m.isRelease(next.Number))
}
