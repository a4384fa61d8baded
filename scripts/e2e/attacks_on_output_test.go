//go:build e2e

package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tideover/scripts/testenv"
)

// An app that floods its log costs bounded memory, and the other apps are served.
func TestALogFloodHurtsNoOtherApp(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"lines", "endless", "empty"} {
		t.Run(kind, func(t *testing.T) {
			a := newAttack(begin(t))
			address := a.unusedAddress()
			begins := filepath.Join(a.srv, "begin")
			a.start(`
[app.web]
command = "{program} web fd={fd}"
directory = "{srv}"
listen = "`+address+`"
user = "www-data"
log.stdout = false
[app.flood]
command = "{program} flood `+kind+` `+begins+`"
directory = "{srv}"
user = "www-data"
log.file = "flood.log"
log.max_size = "10MiB"
log.backups = 1
log.compress = false
log.stdout = false
ready.after = "10ms"
`, "web", "flood")
			a.get(address, "/")
			before := residentMemory(a, a.daemon.Pid())
			a.must(a.as(appUser, func() error { return os.WriteFile(begins, nil, 0o644) }))
			log := filepath.Join(a.srv, "flood.log")
			a.must(testenv.Poll(a.timeout(10*time.Second), 10*time.Millisecond, func() error {
				info, err := os.Stat(log)
				if err == nil && info.Size() < 1<<20 {
					err = errors.New("there is no flood yet")
				}
				return err
			}))
			var waits []time.Duration
			most := before
			for range times(100) {
				began := time.Now()
				if status, text := a.get(address, "/"); status != 200 {
					a.Fatalf("another app answers %d %s", status, text)
				}
				waits = append(waits, time.Since(began))
				most = max(most, residentMemory(a, a.daemon.Pid()))
			}
			slices.Sort(waits)
			if most > before+100<<20 {
				a.Errorf("the daemon had %d MB before and %d MB in the flood", before>>20, most>>20)
			}
			if half := waits[len(waits)/2]; half > time.Second {
				a.Errorf("half of the requests of another app took more than %v", half)
			}
			a.wants(0, 10*time.Second, "stop", "flood")
			a.addNumbers("memory_mb=%d/%d p50_ms=%.1f max_ms=%.1f", before>>20, most>>20,
				waits[len(waits)/2].Seconds()*1000, waits[len(waits)-1].Seconds()*1000)
			a.checkRootUntouched()
		})
	}
}

// residentMemory is VmRSS of a process and of its children that are tideover, too.
func residentMemory(a *attack, pid int) (sum int64) {
	a.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if errors.Is(err, os.ErrNotExist) {
		return 0
	}
	a.must(err)
	for line := range strings.Lines(string(text)) {
		var kilobytes int64
		if n, _ := fmt.Sscanf(line, "VmRSS: %d kB", &kilobytes); n == 1 {
			return kilobytes << 10
		}
	}
	return 0
}

// inheritedSecret is in the environment of the daemon.
const inheritedSecret = "s3cret-of-the-daemon"

// Neither before nor after an upgrade does a child have a descriptor, a variable of the
// handoff or the notification socket of the daemon.
func TestNothingOfTheDaemonLeaksIntoChildren(t *testing.T) {
	a := newAttack(begin(t))
	binary := a.env.Path("tideover-bin")
	a.must(install(a.row, binary))
	first, second := a.unusedAddress(), a.unusedAddress()
	hook := `["sh", "-c", "echo hook: $(env | tr '\\n' ' '); for f in /proc/self/fd/*; do echo hook-fd: ${f##*/} $(readlink $f); done"]`
	a.startWith(testenv.RunOptions{Binary: binary, Env: []string{"NOTIFY_SOCKET=" + a.env.Path("none"), "ROOT_SECRET=" + inheritedSecret,
		"SSH_AUTH_SOCK=/tmp/agent", "SUDO_USER=admin", "DBUS_SESSION_BUS_ADDRESS=unix:path=/run/user/0/bus", "CREDENTIALS_DIRECTORY=/run/credentials/x"}}, `
[app.shop]
command = "{program} web fd={fd}"
directory = "{srv}"
listen = "`+first+`"
user = "www-data"
hooks.before_start = `+hook+`
[app.clear]
command = "{program} web fd={fd}"
directory = "{srv}"
listen = "`+second+`"
user = "www-data"
env_clear = true
env_pass = ["SUDO_USER"]
`, "shop", "clear")
	a.checkChildren(first, second, "before an upgrade")
	for upgrade := range 2 {
		a.must(install(a.row, binary))
		a.must(a.daemon.Signal(syscall.SIGUSR2))
		a.must(testenv.Poll(a.timeout(30*time.Second), 20*time.Millisecond, func() error { return (&fixture{row: a.row, daemon: a.daemon}).runsFrom(binary) }))
		a.waitRunning("shop", upgrade+1)
		for _, app := range []string{"shop", "clear"} {
			a.wants(0, 30*time.Second, "reload", app)
			a.waitRunning(app, upgrade+2)
		}
		a.checkChildren(first, second, fmt.Sprintf("after upgrade %d", upgrade+1))
	}
	a.checkRootUntouched()
}

