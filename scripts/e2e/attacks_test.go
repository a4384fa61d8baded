//go:build e2e

package e2e

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tideover/scripts/testenv"
)

// variation is one way to have root open another file than the one that the
// configuration names.
type variation struct {
	name string
	// prepare runs as root before the daemon starts; nil: nothing.
	prepare func(a *attack, path string)
	// begin replaces the file at path by one that leads to target. It runs as the app's
	// user.
	begin func(path, target string) error
	// repeat runs again and again, after begin; nil: begin is all.
	repeat func(path, target string) error
	turns  int // how often repeat runs at least; 0: times(10,000)
	// asRoot has both run as root: what an administrator, or a system without
	// fs.protected_hardlinks, makes possible.
	asRoot bool
}

// fileVariations are the ways to replace a file in a directory of the app's user. The
// target is a file of root.
func fileVariations() []variation {
	symlink := func(path, target string) error { return replaceByLink(target, path) }
	swapFiles := func(path, _ string) error { return exchange(path, path+".evil") }
	swapDirectories := func(path, _ string) error { return exchange(filepath.Dir(path), filepath.Dir(path)+".evil") }
	evilDirectory := func(path, target string) error {
		return os.Symlink(filepath.Join(filepath.Dir(target), "same"), filepath.Dir(path)+".evil")
	}
	return []variation{
		{name: "symlink", begin: symlink},
		{name: "hard-link", asRoot: true, begin: func(path, target string) error {
			if err := os.Link(target, path+".link"); err != nil {
				return err
			}
			return os.Rename(path+".link", path) // the daemon may bind at the path again as soon as it is free
		}},
		{name: "directory-swapped", begin: func(path, target string) error {
			return errors.Join(evilDirectory(path, target), swapDirectories(path, target))
		}},
		{name: "bind-mount", prepare: mountOverItself, begin: symlink},
		{name: "race", repeat: swapFiles, begin: func(path, target string) error { return os.Symlink(target, path+".evil") }},
		{name: "race-of-directories", repeat: swapDirectories, begin: evilDirectory},
	}
}

// ofDirectories reports whether the directory of the file is replaced and not the file.
func (v variation) ofDirectories() bool { return strings.Contains(v.name, "director") }

// mountOverItself mounts the directory of path over itself: its entry in the mount
// table is root's, its content the app's.
func mountOverItself(a *attack, path string) {
	dir := filepath.Dir(path)
	if !a.bind(dir, dir) {
		a.Log("mount(2) is not permitted here: the directory is the app's without a mount")
	}
}

// run carries out the attack of a variation on several files, each with its target,
// while work does what makes root open the files.
func (a *attack) run(v variation, targets map[string]string, work func()) {
	a.Helper()
	uid := appUser
	if v.asRoot {
		uid = 0
	}
	each := func(do func(path, target string) error) func() error {
		return func() error {
			var all error
			for path, target := range targets {
				all = errors.Join(all, do(path, target))
			}
			return all
		}
	}
	a.must(a.as(uid, each(v.begin)))
	if v.repeat == nil {
		work()
		return
	}
	repeat := each(v.repeat)
	stop := a.race(uid, cmp.Or(v.turns, times(10_000)), func() { repeat() }) // an error is the defence
	work()
	a.addNumbers("turns=%d", stop())
}

// inParallel runs a row of each variation.
func inParallel(t *testing.T, all []variation, do func(a *attack, v variation)) {
	t.Parallel()
	for _, v := range all {
		t.Run(v.name, func(t *testing.T) { do(newAttack(begin(t)), v) })
	}
}

// same makes the directory of root that swapDirectory leads to.
func (a *attack) same(names ...string) {
	a.Helper()
	a.mkdir(filepath.Join(a.root, "same"), 0, 0o755)
	for _, name := range names {
		a.write(filepath.Join(a.root, "same", name), 0, 0o600, "KEY="+rootSecret+"\n")
	}
}

// reopenLogs has the daemon open its log files again, and waits until the app has
// written 20 lines more.
func (a *attack) reopenLogs(app string) {
	a.Helper()
	a.must(a.daemon.Signal(syscall.SIGUSR1))
	before := a.lastLine(app)
	a.must(testenv.Poll(a.timeout(10*time.Second), 20*time.Millisecond, func() error {
		if now := a.lastLine(app); now < before+20 {
			return fmt.Errorf("the app is at line %d", now)
		}
		return nil
	}))
}

