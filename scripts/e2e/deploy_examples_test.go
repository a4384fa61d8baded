//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"io/fs"
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

// The user that deploys. Only the sshd of a row has it in its passwd.
const (
	deployUID = 4712
	deployGID = 4711
)

// deployHost is a machine as examples/deploy describes it, with a directory of the row in the place of
// /srv/shop, and a git repository with the code.
type deployHost struct {
	*exampleApp
	srv   string
	code  string
	owner *syscall.Credential // of releases; nil: the user of the test, which is not root
}

// page is what each release answers.
var page = loadgen.Kind{Name: "page", Path: "/", Plain: true, Want: "shop, release "}

const shopModule = `RELEASE = %d


def app(environ, start_response):
    body = b"shop, release %%d\n" %% RELEASE
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
`

// newDeployHost starts a daemon with release 0, and a load.
func newDeployHost(r *row) *deployHost {
	r.Helper()
	h := prepareDeployHost(r)
	h.start("shop", page)
	h.startLoad()
	return h
}

func prepareDeployHost(r *row) *deployHost {
	r.Helper()
	h := &deployHost{exampleApp: copyExample(r, "deploy"), srv: r.env.Path("srv"), code: r.env.Path("code")}
	group := os.Getegid()
	if os.Geteuid() == 0 {
		h.owner, group = &syscall.Credential{Uid: deployUID, Gid: deployGID}, deployGID
	}
	for _, dir := range []string{h.srv, h.srv + "/releases", h.srv + "/releases/0", h.code, r.env.Path("home"), r.env.Path("bin")} {
		r.must(os.MkdirAll(dir, 0o755))
	}
	r.must(os.WriteFile(h.srv+"/releases/0/shop.py", fmt.Appendf(nil, shopModule, 0), 0o644))
	r.must(os.Symlink(h.srv+"/releases/0", h.srv+"/current"))
	h.replaceEverywhere("/srv/shop", h.srv)
	r.must(os.Rename(filepath.Join(h.dir, "activate"), h.srv+"/activate"))

	binary := r.env.Path("bin/tideover") // where it was built may be closed to the deploy user
	content, err := os.ReadFile(testenv.Binary(r.env.Root))
	r.must(err)
	r.must(os.WriteFile(binary, content, 0o755))
	deployBin := filepath.Dir(r.env.Venv("deploy", "python"))
	h.vars = []string{"HOME=" + r.env.Path("home"), "PATH=" + strings.Join([]string{r.env.Path("bin"), filepath.Dir(r.env.Venv("examples", "python")), deployBin, os.Getenv("PATH"), "/usr/sbin"}, ":"),
		"GIT_CONFIG_GLOBAL=" + r.env.Path("home/.gitconfig"), "GIT_CONFIG_NOSYSTEM=1", "LC_ALL=C.UTF-8"}
	_, err = r.env.Write("home/.gitconfig", "[user]\n\tname = a\n\temail = a@example.org\n[safe]\n\tdirectory = *\n[init]\n\tdefaultBranch = main\n")
	r.must(err)
	h.must(exec.Command("git", "init", "-q", "-b", "main", h.code).Run())
	h.chown()

	h.replace("tideover.toml", "venv/bin/gunicorn", "gunicorn")
	h.replace("tideover.toml", `user      = "www-data"`, "")
	h.replace("tideover.toml", `"deploy"`, fmt.Sprintf("%q", fmt.Sprint(group)))
	return h
}

func (h *deployHost) startLoad() {
	h.load = loadgen.Start(loadgen.Plan{Client: h.client, Rate: 20, Mix: []loadgen.Kind{page}})
}

// replaceEverywhere changes all files of the example.
func (h *deployHost) replaceEverywhere(old, new string) {
	h.Helper()
	h.must(filepath.WalkDir(h.dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		if err == nil && strings.Contains(string(text), old) {
			err = os.WriteFile(path, []byte(strings.ReplaceAll(string(text), old, new)), 0)
		}
		return err
	}))
}

// chown gives the releases and the code to the user that deploys.
func (h *deployHost) chown() {
	h.Helper()
	if h.owner == nil {
		return
	}
	for _, root := range []string{h.srv, h.code} {
		h.must(filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
			if err == nil {
				err = os.Lchown(path, deployUID, deployGID)
			}
			return err
		}))
	}
}

