//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"tideover/scripts/loadgen"
	"tideover/scripts/testenv"
)

// module finds a file that scripts/setup has taken out of a package, and the directory of that package.
func (r *row) module(name, file string) (dir, path string) {
	r.Helper()
	all, err := filepath.Glob(filepath.Join(r.env.Root, ".local/modules", name+"==*"))
	r.must(err)
	for _, dir := range all {
		if path := filepath.Join(dir, file); len(all) == 1 && isThere(path) {
			return dir, path
		}
	}
	r.Fatalf("%s of %s is not in .local/modules, or more than once: run scripts/setup (%v)", file, name, all)
	return "", ""
}

func isThere(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// ansibleModule is Ansible's for supervisorctl.
const ansibleModule = "community.general.supervisorctl"

// ansible runs a playbook and returns what it prints, with the counts of its recap.
func (r *row) ansible(playbook string, env ...string) (counts, out string) {
	r.Helper()
	collections, _ := r.module("ansible", "ansible_collections/community/general/plugins/modules/supervisorctl.py")
	python := r.env.Venv("deploy", "python")
	cmd := exec.CommandContext(r.timeout(4*time.Minute), r.env.Venv("deploy", "ansible-playbook"), "-i", "localhost,", "-c", "local", "-e", "ansible_python_interpreter="+python, playbook)
	home := playbook + ".ansible"
	cmd.Env = append(os.Environ(), "ANSIBLE_COLLECTIONS_PATH="+collections, "ANSIBLE_HOME="+home, "ANSIBLE_LOCAL_TEMP="+home+"/local", "ANSIBLE_REMOTE_TEMP="+home+"/remote",
		"ANSIBLE_NOCOLOR=1", "ANSIBLE_LOCALHOST_WARNING=0", "ANSIBLE_PIPELINING=1", "LC_ALL=C.UTF-8")
	cmd.Env = append(cmd.Env, env...)
	cmd.WaitDelay = time.Second
	text, _ := cmd.CombinedOutput() // the recap says how it went
	out = string(text)
	_, recap, _ := strings.Cut(out, "PLAY RECAP")
	return strings.Join(strings.Fields(recap), " "), out
}

// ansibleTask is a task of the module.
type ansibleTask struct {
	arguments string // as in "name=web state=started"
	check     bool   // what would it do?
	want      string // ok, changed or failed
	full      bool   // only at full size
}

// ansibleTasks are run in this order, with the programs of a supervised.
var ansibleTasks = []ansibleTask{
	{"name=web state=present", false, "ok", true},
	{"name=web state=started", false, "ok", false},
	{"name=man state=started", true, "changed", false},
	{"name=man state=started", false, "changed", false},
	{"name=man state=started", false, "ok", true},
	{"name=man state=stopped", true, "changed", true},
	{"name=man state=stopped", false, "changed", false},
	{"name=man state=stopped", false, "ok", true},
	{"name=web state=restarted", true, "changed", true},
	{"name=web state=restarted", false, "changed", false},
	{"name=web state=signalled signal=HUP", false, "changed", false},
	{"name=jobs: state=restarted", false, "changed", false},
	{"name=jobs: state=stopped", false, "changed", true},
	{"name=jobs: state=signalled signal=CONT", false, "ok", true},
	{"name=jobs: state=started", false, "changed", true},
	{"name=jobs:worker_01 state=stopped", false, "changed", true},
	{"name=jobs:worker_01 state=started", false, "changed", true},
	{"name=man state=absent", true, "changed", false},
	{"name=man state=absent", false, "changed", false},
	{"name=man state=absent", false, "ok", true},
	{"name=man state=present", true, "changed", true},
	{"name=man state=present", false, "changed", false},
	{"name=web state=absent", false, "failed", true}, // it runs
	{"name=jobs: state=absent stop_before_removing=true", false, "changed", false},
	{"name=jobs: state=present", false, "changed", false},
	{"name=bad state=started", false, "failed", true},
	{"name=nope state=started", false, "failed", false},
	{"name=nope state=present", false, "failed", true},
}

// ansibleResult is what a task has returned.
type ansibleResult struct {
	Changed  bool     `json:"changed"`
	Failed   bool     `json:"failed"`
	Message  string   `json:"msg"`
	Affected []string `json:"affected"`
}

func (a ansibleResult) is() string {
	switch {
	case a.Failed:
		return "failed"
	case a.Changed:
		return "changed"
	}
	return "ok"
}

func (a ansibleResult) String() string {
	slices.Sort(a.Affected)
	return fmt.Sprintf("%s %v %s", a.is(), a.Affected, normalised(a.Message, true))
}

// runAnsible runs tasks of the module with these settings and returns the results.
func (r *row) runAnsible(dir string, settings map[string]any, tasks []ansibleTask) (all []ansibleResult) {
	r.Helper()
	var list []map[string]any
	var names []string
	for i, task := range tasks {
		arguments := map[string]string{}
		for _, word := range strings.Fields(task.arguments) {
			name, value, _ := strings.Cut(word, "=")
			arguments[name] = value
		}
		names = append(names, fmt.Sprintf("r%d", i))
		list = append(list, map[string]any{ansibleModule: arguments, "register": names[i], "check_mode": task.check, "ignore_errors": true})
	}
	results := filepath.Join(dir, "results.json")
	list = append(list, map[string]any{"ansible.builtin.copy": map[string]string{"dest": results, "content": "{{ [" + strings.Join(names, ", ") + "] | to_json }}"}})
	text, err := json.Marshal([]any{map[string]any{"hosts": "localhost", "gather_facts": false, "module_defaults": map[string]any{ansibleModule: settings}, "tasks": list}})
	r.must(err)
	playbook := filepath.Join(dir, "playbook.yml")
	r.must(os.WriteFile(playbook, text, 0o644))
	_, out := r.ansible(playbook)
	if text, err = os.ReadFile(results); err == nil {
		err = json.Unmarshal(text, &all)
	}
	if err != nil || len(all) != len(tasks) {
		r.Fatalf("%d results of %d: %v\n%s", len(all), len(tasks), err, out)
	}
	return all
}

// program is the path of supervisorctl.
func (s *supervised) program() string {
	if s.name == "tideover" {
		return s.path("supervisorctl")
	}
	return s.env.Venv(s.name, "supervisorctl")
}

// What a minion of Salt and a playbook of Ansible get from supervisorctl, unmodified or tideover's own,
// is what they get with supervisord.
func TestAnsibleAndSaltGetWhatTheyGetWithSupervisord(t *testing.T) {
	r := begin(t)
	tasks := ansibleTasks
	all := []*supervised{startSupervisord(r), startImported(r, "own")}
	all[1].own()
	if *full {
		all = append(all, startImported(r, "imported"))
	} else {
		tasks = slices.DeleteFunc(slices.Clone(tasks), func(task ansibleTask) bool { return task.full })
	}
	_, salt := r.module("salt", "salt/modules/supervisord.py")
	script, err := filepath.Abs("testdata/salt_supervisord.py")
	r.must(err)
	said, results := make([][]string, len(all)), make([][]ansibleResult, len(all))
	each(all, func(i int, s *supervised) {
		s.settle()
		cmd := exec.CommandContext(r.timeout(4*time.Minute), r.env.Venv("supervisor", "python"), script, salt, s.program(), s.path("supervisord.conf"))
		out, err := cmd.CombinedOutput()
		if err != nil {
			s.Errorf("%v: %s", err, out)
		}
		said[i] = strings.Split(normalised(string(out), false), "\n")
		s.settle()
		results[i] = r.runAnsible(s.dir, map[string]any{"config": s.path("supervisord.conf"), "supervisorctl_path": s.program()}, tasks)
	})
	for i, s := range all {
		for j, line := range said[0] {
			if j >= len(said[i]) || said[i][j] != line {
				s.Errorf("salt with %s:\n%v\nwith supervisord:\n%s", s.name, said[i][min(j, len(said[i])-1)], line)
			}
		}
		for j, task := range tasks {
			got, want := results[i][j], results[0][j]
			if got.is() != task.want || got.String() != want.String() {
				s.Errorf("ansible: %v check=%v (%s): want %s\n%v\nwith supervisord:\n%v", task.arguments, task.check, s.name, task.want, got, want)
			}
		}
	}
	r.addNumbers("calls=%d tasks=%d", len(said[0])-1, len(tasks))
	each(all, func(_ int, s *supervised) { s.ctl("shutdown") })
	r.must(testenv.Poll(r.timeout(60*time.Second), 200*time.Millisecond, func() error {
		if left := r.env.AppProcesses(); len(left) > 0 {
			return fmt.Errorf("left: %v", left)
		}
		return nil
	}))
}

// state=restarted is an update and a restart by supervisorctl. Under load nothing is lost.
func TestAnsibleRestartsUnderLoadWithoutALoss(t *testing.T) {
	r := begin(t)
	socket := r.env.Path("supervisor.sock")
	s := newFixture(r, setup{release: testenv.Release{Number: 1, Import: 0.5}, gunicorn: testenv.Gunicorn{Workers: 2}, config: "[daemon]\nsupervisor_socket = \"" + socket + "\"\n"})
	own := r.env.Path("supervisorctl")
	r.must(os.Symlink(testenv.Binary(r.env.Root), own))
	s.startLoad(50)
	tasks := slices.Repeat([]ansibleTask{{arguments: "name=" + s.daemon.App + " state=restarted", want: "changed"}}, fullTimes(1, 25))
	for _, program := range []string{r.env.Venv("supervisor", "supervisorctl"), own} {
		for i, result := range r.runAnsible(r.env.Dir, map[string]any{"server_url": "unix://" + socket, "supervisorctl_path": program}, tasks) {
			if result.is() != tasks[i].want {
				s.Errorf("%s: %v", program, result)
			}
		}
	}
	s.waitGeneration(2*len(tasks) + 1)
	tally := s.load.Stop()
	s.addNumbers("restarts=%d requests=%d", 2*len(tasks), tally.Ended)
	s.checkNothingLost(tally)
	s.checkNothingTwice(s.app)
	r.must(s.daemon.Stop(syscall.SIGTERM, 40*time.Second))
	r.checkNoneLeft()
}

// twentyPrograms are those of a host, beside the program shop: lines of supervisord.conf after the
// section of shop. Ansible knows them by these names.
func twentyPrograms(dir string) (lines, names []string) {
	names = []string{"shop", "mail:", "queue:"}
	lines = []string{"stopwaitsecs=40",
		"[program:queue]", "command=sleep 1000", "numprocs=3", "process_name=%(program_name)s_%(process_num)02d", "stopsignal=INT",
		"[program:mail-in]", "command=sh -c \"echo in; exec sleep 1000\"", "redirect_stderr=true", "stdout_logfile=" + dir + "/mail-in.log",
		"[program:mail-out]", "command=sleep 1000", "environment=WAY=\"out\",PERCENT=\"%%\"",
		"[group:mail]", "programs=mail-in,mail-out"}
	for i := range 16 {
		name := fmt.Sprintf("worker-%02d", i)
		more := []string{"startsecs=0", "priority=" + fmt.Sprint(i), "autorestart=unexpected", "stopasgroup=true", "directory=/"}[i%5]
		names = append(names, name)
		lines = append(lines, "[program:"+name+"]", "command=sleep 1000", more)
	}
	return lines, names
}

// hostPlaybook is a playbook of a host that has supervisord.
const hostPlaybook = `- hosts: localhost
  gather_facts: false
  module_defaults:
    community.general.supervisorctl:
      config: %[1]s/supervisord.conf
  tasks:
    - name: configuration of supervisord
      ansible.builtin.copy:
        content: "{{ lookup('file', '%[1]s/supervisord.conf.repository', rstrip=false) }}"
        dest: %[1]s/supervisord.conf
    - name: everything is there
      community.general.supervisorctl:
        name: "{{ item }}"
        state: present
      loop: %[2]s
    - name: everything runs
      community.general.supervisorctl:
        name: "{{ item }}"
        state: started
      loop: %[3]s
`

// A host with 20 programs moves. When supervisord ends, supervisorctl with the old configuration
// reaches tideover, which does not take itself for a supervisord to move back to. The playbook of the
// host, unchanged, has nothing to do, with supervisorctl and with tideover in its place.
func TestTheUnchangedPlaybookOfAMovedHostChangesNothing(t *testing.T) {
	r := begin(t)
	shop, err := r.env.NewApp("shop", testenv.Release{Number: 1})
	r.must(err)
	address, err := testenv.Address()
	r.must(err)
	for _, link := range []string{"bin/tideover", "own/supervisorctl"} {
		r.must(os.MkdirAll(filepath.Dir(r.env.Path(link)), 0o755))
		r.must(os.Symlink(testenv.Binary(r.env.Root), r.env.Path(link)))
	}
	lines, names := twentyPrograms(r.env.Dir)
	supervisord, err := r.env.Supervisord(shop, testenv.Gunicorn{Bind: address, Workers: 1}.Argv(r.env), lines...)
	r.must(err)
	client := &loadgen.Client{Address: address, Prefix: "n"}
	r.must(waitAnswer(r, client))
	m := &move{supervisord: supervisord, fixture: &fixture{row: r, app: shop, client: client}, vars: []string{"PATH=" + r.env.Path("bin") + ":" + os.Getenv("PATH"), "TIDEOVER_SOCKET=" + r.env.Path("control.sock")}}

	present, started := []string{"mail:"}, []string{"all"}
	if *full {
		present, started = names, append(names, "all", "queue:queue_01", "mail:mail-in")
	}
	configuration, err := os.ReadFile(r.env.Path("supervisord.conf"))
	r.must(err)
	_, err = r.env.Write("supervisord.conf.repository", string(configuration))
	r.must(err)
	quote := func(names []string) string {
		text, err := json.Marshal(names)
		r.must(err)
		return string(text)
	}
	playbook, err := r.env.Write("site.yml", fmt.Sprintf(hostPlaybook, r.env.Dir, quote(present), quote(started)))
	r.must(err)
	nothingToDo := func(when, bin string) {
		t.Helper()
		if counts, out := r.ansible(playbook, "PATH="+bin+":"+os.Getenv("PATH")); !strings.Contains(counts, "ok=3 changed=0 unreachable=0 failed=0") {
			t.Errorf("%s: %s\n%s", when, counts, out)
		}
	}
	python := filepath.Dir(r.env.Venv("supervisor", "supervisorctl"))
	statuses := func() string { // its exit code says whether all run
		out, _ := exec.CommandContext(r.timeout(time.Minute), filepath.Join(python, "supervisorctl"), "-c", r.env.Path("supervisord.conf"), "status").CombinedOutput()
		return regexp.MustCompile(`pid \d+, uptime \S+`).ReplaceAllString(string(out), "")
	}
	settled := func(count int) string {
		t.Helper()
		var out string
		r.must(testenv.Poll(r.timeout(40*time.Second), 200*time.Millisecond, func() error {
			if out = statuses(); strings.Count(out, "RUNNING") != count {
				return fmt.Errorf("not %d processes run: %s", count, out)
			}
			return nil
		}))
		return out
	}
	const processes = 1 + 3 + 2 + 16
	before := settled(processes)
	if *full {
		nothingToDo("with supervisord", python)
	}

	m.startLoad(20)
	said := m.move()
	if !strings.Contains(said, fmt.Sprintf("end it: kill %d", supervisord.Pid())) {
		t.Errorf("it is not said that supervisord is to be ended:\n%s", said)
	}
	r.must(supervisord.Stop(syscall.SIGTERM, 40*time.Second))
	if after := settled(processes); after != before {
		t.Errorf("status after the move:\n%s\nbefore:\n%s", after, before)
	}
	if out, err := supervisord.Ctl("restart", "shop"); err != nil || out != "shop: stopped\nshop: started\n" {
		t.Errorf("restart by the old configuration: %v\n%s", err, out)
	}
	if code, said := m.run(m.command("--back")); code == 0 || !strings.Contains(said, "tideover itself answers on") {
		t.Errorf("a move back without a supervisord: exit %d\n%s", code, said)
	}
	nothingToDo("with tideover", python)
	nothingToDo("with tideover as supervisorctl", r.env.Path("own"))
	tally := m.load.Stop()
	m.addNumbers("programs=20 requests=%d", tally.Ended)
	m.checkNothingLost(tally)
	m.checkNothingTwice(shop)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if out, err := exec.CommandContext(ctx, r.env.Path("own/supervisorctl"), "-c", r.env.Path("supervisord.conf"), "shutdown").CombinedOutput(); err != nil {
		t.Errorf("shutdown: %v %s", err, out)
	}
	r.must(testenv.Poll(r.timeout(60*time.Second), 200*time.Millisecond, func() error {
		if left := r.env.AppProcesses(); len(left) > 0 {
			return fmt.Errorf("left: %v", left)
		}
		return nil
	}))
}
