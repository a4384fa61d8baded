//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"tideover/scripts/testenv"
)

// memberGroup is a group of localUser that may reload, hold and look.
const memberGroup = 4711

// A member of socket_group that takes every connection and every stream of the
// control socket shuts out neither root nor what root can do.
func TestAMemberOfTheGroupCannotShutRootOut(t *testing.T) {
	a := newAttack(begin(t))
	before := modeAndOwner(a, a.env.Dir)
	a.start(fmt.Sprintf(`
[daemon]
socket_group = "%d"
[app.shop]
command = "sleep 100000"
ready.after = "10ms"
`, memberGroup), "shop")
	if now := modeAndOwner(a, a.env.Dir); now != before {
		a.Errorf("the directory of the socket was %s and is %s", before, now)
	}
	connections := make(chan []net.Conn, 1)
	a.must(a.as(localUser, func() error {
		var all []net.Conn
		defer func() { connections <- all }()
		const body = `{"apps":["shop"],"follow":true}`
		for n := range 400 {
			c, err := net.Dial("unix", a.daemon.Socket)
			if err != nil {
				if n == 0 {
					return err
				}
				break // refused from here on
			}
			all = append(all, c)
			fmt.Fprintf(c, "POST /v1/logs HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		}
		return nil
	}, memberGroup))
	open := <-connections
	for range 2 {
		a.wants(0, 10*time.Second, "status")
		a.wants(0, 10*time.Second, "logs", "-n", "1", "shop")
		a.wants(0, 10*time.Second, "restart", "shop")
	}
	for _, c := range open {
		c.Close()
	}
	a.addNumbers("streams=%d", len(open))
	a.checkRootUntouched()
}

// A member of socket_group cannot hold the requests of an app for days.
func TestAHoldOfAMemberIsBounded(t *testing.T) {
	a := newAttack(begin(t))
	address := a.unusedAddress()
	a.start(fmt.Sprintf(`
[daemon]
socket_group = "%d"
[app.web]
command = "{program} web fd={fd}"
listen = %q
`, memberGroup, address), "web")
	out, err := a.command(localUser, []uint32{memberGroup}, "{tideover}", "-S", a.daemon.Socket, "hold", "web", "--for", "100000h").CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		a.Fatal(err)
	}
	if err == nil && strings.Contains(string(out), " d ") {
		a.Errorf("a member holds for days: %s", out)
	}
	a.addNumbers("said=%q", strings.TrimSpace(string(out)))
	a.call(10*time.Second, "release", "web")
	a.checkRootUntouched()
}

func modeAndOwner(a *attack, path string) string {
	a.Helper()
	info, err := os.Stat(path)
	a.must(err)
	stat := info.Sys().(*syscall.Stat_t)
	return fmt.Sprintf("%v %d:%d", info.Mode(), stat.Uid, stat.Gid)
}

// command is a command of another user, with the words in braces replaced.
func (a *attack) command(uid uint32, groups []uint32, argv ...string) *exec.Cmd {
	a.Helper()
	for i, word := range argv {
		argv[i] = a.fill(word)
	}
	cmd := exec.CommandContext(a.timeout(20*time.Second), argv[0], argv[1:]...)
	cmd.Dir, cmd.Env = "/", []string{"PATH=" + os.Getenv("PATH")}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid, Groups: groups}}
	return cmd
}