// commit makes a commit with this release; with broken, one that does not start.
func (h *deployHost) commit(release int, broken bool) {
	h.Helper()
	text := fmt.Sprintf(shopModule, release)
	if broken {
		text = "import nothing_of_this_name\n" + text
	}
	h.must(os.WriteFile(filepath.Join(h.code, "shop.py"), []byte(text), 0o644))
	if exit, out := h.in(h.code, nil, "git", "add", "."); exit != 0 {
		h.Fatal(out)
	}
	if exit, out := h.in(h.code, nil, "git", "commit", "-q", "--allow-empty", "-m", fmt.Sprint("release ", release)); exit != 0 {
		h.Fatal(out)
	}
	h.chown()
}

// in runs a program in dir; with user, as that one.
func (h *deployHost) in(dir string, user *syscall.Credential, argv ...string) (exit int, output string) {
	h.Helper()
	cmd := exec.CommandContext(h.timeout(4*time.Minute), "env", append(append(h.vars, "TIDEOVER_SOCKET="+h.env.Path("control.sock")), argv...)...)
	cmd.Dir, cmd.SysProcAttr = dir, &syscall.SysProcAttr{Credential: user}
	cmd.WaitDelay = time.Second // a child that outlives it may hold its output
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		h.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

// serves fails the row when another release answers.
func (h *deployHost) serves(release int) {
	h.Helper()
	if a := h.client.Do(h.Context(), page); string(a.Body) != fmt.Sprintf("shop, release %d\n", release) {
		h.Errorf("want release %d: %s %s %q", release, a.Loss, a.Cause, a.Body)
	}
}

// failure is how a tool ends when `tideover reload` ends with 7 or 8.
type failure struct{ kept, down int }

// deployTool deploys the last commit.
type deployTool func() (exit int, output string)

// checkDeploys deploys with one tool: releases that start, some that do not, and one while nothing
// serves.
func (h *deployHost) checkDeploys(want failure, deploy deployTool) {
	h.Helper()
	release := h.deployUnderLoad(want.kept, deploy)
	h.deployWhileDown(want.down, deploy)
	h.deployRelease(release+1, deploy)
	h.stop()
}

func (h *deployHost) deployRelease(release int, deploy deployTool) {
	h.Helper()
	h.commit(release, false)
	if exit, out := deploy(); exit != 0 {
		h.Fatalf("deploy: exit %d\n%s", exit, out)
	}
	h.serves(release)
}

// deployBroken deploys a release that does not start: the tool ends with exit and shows why, and
// `current` is what it was.
func (h *deployHost) deployBroken(exit int, words string, deploy deployTool) {
	h.Helper()
	h.commit(99, true)
	before := h.current()
	got, out := deploy()
	if got != exit || !strings.Contains(out, words) || !strings.Contains(out, "No module named 'nothing_of_this_name'") {
		h.Errorf("want exit %d, and %q with the last lines of the new code: exit %d\n%s", exit, words, got, out)
	}
	if now := h.current(); now != before {
		h.Errorf("current is %s after a failed deploy, was %s", now, before)
	}
}

func (h *deployHost) current() string {
	h.Helper()
	target, err := os.Readlink(h.srv + "/current")
	h.must(err)
	return target
}

// deployUnderLoad returns the number of the release that serves in the end. In between the app is
// restarted and killed.
func (h *deployHost) deployUnderLoad(kept int, deploy deployTool) (release int) {
	h.Helper()
	for range times(1) {
		release++
		h.event("a deploy", func() { h.deployRelease(release, deploy) })
		h.event("a broken deploy", func() { h.deployBroken(kept, "exit 7 (kept old)", deploy) })
		h.serves(release)
		h.exits(0, "restart", "shop")
		h.killMain()
		h.serves(release)
	}
	tally := h.load.Stop()
	h.checkNothingLost(tally)
	h.measure(tally)
	h.addNumbers("events=%d %v", h.events, tally)
	return release
}

// deployWhileDown breaks the release that serves, kills the app, and deploys another broken one.
func (h *deployHost) deployWhileDown(down int, deploy deployTool) {
	h.Helper()
	h.must(os.WriteFile(h.current()+"/shop.py", []byte("import nothing_of_this_name\n"), 0o644))
	status, err := h.daemon.Status(h.timeout(10 * time.Second))
	h.must(err)
	h.must(syscall.Kill(status.Pid, syscall.SIGKILL))
	h.must(testenv.Poll(h.timeout(30*time.Second), 20*time.Millisecond, func() error {
		now, err := h.daemon.Status(h.timeout(10 * time.Second))
		if err == nil && (now.Generation == status.Generation || now.State == "running") {
			err = fmt.Errorf("%s in generation %d", now.State, now.Generation)
		}
		return err
	}))
	h.deployBroken(down, "exit 8 (down)", deploy)
}

// sshd starts an ssh server that knows the user deploy, and puts an `ssh` on PATH that finds it
// under any name. Without a mount namespace the user is the one that runs the test.
func (h *deployHost) sshd() (user, config string) {
	h.Helper()
	dir := h.env.Path("ssh")
	h.must(os.MkdirAll(dir, 0o755))
	for _, key := range []string{"host", "user"} {
		if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", key, "-f", filepath.Join(dir, key)).CombinedOutput(); err != nil {
			h.Fatalf("%v\n%s", err, out)
		}
	}
	port, err := testenv.Port()
	h.must(err)
	write := func(name, text string) string {
		h.Helper()
		path, err := h.env.Write("ssh/"+name, text)
		h.must(err)
		return path
	}
	read := func(path string) string {
		text, err := os.ReadFile(path)
		h.must(err)
		return string(text)
	}
	path, _ := strings.CutPrefix(h.vars[1], "PATH=")
	server := write("sshd_config", fmt.Sprintf(`ListenAddress 127.0.0.1
Port %d
HostKey %s/host
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
AuthorizedKeysFile %s/user.pub
Subsystem sftp internal-sftp
SetEnv PATH=%s TIDEOVER_SOCKET=%s
`, port, dir, dir, path, h.env.Path("control.sock")))
	known := write("known_hosts", fmt.Sprintf("* %s", read(dir+"/host.pub")))
	config = write("config", fmt.Sprintf(`Host *
    HostName 127.0.0.1
    Port %d
    IdentityFile %s/user
    IdentitiesOnly yes
    UserKnownHostsFile %s
`, port, dir, known))
	h.must(os.WriteFile(h.env.Path("bin/ssh"), []byte("#!/bin/sh\nexec /usr/bin/ssh -F "+config+" \"$@\"\n"), 0o755))

	script := "exec /usr/sbin/sshd -D -e -f " + server
	out, err := exec.Command("id", "-un").Output()
	h.must(err)
	user = strings.TrimSpace(string(out))
	if h.owner != nil {
		h.must(os.MkdirAll("/run/sshd", 0o755)) // Debian's is made by its service
		write("passwd", read("/etc/passwd")+fmt.Sprintf("deploy:x:%d:%d::%s:/bin/sh\n", deployUID, deployGID, h.env.Path("home")))
		write("group", read("/etc/group")+fmt.Sprintf("deploy:x:%d:\n", deployGID))
		write("shadow", "deploy:*:19000:0:99999:7:::\n")
		mounts := fmt.Sprintf("for f in passwd group shadow; do mount --bind %s/$f /etc/$f; done", dir)
		if exec.Command("unshare", "--mount", "sh", "-ec", mounts).Run() == nil {
			script, user = mounts+"; "+script, "deploy"
		}
	}
	argv := []string{"sh", "-ec", script}
	if user == "deploy" {
		argv = append([]string{"unshare", "--mount"}, argv...)
	}
	p, err := h.env.Start(testenv.Command{Name: "sshd", Argv: argv})
	h.must(err)
	h.must(testenv.Poll(h.timeout(20*time.Second), 50*time.Millisecond, func() error {
		if exit, out := h.in("/", nil, "ssh", user+"@shop.example.com", "true"); exit != 0 {
			return fmt.Errorf("ssh: exit %d %s\n%s", exit, out, p.Tail(10))
		}
		return nil
	}))
	h.addNumbers("user=%s", user)
	return user, config
}

