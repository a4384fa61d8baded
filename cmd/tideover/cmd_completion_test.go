package main

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"tideover/supervisor/xmlrpc"
)

// shell is an interactive shell on a terminal of its own, and what the test types
// in it.
type shell struct {
	t      *testing.T
	keys   *os.File
	mu     sync.Mutex // guards said
	said   bytes.Buffer
	spoken chan struct{} // something new was said
}

// newShell starts a shell in a directory in which tideover and supervisorctl are
// programs that print the words they were started with, and complete them for real.
func newShell(t *testing.T, dir string, command ...string) *shell {
	t.Helper()
	bin := t.TempDir()
	for _, name := range []string{"tideover", "supervisorctl"} {
		real, err := exec.LookPath(name)
		if err != nil {
			t.Fatal(err)
		}
		script := fmt.Sprintf("#!/bin/sh\ncase $1 in __complete*|completion) exec %s \"$@\";; esac\nprintf 'typed'; printf ' <%%s>' \"$@\"; echo .\n", real)
		if err := os.WriteFile(filepath.Join(bin, name), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	master, tty := pseudoTerminal(t)
	run := exec.Command(command[0], command[1:]...)
	run.Dir, run.Stdin, run.Stdout, run.Stderr = dir, tty, tty, tty
	run.Env = []string{"PATH=" + bin + ":" + os.Getenv("PATH"), "HOME=" + bin, "TERM=xterm", "TIDEOVER_SOCKET=" + filepath.Join(dir, "control.sock")}
	run.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := run.Start(); err != nil {
		t.Fatalf("%v; scripts/setup installs what the tests need", err)
	}
	tty.Close()
	s := &shell{t: t, keys: master, spoken: make(chan struct{}, 1)}
	var reading sync.WaitGroup
	reading.Go(s.listen)
	t.Cleanup(func() {
		run.Process.Kill()
		run.Wait()
		master.Close()
		reading.Wait()
	})
	return s
}

// listen keeps what the shell says until its terminal is closed.
func (s *shell) listen() {
	part := make([]byte, 4096)
	for {
		n, err := s.keys.Read(part)
		s.mu.Lock()
		s.said.Write(part[:n])
		s.mu.Unlock()
		select {
		case s.spoken <- struct{}{}:
		default:
		}
		if err != nil {
			return
		}
	}
}

func (s *shell) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.said.String()
}

// types sends keys, waits until the shell has said what is expected, and
// returns what it has said since.
func (s *shell) types(keys, expected string) string {
	s.t.Helper()
	before := len(s.text())
	if _, err := s.keys.WriteString(keys); err != nil {
		s.t.Fatal(err)
	}
	late := time.After(time.Minute)
	for {
		said := s.text()[before:]
		if strings.Contains(said, expected) {
			return said
		}
		select {
		case <-s.spoken:
		case <-late:
			s.t.Fatalf("%q is not answered by %q but by\n%s", keys, expected, said)
		}
	}
}

// completes presses TAB behind a line, then ENTER, and checks what tideover was
// started with. A machine that is busy may need more than the time after which
// completion gives up, so it is tried again.
func (s *shell) completes(line, want string) {
	s.t.Helper()
	words := "typed <" + strings.Join(strings.Fields(want)[1:], "> <") + ">."
	said := ""
	for range 20 {
		if said = s.types(line+"\t\r", ">."); strings.Contains(said, words) {
			return
		}
	}
	s.t.Errorf("%q is completed to\n%s\nnot to %s", line, said, want)
}

// completedApps serves two apps of a kind in a directory of its own, in which
// there is a file as well.
func completedApps(t *testing.T) (dir string) {
	t.Helper()
	d, dir := shopDaemon(t)
	celery := serving("celery:1")
	celery.Labels = []string{"background"}
	d.status.Apps = append(d.status.Apps, celery)
	if err := os.WriteFile(filepath.Join(dir, "mysite.toml"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	serveSupervisord(t, dir)
	return dir
}

// serveSupervisord answers supervisorctl in a directory: there is a group worker.
func serveSupervisord(t *testing.T, dir string) {
	t.Helper()
	conf := "[supervisorctl]\nserverurl=unix://%(here)s/supervisor.sock\n"
	if err := os.WriteFile(filepath.Join(dir, "supervisord.conf"), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("unix", filepath.Join(dir, "supervisor.sock"))
	if err != nil {
		t.Fatal(err)
	}
	processes := []any{xmlrpc.Struct{"group": "worker", "name": "worker_00"}, xmlrpc.Struct{"group": "shop", "name": "shop"}}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Write(xmlrpc.Response(processes))
	})}
	var serving sync.WaitGroup
	serving.Go(func() { server.Serve(listener) })
	t.Cleanup(func() {
		server.Close()
		serving.Wait()
	})
}

// completions are what people type, and what comes of it in any shell.
var completions = map[string]string{
	"tideover reloa":           "tideover reload",
	"tideover reload sh":       "tideover reload shop",
	"tideover stop celery:":    "tideover stop celery:1",
	"tideover start backg":     "tideover start background",
	"tideover logs --daem":     "tideover logs --daemon",
	"tideover --color=alw":     "tideover --color=always",
	"tideover --color ne":      "tideover --color never",
	"tideover check mys":       "tideover check mysite.toml",
	"tideover -c mys":          "tideover -c mysite.toml",
	"tideover signal shop TTI": "tideover signal shop TTIN",
	"tideover help exi":        "tideover help exits",

	"supervisorctl rest":           "supervisorctl restart",
	"supervisorctl stop sh":        "supervisorctl stop shop",
	"supervisorctl stop worker:w":  "supervisorctl stop worker:worker_00",
	"supervisorctl signal HUP sh":  "supervisorctl signal HUP shop",
	"supervisorctl -c supervisord": "supervisorctl -c supervisord.conf",
}

func TestCompletionInBash(t *testing.T) {
	t.Parallel()
	s := newShell(t, completedApps(t), "bash", "--norc", "--noprofile", "-i")
	s.types("PS1='> '; echo re''ady\r", "ready")
	s.types("source <(tideover completion bash); echo sour''ced\r", "sourced")
	for line, want := range completions {
		s.completes(line, want)
	}
	s.types("COMP_WORDBREAKS=${COMP_WORDBREAKS//:}; echo chan''ged\r", "changed")
	s.completes("tideover stop celery:", "tideover stop celery:1")
}

func TestCompletionInZsh(t *testing.T) {
	t.Parallel()
	s := newShell(t, completedApps(t), "zsh", "-f", "-i")
	s.types("PS1='> '; autoload -U compinit; compinit -D; echo re''ady\r", "ready")
	s.types("source <(tideover completion zsh); echo sour''ced\r", "sourced")
	for line, want := range completions {
		s.completes(line, want)
	}
}

func TestCompletionScripts(t *testing.T) {
	t.Parallel()
	for shell, word := range map[string]string{"bash": "complete -F _tideover tideover supervisorctl", "zsh": "#compdef tideover supervisorctl\ncompdef _tideover tideover supervisorctl\n", "fish": "complete -c tideover"} {
		if got := tideover(t, runtimeDir(t), "completion", shell); got.exit != 0 || !strings.Contains(got.stdout, word) {
			t.Errorf("%s: exit %d, %d bytes without %q", shell, got.exit, len(got.stdout), word)
		}
	}
}
