package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// Thousands of HUPs are one reload that runs and one that follows.
func TestThousandsOfHUPsAreOneReload(t *testing.T) {
	t.Parallel()
	dir := runtimeDir(t)
	socket := filepath.Join(dir, "shop")
	must(t, os.WriteFile(filepath.Join(dir, "release"), []byte("one"), 0o600))
	must(t, os.WriteFile(filepath.Join(dir, "tideover.toml"), []byte(`[daemon]
log_format = "text"
[app.shop]
command = "webapp"
listen = "unix:`+socket+`"
hooks.before_start = ["sh", "-c", "echo generation $TIDEOVER_GENERATION begins; [ $TIDEOVER_GENERATION = 1 ] || until [ -e go ]; do sleep 0.02; done"]
`), 0o600))
	log := newWatchedLog()
	daemon := exec.Command("tideover", "run", "-c", "tideover.toml", "-S", filepath.Join(dir, "control.sock"))
	daemon.Dir, daemon.Stdout, daemon.Stderr = dir, log, log
	must(t, daemon.Start())
	ended := make(chan error, 1)
	go func() {
		err := daemon.Wait()
		log.close()
		ended <- err
	}()
	t.Cleanup(func() { daemon.Process.Kill() })
	if !log.await("ready: app=shop generation=1") {
		t.Fatal(log)
	}
	must(t, daemon.Process.Signal(syscall.SIGHUP))
	if !log.await("generation 2 begins") {
		t.Fatal(log)
	}
	for range 5000 {
		must(t, daemon.Process.Signal(syscall.SIGHUP))
	}
	must(t, daemon.Process.Signal(syscall.SIGUSR1)) // delivered after HUP, which has a lower number
	if !log.await("signal=USR1") {
		t.Fatal(log)
	}
	must(t, os.WriteFile(filepath.Join(dir, "go"), nil, 0o600))
	if !log.await("from=2 to=3") {
		t.Fatal(log)
	}
	must(t, daemon.Process.Signal(syscall.SIGTERM))
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if n := strings.Count(log.String(), "verb=reload result=ok"); n != 2 {
		t.Errorf("%d reloads, want 2:\n%s", n, log)
	}
}

// TERM ends the daemon while the rehearsal of an upgrade hangs, and with it the processes
// of the rehearsal: the new binary may be a script.
func TestAHangingRehearsalDoesNotKeepTheDaemon(t *testing.T) {
	t.Parallel()
	dir := runtimeDir(t)
	must(t, os.WriteFile(filepath.Join(dir, "release"), []byte("one"), 0o600))
	script := "#!/bin/sh\nsleep 1000 &\necho $! > sleeps.new\nmv sleeps.new sleeps\nwait\n"
	must(t, os.Mkdir(filepath.Join(dir, "bin"), 0o700))
	must(t, os.WriteFile(filepath.Join(dir, "bin", "tideover"), []byte(script), 0o700))
	log := newWatchedLog()
	daemon := exec.Command("tideover", "run", "-S", filepath.Join(dir, "control.sock"), "--name", "shop",
		"--listen", "unix:"+filepath.Join(dir, "shop"), "--", "webapp")
	daemon.Env = append(os.Environ(), "PATH="+filepath.Join(dir, "bin")+":"+os.Getenv("PATH"), "PWD="+dir)
	daemon.Dir, daemon.Stdout, daemon.Stderr = dir, log, log
	must(t, daemon.Start())
	ended := make(chan error, 1)
	go func() {
		err := daemon.Wait()
		log.close()
		ended <- err
	}()
	t.Cleanup(func() { daemon.Process.Kill() })
	if !log.await("ready: app=shop") {
		t.Fatal(log)
	}
	must(t, daemon.Process.Signal(syscall.SIGUSR2))
	untilExists(filepath.Join(dir, "sleeps"))
	must(t, daemon.Process.Signal(syscall.SIGTERM))
	if err := <-ended; err != nil {
		t.Errorf("%v\n%s", err, log)
	}
	text, err := os.ReadFile(filepath.Join(dir, "sleeps"))
	must(t, err)
	stat, err := os.ReadFile("/proc/" + strings.TrimSpace(string(text)) + "/stat")
	if err == nil && !strings.Contains(string(stat), ") Z ") {
		t.Errorf("the child of the script lives on: %s", stat)
	}
}
