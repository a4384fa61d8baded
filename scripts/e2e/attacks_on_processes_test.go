//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tideover/scripts/testenv"
)

// startTime is when a process began, in clock ticks since boot; "" if there is none.
// A zombie counts as none.
func startTime(pid int) string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	_, after, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(after)
	if len(fields) < 20 || fields[0] == "Z" {
		return ""
	}
	return fields[19]
}

// bystanders are processes that are not the daemon's: pid to start time.
type bystanders map[int]string

// add adds a process, and waits until it exists: its pid is in a file.
func (b bystanders) add(a *attack, pidFile string) int {
	a.Helper()
	pid := 0
	a.must(testenv.Poll(a.timeout(10*time.Second), 5*time.Millisecond, func() error {
		text, err := os.ReadFile(pidFile)
		if err != nil {
			return err
		}
		pid, err = strconv.Atoi(strings.TrimSpace(string(text)))
		if err == nil && startTime(pid) == "" {
			err = fmt.Errorf("process %d has ended", pid)
		}
		return err
	}))
	b[pid] = startTime(pid)
	a.Cleanup(func() { syscall.Kill(pid, syscall.SIGKILL) })
	return pid
}

// checkAlive fails the row when one of them has ended.
func (b bystanders) checkAlive(a *attack, after string) {
	a.Helper()
	dead := 0
	for pid, began := range b {
		if startTime(pid) != began {
			dead++
			delete(b, pid)
		}
	}
	if dead > 0 {
		a.Errorf("%s killed %d processes that are not the app's", after, dead)
	}
}

// copyMarks gives a process of the app's user what the processes of the app have:
// their limits. It is not told which of them mean something.
func (a *attack) copyMarks(from, to int) error {
	return a.as(appUser, func() error {
		var limit unix.Rlimit
		return errors.Join(unix.Prlimit(from, unix.RLIMIT_LOCKS, nil, &limit), unix.Prlimit(to, unix.RLIMIT_LOCKS, &limit, nil))
	})
}

// mark is copyMarks as soon as the process has become one of the app's user.
func (a *attack) mark(from, to int) {
	a.Helper()
	a.must(testenv.Poll(a.timeout(10*time.Second), 5*time.Millisecond, func() error { return a.copyMarks(from, to) }))
}

// A session of root in which something runs as the app's user (su, sudo -u) outlives
// every operation on the app, whatever that user does with its own processes there.
func TestNoProcessOutsideOfTheAppIsKilled(t *testing.T) {
	a := newAttack(begin(t))
	a.start(`
[app.shop]
command = "sleep 100000"
directory = "{srv}"
user = "www-data"
ready.after = "10ms"
`, "shop")
	app := a.waitRunning("shop", 1).Pid
	// The script is the app's: it takes on the environment of the app's own process.
	var environ []byte
	a.must(a.as(appUser, func() (err error) {
		environ, err = os.ReadFile(fmt.Sprintf("/proc/%d/environ", app))
		return err
	}))
	script := "#!/bin/sh\nexec env -i"
	for _, pair := range strings.Split(strings.TrimSuffix(string(environ), "\x00"), "\x00") {
		script += " '" + strings.ReplaceAll(pair, "'", `'\''`) + "'"
	}
	a.write(filepath.Join(a.srv, "deploy.sh"), appUser, 0o755, script+" sleep 5000\n")
	others := bystanders{}
	session := func(name, member string) int {
		a.Helper()
		_, err := a.env.Start(testenv.Command{Name: name, Argv: []string{"setsid", "sh", "-c",
			a.fill("echo $$ > {dir}/" + name + ".pid; setpriv --reuid=33 --regid=33 --clear-groups " + member +
				" & echo $! > {dir}/" + name + "-member.pid; sleep 5001 & wait")}})
		a.must(err)
		others.add(a, a.env.Path(name+".pid"))
		return others.add(a, a.env.Path(name+"-member.pid"))
	}
	a.mark(app, session("limits", "sleep 5000"))
	session("environment", filepath.Join(a.srv, "deploy.sh"))
	a.mark(app, session("both", filepath.Join(a.srv, "deploy.sh")))
	count := len(others)
	for generation, verb := range []string{"restart", "reload", "stop", "start"} {
		a.wants(0, 30*time.Second, verb, "shop")
		others.checkAlive(a, verb)
		if verb == "restart" || verb == "reload" {
			app = a.waitRunning("shop", generation+2).Pid
			for pid := range others {
				a.copyMarks(app, pid) // refused for root's
			}
		}
	}
	// Another daemon looks for what the one that was killed has left behind.
	app = a.waitRunning("shop", 1).Pid
	for pid := range others {
		a.copyMarks(app, pid)
	}
	a.must(a.daemon.Kill())
	<-a.daemon.Exited()
	a.must(a.daemon.StartAgain())
	a.waitRunning("shop", 1)
	others.checkAlive(a, "the start after kill -9")
	a.addNumbers("processes=%d alive=%d", count, len(others))
	a.checkRootUntouched()
}