// lastLine is the number of the last line that the app has said.
func (a *attack) lastLine(app string) (number int) {
	a.Helper()
	o := a.wants(0, 10*time.Second, "logs", "-n", "1", app)
	if at := strings.LastIndex(o.Stdout, "line "); at >= 0 {
		fmt.Sscanf(o.Stdout[at:], "line %d", &number)
	}
	return number
}

// A user cannot have root write what its app prints into another file than a log of
// its own.
func TestAppUserCannotWriteThroughItsLog(t *testing.T) {
	inParallel(t, fileVariations(), func(a *attack, v variation) {
		dir := filepath.Join(a.srv, "log")
		a.mkdir(dir, appUser, 0o755)
		a.same("shop.log")
		log := filepath.Join(dir, "shop.log")
		if v.prepare != nil {
			v.prepare(a, log)
		}
		a.start(`
[app.shop]
command = ["{program}", "say", "| id > {root}/PWNED"]
directory = "{srv}"
user = "www-data"
log.file = "log/shop.log"
ready.after = "10ms"
`, "shop")
		a.run(v, map[string]string{log: filepath.Join(a.root, "profile.sh")}, func() {
			for range 5 {
				a.reopenLogs("shop")
			}
		})
		a.checkRootUntouched()
	})
}

// Nor into a file that does not exist yet, such as one of /etc/profile.d.
func TestAppUserCannotMakeAFileThroughItsLog(t *testing.T) {
	a := newAttack(begin(t))
	log := filepath.Join(a.srv, "shop.log")
	a.start(`
[app.shop]
command = ["{program}", "say", "| id > {root}/PWNED"]
directory = "{srv}"
user = "www-data"
log.file = "shop.log"
ready.after = "10ms"
`, "shop")
	a.must(a.as(appUser, func() error { return replaceByLink(filepath.Join(a.root, "zz.sh"), log) }))
	for range 3 {
		a.reopenLogs("shop")
	}
	a.checkRootUntouched()
}

// Nor can a user that may make entries in the directory of a log: all users in /tmp, the
// members of a group in /var/log.
func TestALogInASharedDirectoryWritesNoFileOfRoot(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		mode  os.FileMode
		group int
		uid   int
		user  string // of the app
	}{
		"sticky":                    {os.ModeSticky | 0o777, 0, localUser, "www-data"},
		"sticky-and-an-app-of-root": {os.ModeSticky | 0o777, 0, localUser, "root"},
		"of-a-group":                {0o775, memberGroup, localUser, "www-data"},
		"of-a-group-of-the-app":     {0o775, appUser, appUser, "www-data"},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAttack(begin(t))
			dir := a.env.Path("shared")
			a.mkdir(dir, 0, 0o755)
			a.must(os.Chown(dir, 0, c.group))
			a.must(os.Chmod(dir, c.mode))
			log := filepath.Join(dir, "shop.log")
			replace := func() error {
				return a.as(c.uid, func() error {
					// In a sticky directory only root renames what is root's, in another one a member does.
					err := replaceByLink(filepath.Join(a.root, "profile.sh"), log)
					return errors.Join(err, os.Symlink(filepath.Join(a.root, "shadow"), log+".1"), os.Symlink(filepath.Join(a.root, "zz"), log+".2.part"))
				}, memberGroup)
			}
			a.must(replace())
			serves := a.startsOrRefuses(`
[app.shop]
command = ["{program}", "say", "` + strings.Repeat("x", 100) + `"]
directory = "{srv}"
user = "` + c.user + `"
log.file = "` + log + `"
log.max_size = "2KiB"
ready.after = "10ms"
`)
			for range 3 {
				if serves {
					a.reopenLogs("shop")
					replace() // refused where the rotation has made a file of root
				}
			}
			a.checkFilesOfRoot()
		})
	}
}

