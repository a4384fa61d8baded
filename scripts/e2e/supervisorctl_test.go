//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"tideover/scripts/testenv"
)

// supervised is a supervisord, or a tideover that has imported the same file, and a client.
type supervised struct {
	*row
	dir  string
	port string // of the program web
	name string // of the client
	run  func(args []string) (said string, code int)
}

// configuration is the supervisord.conf of a supervised. Relative to a former one, web has another
// environment, man is gone, and new is there.
func (s *supervised) configuration(changed bool) string {
	release, more := "1", "[program:man]\ncommand=sleep 1000\nautostart=false\nstartsecs=1\n"
	if changed {
		release, more = "2", "[program:new]\ncommand=sleep 1000\nstartsecs=1\n"
	}
	return fmt.Sprintf(`[unix_http_server]
file=%[1]s/supervisor.sock
[supervisord]
nodaemon=true
logfile=%[1]s/supervisord.log
pidfile=%[1]s/supervisord.pid
childlogdir=%[1]s
[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
[supervisorctl]
serverurl=unix://%[1]s/supervisor.sock
[program:web]
command=%[2]s
directory=%[1]s/shop
redirect_stderr=true
environment=RELEASE_OF_TEST="%[4]s"
stopwaitsecs=40
[program:worker]
command=sh %[1]s/worker.sh
numprocs=2
process_name=%%(program_name)s_%%(process_num)02d
startsecs=1
[program:bad]
command=sh %[1]s/bad.sh
startretries=1
startsecs=1
[group:jobs]
programs=worker
%[3]s`, s.dir, strings.Join(testenv.Gunicorn{Bind: "127.0.0.1:" + s.port, Workers: 1}.Argv(s.env), " "), more, release)
}

func (s *supervised) write(name, text string) string {
	s.Helper()
	path := filepath.Join(s.dir, name)
	s.must(os.WriteFile(path, []byte(text), 0o644))
	return path
}

// newSupervised writes the files of one.
func newSupervised(r *row, name string) *supervised {
	r.Helper()
	_, err := r.env.NewApp(filepath.Join(name, "shop"), testenv.Release{Number: 1, Import: 0.2})
	r.must(err)
	port, err := testenv.Port()
	r.must(err)
	s := &supervised{row: r, dir: r.env.Path(name), port: fmt.Sprint(port)}
	s.write("worker.sh", "echo hello\necho trouble >&2\nexec sleep 1000\n")
	s.write("bad.sh", "exit 3\n")
	s.write("supervisord.conf", s.configuration(false))
	return s
}

// startSupervisord runs supervisord itself.
func startSupervisord(r *row) *supervised {
	s := newSupervised(r, "supervisord")
	_, err := r.env.Start(testenv.Command{Name: "supervisord", Argv: []string{r.env.Venv("supervisor", "supervisord"), "-c", s.path("supervisord.conf")}, App: true})
	r.must(err)
	s.python("supervisor")
	return s
}

func (s *supervised) path(name string) string { return filepath.Join(s.dir, name) }

// importConfig writes tideover.toml from supervisord.conf, with a place of its own for the daemon.
func (s *supervised) importConfig() {
	s.Helper()
	out, err := exec.Command(testenv.Binary(s.env.Root), "import", s.path("supervisord.conf")).Output()
	s.must(err)
	s.write("tideover.toml", strings.Replace(string(out), "[daemon]\n", fmt.Sprintf("[daemon]\nruntime_dir = %q\nstate_dir = %q\n", s.path("run"), s.path("state")), 1))
}

// startImported runs a tideover with the same programs.
func startImported(r *row, name string) *supervised {
	s := newSupervised(r, name)
	s.importConfig()
	_, err := r.env.Start(testenv.Command{Name: name, Argv: []string{testenv.Binary(r.env.Root), "run", "-c", s.path("tideover.toml")}, App: true})
	r.must(err)
	s.python("supervisor")
	return s
}