// A front-end of root whose workers are of the app's user outlives a reload.
func TestTheFrontEndOfTheHostIsNotKilled(t *testing.T) {
	a := newAttack(begin(t))
	a.start(`
[app.shop]
command = "sleep 100000"
directory = "{srv}"
user = "www-data"
ready.after = "10ms"
`, "shop")
	address := a.unusedAddress()
	a.mkdir(a.env.Path("nginx"), 0, 0o755)
	conf, err := a.env.Write("nginx/nginx.conf", a.fill(`daemon on; pid {dir}/nginx/pid; error_log {dir}/nginx/error.log; user www-data; worker_processes 1; events {}
http { access_log off; client_body_temp_path {dir}/nginx/a; proxy_temp_path {dir}/nginx/b; fastcgi_temp_path {dir}/nginx/c; uwsgi_temp_path {dir}/nginx/d;
scgi_temp_path {dir}/nginx/e; server { listen `+address+`; return 200 "nginx"; } }
`))
	a.must(err)
	out, err := exec.Command("/usr/sbin/nginx", "-c", conf, "-e", a.env.Path("nginx/error.log")).CombinedOutput()
	if err != nil {
		a.Fatalf("nginx: %v %s", err, out)
	}
	others := bystanders{}
	master := others.add(a, a.env.Path("nginx/pid"))
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", master, master))
	a.must(err)
	worker, err := strconv.Atoi(strings.Fields(string(children) + " 0")[0])
	a.must(err)
	others[worker] = startTime(worker)
	for range 2 {
		app := a.waitRunning("shop", 1).Pid
		a.mark(app, worker)
		a.wants(0, 30*time.Second, "reload", "shop")
		others.checkAlive(a, "reload")
		if status, text := a.get(address, "/"); status != 200 || text != "nginx" {
			a.Errorf("the front-end answers %d %s", status, text)
		}
	}
	a.addNumbers("alive=%d", len(others))
	a.checkRootUntouched()
}

// Processes of a local user that look like an app's are neither killed, nor do they
// delay an operation.
func TestProcessesOfOthersDoNotDelayAReload(t *testing.T) {
	a := newAttack(begin(t))
	a.start(`
[app.shop]
command = "sleep 100000"
directory = "{srv}"
user = "www-data"
reload = "replace"
ready.after = "10ms"
`, "shop")
	alone := a.wants(0, 30*time.Second, "reload", "shop").Took
	app := a.waitRunning("shop", 2).Pid
	var limit unix.Rlimit
	a.must(a.as(localUser, func() error { // every user can read it there
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", app))
		for line := range strings.Lines(string(text)) {
			if rest, ok := strings.CutPrefix(line, "Max file locks"); ok {
				limit.Cur, _ = strconv.ParseUint(strings.Fields(rest)[0], 10, 64)
			}
		}
		return err
	}))
	others := bystanders{}
	for n := range 20 {
		pidFile := a.env.Path(fmt.Sprintf("sleeper-%d.pid", n))
		a.write(pidFile, localUser, 0o644, "")
		mark := "unlimited"
		if limit.Cur > 0 {
			mark = fmt.Sprint(limit.Cur)
		}
		_, err := a.env.Start(testenv.Command{Name: "sleeper", User: &syscall.Credential{Uid: localUser, Gid: localUser},
			Argv: []string{"setsid", "sh", "-c", "echo $$ > " + pidFile + "; exec prlimit --locks=" + mark + ": sleep 5000"}})
		a.must(err)
		others.add(a, pidFile)
	}
	attacked := a.wants(0, 30*time.Second, "reload", "shop").Took
	others.checkAlive(a, "reload")
	if attacked > alone+2*time.Second {
		a.Errorf("the reload took %v, and %v without the attack", attacked, alone)
	}
	a.addNumbers("reload_s=%.2f attacked_s=%.2f alive=%d", alone.Seconds(), attacked.Seconds(), len(others))
	a.checkRootUntouched()
}
