package daemon

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"tideover/proxy/awake"
	"tideover/supervisor"
	"tideover/supervisor/api"
	"tideover/supervisor/handoff"
	"tideover/supervisor/process"
)

// verifyTimeout is how long the new binary has to show that it can take over.
const verifyTimeout = 20 * time.Second

// errNoMonitor is the error of an upgrade in tests, which have no monitor.
var errNoMonitor = errors.New("there is no monitor that could start the new program")

// upgrade has another tideover take the place of this supervisor. It returns only when that has failed, which
// it logs.
func (d *daemon) upgrade(sup *supervisor.Supervisor, r api.UpgradeRequest) error {
	err := d.replace(sup, r)
	d.logger.Error("upgrade failed", "error", err, "hint", "nothing was changed")
	return err
}

// replace has the monitor start the new program in the place of this process, which ends as if it
// was killed: the next one restores what it leaves, and no request is held. If the new program ends before
// it has restored that, the monitor starts this one again.
func (d *daemon) replace(sup *supervisor.Supervisor, r api.UpgradeRequest) error {
	if d.Supervision == nil {
		return errNoMonitor
	}
	path, err := exec.LookPath(cmp.Or(r.Program, d.Supervision.client.Program()))
	if err != nil {
		return fmt.Errorf("cannot find the new tideover: %w", err)
	}
	if err := d.verifyBinary(d.shutdown.announced, path); err != nil {
		return &api.Error{Exit: api.ExitKeptOld, Message: err.Error(), Cause: err}
	}
	program, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // it may have been replaced, also by a FIFO
	if err != nil {
		return err
	}
	defer program.Close()
	if err := checkNoScript(program); err != nil {
		return err
	}
	d.logger.Info("upgrade started", "program", path, "by", r.By.String())
	n := handoff.Upgrade{Executable: handoff.Executable(path)}
	n.ID, n.Program, n.From, n.By, n.Began = r.ID, path, d.Version, r.By, time.Now()
	return sup.Replace(n, func() error {
		d.flushLog()
		if err := d.Supervision.client.Replace(program); err != nil {
			return err
		}
		os.Exit(0)
		return nil
	})
}

// checkNoScript refuses what the monitor, which executes a descriptor, cannot start: an interpreter would not
// find the script.
func checkNoScript(program *os.File) error {
	begin := make([]byte, 2)
	_, err := program.ReadAt(begin, 0)
	switch {
	case err != nil:
		return &api.Error{Exit: api.ExitKeptOld, Message: fmt.Sprintf("cannot read the new tideover: %v", err), Cause: err}
	case string(begin) == "#!":
		return &api.Error{Exit: api.ExitKeptOld, Message: program.Name() + " is a script", Hint: "name the program that it starts: tideover upgrade BINARY"}
	}
	return nil
}

// verifyBinary checks that the new binary runs, that it reads the record of this one, and that it accepts
// the configuration.
func (d *daemon) verifyBinary(ctx context.Context, path string) error {
	ctx, cancel := awake.WithTimeoutCause(ctx, verifyTimeout, errVerifyTimeout)
	defer cancel()
	text, err := rehearse(ctx, path, "version", "--json")
	if err != nil {
		return fmt.Errorf("%s version: %w", path, err)
	}
	var about struct {
		Version string
		Record  int
	}
	if err := json.Unmarshal([]byte(text), &about); err != nil {
		return fmt.Errorf("%s is not a tideover: %w", path, err)
	}
	if about.Record != handoff.RecordVersion {
		return fmt.Errorf("tideover %s cannot take over from %s; stop this one and start the new one", about.Version, d.Version)
	}
	if d.Load == nil {
		return nil
	}
	output, err := rehearse(ctx, path, "check", "--color", "never", d.Config.Path)
	if err != nil {
		return fmt.Errorf("%s check %s: %w: %s", path, d.Config.Path, err, strings.TrimSpace(output))
	}
	return nil
}

var errVerifyTimeout = fmt.Errorf("given up after %v", verifyTimeout)

// rehearse runs the new binary and returns its output. When ctx ends, its whole process
// tree is killed: it may be a script, and what that has started keeps the output open.
func rehearse(ctx context.Context, argv ...string) (string, error) {
	var output strings.Builder
	spec := process.Spec{Argv: argv, Env: os.Environ(), Name: "upgrade", Token: rand.Text()}
	outcome, err := process.Run(ctx, spec, func(line string) { output.WriteString(line + "\n") })
	if err == nil && (outcome.Code != 0 || outcome.Signal != 0) {
		err = errors.New(outcome.String())
	}
	return output.String(), err
}
