package main

import (
	"context"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// terminalDaemon is a daemon on a terminal of its own.
type terminalDaemon struct {
	*exec.Cmd
	t      *testing.T
	dir    string
	master *os.File
	seen   *watchedLog
	read   chan struct{}
}

// startOnTerminal returns when the first screen is there.
func startOnTerminal(t *testing.T) *terminalDaemon {
	t.Helper()
	d := &terminalDaemon{t: t, dir: runtimeDir(t), seen: newWatchedLog(), read: make(chan struct{})}
	must(t, os.WriteFile(filepath.Join(d.dir, "release"), []byte("one"), 0o600))
	master, tty := pseudoTerminal(t)
	d.master = master
	// Under nohup SIGHUP is ignored, and the daemon would inherit that. A signal that
	// is caught is not inherited as ignored.
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	t.Cleanup(func() { signal.Stop(hangups) })
	patience, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	d.Cmd = exec.CommandContext(patience, "tideover", "run", "-S", filepath.Join(d.dir, "control.sock"), "--name", "shop",
		"--listen", "unix:"+filepath.Join(d.dir, "shop"), "--", "webapp")
	d.Dir = d.dir
	d.Stdin, d.Stdout, d.Stderr = tty, tty, tty
	d.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	must(t, d.Start())
	t.Cleanup(func() { d.Process.Kill() })
	tty.Close()
	go func() {
		defer close(d.read)
		io.Copy(d.seen, master) // ends when master is closed, or no process has the terminal
		d.seen.close()
	}()
	if !d.seen.await("Ctrl-C") {
		t.Fatalf("no first screen:\n%s", d.seen)
	}
	return d
}

// awaitEnd waits for the end of a daemon that was told to stop.
func (d *terminalDaemon) awaitEnd() {
	d.t.Helper()
	if err := d.Wait(); err != nil {
		d.t.Errorf("not the end of a daemon that was told to stop: %v\n%s", err, d.seen)
	}
	d.master.Close()
	<-d.read
	if _, err := os.Stat(filepath.Join(d.dir, "control.sock")); err == nil {
		d.t.Error("it left its socket")
	}
}

// TestClosedTerminal sends a daemon on a terminal both kinds of HUP.
func TestClosedTerminal(t *testing.T) {
	t.Parallel()
	d := startOnTerminal(t)
	must(t, d.Process.Signal(syscall.SIGHUP))
	if !d.seen.await("release one, generation 2") || !d.seen.await("result=ok") {
		t.Fatalf("no reload:\n%s", d.seen)
	}
	d.master.Close() // the window is closed: the kernel sends HUP
	d.awaitEnd()
}

// Ctrl-C and a closed terminal reach a daemon whose supervisor was killed at the same moment, and the next
// supervisor shows no second first screen.
func TestATerminalReachesTheNextSupervisor(t *testing.T) {
	t.Parallel()
	for name, use := range map[string]func(d *terminalDaemon){
		"Ctrl-C": func(d *terminalDaemon) { d.master.WriteString("\x03") },
		"closed": func(d *terminalDaemon) { d.master.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := startOnTerminal(t)
			pid, err := strconv.Atoi(roleOf(t, d.Process.Pid, "supervisor"))
			must(t, err)
			must(t, syscall.Kill(pid, syscall.SIGKILL))
			use(d)
			d.awaitEnd()
			if n := strings.Count(d.seen.String(), "listening"); n != 1 {
				t.Errorf("%d first screens:\n%s", n, d.seen)
			}
		})
	}
}
