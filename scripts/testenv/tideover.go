package testenv

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Tideover is a running daemon, with the verbs of the command line.
type Tideover struct {
	*Process
	env    *Env
	App    string // the name of its app, or of one of them
	Socket string
	argv   []string
	dir    string
	vars   []string // added to its environment
	output *os.File // nil: a file of the Env
	files  []*os.File
}

// RunOptions are the options of Env.Tideover.
type RunOptions struct {
	Flags   []string // of `tideover run`, such as --listen ADDRESS
	Command []string // of the app; empty: Flags has -c FILE
	Env     []string // added to the environment
	Name    string   // of the app; empty: a unique one
	Binary  string   // of the daemon; empty: Binary
	Output  *os.File // of the daemon; nil: a file of the Env
	Within  []string // a command that execs the daemon, such as nsenter; empty: none
	// Sockets are passed to the daemon as systemd does, at each start. The caller closes them at the end.
	Sockets []*os.File
}

// Tideover starts `tideover run` in the folder of a.
func (e *Env) Tideover(a *App, o RunOptions) (*Tideover, error) {
	t := &Tideover{env: e, App: orElse(o.Name, e.token), Socket: e.Path("control.sock"), dir: a.Dir, output: o.Output, files: o.Sockets}
	t.argv = slices.Clone(o.Within)
	if n := len(o.Sockets); n > 0 {
		t.argv = append(t.argv, "sh", "-c", fmt.Sprintf(`LISTEN_FDS=%d LISTEN_PID=$$ exec "$@"`, n), "sh")
	}
	t.argv = append(t.argv, orElse(o.Binary, Binary(e.Root)), "-S", t.Socket, "run")
	t.argv = append(t.argv, o.Flags...)
	if len(o.Command) > 0 {
		t.argv = append(append(t.argv, "--name", t.App, "--"), o.Command...)
	}
	for _, folder := range []string{"run", "state"} {
		if err := os.MkdirAll(e.Path(folder), 0o755); err != nil {
			return nil, err
		}
	}
	t.vars = append([]string{"XDG_RUNTIME_DIR=" + e.Path("run"), "XDG_STATE_HOME=" + e.Path("state")}, o.Env...)
	return t, t.StartAgain()
}

// StartAgain starts the daemon with the same command line, after its exit.
func (t *Tideover) StartAgain() error {
	var err error
	t.Process, err = t.env.Start(Command{Name: "tideover", Argv: t.argv, Dir: t.dir, Env: t.vars, App: true, Output: t.output, Files: t.files})
	return err
}

// Argv returns the command line of the daemon.
func (t *Tideover) Argv() []string { return t.argv }

// Outcome is the result of one command.
type Outcome struct {
	Exit   int
	Stdout string
	Stderr string
	Took   time.Duration
}

func (o Outcome) String() string {
	return fmt.Sprintf("exit %d after %.2f s\n%s%s", o.Exit, o.Took.Seconds(), o.Stdout, o.Stderr)
}

// Call runs one verb of the command line. A non-zero exit code is no error.
func (t *Tideover) Call(ctx context.Context, args ...string) (Outcome, error) {
	var out, err bytes.Buffer
	cmd := exec.CommandContext(ctx, Binary(t.env.Root), append([]string{"-S", t.Socket}, args...)...)
	cmd.Env = t.env.environment(false, t.vars)
	cmd.Dir = t.env.Dir
	cmd.Stdout, cmd.Stderr = &out, &err
	begun := time.Now()
	fault := cmd.Run()
	o := Outcome{Exit: cmd.ProcessState.ExitCode(), Stdout: out.String(), Stderr: err.String(), Took: time.Since(begun)}
	var exit *exec.ExitError
	if fault != nil && !errors.As(fault, &exit) {
		return o, fault
	}
	return o, ctx.Err()
}

// OperationResult is the JSON output of reload and restart.
type OperationResult struct {
	App        string `json:"app"`
	Result     string `json:"result"`
	Exit       int    `json:"exit"`
	Generation struct {
		From int `json:"from"`
		To   int `json:"to"`
	} `json:"generation"`
	Requests struct {
		Held     int     `json:"held"`
		HeldMaxS float64 `json:"held_max_s"`
		Lost     int     `json:"lost"`
	} `json:"requests"`
	Error       string   `json:"error"`
	ChildOutput []string `json:"child_output"`
}