// python starts supervisorctl of an environment, for many commands.
func (s *supervised) python(venv string) {
	s.Helper()
	script, err := filepath.Abs("testdata/supervisorctl.py")
	s.must(err)
	cmd := exec.Command(s.env.Venv(venv, "python"), script)
	stdin, err := cmd.StdinPipe()
	s.must(err)
	stdout, err := cmd.StdoutPipe()
	s.must(err)
	s.must(cmd.Start())
	s.Cleanup(func() {
		stdin.Close()
		cmd.Wait()
	})
	questions, answers := json.NewEncoder(stdin), json.NewDecoder(stdout)
	s.name = venv
	s.run = func(args []string) (string, int) {
		var said string
		var code int
		err := questions.Encode(append([]string{"-c", s.path("supervisord.conf")}, args...))
		if err == nil {
			err = answers.Decode(&[]any{&said, &code})
		}
		if err != nil {
			return err.Error(), -1
		}
		return said, code
	}
}

// own makes supervisorctl a symlink to tideover.
func (s *supervised) own() {
	s.Helper()
	s.must(os.Symlink(testenv.Binary(s.env.Root), s.path("supervisorctl")))
	s.name = "tideover"
	s.run = func(args []string) (string, int) {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, s.path("supervisorctl"), append([]string{"-c", s.path("supervisord.conf")}, args...)...)
		out, _ := cmd.CombinedOutput() // the exit code is compared
		return string(out), cmd.ProcessState.ExitCode()
	}
}

// ctl runs a command of supervisorctl and returns what it prints and its exit code.
func (s *supervised) ctl(args ...string) string {
	said, code := s.run(args)
	return fmt.Sprintf("%sexit %d\n", said, code)
}

// varies is what differs between two runs.
var varies = []struct {
	pattern *regexp.Regexp
	same    string
}{
	{regexp.MustCompile(`pid \d+, uptime \d+:\d\d:\d\d`), "pid N, uptime T"},
	{regexp.MustCompile(`[A-Z][a-z]{2} \d\d \d\d:\d\d [AP]M`), "DATE"},
	{regexp.MustCompile(`unix://\S*/supervisor.sock`), "URL"},
	{regexp.MustCompile(`(?m)^[1-9]\d*$`), "N"},
}

func normalised(out string, sorted bool) string {
	for _, v := range varies {
		out = v.pattern.ReplaceAllString(out, v.same)
	}
	if sorted {
		lines := strings.Split(out, "\n")
		slices.Sort(lines)
		out = strings.Join(lines, "\n")
	}
	return out
}

// settle waits until every process is in one of its last states.
func (s *supervised) settle() {
	s.Helper()
	s.must(testenv.Poll(s.timeout(40*time.Second), 200*time.Millisecond, func() error {
		out := s.ctl("status")
		if strings.Contains(out, "STARTING") || strings.Contains(out, "BACKOFF") || strings.Contains(out, "STOPPING") || !strings.Contains(out, "bad ") {
			return fmt.Errorf("%s: %s", s.name, out)
		}
		return nil
	}))
}

// each calls f for all side by side.
func each(all []*supervised, f func(i int, s *supervised)) {
	var running sync.WaitGroup
	for i, s := range all {
		running.Go(func() { f(i, s) })
	}
	running.Wait()
}

// compare runs a command everywhere: the lines and the exit codes must be those of the first one.
func compare(all []*supervised, line string) {
	said := make([]string, len(all))
	each(all, func(i int, s *supervised) {
		said[i] = normalised(s.ctl(strings.Fields(line)...), strings.Contains(line, " all") || strings.Contains(line, "jobs:"))
	})
	for i, s := range all[1:] {
		if said[i+1] != said[0] {
			s.Errorf("supervisorctl %s (%s):\n%s\nwith supervisord:\n%s", line, s.name, said[i+1], said[0])
		}
	}
}