// Root runs no configuration that another user has written or can write, neither by
// chance in a directory of that user nor as an include.
func TestRootRunsNoConfigurationOfOthers(t *testing.T) {
	t.Parallel()
	const evil = "[app.evil]\ncommand = [\"sh\", \"-c\", \"id > {dir}/PWNED; exec sleep 1000\"]\nready.after = \"10ms\"\n"
	const harmless = "include = [\"conf.d/*.toml\"]\n[app.ok]\ncommand = \"sleep 1000\"\n"
	for name, c := range map[string]struct {
		prepare func(a *attack, dir string)
		found   bool // without -c
	}{
		"in-the-directory-of-a-user": {found: true, prepare: func(a *attack, dir string) {
			a.mkdir(dir, localUser, 0o755)
			a.write(filepath.Join(dir, "tideover.toml"), localUser, 0o644, a.fill(evil))
		}},
		"of-root-in-the-directory-of-a-user": {found: true, prepare: func(a *attack, dir string) {
			// A hard link to a file of root that a user has chosen, or a file that it may replace.
			a.mkdir(dir, localUser, 0o777)
			a.write(filepath.Join(dir, "tideover.toml"), 0, 0o666, a.fill(evil))
		}},
		"symlink-to-the-file-of-a-user": {prepare: func(a *attack, dir string) {
			a.write(a.env.Path("evil.toml"), localUser, 0o644, a.fill(evil))
			a.must(os.Symlink(a.env.Path("evil.toml"), filepath.Join(dir, "tideover.toml")))
		}},
		"world-writable": {prepare: func(a *attack, dir string) {
			a.write(filepath.Join(dir, "tideover.toml"), 0, 0o666, a.fill(evil))
		}},
		"writable-by-a-group": {prepare: func(a *attack, dir string) {
			path := filepath.Join(dir, "tideover.toml")
			a.write(path, 0, 0o664, a.fill(evil))
			a.must(os.Chown(path, 0, localUser))
		}},
		"of-another-owner": {prepare: func(a *attack, dir string) {
			a.write(filepath.Join(dir, "tideover.toml"), localUser, 0o644, a.fill(evil))
		}},
		"include-of-another-owner": {prepare: func(a *attack, dir string) {
			a.write(filepath.Join(dir, "tideover.toml"), 0, 0o644, harmless)
			a.mkdir(filepath.Join(dir, "conf.d"), 0, 0o777)
			a.write(filepath.Join(dir, "conf.d", "x.toml"), localUser, 0o644, a.fill(evil))
		}},
		"include-that-is-world-writable": {prepare: func(a *attack, dir string) {
			a.write(filepath.Join(dir, "tideover.toml"), 0, 0o644, harmless)
			a.mkdir(filepath.Join(dir, "conf.d"), 0, 0o755)
			a.write(filepath.Join(dir, "conf.d", "x.toml"), 0, 0o666, a.fill(evil))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAttack(begin(t))
			dir := a.env.Path("etc")
			a.mkdir(dir, 0, 0o755)
			c.prepare(a, dir)
			argv := []string{"{tideover}", "-S", a.env.Path("control.sock"), "run"}
			check := []string{"{tideover}", "check"}
			if !c.found {
				argv, check = append(argv, "-c", filepath.Join(dir, "tideover.toml")), append(check, filepath.Join(dir, "tideover.toml"))
			}
			checked := a.command(0, nil, check...)
			checked.Dir = dir
			if out, err := checked.CombinedOutput(); err == nil {
				a.Errorf("check accepts it:\n%s", out)
			}
			for i, word := range argv {
				argv[i] = a.fill(word)
			}
			p, err := a.env.Start(testenv.Command{Name: "tideover", App: true, Argv: argv, Dir: dir,
				Env: []string{"XDG_RUNTIME_DIR=" + a.env.Path("run"), "XDG_STATE_HOME=" + a.env.Path("state"), "XDG_CONFIG_HOME=" + a.env.Path("config"), "HOME=" + a.env.Path("home")}})
			a.must(err)
			a.must(testenv.Poll(a.timeout(10*time.Second), 10*time.Millisecond, func() error {
				if _, err := os.Stat(a.env.Path("PWNED")); err == nil {
					a.Error("root has run the command of another user")
					return nil
				}
				select {
				case <-p.Exited():
					return nil
				default:
					return errors.New("tideover runs")
				}
			}))
			a.addNumbers("exit=%d", p.Code())
		})
	}
}

// A configuration that others can write since the start is refused at the next apply.
func TestApplyRefusesAConfigurationThatOthersCanWrite(t *testing.T) {
	a := newAttack(begin(t))
	a.start("[app.shop]\ncommand = \"sleep 1000\"\nready.after = \"10ms\"\n", "shop")
	path := a.env.Path("tideover.toml")
	a.must(os.Chmod(path, 0o666))
	a.must(a.as(localUser, func() error {
		return os.WriteFile(path, []byte(a.fill("[app.shop]\ncommand = [\"sh\", \"-c\", \"id > {dir}/PWNED; exec sleep 1000\"]\n")), 0o644)
	}))
	a.wants(5, 10*time.Second, "apply")
	a.wants(5, 10*time.Second, "reload", "shop")
	if _, err := os.Stat(a.env.Path("PWNED")); err == nil {
		a.Error("root has run the command of another user")
	}
	a.checkRootUntouched()
}

// Where others can exchange an include while it is read, it is refused or it is root's,
// in each of many attempts.
func TestAnExchangedIncludeIsNeverRun(t *testing.T) {
	a := newAttack(begin(t))
	dir := a.env.Path("conf.d")
	a.mkdir(dir, 0, 0o755)
	path := filepath.Join(dir, "x.toml")
	a.write(path, 0, 0o644, "[app.include]\ncommand = \"sleep 1000\"\nready.after = \"10ms\"\n")
	a.start("include = [\"conf.d/*.toml\"]\n[app.shop]\ncommand = \"sleep 1000\"\nready.after = \"10ms\"\n", "shop", "include")
	evil := a.fill("[app.include]\ncommand = [\"sh\", \"-c\", \"id > {dir}/PWNED; exec sleep 1000\"]\nready.after = \"10ms\"\n")
	a.must(os.Chmod(dir, 0o777))
	a.must(a.as(localUser, func() error { return os.WriteFile(path+".evil", []byte(evil), 0o644) }))
	exits := map[int]int{}
	stop := a.race(localUser, times(10_000), func() { exchange(path, path+".evil") })
	for range times(20) {
		exits[a.call(10*time.Second, "apply").Exit]++
	}
	a.addNumbers("turns=%d exits=%v", stop(), exits)
	if _, err := os.Stat(a.env.Path("PWNED")); err == nil {
		a.Error("root has run the command of another user")
	}
	a.checkRootUntouched()
}