// AppStatus is one app in the JSON output of status.
type AppStatus struct {
	Name       string         `json:"name"`
	State      string         `json:"state"`
	Generation int            `json:"generation"`
	Pid        int            `json:"pid"`
	Listen     []string       `json:"listen"`
	InFlight   int            `json:"in_flight"`
	Held       int            `json:"held"`
	Counters   map[string]int `json:"counters"`
}

// Status runs `tideover status` for the app.
func (t *Tideover) Status(ctx context.Context) (AppStatus, error) { return t.StatusOf(ctx, t.App) }

// StatusOf runs `tideover status` for another app of the configuration.
func (t *Tideover) StatusOf(ctx context.Context, name string) (AppStatus, error) {
	o, err := t.Call(ctx, "--json", "status", name)
	if err != nil {
		return AppStatus{}, err
	}
	var all struct{ Apps []AppStatus }
	if err := json.Unmarshal([]byte(o.Stdout), &all); err != nil {
		return AppStatus{}, fmt.Errorf("status: %w: %v", err, o)
	}
	for _, app := range all.Apps {
		if app.Name == name {
			return app, nil
		}
	}
	return AppStatus{}, fmt.Errorf("status does not list %s: %v", name, o)
}

// Operate runs the verb reload or restart for the app.
func (t *Tideover) Operate(ctx context.Context, verb string, args ...string) (OperationResult, Outcome, error) {
	o, err := t.Call(ctx, append([]string{"--json", verb, t.App}, args...)...)
	var r OperationResult
	if err == nil {
		err = json.Unmarshal([]byte(o.Stdout), &r)
		if err != nil {
			err = fmt.Errorf("%s: %w: %v", verb, err, o)
		}
	}
	return r, o, err
}

// Processes returns the pids of a tideover: the daemon's, which users know, and those of its other
// processes.
func (p *Process) Processes() []int {
	all := []int{p.Pid()}
	for i := 0; i < len(all); i++ {
		lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", all[i]))
		for _, list := range lists {
			children, _ := os.ReadFile(list)
			for _, word := range strings.Fields(string(children)) {
				if name, _ := os.ReadFile("/proc/" + word + "/cmdline"); strings.HasPrefix(string(name), "tideover: ") {
					pid, _ := strconv.Atoi(word)
					all = append(all, pid)
				}
			}
		}
	}
	return all
}

// RelayPid is the pid of the process that relays. Where there is none the daemon relays itself.
func (t *Tideover) RelayPid() int { return t.RolePid("relay") }

// RolePid is the pid of a process of tideover: relay, supervisor or admin. Where there is none the
// daemon has that role itself.
func (p *Process) RolePid(role string) int {
	for _, pid := range p.Processes()[1:] {
		if name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); strings.HasPrefix(string(name), "tideover: "+role) {
			return pid
		}
	}
	return p.Pid()
}

// Supervisor waits for a supervisor that is another process than former, and returns its pid.
func (t *Tideover) Supervisor(ctx context.Context, former int) (pid int, err error) {
	err = Poll(ctx, time.Millisecond, func() error {
		if pid = t.RolePid("supervisor"); pid == t.Pid() || pid == former {
			return errors.New("there is no supervisor")
		}
		return nil
	})
	return pid, err
}

// KillSupervisor kills the supervisor, and returns when there is another one.
func (t *Tideover) KillSupervisor(ctx context.Context) error {
	former, err := t.Supervisor(ctx, 0)
	if err == nil {
		err = syscall.Kill(former, syscall.SIGKILL)
	}
	if err == nil {
		_, err = t.Supervisor(ctx, former)
	}
	return err
}

// Kill kills the daemon and what would take its place: the monitor first, which would start another supervisor.
func (t *Tideover) Kill() error { return t.Crash(syscall.SIGKILL) }

// Crash is Kill with another signal.
func (t *Tideover) Crash(sig syscall.Signal) error {
	supervisor := t.RolePid("supervisor")
	err := t.Signal(sig)
	if supervisor != t.Pid() {
		err = errors.Join(err, syscall.Kill(supervisor, sig))
	}
	return err
}

// SignalAll sends a signal to all processes of tideover.
func (t *Tideover) SignalAll(sig syscall.Signal) error {
	var errs []error
	for _, pid := range t.Processes() {
		errs = append(errs, syscall.Kill(pid, sig))
	}
	return errors.Join(errs...)
}

// Build compiles the program under test to the path that Binary returns, unless
// TIDEOVER_BIN names another one.
func Build(ctx context.Context, root string) error {
	if os.Getenv("TIDEOVER_BIN") != "" {
		return nil
	}
	path := Binary(root)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-o", path, "./cmd/tideover")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	return nil
}