// verbs are commands in the order in which they are run. "settle" waits.
var verbs = []string{
	"status", "status web", "status jobs:*", "status jobs:worker_01 web", "status nope", "status nope:* web", "avail", "version",
	"pid nope", "pid man", "pid web", "pid",
	"start", "start web", "start man", "start man", "start nope", "start nope:*", "start jobs:*", "start bad", "settle",
	"signal", "signal HUP web", "signal FOO web", "signal HUP nope", "signal HUP nope:*", "signal CONT jobs:*", "signal CONT all",
	"stop", "stop man", "stop man", "stop nope", "stop nope:*", "stop jobs:worker_00", "start jobs:*", "signal HUP man", "pid man",
	"restart", "restart web", "restart jobs:*", "restart nope", "settle", "status",
	"tail", "tail jobs:worker_01", "tail jobs:worker_01 stderr", "tail -4 jobs:worker_01", "tail nope", "tail web none", "tail web stderr", "tail -x web", "tail a b c d",
	"clear", "clear jobs:worker_01", "tail jobs:worker_01", "clear nope", "clear all",
	"maintail x", "maintail -1 -2", "fg", "fg nope", "fg man", "fg a b",
	"reread", "reread x", "update", "update nope", "add web", "add nope", "remove web", "remove nope",
	"help", "help help", "help tail", "help nope", "nonsense", "shutdown x", "reload x", "avail x", "version x", "open nope",
}

// supervisorctl, of two versions and unmodified, prints line by line what it prints with a supervisord
// that runs the same programs; and so does tideover called as supervisorctl.
func TestSupervisorctlWithTideoverIsAsWithSupervisord(t *testing.T) {
	r := begin(t)
	all := []*supervised{startSupervisord(r), startImported(r, "imported"), startImported(r, "own")}
	all[2].own()
	run := func(all []*supervised, lines []string) {
		for _, line := range lines {
			if line == "settle" {
				each(all, func(_ int, s *supervised) { s.settle() })
				continue
			}
			compare(all, line)
		}
	}
	each(all, func(_ int, s *supervised) { s.settle() })
	run(all, verbs)

	commands := len(verbs) + 23
	if *full {
		each(all[:2], func(_ int, s *supervised) { s.python("supervisor-4.2.5") })
		run(all[:2], verbs)
		each(all[:2], func(_ int, s *supervised) { s.python("supervisor") })
		commands += len(verbs)
	}

	each(all, func(_ int, s *supervised) {
		s.write("supervisord.conf", s.configuration(true))
		if s != all[0] {
			s.importConfig()
		}
	})
	run(all, []string{"reread", "stop man", "update", "settle", "reread", "status", "avail", "restart all", "settle", "stop all", "stop all", "status", "start all", "settle", "status",
		"stop new", "remove new", "status", "reread", "add new", "settle", "status new", "shutdown"})
	each(all, func(_ int, s *supervised) {
		s.must(testenv.Poll(s.timeout(60*time.Second), 200*time.Millisecond, func() error {
			if out := s.ctl("status"); !strings.Contains(out, "no such file") && !strings.Contains(out, "refused connection") {
				return fmt.Errorf("after the shutdown: %s", out)
			}
			return nil
		}))
	})
	r.addNumbers("commands=%d", commands)
	r.must(testenv.Poll(r.timeout(time.Minute), 20*time.Millisecond, func() error { // supervisord ends after its socket
		if left := r.env.AppProcesses(); len(left) > 0 {
			return fmt.Errorf("%d processes are left: %s", len(left), strings.Join(left, "\n"))
		}
		return nil
	}))
}

