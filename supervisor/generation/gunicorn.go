package generation

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"tideover/supervisor/api"
	"tideover/supervisor/config"
	"tideover/supervisor/gunicorn"
	"tideover/supervisor/process"
)

// queryTimeout bounds the query of gunicorn's settings: it starts an interpreter
// and runs the configuration file, which is a program.
const queryTimeout = 20 * time.Second

// QueryGunicorn has the gunicorn of an app report its settings. It runs as the app
// would: same command, directory, environment and user; see gunicorn.Command.Query.
// When ctx ends, its processes are killed.
func QueryGunicorn(ctx context.Context, cfg *config.App) (gunicorn.Report, error) {
	if err := cfg.Gunicorn.Unaskable(); err != nil {
		return gunicorn.Report{}, err
	}
	p, err := newLaunchSpec(cfg, 0, "query.")
	if err != nil {
		return gunicorn.Report{}, err
	}
	return p.queryGunicorn(ctx)
}

func (p LaunchSpec) queryGunicorn(ctx context.Context) (gunicorn.Report, error) {
	spec, err := p.processSpec(nil, p.App.Name+".ask")
	if err != nil {
		return gunicorn.Report{}, err
	}
	// Where gunicorn does not get the option that the query adds, it ends without binding.
	spec.Env = extend(spec.Env, "GUNICORN_CMD_ARGS", "--check-config")
	dir, err := makeQueryDir()
	if err != nil {
		return gunicorn.Report{}, err
	}
	defer dir.remove()
	return p.App.Gunicorn.Query(dir.program(), func(argv []string) ([]byte, error) {
		spec.Argv = argv
		return output(ctx, p.App, spec)
	})
}

// output runs a short command and returns its standard output. When it fails, the
// last line of its standard error is part of the error.
func output(ctx context.Context, cfg *config.App, spec process.Spec) ([]byte, error) {
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
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
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
	o := p.Outcome()
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return nil, fmt.Errorf("it did not end within %s: %s", api.FormatDuration(queryTimeout), lastLine(message))
	case o.Code != 0 || o.Signal != 0:
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

// CompleteSettings adds to an app's settings what only gunicorn itself can report, and refuses
// settings that cannot work. It runs gunicorn's configuration file. When gunicorn does not report
// its settings, its last report counts; without one the address must be known from elsewhere.
func (l *Launcher) CompleteSettings(cfg *config.App) (*config.App, error) {
	return l.completeSettings(cfg, func() (gunicorn.Report, error) {
		p, err := l.launchSpec(cfg, 0)
		if err != nil {
			return gunicorn.Report{}, err
		}
		return p.queryGunicorn(l.options.Hurry)
	})
}

// errNotAsked is the error of a query that is not made.
var errNotAsked = errors.New("it was not asked")

// RecallSettings is CompleteSettings without running anything: only the last report counts. asked
// is false if there is none.
func (l *Launcher) RecallSettings(cfg *config.App) (complete *config.App, asked bool, err error) {
	if cfg.Gunicorn == nil {
		return cfg, true, nil
	}
	if _, asked = l.options.Gunicorns.Last(cfg.Name, cfg.Command); !asked {
		return cfg, false, refused(cfg.ValidateGunicorn())
	}
	complete, err = l.completeSettings(cfg, func() (gunicorn.Report, error) { return gunicorn.Report{}, errNotAsked })
	return complete, true, err
}

// GunicornReport is the last report of an app's gunicorn; nil: there is none.
func (l *Launcher) GunicornReport(cfg *config.App) *gunicorn.Report {
	if cfg.Gunicorn == nil {
		return nil
	}
	report, known := l.options.Gunicorns.Last(cfg.Name, cfg.Command)
	if !known {
		return nil
	}
	return &report
}

func (l *Launcher) completeSettings(cfg *config.App, query func() (gunicorn.Report, error)) (*config.App, error) {
	if cfg.Gunicorn == nil {
		return cfg, nil
	}
	if err := cfg.ValidateGunicorn(); err != nil {
		return nil, refused(err)
	}
	report, err := l.options.Gunicorns.Get(cfg.Name, cfg.Command, query)
	if err != nil {
		var known bool
		report, known = l.options.Gunicorns.Last(cfg.Name, cfg.Command)
		switch {
		case !known && cfg.QueryGunicorn:
			return nil, unknownAddress(err)
		case err != errNotAsked:
			l.logger.Warn("cannot query gunicorn", "app", cfg.Name, "error", err, "last_answer", known)
		}
		if !known {
			return cfg, nil
		}
	}
	merged, err := cfg.WithGunicornReport(report)
	if err != nil {
		return nil, refused(err)
	}
	l.options.Gunicorns.Keep(cfg.Name, report)
	for _, w := range merged.WarningsAfter(cfg) {
		l.logger.Warn("gunicorn setting", "app", cfg.Name, "problem", w.Message)
	}
	return merged, nil
}

// refused is the error of settings that cannot work, or nil.
func refused(err error) error {
	if err == nil {
		return nil
	}
	return &api.Error{Exit: api.ExitUsage, Message: err.Error()}
}

// unknownAddress is the error of an app whose gunicorn did not tell its address.
func unknownAddress(err error) error {
	e := &api.Error{Exit: api.ExitUsage, Hint: "mend that, or give the public address with listen (--listen)"}
	var start *api.Error
	if errors.As(err, &start) {
		err, e.Cause = errors.New(start.Message), start.Cause
		e.Hint = cmp.Or(start.Hint, e.Hint)
	}
	e.Message = fmt.Sprintf("gunicorn did not tell where it listens: %v", err)
	return e
}