// The hook as post-receive shows why a release is not in service, and as pre-receive it refuses it.
func TestExampleDeployByGit(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]failure{"post-receive": {0, 0}, "pre-receive": {1, 1}} {
		t.Run(name, func(t *testing.T) {
			r := begin(t)
			h := newDeployHost(r)
			repository := h.srv + "/repo.git"
			if exit, out := h.in("/", nil, "git", "init", "-q", "--bare", repository); exit != 0 {
				h.Fatal(out)
			}
			hook, err := os.ReadFile(filepath.Join(h.dir, "git/post-receive"))
			h.must(err)
			h.must(os.WriteFile(filepath.Join(repository, "hooks", name), hook, 0o755))
			h.checkDeploys(want, func() (int, string) {
				return h.in(h.code, h.owner, "git", "push", "-f", repository, "main")
			})
		})
	}
}

func TestExampleDeployOverSSH(t *testing.T) {
	r := begin(t)
	h := newDeployHost(r)
	user, _ := h.sshd()
	if exit, out := h.in("/", nil, "ssh", user+"@shop.example.com", "tideover restart shop"); user == "deploy" && exit != 4 {
		h.Errorf("the deploy user restarts: exit %d\n%s", exit, out)
	}
	h.checkDeploys(failure{7, 8}, func() (int, string) {
		return h.in(h.code, nil, filepath.Join(h.dir, "ssh/deploy.sh"), user+"@shop.example.com")
	})
}