// The rotation of a log reads, overwrites and renames no file of root.
func TestRotationTouchesNoFileOfRoot(t *testing.T) {
	inParallel(t, fileVariations(), func(a *attack, v variation) {
		dir := filepath.Join(a.srv, "log")
		a.mkdir(dir, appUser, 0o755)
		names := []string{"shop.log", "shop.log.1", "shop.log.2", "shop.log.2.gz", "shop.log.2.part"}
		a.same(names...)
		log := filepath.Join(dir, "shop.log")
		if v.prepare != nil {
			v.prepare(a, log)
		}
		a.start(`
[app.shop]
command = "{program} say `+strings.Repeat("x", 100)+`"
directory = "{srv}"
user = "www-data"
log.file = "log/shop.log"
log.max_size = "2KiB"
log.backups = 100
ready.after = "10ms"
`, "shop")
		switch {
		case v.ofDirectories():
		case v.repeat == nil: // the files of the rotation come and go: the attack goes on
			v.begin, v.repeat, v.turns = func(string, string) error { return nil }, attackRotation(v.begin), times(2_000)
		default:
			v.repeat = func(path, target string) error {
				os.Symlink(target, path+".evil") // the last one became a file of the rotation
				makeReadable(path + ".2.part")
				return exchange(path+".1", path+".evil")
			}
		}
		a.run(v, map[string]string{log: filepath.Join(a.root, "shadow")}, func() {
			for range 5 {
				a.reopenLogs("shop")
			}
		})
		a.checkNoSecret("what the app's user can read", a.readable(appUser, a.srv))
		a.checkRootUntouched()
	})
}

// attackRotation makes PATH.1, which is read when it is compressed as PATH.2, and
// PATH.2.part, which is written then, lead to root's files; in turns with a PATH.2.part
// that the attacker can read.
func attackRotation(lead func(path, target string) error) func(path, target string) error {
	turns := 0
	return func(path, target string) error {
		turns++
		if turns%2 == 0 {
			os.Remove(path + ".1")
			os.Remove(path + ".2.part")
			makeReadable(path + ".2.part")
			return lead(path+".1", target)
		}
		return errors.Join(lead(path+".2.part", target), lead(path+".2.gz", target))
	}
}

// makeReadable makes a file that all users can read, unless it exists.
func makeReadable(path string) {
	if f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o644); err == nil {
		f.Close()
	}
}

// What root alone may read is neither in the environment of an app nor in the page
// that tideover sends.
func TestSecretsOfRootReachNoAppAndNoPage(t *testing.T) {
	inParallel(t, fileVariations(), func(a *attack, v variation) {
		dir := filepath.Join(a.srv, "conf")
		a.mkdir(dir, appUser, 0o755)
		a.same("env", "page.html")
		env, page := filepath.Join(dir, "env"), filepath.Join(dir, "page.html")
		a.write(env, appUser, 0o600, "KEY=own\n")
		a.write(page, appUser, 0o600, "back soon\n")
		if v.prepare != nil {
			v.prepare(a, env)
		}
		address := a.unusedAddress()
		a.start(`
[app.shop]
command = "{program} web fd={fd}"
directory = "{srv}"
listen = "`+address+`"
user = "www-data"
env_file = "conf/env"
hold.page = "conf/page.html"
hold.limit = 0
watch.files = ["conf/restart"]
watch.debounce = "20ms"
`, "shop")
		if _, text := a.get(address, "/env"); !strings.Contains(text, "KEY=own") {
			a.Fatalf("the environment is not that of the env file:\n%s", text)
		}
		targets := map[string]string{env: filepath.Join(a.root, "secret.env"), page: filepath.Join(a.root, "shadow")}
		if v.ofDirectories() {
			delete(targets, page) // in the same directory
		}
		looks := 0
		a.run(v, targets, func() {
			for range 4 {
				for _, verb := range []string{"reload", "apply"} {
					o := a.call(30*time.Second, verb, map[string]string{"reload": "shop", "apply": "--dry-run"}[verb])
					a.checkNoSecret("the output of "+verb, o.String())
				}
				a.call(30*time.Second, "apply")
				_, text := a.get(address, "/env")
				a.checkNoSecret("the app's environment", text)
				a.call(10*time.Second, "hold", "shop", "--for", "9s")
				if status, text := a.get(address, "/"); status == 503 {
					a.checkNoSecret("the page", text)
					looks++
				}
				a.call(10*time.Second, "release", "shop")
			}
		})
		if looks == 0 {
			a.Error("no request got the page")
		}
		a.checkRootUntouched()
	})
}

// everyFile is a configuration in which tideover opens every kind of file of an app;
// beside it there is another app.
func everyFile(address string) string {
	return `
[app.shop]
command = "venv/bin/gunicorn app"
directory = "{srv}"
listen = "` + address + `"
user = "www-data"
env_file = "env"
hold.page = "page.html"
log.file = "shop.log"
watch.files = ["restart.txt"]
watch.debounce = "20ms"
[app.other]
command = "sleep 1000"
ready.after = "10ms"
`
}

