package main

import (
	"context"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// TestClosedTerminal sends a daemon on a terminal both kinds of HUP.
func TestClosedTerminal(t *testing.T) {
	t.Parallel()
	dir := runtimeDir(t)
	if err := os.WriteFile(filepath.Join(dir, "release"), []byte("one"), 0o600); err != nil {
		t.Fatal(err)
	}
	master, tty := pseudoTerminal(t)
	// Under nohup SIGHUP is ignored, and the daemon would inherit that. A signal that
	// is caught is not inherited as ignored.
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	patience, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	daemon := exec.CommandContext(patience, "tideover", "run", "-S", filepath.Join(dir, "control.sock"), "--name", "shop",
		"--listen", "unix:"+filepath.Join(dir, "shop"), "--", "webapp")
	daemon.Dir = dir
	daemon.Stdin, daemon.Stdout, daemon.Stderr = tty, tty, tty
	daemon.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { daemon.Process.Kill() })
	tty.Close()
	seen, read := newWatchedLog(), make(chan struct{})
	go func() {
		defer close(read)
		io.Copy(seen, master) // ends when master is closed
		seen.close()
	}()
	if !seen.await("Ctrl-C") {
		t.Fatalf("no first screen:\n%s", seen)
	}
	if err := daemon.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	if !seen.await("release one, generation 2") || !seen.await("result=ok") {
		t.Fatalf("no reload:\n%s", seen)
	}
	master.Close() // the window is closed: the kernel sends HUP
	if err := daemon.Wait(); err != nil {
		t.Errorf("not the end of a daemon that was told to stop: %v\n%s", err, seen)
	}
	<-read
	if _, err := os.Stat(filepath.Join(dir, "control.sock")); err == nil {
		t.Error("it left its socket")
	}
}