func TestExampleDeployByFabric(t *testing.T) {
	r := begin(t)
	h := newDeployHost(r)
	user, config := h.sshd()
	h.checkDeploys(failure{7, 8}, func() (int, string) {
		return h.in(h.code, nil, "fab", "-r", filepath.Join(h.dir, "fabric"), "-S", config, "-H", user+"@shop.example.com", "deploy")
	})
}

// Capistrano's log says what it has done; a rollback puts the release before into service.
func TestExampleDeployByCapistrano(t *testing.T) {
	r := begin(t)
	h := newDeployHost(r)
	user, _ := h.sshd()
	h.replace("capistrano/config/deploy.rb", "git@git.example.com:shop.git", h.code)
	h.replace("capistrano/config/deploy/production.rb", `server "shop.example.com", user: "deploy"`,
		fmt.Sprintf(`server "127.0.0.1", user: %q, ssh_options: { config: %q, keys: [%q] }`, user, h.env.Path("ssh/config"), h.env.Path("ssh/user")))
	cap := func(task string) (int, string) {
		return h.in(filepath.Join(h.dir, "capistrano"), nil, "cap", "production", task)
	}
	h.event("a rollback", func() {
		h.commit(40, false)
		if exit, out := cap("deploy"); exit != 0 {
			h.Fatalf("deploy: exit %d\n%s", exit, out)
		}
		h.serves(40)
		if exit, out := cap("deploy:rollback"); exit != 0 {
			h.Fatalf("rollback: exit %d\n%s", exit, out)
		}
		h.serves(0)
	})
	h.checkDeploys(failure{1, 1}, func() (int, string) { return cap("deploy") })
}

