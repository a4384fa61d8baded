package generation

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/hashicorp/go-hclog"

	"tideover/supervisor/api"
	"tideover/supervisor/config"
	"tideover/supervisor/gunicorn"
	"tideover/supervisor/process"
	"tideover/supervisor/safepath"
)

// queryTimeout bounds the query of gunicorn's settings: it starts an interpreter
// and runs the configuration file, which is a program.
const queryTimeout = 20 * time.Second

// queryGunicorn runs gunicorn's own code to read its settings from the command
// line, the environment and the configuration file, without importing the app. It
// runs as the app would: same interpreter, directory, environment and user.
func (l *Launcher) queryGunicorn(cfg *config.App) (gunicorn.Report, error) {
	p, err := l.launchSpec(cfg, 0)
	if err != nil {
		return gunicorn.Report{}, err
	}
	spec, err := p.processSpec(nil, cfg.Name+".ask")
	if err != nil {
		return gunicorn.Report{}, err
	}
	return cfg.Gunicorn.Query(gunicorn.Place{
		Dir: spec.Dir, Env: spec.Env,
		ReadProgram: safepath.Opener{User: p.User}.ReadProgram,
		Run: func(argv []string) ([]byte, error) {
			spec.Argv = argv
			return l.output(cfg, spec)
		},
	})
}

// output runs a short command and returns its standard output. When it fails, the
// last line of its standard error is part of the error.
func (l *Launcher) output(cfg *config.App, spec process.Spec) ([]byte, error) {
	outRead, outWrite, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer outRead.Close()
	errRead, errWrite, err := os.Pipe()
	if err != nil {
		outWrite.Close()
		return nil, err
	}
	defer errRead.Close()
	spec.Stdout, spec.Stderr = outWrite, errWrite
	p, err := process.Start(spec)
	outWrite.Close()
	errWrite.Close()
	if err != nil {
		return nil, startFailed(cfg.Name, err)
	}
	ctx, cancel := context.WithTimeout(l.options.Hurry, queryTimeout)
	defer cancel()
	stdout, stderr := drain(outRead), drain(errRead)
	select {
	case <-p.Exited():
	case <-ctx.Done():
	}
	p.Kill(context.WithoutCancel(ctx)) // also its children: they may hold the pipes open
	for _, r := range []*os.File{outRead, errRead} {
		r.SetReadDeadline(time.Now().Add(time.Second)) // a process in uninterruptible sleep may do so still
	}
	text, message := <-stdout, <-stderr
	if o := p.Outcome(); o.Code != 0 || o.Signal != 0 {
		return nil, fmt.Errorf("%s: %s", o, lastLine(message))
	}
	return text, nil
}

// drain reads up to 1 MiB of a pipe, to EOF, and sends it to the channel.
func drain(r io.Reader) <-chan []byte {
	c := make(chan []byte, 1)
	go func() {
		text, _ := io.ReadAll(io.LimitReader(r, 1<<20))
		c <- text
	}()
	return c
}

func lastLine(text []byte) string {
	lines := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
	return string(lines[len(lines)-1])
}

// CheckSettings refuses settings that cannot work. Where gunicorn has a
// configuration file, it queries gunicorn, because the file may set the public
// address.
func (l *Launcher) CheckSettings(cfg *config.App) (*config.App, error) {
	if cfg.Gunicorn == nil {
		return cfg, nil
	}
	err := cfg.Gunicorn.Validate(cfg.ReloadMode() == config.Overlap)
	if err == nil && cfg.QueryGunicorn {
		cfg, err = l.CompleteSettings(cfg)
	}
	if err != nil {
		return nil, api.Errorf(api.ExitUsage, "app %s: %v", cfg.Name, err)
	}
	return cfg, nil
}

// CompleteSettings adds to an app's settings what only gunicorn itself can report:
// its version and its concurrency. When the query fails, it returns cfg as it is;
// the error is only for settings that are refused.
func (l *Launcher) CompleteSettings(cfg *config.App) (*config.App, error) {
	if cfg.Gunicorn == nil || cfg.Gunicorn.Version != "" {
		return cfg, nil
	}
	report, err := l.options.Gunicorns.Get(cfg.Name, func() (gunicorn.Report, error) { return l.queryGunicorn(cfg) })
	if err != nil {
		level := hclog.Debug
		if cfg.QueryGunicorn {
			level = hclog.Warn
		}
		l.logger.Log(level, "cannot query gunicorn", "app", cfg.Name, "listen", cfg.Listen, "error", err)
		return cfg, nil
	}
	merged, err := cfg.WithGunicornReport(report)
	if err != nil {
		return cfg, err
	}
	return merged, nil
}