// prepareFiles makes the files of everyFile.
func (a *attack) prepareFiles() {
	a.Helper()
	a.mkdir(filepath.Join(a.srv, "venv"), appUser, 0o755)
	a.mkdir(filepath.Join(a.srv, "venv", "bin"), appUser, 0o755)
	a.write(filepath.Join(a.srv, "venv/bin/gunicorn"), appUser, 0o755, a.fill("#!/bin/sh\nexec {program} web fd=3\n"))
	for _, name := range []string{"env", "page.html", "restart.txt"} {
		a.write(filepath.Join(a.srv, name), appUser, 0o644, "KEY=own\n")
	}
}

// A named pipe in the place of a file hangs neither apply nor the end of the daemon,
// and no other app.
func TestANamedPipeHangsNothing(t *testing.T) {
	t.Parallel()
	for _, file := range []string{"venv/bin/gunicorn", "env", "page.html", "shop.log", "restart.txt"} {
		t.Run(filepath.Base(file), func(t *testing.T) {
			a := newAttack(begin(t))
			a.prepareFiles()
			a.start(everyFile(a.unusedAddress()), "shop", "other")
			path := filepath.Join(a.srv, file)
			a.must(a.as(appUser, func() error {
				return errors.Join(os.Rename(path, path+".old"), unix.Mkfifo(path, 0o755))
			}))
			a.must(a.daemon.Signal(syscall.SIGUSR1)) // the log files are opened again
			a.call(5*time.Second, "apply")
			a.wants(0, 5*time.Second, "restart", "other")
			a.call(5*time.Second, "reload", "shop")
			a.call(5*time.Second, "apply", "--dry-run")
			a.checkRootUntouched()
			a.endBySignal()
		})
	}
}

// What an app's user has made of its files keeps no other app from being started with the
// daemon.
func TestBrokenFilesOfAnAppKeepNoOtherAppDown(t *testing.T) {
	a := newAttack(begin(t))
	a.prepareFiles()
	for _, file := range []string{"venv/bin/gunicorn", "env", "page.html", "shop.log", "restart.txt"} {
		path := filepath.Join(a.srv, file)
		a.must(a.as(appUser, func() error {
			os.Rename(path, path+".old")
			return unix.Mkfifo(path, 0o755)
		}))
	}
	a.start(everyFile(a.unusedAddress()), "other")
	a.wants(0, 5*time.Second, "restart", "other")
	a.checkRootUntouched()
	a.endBySignal()
}

// A file without an end, or one that is larger than any memory, is not read: a page, an
// env file, a script.
func TestAnEndlessFileIsNotRead(t *testing.T) {
	t.Parallel()
	for name, replace := range map[string]func(path string) error{
		"device": func(path string) error { return os.Symlink("/dev/zero", path) },
		"sparse": func(path string) error { return errors.Join(os.WriteFile(path, nil, 0o755), os.Truncate(path, 1<<40)) },
	} {
		t.Run(name, func(t *testing.T) {
			a := newAttack(begin(t))
			a.prepareFiles()
			address := a.unusedAddress()
			a.start(everyFile(address), "shop", "other")
			limit := unix.Rlimit{Cur: 4 << 30, Max: 4 << 30}
			a.must(unix.Prlimit(a.daemon.Pid(), unix.RLIMIT_AS, &limit, nil)) // not the memory of the whole machine
			before, after := residentMemory(a, a.daemon.Pid()), int64(0)
			for _, file := range []string{"venv/bin/gunicorn", "env", "page.html", "restart.txt"} {
				path := filepath.Join(a.srv, file)
				a.must(a.as(appUser, func() error { return errors.Join(os.Rename(path, path+".own"), replace(path)) }))
				a.call(10*time.Second, "apply")
				a.call(10*time.Second, "reload", "shop")
				a.wants(0, 10*time.Second, "restart", "other")
				after = max(after, residentMemory(a, a.daemon.Pid()))
				a.must(a.as(appUser, func() error { return os.Rename(path+".own", path) }))
			}
			if after > before+64<<20 {
				a.Errorf("the daemon had %d MB before and has %d MB", before>>20, after>>20)
			}
			a.addNumbers("memory_mb=%d/%d", before>>20, after>>20)
			a.checkRootUntouched()
		})
	}
}