// A task is changed when the new code answers, and failed with each other exit code. A run that has
// nothing to do, and one with --check, changes nothing.
func TestExampleDeployByAnsible(t *testing.T) {
	r := begin(t)
	h := newDeployHost(r)
	configuration, err := os.ReadFile(filepath.Join(h.dir, "tideover.toml"))
	h.must(err)
	h.must(os.WriteFile(filepath.Join(h.dir, "ansible/templates/tideover.toml.j2"), configuration, 0o644))
	h.vars = append(h.vars, "ANSIBLE_HOME="+h.env.Path("ansible"), "ANSIBLE_LOCAL_TEMP="+h.env.Path("ansible/local"), "ANSIBLE_REMOTE_TEMP="+h.env.Path("ansible/remote"),
		"ANSIBLE_NOCOLOR=1", "ANSIBLE_LOCALHOST_WARNING=0")
	binary := h.env.Path("bin/tideover")
	n := 0
	play := func(playbook string, more ...string) (int, string) {
		h.Helper()
		return h.in(filepath.Join(h.dir, "ansible"), nil, append([]string{"ansible-playbook", "-i", "inventory.ini", "-c", "local", playbook,
			"-e", "ansible_python_interpreter=" + h.env.Venv("deploy", "python"),
			"-e", "repository=" + h.code, "-e", fmt.Sprint("release=r", n), "-e", "tideover_service=false", "-e", "tideover_path=" + binary,
			"-e", "tideover_config_path=" + filepath.Join(h.dir, "tideover.toml")}, more...)...)
	}
	recap := func(what, counts string, exit int, out string) {
		h.Helper()
		_, last, _ := strings.Cut(out, "PLAY RECAP")
		if exit != 0 || !strings.Contains(strings.Join(strings.Fields(last), " "), counts) {
			h.Errorf("%s: want %s, exit %d\n%s", what, counts, exit, out)
		}
	}
	template := func(old, new string) {
		h.Helper()
		text := strings.Replace(string(configuration), old, new, 1)
		h.must(os.WriteFile(filepath.Join(h.dir, "ansible/templates/tideover.toml.j2"), []byte(text), 0o644))
	}
	h.commit(50, false)
	template("-w 2", "-w 3")
	h.event("--check", func() {
		exit, out := play("site.yml", "--check")
		recap("--check", "changed=4 unreachable=0 failed=0", exit, out) // template, code, link, reload
		h.serves(0)
		if _, err := os.Stat(h.srv + "/releases/r0"); err == nil {
			h.Error("--check has sent the release")
		}
	})
	h.event("the first deploy, and the same again", func() {
		exit, out := play("site.yml", "-e", "tideover_binary="+testenv.Binary(h.env.Root))          // the one that is there
		recap("a deploy with another configuration", "changed=5 unreachable=0 failed=0", exit, out) // and apply
		h.serves(50)
		exit, out = play("site.yml")
		recap("the same again", "changed=0 unreachable=0 failed=0", exit, out)
	})
	h.event("a configuration with a fault", func() {
		template("command", "comand")
		if exit, out := play("site.yml"); exit != 2 || !strings.Contains(out, "comand") {
			h.Errorf("want exit 2: exit %d\n%s", exit, out)
		}
		if now, err := os.ReadFile(filepath.Join(h.dir, "tideover.toml")); err != nil || !strings.Contains(string(now), "-w 3") || strings.Contains(string(now), "comand") {
			h.Errorf("it is installed: %v\n%s", err, now)
		}
		template("-w 2", "-w 3")
	})
	h.must(os.WriteFile(filepath.Join(h.dir, "ansible/reload.yml"), []byte(`- hosts: shop
  gather_facts: false
  tasks:
    - ansible.builtin.include_role: {name: tideover, tasks_from: reload}
`), 0o644))
	deploy := func() (int, string) {
		n++
		return play("site.yml")
	}
	if *full {
		h.checkDeploys(failure{2, 2}, deploy)
		return
	}
	h.deployUnderLoad(2, deploy)
	h.stop()
}

