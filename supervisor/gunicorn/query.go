package gunicorn

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"tideover/supervisor/shellwords"
)

// queryProgram is the Python program that prints gunicorn's settings.
//
//go:embed query.py
var queryProgram string

// reportMarker is printed before the report, because a configuration file may
// print as well.
const reportMarker = "tideover-gunicorn-settings:"

// Report is what gunicorn reports about its settings.
type Report struct {
	Version         string   `json:"version"`
	Python          string   `json:"python"`
	Bind            []string `json:"bind"`
	Workers         int      `json:"workers"`
	Threads         int      `json:"threads"`
	WorkerClass     string   `json:"worker_class"`
	Connections     int      `json:"worker_connections"`
	GracefulTimeout float64  `json:"graceful_timeout"` // in seconds, like the next two
	Timeout         float64  `json:"timeout"`
	KeepAlive       float64  `json:"keepalive"`
	Pidfile         string   `json:"pidfile"`
	Chdir           string   `json:"chdir"`
	Daemon          bool     `json:"daemon"`
	ReusePort       bool     `json:"reuse_port"`
	Reload          bool     `json:"reload"`
	Preload         bool     `json:"preload"`
	TLS             bool     `json:"tls"`
	ProxyProtocol   bool     `json:"proxy_protocol"`
	Protocol        string   `json:"protocol"`
}

// Place is where the app's process would run.
type Place struct {
	Dir string
	Env []string
	// ReadProgram returns the first bytes of a program; the app's user may be able to change it.
	ReadProgram func(path string, limit int) ([]byte, error)
	// Run starts argv as the app's user and returns its standard output.
	Run func(argv []string) ([]byte, error)
}

// Query has gunicorn report its settings from the command line, the environment
// and the configuration file, without importing the app.
func (c *Command) Query(p Place) (Report, error) {
	argv, err := c.queryArgv(p.scriptHead(c.Script))
	if err != nil {
		return Report{}, err
	}
	output, err := p.Run(argv)
	if err != nil {
		return Report{}, err
	}
	return parseReport(output)
}

// queryArgv is the command that runs queryProgram in the interpreter that the app
// will have. head is the beginning of the file that Script names; the interpreter
// is taken from it where neither Python nor a wrapper names one.
func (c *Command) queryArgv(head []byte) ([]string, error) {
	for _, w := range c.Wrappers {
		if strings.HasSuffix(w.Name, " -c") {
			return nil, fmt.Errorf("gunicorn inside of %q cannot be asked for its address: write listen, or the command without a shell", w.Name)
		}
	}
	words := slices.Clone(c.Prefix)
	switch {
	case len(c.Python) > 0:
		words = append(words, c.Python...)
	case c.Script == "": // uv run -m gunicorn
		words = append(words[:len(words)-1], "python")
	case len(c.Wrappers) > 0 && !strings.Contains(c.Script, "/") && hasVirtualEnv(c.Wrappers):
		words = append(words, "python")
	default:
		python, err := interpreter(head)
		if err != nil {
			return nil, fmt.Errorf("cannot tell which Python runs %s: %w", c.Script, err)
		}
		words = append(words, python...)
	}
	return slices.Concat(words, []string{"-c", queryProgram, reportMarker}, c.Args), nil
}

// hasVirtualEnv reports whether one of the wrappers runs its command in a virtual
// environment of its own, where "python" is the interpreter of gunicorn.
func hasVirtualEnv(all []Wrapper) bool {
	return slices.ContainsFunc(all, func(w Wrapper) bool {
		return strings.HasSuffix(w.Name, " run") || strings.HasPrefix(w.Name, "uv") || w.Name == "direnv exec"
	})
}

