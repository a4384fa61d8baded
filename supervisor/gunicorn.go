package supervisor

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"tideover/supervisor/api"
	"tideover/supervisor/config"
	"tideover/supervisor/process"
)

// askTimeout bounds asking gunicorn for its settings: an interpreter, and a
// configuration file, which is a program.
const askTimeout = 20 * time.Second

// askGunicorn lets gunicorn itself say what it was told on its command line, in
// its environment and in its configuration file, without importing the app. It
// runs as the app would: same interpreter, directory, environment and user.
func (h *house) askGunicorn(cfg *config.App) (config.Answer, error) {
	var none config.Answer
	p, err := h.post(cfg, 0)
	if err != nil {
		return none, err
	}
	spec, err := p.spec(nil, cfg.Name+".ask")
	if err != nil {
		return none, err
	}
	if spec.Argv, err = cfg.Gunicorn.Ask(head(cfg.Gunicorn.Script, spec.Dir, spec.Env)); err != nil {
		return none, err
	}
	output, err := h.output(cfg, spec)
	if err != nil {
		return none, err
	}
	return config.ParseAnswer(output)
}

// output runs a short command and returns what it writes. What it says on
// standard error is part of the error when it fails.
func (h *house) output(cfg *config.App, spec process.Spec) ([]byte, error) {
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
	ctx, cancel := context.WithTimeout(h.hurry, askTimeout)
	defer cancel()
	out, complaint := drain(outRead), drain(errRead)
	select {
	case <-p.Exited():
	case <-ctx.Done():
	}
	p.Kill(context.WithoutCancel(ctx)) // also what it may have left behind, so that the pipes end
	text, said := <-out, <-complaint
	if o := p.Outcome(); o.Code != 0 || o.Signal != 0 {
		return nil, fmt.Errorf("%s: %s", o, lastLine(said))
	}
	return text, nil
}

// drain reads a pipe to its end; the text arrives on the channel.
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

// head is the beginning of the script that runs gunicorn, found as the child
// would find it; empty when it cannot be read.
func head(script, dir string, env []string) []byte {
	if script == "" {
		return nil
	}
	path := script
	if strings.Contains(script, "/") {
		if !filepath.IsAbs(path) {
			path = filepath.Join(dir, path)
		}
	} else if path = lookPath(script, dir, env); path == "" {
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	text := make([]byte, 512)
	n, _ := io.ReadFull(f, text)
	return text[:n]
}

// lookPath finds a program in the child's PATH, not in ours.
func lookPath(name, dir string, env []string) string {
	for _, kv := range env {
		list, ok := strings.CutPrefix(kv, "PATH=")
		if !ok {
			continue
		}
		for _, d := range filepath.SplitList(list) {
			if !filepath.IsAbs(d) {
				d = filepath.Join(dir, d)
			}
			if path, err := exec.LookPath(filepath.Join(d, name)); err == nil {
				return path
			}
		}
	}
	return ""
}

// check refuses settings that cannot work. Where gunicorn has a configuration
// file, which is a program, gunicorn itself is asked what it says, the public
// address above all.
func (h *house) check(cfg *config.App) (*config.App, error) {
	if cfg.Gunicorn == nil {
		return cfg, nil
	}
	err := cfg.Gunicorn.Refuse(cfg.Reload)
	if err == nil && cfg.AskGunicorn {
		cfg, err = h.complete(cfg)
	}
	if err != nil {
		return nil, api.Errorf(api.ExitUsage, "app %s: %v", cfg.Name, err)
	}
	return cfg, nil
}

// complete adds to an app's settings what only gunicorn itself can tell: its
// version, how many requests it works on at once. An app that cannot be asked
// is left as it is; the error is a refusal.
func (h *house) complete(cfg *config.App) (*config.App, error) {
	if cfg.Gunicorn == nil || cfg.Gunicorn.Version != "" {
		return cfg, nil
	}
	answer, err := h.hear(cfg)
	if err != nil {
		say := h.logger.Debug
		if cfg.AskGunicorn {
			say = h.logger.Warn
		}
		say("cannot ask gunicorn for its settings; they are taken from its command line alone", "app", cfg.Name, "listen", cfg.Listen, "error", err)
		return cfg, nil
	}
	told, err := cfg.Told(answer)
	if err != nil {
		return cfg, err
	}
	return told, nil
}
