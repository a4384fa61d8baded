//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"tideover/scripts/testenv"
)

// A move that cannot come to its end stops nothing, or gives back what it has taken, and never
// touches another tideover: the processes of supervisord are the same ones before and after it.
func TestMoveStopsNothingBeforeTheStartIsRehearsed(t *testing.T) {
	r := begin(t)
	m := newManyMoves(r, 2)
	r.must(testenv.Poll(m.timeout(20*time.Second), 100*time.Millisecond, func() error {
		status, err := m.supervisord.Ctl("status")
		if err == nil && strings.Contains(status, "STARTING") { // a program without a pid in this text; the exit code is 0
			err = errors.New(status)
		}
		return err
	}))
	m.importConfig()
	text, err := os.ReadFile(r.env.Path("tideover.toml"))
	r.must(err)
	config := string(text)

	m.refused("another tideover on the socket", config, "a tideover runs already", func() func() {
		other, err := r.env.Start(testenv.Command{Name: "other", Env: m.vars, App: true,
			Argv: []string{r.env.Path("bin/tideover"), "run", "--name", "other", "--", "sleep", "1000"}})
		r.must(err)
		socket := r.env.Path("control.sock")
		r.must(testenv.Poll(m.timeout(20*time.Second), 50*time.Millisecond, func() error { _, err := os.Stat(socket); return err }))
		return func() {
			r.must(other.Signal(syscall.Signal(0)))
			r.must(other.Signal(syscall.SIGTERM))
			<-other.Exited()
		}
	})
	m.refused("a user that does not exist", config+"user = \"no-such-user\"\n", "no-such-user", nil)
	m.refused("a command that does not exist", strings.Replace(config, "bin/gunicorn", "bin/gunicorm", 1), "gunicorm", nil)
	m.refused("an app of another name", strings.Replace(config, "[app.shop]", "[app.store]", 1), "no app of", nil)
	m.refused("new code that does not start", strings.Replace(config, "shop:app", "nothing:app", 1), "No module named 'nothing'", nil)
	if os.Geteuid() == 0 {
		dir := r.env.Path("run")
		r.must(os.Mkdir(dir, 0o755))
		r.must(os.Chown(dir, 33, 33))
		m.refused("a log in a directory of another user", config, "root does not open it", nil, "--log", dir+"/tideover.log")
		listen := regexp.MustCompile(`(?m)^listen .*$`)
		m.refused("a public socket in a directory of another user", strings.Replace(config, listen.FindString(config), fmt.Sprintf("listen = %q", "unix:"+dir+"/shop.sock"), 1), "root does not open it", nil)
		vars := m.vars
		m.vars = append(m.vars, "TIDEOVER_SOCKET="+dir+"/control.sock")
		m.refused("a directory of another user for the control socket", config, "tideover does not start", nil)
		m.vars = vars
	}
	m.must(m.supervisord.Stop(syscall.SIGTERM, 40*time.Second))
	m.checkNoneLeft()
}

// A move goes on when its terminal is closed. One that is killed halfway is given back: what it had taken, and what it
// had only started.
func TestAMoveThatIsKilledHalfwayIsGivenBack(t *testing.T) {
	r := begin(t)
	m := newManyMoves(r, 3)
	p, err := r.env.Start(testenv.Command{Name: "move", Argv: m.command("--jobs", "1"), Env: m.vars, App: true})
	r.must(err)
	until := func(words ...string) {
		r.Helper()
		r.must(testenv.Poll(m.timeout(time.Minute), 10*time.Millisecond, func() error {
			if said := p.Tail(50); !slices.ContainsFunc(words, func(w string) bool { return strings.Contains(said, w) }) {
				return fmt.Errorf("the move has not come to %q:\n%s", words, said)
			}
			return nil
		}))
	}
	until("supervisord is pid")
	r.must(p.Signal(syscall.SIGHUP))
	until("its socket was duplicated", "was bound again")
	r.must(p.Signal(syscall.SIGKILL))
	<-p.Exited()
	if code, said := m.run(m.command("--back")); code != 0 {
		m.Errorf("back: %d\n%s", code, said)
	}
	status, err := m.supervisord.Ctl("status")
	if err != nil || strings.Count(status, "RUNNING") != len(m.plans) {
		m.Errorf("%v\n%s", err, status)
	}
	for _, plan := range m.plans {
		r.must(waitAnswer(r, plan.Client))
	}
	if _, err := os.Stat(r.env.Path("tideover.toml.moved")); err == nil {
		m.Error("it says that the programs are moved")
	}
	m.must(m.supervisord.Stop(syscall.SIGTERM, 40*time.Second))
	m.checkNoneLeft()
}

// importConfig makes the configuration as move does.
func (m *manyMoves) importConfig() {
	m.Helper()
	code, said := m.run([]string{m.env.Path("bin/tideover"), "import", m.env.Path("supervisord.conf"), "--write", m.env.Path("tideover.toml")})
	if code != 0 {
		m.Fatal(said)
	}
}

// refused runs a move that fails, and compares what supervisord runs before and after it. set
// prepares the case and returns what ends it.
func (m *manyMoves) refused(name, config, why string, set func() func(), flags ...string) {
	m.Helper()
	m.must(os.WriteFile(m.env.Path("tideover.toml"), []byte(config), 0o600))
	if set != nil {
		defer set()()
	}
	before, err := m.supervisord.Ctl("status")
	m.must(err)
	window := m.startAll()
	code, said := m.run(append(m.command(), flags...))
	lost := window().lost
	after, err := m.supervisord.Ctl("status")
	if err != nil || pids(before) != pids(after) {
		m.Errorf("%s: supervisord runs other processes: %v\n%s%s", name, err, before, after)
	}
	if code == 0 || !strings.Contains(said, why) {
		m.Errorf("%s: ended with %d:\n%s", name, code, said)
	}
	if lost > 0 {
		m.Errorf("%s: %d requests lost", name, lost)
	}
	if _, err := os.Stat(m.env.Path("tideover.toml.moved")); err == nil {
		m.Errorf("%s: it says that the programs were moved", name)
	}
}