// scriptHead returns the first 512 bytes of the script that runs gunicorn, found
// as the child would find it; nil if it cannot be read.
func (p Place) scriptHead(script string) []byte {
	if script == "" {
		return nil
	}
	path := script
	if strings.Contains(script, "/") {
		if !filepath.IsAbs(path) {
			path = filepath.Join(p.Dir, path)
		}
	} else if path = lookPath(script, p.Dir, p.Env); path == "" {
		return nil
	}
	head, _ := p.ReadProgram(path, 512) // an error: queryArgv needs none where the command names Python
	return head
}

// lookPath finds a program in the PATH of env.
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

// interpreter reads the first lines of a script: "#!/path/python -s",
// "#!/usr/bin/env python3", or the form that pip and uv use for paths that are
// too long or have blanks:
//
//	#!/bin/sh
//	'''exec' "/path/python" "$0" "$@"
func interpreter(head []byte) ([]string, error) {
	first, rest, _ := bytes.Cut(head, []byte("\n"))
	line, ok := strings.CutPrefix(string(first), "#!")
	if !ok {
		return nil, errors.New("there is no #! line in it")
	}
	words := strings.Fields(line)
	if len(words) == 0 {
		return nil, errors.New("the line after #! is empty")
	}
	if path.Base(words[0]) == "sh" {
		second, _, _ := bytes.Cut(rest, []byte("\n"))
		command, ok := strings.CutPrefix(string(second), "'''exec' ")
		if inner, err := shellwords.Split(command); ok && err == nil && len(inner) > 0 {
			return inner[:1], nil
		}
		return nil, errors.New("it is a shell script")
	}
	if path.Base(words[0]) == "env" {
		if words = slices.DeleteFunc(words[1:], func(w string) bool { return w == "-S" }); len(words) == 0 {
			return nil, errors.New("nothing follows env")
		}
	}
	if !pythonName.MatchString(path.Base(words[0])) {
		return nil, fmt.Errorf("%s is not Python", words[0])
	}
	return words, nil
}

// parseReport finds the report in the standard output of queryProgram.
func parseReport(output []byte) (Report, error) {
	var r Report
	for line := range bytes.Lines(output) {
		text, ok := bytes.CutPrefix(line, []byte(reportMarker))
		if !ok {
			continue
		}
		if err := json.Unmarshal(text, &r); err != nil {
			return r, fmt.Errorf("gunicorn's settings cannot be read: %w", err)
		}
		return r, nil
	}
	return r, errors.New("gunicorn did not tell its settings")
}

// WithReport returns a copy of c with the settings that gunicorn reported. A bind
// that the command line or GUNICORN_CMD_ARGS names keeps its From; any other gets
// FromGunicorn. The error says what tideover cannot serve; the copy is returned
// beside it.
func (c *Command) WithReport(r Report) (*Command, error) {
	merged := *c
	merged.Bind = Bind{From: FromGunicorn}
	if !c.NeedsQuery() {
		merged.Bind.From = c.Bind.From
	}
	var errs []error
	for _, b := range r.Bind {
		address, err := parseAddress(b)
		errs = append(errs, err)
		merged.Bind.Addresses = append(merged.Bind.Addresses, address)
	}
	seconds := func(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
	merged.Version = r.Version
	merged.Workers, merged.Threads, merged.WorkerClass = r.Workers, r.Threads, r.WorkerClass
	merged.Timeout, merged.GracefulTimeout, merged.KeepAlive = seconds(r.Timeout), seconds(r.GracefulTimeout), seconds(r.KeepAlive)
	merged.Pidfile, merged.Chdir = r.Pidfile, r.Chdir
	merged.Daemon, merged.ReusePort, merged.Reload, merged.Preload = r.Daemon, r.ReusePort, r.Reload, r.Preload
	merged.TLS, merged.ProxyProtocol = r.TLS, r.ProxyProtocol
	if r.Protocol != "" && r.Protocol != "http" {
		errs = append(errs, fmt.Errorf("gunicorn speaks %s here, and tideover only HTTP: remove --protocol", r.Protocol))
	}
	return &merged, errors.Join(errs...)
}
