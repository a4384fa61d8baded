package rig

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

// Process is one that a room started, in a group of its own. What it prints is
// in a file of the room.
type Process struct {
	Name   string
	Output string // path

	command *exec.Cmd
	exited  chan struct{}
}

// Command says what to start.
type Command struct {
	Name string // of the process, and of its output file
	Argv []string
	Dir  string   // empty: the room's
	Env  []string // added
	App  bool     // it is an app, or supervises one
}

// Start starts a process that Close ends.
func (r *Room) Start(c Command) (*Process, error) {
	out, err := os.OpenFile(r.Path(c.Name+".out"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	cmd := exec.Command(c.Argv[0], c.Argv[1:]...)
	cmd.Dir = c.Dir
	if cmd.Dir == "" {
		cmd.Dir = r.Dir
	}
	cmd.Env = r.environment(c.App, c.Env)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p := &Process{Name: c.Name, Output: out.Name(), command: cmd, exited: make(chan struct{})}

	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, errors.New("the room is closed")
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("%s: %w", c.Name, err)
	}
	go func() {
		cmd.Wait()
		close(p.exited)
	}()
	r.processes = append(r.processes, p)
	return p, nil
}

// Pid is the process's own.
func (p *Process) Pid() int { return p.command.Process.Pid }

// Exited is closed when the process is gone.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// Code is the exit code, after Exited; -1 when a signal ended it.
func (p *Process) Code() int { return p.command.ProcessState.ExitCode() }

// Signal sends a signal to the process alone.
func (p *Process) Signal(sig syscall.Signal) error { return p.command.Process.Signal(sig) }

// Stop sends a signal and waits until the process is gone.
func (p *Process) Stop(sig syscall.Signal, patience time.Duration) error {
	if err := p.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-p.exited:
		return nil
	case <-time.After(patience):
		return fmt.Errorf("%s is still there %v after %v", p.Name, patience, sig)
	}
}

// end takes the process away: kindly, then with its group.
func (p *Process) end() {
	if p.Stop(syscall.SIGTERM, 3*time.Second) != nil {
		syscall.Kill(-p.Pid(), syscall.SIGKILL)
	}
	<-p.exited
}

// Tail is the end of what the process printed.
func (p *Process) Tail(lines int) string {
	text, err := os.ReadFile(p.Output)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// Tails is the end of what every process of the room printed.
func (r *Room) Tails(lines int) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var b strings.Builder
	for _, p := range r.processes {
		fmt.Fprintf(&b, "--- %s\n%s\n", p.Name, p.Tail(lines))
	}
	return b.String()
}

// AppProcesses lists what is left of the room's apps, wherever it went: a pid
// and a command line each. Tideover's own processes are not among them.
func (r *Room) AppProcesses() []string {
	var left []string
	for pid, dir := range marked(appMarker + "=" + r.token) {
		exe, err := os.Readlink(filepath.Join(dir, "exe"))
		if err != nil || strings.TrimSuffix(exe, " (deleted)") == Binary(r.Root) {
			continue
		}
		line, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		left = append(left, fmt.Sprintf("%s %s", pid, bytes.ReplaceAll(bytes.TrimRight(line, "\x00"), []byte{0}, []byte{' '})))
	}
	return left
}

// marked yields the live processes with this variable in their environment.
func marked(variable string) func(yield func(pid, dir string) bool) {
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

// killMarked kills until nobody carries the variable any more.
func killMarked(variable string) {
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for range 250 {
		found := false
		for pid := range marked(variable) {
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
