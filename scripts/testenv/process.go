package testenv

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Process is a process that an Env started, in a process group of its own. Its
// output goes to a file of the Env.
type Process struct {
	Name   string
	Output string // path

	command *exec.Cmd
	exited  chan struct{}
	start   func() (*Process, error)
}

// Command is a process to start.
type Command struct {
	Name string // of the process, and of its output file
	Argv []string
	Dir  string              // empty: that of the Env
	Env  []string            // added to the environment
	App  bool                // it is an app or the supervisor of one
	User *syscall.Credential // nil: the user of this program

	Output *os.File   // instead of the file; the caller closes it
	Files  []*os.File // from descriptor 3 on; the caller closes them, when it is not started again
}

// Start starts a process, which Close ends.
func (e *Env) Start(c Command) (*Process, error) {
	out, err := os.OpenFile(e.Path(c.Name+".out"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	cmd := exec.Command(c.Argv[0], c.Argv[1:]...)
	cmd.Dir = c.Dir
	if cmd.Dir == "" {
		cmd.Dir = e.Dir
	}
	cmd.Env = e.environment(c.App, c.Env)
	cmd.Stdout, cmd.Stderr = out, out
	if c.Output != nil {
		cmd.Stdout, cmd.Stderr = c.Output, c.Output
	}
	cmd.ExtraFiles = c.Files
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: c.User}
	p := &Process{Name: c.Name, Output: out.Name(), command: cmd, exited: make(chan struct{}), start: func() (*Process, error) { return e.Start(c) }}

	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil, errors.New("the Env is closed")
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("%s: %w", c.Name, err)
	}
	go func() {
		cmd.Wait()
		close(p.exited)
	}()
	e.processes = append(e.processes, p)
	return p, nil
}

// Again starts the same command, after the exit.
func (p *Process) Again() (*Process, error) { return p.start() }

// Pid returns the process id.
func (p *Process) Pid() int { return p.command.Process.Pid }

// Exited is closed when the process has exited and was reaped.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// Code returns the exit code, after Exited; -1 when a signal ended the process.
func (p *Process) Code() int { return p.command.ProcessState.ExitCode() }

// Signal sends a signal to the process, not to its group.
func (p *Process) Signal(sig syscall.Signal) error { return p.command.Process.Signal(sig) }

// Stop sends a signal and waits for the exit.
func (p *Process) Stop(sig syscall.Signal, timeout time.Duration) error {
	if err := p.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-p.exited:
		return nil
	case <-time.After(timeout):
		return fmt.Errorf("%s has not exited %v after %v", p.Name, timeout, sig)
	}
}

// terminate sends SIGTERM to the process, and after 3 s SIGKILL to its group.
func (p *Process) terminate() {
	if p.Stop(syscall.SIGTERM, 3*time.Second) != nil {
		syscall.Kill(-p.Pid(), syscall.SIGKILL)
	}
	<-p.exited
}

// Tail returns the last lines of the output.
func (p *Process) Tail(lines int) string {
	text, err := os.ReadFile(p.Output)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// Tails returns the last lines of the output of every process.
func (e *Env) Tails(lines int) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	var b strings.Builder
	for _, p := range e.processes {
		fmt.Fprintf(&b, "--- %s\n%s\n", p.Name, p.Tail(lines))
	}
	return b.String()
}

// AppProcesses lists the live processes of the apps of e, each as pid and command
// line, also those that left their session or parent. Processes of tideover
// itself are left out.
func (e *Env) AppProcesses() []string {
	var left []string
	for pid, dir := range tagged(appTag + "=" + e.token) {
		exe, err := os.Readlink(filepath.Join(dir, "exe"))
		if err != nil || strings.TrimSuffix(exe, " (deleted)") == Binary(e.Root) {
			continue
		}
		line, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		left = append(left, fmt.Sprintf("%s %s", pid, bytes.ReplaceAll(bytes.TrimRight(line, "\x00"), []byte{0}, []byte{' '})))
	}
	return left
}

// tagged yields the live processes with this line in their environment, and their
// folder in /proc.
func tagged(variable string) func(yield func(pid, dir string) bool) {
	return func(yield func(pid, dir string) bool) {
		dirs, _ := filepath.Glob("/proc/[0-9]*")
		for _, dir := range dirs {
			environ, err := os.ReadFile(filepath.Join(dir, "environ"))
			if err != nil || !bytes.Contains(append([]byte{0}, environ...), []byte("\x00"+variable+"\x00")) {
				continue
			}
			if !yield(filepath.Base(dir), dir) {
				return
			}
		}
	}
}

// killTagged sends SIGKILL to the processes with this line in their environment
// until there are none, for at most 5 s.
func killTagged(variable string) {
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for range 250 {
		found := false
		for pid := range tagged(variable) {
			var number int
			if _, err := fmt.Sscan(pid, &number); err == nil && number != os.Getpid() {
				syscall.Kill(number, syscall.SIGKILL)
				found = true
			}
		}
		if !found {
			return
		}
		<-ticker.C
	}
}