// Without -S or --user, root's commands ask no daemon of another user: they neither
// believe one, nor wait for it, nor read without end what it says.
func TestRootBelievesNoDaemonOfAnotherUser(t *testing.T) {
	a := newAttack(begin(t))
	uid := uint32(200_000 + os.Getpid()%100_000)
	dir := fmt.Sprintf("/tmp/tideover-%d", uid)
	home := a.env.Path("home")
	a.mkdir(home, int(uid), 0o755)
	app := fmt.Sprintf("stranger-%d", os.Getpid())
	a.write(filepath.Join(home, "tideover.toml"), int(uid), 0o644, "[app."+app+"]\ncommand = \"sleep 1000\"\nready.after = \"10ms\"\n")
	a.Cleanup(func() { os.RemoveAll(dir) })
	_, err := a.env.Start(testenv.Command{Name: "stranger", App: true, Dir: home, Argv: []string{a.fill("{tideover}"), "run", "-c", "tideover.toml"},
		User: &syscall.Credential{Uid: uid, Gid: uid}, Env: []string{"XDG_RUNTIME_DIR=", "XDG_STATE_HOME=" + home, "HOME=" + home}})
	a.must(err)
	a.must(testenv.Poll(a.timeout(10*time.Second), 20*time.Millisecond, func() error {
		_, err := os.Stat(filepath.Join(dir, "control.sock"))
		return err
	}))
	const memory = 256 << 20 // of writable mappings; the runtime of Go has 100 MB of them
	root := func(words ...string) (code int, out string, took time.Duration) {
		var text bytes.Buffer
		ctx, cancel := context.WithTimeout(a.Context(), 90*time.Second)
		defer cancel()
		cmd := exec.CommandContext(ctx, "prlimit", append([]string{fmt.Sprintf("--data=%d", memory), a.fill("{tideover}")}, words...)...)
		cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = "/", []string{"PATH=" + os.Getenv("PATH"), "HOME=/root"}, &text, &text
		began := time.Now()
		var exit *exec.ExitError
		if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
			a.Fatal(err)
		}
		if strings.Contains(text.String(), "fatal error") {
			a.Errorf("tideover %s needs more than %d MB: %.200s", words, memory>>20, text.String())
		}
		return cmd.ProcessState.ExitCode(), text.String(), time.Since(began)
	}
	for _, verb := range []string{"reload", "restart", "stop", "start"} {
		if code, out, _ := root(verb, app); code == 0 {
			a.Errorf("root's %s believes the daemon of user %d: %s", verb, uid, out)
		}
	}
	// Sockets that accept and never answer, and one whose answer has no end.
	for n := range 20 {
		a.serveAsStranger(int(uid), filepath.Join(dir, fmt.Sprintf("silent-%d.sock", n)), nil)
	}
	_, _, quiet := root("status")
	a.serveAsStranger(int(uid), filepath.Join(dir, "endless.sock"), []byte("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"))
	_, _, endless := root("status")
	if quiet > 6*time.Second || endless > 6*time.Second {
		a.Errorf("status took %v with silent sockets and %v with an endless answer", quiet, endless)
	}
	a.addNumbers("silent_s=%.2f endless_s=%.2f", quiet.Seconds(), endless.Seconds())
}

// serveAsStranger accepts connections on a control socket of a user. It answers none
// if head is nil, else with head and a body without an end.
func (a *attack) serveAsStranger(uid int, path string, head []byte) {
	a.Helper()
	var l net.Listener
	a.must(a.as(uid, func() (err error) {
		if err := os.WriteFile(path+".lock", nil, 0o644); err != nil {
			return err
		}
		l, err = net.Listen("unix", path)
		return err
	}))
	a.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			a.Cleanup(func() { c.Close() })
			if head == nil {
				continue
			}
			go func() {
				piece := append([]byte("10000\r\n"), append(bytes.Repeat([]byte(" "), 0x10000), "\r\n"...)...)
				for _, err := c.Write(head); err == nil; _, err = c.Write(piece) {
				}
			}()
		}
	}()
}