// checkChildren fails the row when the apps have what is the daemon's. first inherits
// the environment, second clears it.
func (a *attack) checkChildren(first, second, when string) {
	a.Helper()
	a.checkHooks()
	for _, address := range []string{first, second} {
		_, environ := a.get(address, "/env")
		for _, pair := range strings.Split(strings.TrimSpace(environ), "\n") {
			name, _, _ := strings.Cut(pair, "=")
			if !variableOfAnApp(name, address == second) {
				a.Errorf("%s the app has %s", when, pair)
			}
		}
		if has := strings.Contains(environ, inheritedSecret); has != (address == first) {
			a.Errorf("%s: the secret of the daemon's environment is in that of the app: %v, with env_clear %v", when, has, address == second)
		}
		a.checkDescriptors(address, when)
	}
}

// checkDescriptors fails the row when an app has others than its output, its private
// socket, and the connection of the request. Those of earlier requests are closed soon.
func (a *attack) checkDescriptors(address, when string) {
	a.Helper()
	err := testenv.Poll(a.timeout(3*time.Second), 50*time.Millisecond, func() error {
		_, descriptors := a.get(address, "/descriptors")
		for _, line := range strings.Split(descriptors, "\n") {
			number, target, _ := strings.Cut(line, " ")
			if !slices.Contains([]string{"0", "1", "2", "3"}, number) && !strings.HasPrefix(target, "socket:") {
				return fmt.Errorf("descriptor %s", line)
			}
		}
		if sockets := strings.Count(descriptors, "socket:"); sockets > 3 { // the private socket, its duplicate in Go, the request's
			return fmt.Errorf("%d sockets:\n%s", sockets, descriptors)
		}
		return nil
	})
	if err != nil {
		a.Errorf("%s the app has %v", when, err)
	}
}

// variableOfAnApp reports whether an app may have a variable of that name.
func variableOfAnApp(name string, passed bool) bool {
	switch {
	case slices.Contains([]string{"TIDEOVER_APP", "TIDEOVER_GENERATION", "TIDEOVER_TREE", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"}, name):
		return true
	case name == "SUDO_USER":
		return passed
	case name == "CREDENTIALS_DIRECTORY":
		return false
	}
	return !slices.ContainsFunc([]string{"TIDEOVER_", "LISTEN_", "NOTIFY_", "SUDO_", "SSH_", "DBUS_"},
		func(prefix string) bool { return strings.HasPrefix(name, prefix) })
}

// checkHooks looks at what the hooks have said of themselves.
func (a *attack) checkHooks() {
	a.Helper()
	runs := 0
	for line := range strings.Lines(a.wants(0, 10*time.Second, "logs", "-n", "500", "shop").Stdout) {
		if _, text, ok := strings.Cut(line, "hook-fd: "); ok {
			number, target, _ := strings.Cut(strings.TrimSpace(text), " ")
			if !slices.Contains([]string{"0", "1", "2"}, number) && target != "" && !strings.HasPrefix(target, "/proc/") {
				a.Errorf("a hook has descriptor %s %s", number, target)
			}
		}
		_, text, ok := strings.Cut(line, "hook: ")
		if !ok {
			continue
		}
		runs++
		for _, pair := range strings.Fields(text) {
			name, _, _ := strings.Cut(pair, "=")
			known := slices.Contains([]string{"TIDEOVER_HOOK", "TIDEOVER_REASON", "TIDEOVER_DIRECTORY", "TIDEOVER_RELOAD_FROM"}, name)
			if !known && !variableOfAnApp(name, false) {
				a.Errorf("a hook has %s", pair)
			}
		}
	}
	if runs == 0 {
		a.Error("no hook has said what it has")
	}
}

// What an app prints does not command the terminal of an operator that reads its log.
func TestAnAppCannotCommandTheTerminal(t *testing.T) {
	a := newAttack(begin(t))
	const evil = `title\033]0;pwned\007 clear\033[2J c1:\233 2J red\033[31m cr\rfake.1 | forged line\n`
	a.write(filepath.Join(a.srv, "evil.sh"), appUser, 0o755, "#!/bin/sh\nprintf '"+evil+"'; exec sleep 1000\n")
	a.start(`
[app.evil]
command = "./evil.sh"
directory = "{srv}"
user = "www-data"
ready.after = "10ms"
`, "evil")
	var shown []byte
	a.must(testenv.Poll(a.timeout(10*time.Second), 20*time.Millisecond, func() error {
		shown = a.onTerminal("-S", a.daemon.Socket, "logs", "evil")
		if !bytes.Contains(shown, []byte("forged line")) {
			return errors.New("the app has said nothing yet")
		}
		return nil
	}))
	for _, sequence := range []string{"\x1b]", "\x1b[2J", "\x9b 2J", "\rfake", "\a"} {
		if bytes.Contains(shown, []byte(sequence)) {
			a.Errorf("the terminal was sent %q in %q", sequence, shown)
		}
	}
	a.addNumbers("shown=%d", len(shown))
	a.checkRootUntouched()
}

// onTerminal runs tideover on a terminal of its own, and returns what it writes there.
func (a *attack) onTerminal(words ...string) []byte {
	a.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	a.must(err)
	defer master.Close()
	a.must(unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0))
	number, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	a.must(err)
	tty, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	a.must(err)
	cmd := exec.CommandContext(a.timeout(10*time.Second), a.fill("{tideover}"), words...)
	cmd.Env = append(os.Environ(), "TERM=xterm")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	a.must(cmd.Start())
	tty.Close()
	text, _ := io.ReadAll(master) // EIO once the last process has closed the terminal
	cmd.Wait()
	return text
}