// What runs as the app's user to open its files can be stopped by that user: it hangs
// no operation, no other app and not the end of the daemon.
func TestAStoppedHelperHangsNothing(t *testing.T) {
	a := newAttack(begin(t))
	a.prepareFiles()
	address := a.unusedAddress()
	a.start(everyFile(address)+`
[app.unix]
command = "{program} web fd={fd}"
directory = "{srv}"
listen = "unix:{srv}/unix.sock"
user = "www-data"
[app.noisy]
command = "{program} say `+strings.Repeat("x", 500)+`"
directory = "{srv}"
user = "www-data"
log.file = "noisy.log"
log.max_size = "4KiB"
ready.after = "10ms"
`, "shop", "other", "noisy", "unix")
	var stopped atomic.Int64
	daemon, seen := a.daemon.RolePid("supervisor"), map[int]bool{} // seen is of the race alone
	stop := a.race(appUser, 0, func() {
		for _, pid := range slices.Concat(helpersOf(daemon, "tideover-open"), helpersOf(daemon, "tideover-path")) {
			if !seen[pid] && unix.Kill(pid, unix.SIGSTOP) == nil {
				seen[pid] = true
				stopped.Add(1)
			}
		}
	})
	a.must(a.as(appUser, func() error { return os.Remove(filepath.Join(a.srv, "unix.sock")) })) // it is bound again
	a.reopenLogs("noisy")
	for range 300 { // on a busy machine the attacker may be late
		if a.call(10*time.Second, "apply"); stopped.Load() > 0 {
			break
		}
	}
	a.call(10*time.Second, "reload", "shop")
	a.call(10*time.Second, "restart", "other")
	a.wants(0, 10*time.Second, "status")
	a.endBySignal()
	stop()
	for pid := range seen {
		a.awaitExit(pid)
	}
	if stopped.Load() == 0 {
		a.Error("no process of that name was found: the attack has no target")
	}
	a.addNumbers("stopped=%d", stopped.Load())
}

// endBySignal sends SIGTERM, on which the daemon has to end.
func (a *attack) endBySignal() {
	a.Helper()
	began := time.Now()
	a.must(a.daemon.Signal(syscall.SIGTERM))
	select {
	case <-a.daemon.Exited():
		a.addNumbers("ended_s=%.1f", time.Since(began).Seconds())
	case <-a.timeout(5 * time.Second).Done():
		a.Error("the daemon has not ended 15 s after SIGTERM")
		a.daemon.Kill()
	}
}

// The file with the pid of the daemon leads to no file of root, wherever it is.
func TestThePidFileOverwritesNoFileOfRoot(t *testing.T) {
	t.Parallel()
	for _, v := range fileVariations()[:3] {
		t.Run(v.name, func(t *testing.T) {
			a := newAttack(begin(t))
			dir := filepath.Join(a.srv, "run")
			a.mkdir(dir, appUser, 0o755)
			a.same("daemon.pid", "daemon.pid.new")
			a.run(v, map[string]string{filepath.Join(dir, "daemon.pid"): filepath.Join(a.root, "shadow")}, func() {
				if !v.ofDirectories() {
					a.must(os.Symlink(filepath.Join(a.root, "shadow"), filepath.Join(dir, "daemon.pid.new")))
				}
				serves := a.startsOrRefuses("[app.shop]\ncommand = \"sleep 1000\"\nready.after = \"10ms\"\n", "--pidfile", filepath.Join(dir, "daemon.pid"))
				if serves {
					a.must(a.daemon.Stop(syscall.SIGTERM, 20*time.Second))
				}
			})
			a.checkFilesOfRoot()
		})
	}
}

// Root does not start with its own files where others can lead it to any other directory: the control
// socket, the state, the spool.
func TestTheDaemonKeepsNoFileWhereOthersCanChangeThePath(t *testing.T) {
	t.Parallel()
	for _, key := range []string{"socket", "state_dir", "spool_dir"} {
		t.Run(key, func(t *testing.T) {
			a := newAttack(begin(t))
			dir := filepath.Join(a.srv, "run")
			a.mkdir(dir, appUser, 0o755)
			a.must(a.as(appUser, func() error {
				return errors.Join(os.Rename(dir, dir+".own"), os.Symlink(a.root, dir))
			}))
			config, err := a.env.Write("tideover.toml", fmt.Sprintf("[daemon]\n%s = %q\n[app.shop]\ncommand = \"sleep 1000\"\n", key, filepath.Join(dir, "shadow")))
			a.must(err)
			a.files = a.rootFiles()
			programs, err := shared()
			a.must(err)
			out, err := exec.CommandContext(a.timeout(20*time.Second), filepath.Join(programs, "tideover"), "run", "-c", config).CombinedOutput()
			if err == nil || !strings.Contains(string(out), "root does not open it") {
				a.Errorf("tideover run: %v\n%s", err, out)
			}
			a.checkFilesOfRoot()
		})
	}
}