// The shell steps of the workflow, in the order and with the shell of GitHub; its syntax is judged
// by actionlint.
func TestExampleDeployByGitHubActions(t *testing.T) {
	r := begin(t)
	h := newDeployHost(r)
	user, _ := h.sshd()
	workflow := filepath.Join(h.dir, "github-actions/deploy.yml")
	lint := exec.Command("go", "tool", "-modfile=scripts/tools/go.mod", "actionlint", "-shellcheck=", "-pyflakes=", workflow, ".github/workflows/package.yml", ".github/workflows/test.yml")
	lint.Dir = h.env.Root
	if out, err := lint.CombinedOutput(); err != nil {
		h.Errorf("actionlint: %v\n%s", err, out)
	}
	exit, out := h.in("/", nil, h.env.Venv("deploy", "python"), "-c", "import json, sys, yaml; print(json.dumps(yaml.safe_load(open(sys.argv[1]))['jobs']['deploy']))", workflow)
	if exit != 0 {
		h.Fatal(out)
	}
	var job struct {
		Env   map[string]string
		Steps []struct {
			Name, Uses, Run string
			Env             map[string]string
		}
	}
	h.must(json.Unmarshal([]byte(out), &job))
	key, err := os.ReadFile(h.env.Path("ssh/user"))
	h.must(err)
	known, err := os.ReadFile(h.env.Path("ssh/known_hosts"))
	h.must(err)
	runs := 0
	deploy := func() (int, string) {
		runs++
		expressions := strings.NewReplacer("${{ github.run_id }}", "4242", "${{ github.run_attempt }}", fmt.Sprint(runs),
			"${{ secrets.DEPLOY_KEY }}", strings.TrimSpace(string(key)), "${{ vars.KNOWN_HOSTS }}", strings.TrimSpace(string(known)),
			"deploy@shop.example.com", user+"@shop.example.com")
		all, ran := "", 0
		for _, step := range job.Steps {
			if step.Run == "" {
				continue // actions/checkout: the steps run where the code is
			}
			ran++
			script, err := h.env.Write("step.sh", expressions.Replace(step.Run))
			h.must(err)
			argv := []string{"GITHUB_STEP_SUMMARY=" + h.env.Path("summary.md")}
			for _, vars := range []map[string]string{job.Env, step.Env} {
				for name, value := range vars {
					argv = append(argv, name+"="+expressions.Replace(value))
				}
			}
			exit, out := h.in(h.code, nil, append([]string{"env"}, append(argv, "bash", "--noprofile", "--norc", "-eo", "pipefail", script)...)...)
			all += out
			if exit != 0 {
				summary, err := os.ReadFile(h.env.Path("summary.md"))
				if err != nil || !strings.Contains(string(summary), "nothing_of_this_name") {
					h.Errorf("the summary of the run does not show why: %v\n%s", err, summary)
				}
				return exit, all
			}
		}
		if ran < 3 {
			h.Errorf("the workflow has %d shell steps", ran)
		}
		return 0, all
	}
	h.must(os.WriteFile(filepath.Join(h.code, ".gitignore"), []byte("activate.log\n"), 0o644))
	h.checkDeploys(failure{7, 8}, deploy)
}

// The unit's own commands, with the socket that systemd passes: `systemctl reload` fails when
// ExecReload does, and what that writes goes to the journal.
func TestExampleDeployBySystemd(t *testing.T) {
	r := begin(t)
	h := prepareDeployHost(r)
	unit, err := os.ReadFile(filepath.Join(r.env.Root, "examples/systemd/one-app/shop.service"))
	r.must(err)
	setting := func(name string) []string {
		r.Helper()
		found := regexp.MustCompile(`(?m)^` + name + `=(.*)$`).FindSubmatch(unit)
		if found == nil {
			r.Fatalf("the unit has no %s=", name)
		}
		return strings.Fields(strings.NewReplacer("/usr/local/bin/tideover", r.env.Path("bin/tideover"), "/srv/shop/venv/bin/gunicorn", r.env.Venv("examples", "gunicorn"),
			"/srv/shop", h.srv, "shop.wsgi", "--preload shop:app", "systemd:shop", "systemd:web").Replace(string(found[1])))
	}
	start, reload := setting("ExecStart"), setting("ExecReload")
	address, err := testenv.Address()
	r.must(err)
	h.binary, err = r.env.Write("systemd", fmt.Sprintf(activate, r.env.Venv("examples", "python"), address, start[0]))
	r.must(err)
	r.must(os.Chmod(h.binary, 0o755))
	h.daemon, err = r.env.Tideover(&testenv.App{Dir: h.srv + "/current"}, testenv.RunOptions{Name: "shop", Binary: h.binary, Flags: start[2:], Env: append(h.vars, "PWD="+h.srv+"/current")})
	r.must(err)
	h.client = &loadgen.Client{Address: address}
	r.must(waitAnswerTo(r, h.client, page))
	h.startLoad()
	n := 0
	h.checkDeploys(failure{7, 8}, func() (int, string) {
		n++
		release := fmt.Sprintf("%s/releases/r%d", h.srv, n)
		before, err := os.Readlink(h.srv + "/current")
		h.must(err)
		script := `mkdir "$1" && git archive HEAD | tar -x -C "$1" && ln -sfn "$1" "$2/current"`
		if exit, out := h.in(h.code, h.owner, "sh", "-c", script, "sh", release, h.srv); exit != 0 {
			h.Fatal(out)
		}
		exit, out := h.in("/", nil, reload...)
		if exit != 0 {
			h.in("/", h.owner, "ln", "-sfn", before, h.srv+"/current")
		}
		return exit, out
	})
}