// The restart and the update of supervisorctl are stops and starts. Under load they lose nothing.
func TestRestartAndUpdateOfSupervisorctlLoseNothing(t *testing.T) {
	r := begin(t)
	socket := r.env.Path("supervisor.sock")
	s := newFixture(r, setup{release: testenv.Release{Number: 1, Import: 0.5}, gunicorn: testenv.Gunicorn{Workers: 2},
		config: "env = { N = \"0\" }\n[daemon]\nsupervisor_socket = \"" + socket + "\"\n"})
	ctl := func(args ...string) string {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		out, err := exec.CommandContext(ctx, r.env.Venv("supervisor", "supervisorctl"), append([]string{"-s", "unix://" + socket}, args...)...).CombinedOutput()
		if err != nil {
			s.Errorf("supervisorctl %v: %v %s", args, err, out)
		}
		return string(out)
	}
	app := s.daemon.App
	s.startLoad(50)
	rounds := 3
	if *full {
		rounds = 50
	}
	path := filepath.Join(r.env.Dir, "tideover.toml")
	text, err := os.ReadFile(path)
	r.must(err)
	caughtUp := func() { // the app answers for a part of the time only, and its workers have to do all in it
		s.must(testenv.Poll(s.timeout(time.Minute), 20*time.Millisecond, func() error {
			now, err := s.daemon.Status(s.timeout(10 * time.Second))
			if err == nil && now.Held+now.InFlight > 20 {
				err = fmt.Errorf("%d held and %d in flight", now.Held, now.InFlight)
			}
			return err
		}))
	}
	for n := range rounds {
		caughtUp()
		if out := ctl("restart", app); out != app+": stopped\n"+app+": started\n" {
			s.Errorf("restart: %q", out)
		}
		changed := strings.Replace(string(text), `N = "0"`, fmt.Sprintf("N = \"%d\"", n+1), 1)
		r.must(os.WriteFile(path, []byte(changed), 0o600))
		caughtUp()
		if out := ctl("update"); out != app+": stopped\n"+app+": updated process group\n" {
			s.Errorf("update: %q", out)
		}
		s.events += 2
	}
	r.must(os.Remove(socket))
	r.must(testenv.Poll(r.timeout(20*time.Second), 50*time.Millisecond, func() error {
		conn, err := net.Dial("unix", socket)
		if err == nil {
			conn.Close()
		}
		return err
	}))
	if out := ctl("status"); !strings.HasPrefix(out, app+" ") || !strings.Contains(out, "RUNNING") {
		s.Errorf("status by a socket that was bound again: %q", out)
	}
	if out := ctl("reload"); out != "Restarted supervisord\n" {
		s.Errorf("reload: %q", out)
	}
	s.waitGeneration(2*rounds + 2)
	tally := s.load.Stop()
	s.addNumbers("restarts=%d requests=%d", 2*rounds+1, tally.Ended)
	s.checkNothingLost(tally)
	s.checkNothingTwice(s.app)
	if out := ctl("shutdown"); out != "Shut down\n" {
		s.Errorf("shutdown: %q", out)
	}
	select {
	case <-s.daemon.Exited():
	case <-s.timeout(30 * time.Second).Done():
		s.Error("the daemon goes on after the shutdown")
		s.daemon.Kill()
	}
	r.checkNoneLeft()
}

// What reads supervisord by XML-RPC (node_exporter, Datadog, Telegraf, cesi, supervisord-monitor) gets
// from tideover what it gets from supervisord: values, types, faults. testdata/supervisor_requests.json
// has what was recorded of cesi 2.7.1 (all of its API, of Gamegos/cesi at 14ba292), of the XML-RPC clients
// of Telegraf (kolo/xmlrpc) and of netdata (mattn/go-xmlrpc) with the calls of their plugins, and of those
// of Datadog's check. It is sent byte by byte.
func TestXMLRPCAnswersAreThoseOfSupervisord(t *testing.T) {
	r := begin(t)
	all := []*supervised{startSupervisord(r), startImported(r, "imported")}
	script, err := filepath.Abs("testdata/supervisor_rpc.py")
	r.must(err)
	recorded := filepath.Join(filepath.Dir(script), "supervisor_requests.json")
	answers := make([][]json.RawMessage, 2)
	each(all, func(i int, s *supervised) {
		s.settle()
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, r.env.Venv("supervisor", "python"), script, "unix://"+s.path("supervisor.sock"), recorded)
		out, err := cmd.Output()
		if err == nil {
			err = json.Unmarshal(out, &answers[i])
		}
		if err != nil {
			s.Errorf("%v: %s", err, out)
		}
	})
	if len(answers[0]) != len(answers[1]) || len(answers[0]) == 0 {
		r.Fatalf("%d answers, and %d", len(answers[0]), len(answers[1]))
	}
	for i, one := range answers[0] {
		if string(one) != string(answers[1][i]) {
			t.Errorf("tideover:\n%s\nsupervisord:\n%s", answers[1][i], one)
		}
	}
	r.addNumbers("answers=%d", len(answers[0]))
}

