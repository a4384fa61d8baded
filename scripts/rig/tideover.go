package rig

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// Tideover is a daemon of ours, and the command line to it.
type Tideover struct {
	*Process
	room   *Room
	App    string // the name of its only app
	Socket string
	argv   []string
	dir    string
	env    []string
}

// RunOptions says how to start it.
type RunOptions struct {
	Flags   []string // of run, such as --listen ADDRESS
	Command []string // the app's; empty: Flags say -c FILE
	Env     []string // added
	Name    string   // of the app; empty: one that no other room has
	Binary  string   // of the daemon; empty: the one that is tried
}

// Tideover starts `tideover run` in the shop's folder.
func (r *Room) Tideover(s *Shop, o RunOptions) (*Tideover, error) {
	t := &Tideover{room: r, App: orElse(o.Name, r.token), Socket: r.Path("control.sock"), dir: s.Dir}
	t.argv = append([]string{orElse(o.Binary, Binary(r.Root)), "-S", t.Socket, "run"}, o.Flags...)
	if len(o.Command) > 0 {
		t.argv = append(append(t.argv, "--name", t.App, "--"), o.Command...)
	}
	for _, folder := range []string{"run", "state"} {
		if err := os.MkdirAll(r.Path(folder), 0o755); err != nil {
			return nil, err
		}
	}
	t.env = append([]string{"XDG_RUNTIME_DIR=" + r.Path("run"), "XDG_STATE_HOME=" + r.Path("state")}, o.Env...)
	return t, t.Again()
}

// Again starts the daemon another time, as it was started first.
func (t *Tideover) Again() error {
	var err error
	t.Process, err = t.room.Start(Command{Name: "tideover", Argv: t.argv, Dir: t.dir, Env: t.env, App: true})
	return err
}

// Argv is the daemon's command line, for those that start it themselves.
func (t *Tideover) Argv() []string { return t.argv }

// Outcome is what one call of the command line came to.
type Outcome struct {
	Exit   int
	Stdout string
	Stderr string
	Took   time.Duration
}

func (o Outcome) String() string {
	return fmt.Sprintf("exit %d after %.2f s\n%s%s", o.Exit, o.Took.Seconds(), o.Stdout, o.Stderr)
}

// Call runs one verb against the daemon.
func (t *Tideover) Call(ctx context.Context, args ...string) (Outcome, error) {
	var out, err bytes.Buffer
	cmd := exec.CommandContext(ctx, Binary(t.room.Root), append([]string{"-S", t.Socket}, args...)...)
	cmd.Env = t.room.environment(false, t.env)
	cmd.Dir = t.room.Dir
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

// Reload is the answer of reload and restart, as JSON says it.
type Reload struct {
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

// AppStatus is one app in the answer of status.
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

// Status asks for the state of the app.
func (t *Tideover) Status(ctx context.Context) (AppStatus, error) { return t.StatusOf(ctx, t.App) }

// StatusOf is Status of another app of its configuration.
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
	return AppStatus{}, fmt.Errorf("status does not name %s: %v", name, o)
}

// Do is reload or restart with --json.
func (t *Tideover) Do(ctx context.Context, verb string, args ...string) (Reload, Outcome, error) {
	o, err := t.Call(ctx, append([]string{"--json", verb, t.App}, args...)...)
	var r Reload
	if err == nil {
		err = json.Unmarshal([]byte(o.Stdout), &r)
		if err != nil {
			err = fmt.Errorf("%s: %w: %v", verb, err, o)
		}
	}
	return r, o, err
}

// Build compiles the program under test to where Binary says.
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