// pidOrTime are the values of node_exporter's metrics that differ between two runs.
var pidOrTime = regexp.MustCompile(`(?m)^(node_supervisord_start_time_seconds\{.*\}) [1-9]\S*$`)

// The collector of node_exporter, unmodified, has the same metrics of tideover and of supervisord: of
// processes that run, that have been stopped, and that have failed.
func TestNodeExporterCollectsWhatItCollectsOfSupervisord(t *testing.T) {
	r := begin(t)
	all := []*supervised{startSupervisord(r), startImported(r, "imported")}
	collected := make([]string, len(all))
	each(all, func(i int, s *supervised) {
		s.settle()
		s.ctl("stop", "jobs:worker_01")
		address, err := testenv.Address()
		s.must(err)
		_, err = r.env.Start(testenv.Command{Name: "node_exporter of " + filepath.Base(s.dir), Argv: []string{"prometheus-node-exporter", "--collector.disable-defaults", "--collector.supervisord",
			"--collector.supervisord.url=unix://" + s.path("supervisor.sock"), "--web.listen-address=" + address, "--web.disable-exporter-metrics"}})
		s.must(err)
		s.must(testenv.Poll(s.timeout(30*time.Second), 100*time.Millisecond, func() error {
			collected[i], err = scrape("http://" + address + "/metrics")
			return err
		}))
	})
	if collected[1] != collected[0] {
		r.Errorf("of tideover:\n%s\nof supervisord:\n%s", collected[1], collected[0])
	}
	r.addNumbers("metrics=%d", strings.Count(collected[0], "\n"))
}

// scrape returns what node_exporter has collected of a supervisord, without what differs between two runs.
func scrape(url string) (string, error) {
	client := http.Client{Timeout: 10 * time.Second}
	resp, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", err
	}
	var lines []string
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "node_supervisord_") || strings.HasPrefix(line, "node_scrape_collector_success") {
			lines = append(lines, line)
		}
	}
	collected := pidOrTime.ReplaceAllString(strings.Join(lines, ""), "$1 TIME")
	if !strings.Contains(collected, `node_scrape_collector_success{collector="supervisord"} 1`) || !strings.Contains(collected, `node_supervisord_up{group="web",name="web"} 1`) {
		return "", fmt.Errorf("node_exporter has collected:\n%s", text)
	}
	return collected, nil
}

// httpok and memmon of superlance, unmodified, restart a program by XML-RPC when an event tells them to
// look.
func TestSuperlanceRestartsAProgramOfTideover(t *testing.T) {
	r := begin(t)
	s := startImported(r, "imported")
	s.settle()
	for _, l := range []struct {
		argv []string
		said string
	}{
		{[]string{"httpok", "-p", "web", "-t", "10", "-s", "/bin/cat", "http://127.0.0.1:1/"}, "web restarted"},
		{[]string{"memmon", "-p", "web=1MB", "-s", "/bin/cat"}, "Restarting web:web"},
	} {
		before := s.ctl("pid", "web")
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		cmd := exec.CommandContext(ctx, r.env.Venv("supervisor", l.argv[0]), l.argv[1:]...)
		cmd.Env = append(os.Environ(), "SUPERVISOR_SERVER_URL=unix://"+s.path("supervisor.sock"))
		cmd.Stdin = strings.NewReader("ver:3.0 server:supervisor serial:1 pool:a poolserial:1 eventname:TICK_60 len:15\nwhen:1201063880")
		out, _ := cmd.CombinedOutput() // after the one event it fails at the end of its input
		cancel()
		if !strings.Contains(string(out), l.said) || !strings.Contains(string(out), "RESULT 2\nOK") {
			s.Errorf("%v:\n%s", l.argv, out)
		}
		s.settle()
		if after := s.ctl("pid", "web"); after == before {
			s.Errorf("%v: the process is still %s", l.argv, after)
		}
	}
}
