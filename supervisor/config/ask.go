package config

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"
)

// askProgram is the Python program that asks gunicorn for its settings.
//
//go:embed ask.py
var askProgram string

// answerMarker stands before the answer, because a configuration file may
// print as well.
const answerMarker = "tideover-gunicorn-settings:"

// Ask is the command that makes gunicorn tell its settings, in the
// interpreter the app itself will have, without importing the app. It must run
// in the app's directory, with its environment and as its user; its standard
// output goes to Tell. head is the beginning of the file Script names (512
// bytes are enough), from which the interpreter is taken; it is not needed
// where Script is empty or Python is not. The error says why it cannot be
// asked.
func (g Gunicorn) Ask(head []byte) ([]string, error) {
	if !g.Is {
		return nil, errors.New("the command is not gunicorn")
	}
	for _, w := range g.Wrappers {
		if strings.HasSuffix(w.Name, " -c") {
			return nil, fmt.Errorf("gunicorn inside of %q cannot be asked for its address: write listen, or the command without a shell", w.Name)
		}
	}
	words := slices.Clone(g.Prefix)
	switch {
	case len(g.Python) > 0:
		words = append(words, g.Python...)
	case g.Script == "": // uv run -m gunicorn
		words = append(words[:len(words)-1], "python")
	case len(g.Wrappers) > 0 && !strings.Contains(g.Script, "/") && runsInItsOwnPath(g.Wrappers):
		words = append(words, "python")
	default:
		python, err := interpreter(head)
		if err != nil {
			return nil, fmt.Errorf("cannot tell which Python runs %s: %w", g.Script, err)
		}
		words = append(words, python...)
	}
	return slices.Concat(words, []string{"-c", askProgram, answerMarker}, g.Args), nil
}

// runsInItsOwnPath reports whether a wrapper finds gunicorn in a virtual
// environment of its own, where it finds python as well.
func runsInItsOwnPath(all []Wrapper) bool {
	return slices.ContainsFunc(all, func(w Wrapper) bool {
		return strings.HasSuffix(w.Name, " run") || strings.HasPrefix(w.Name, "uv") || w.Name == "direnv exec"
	})
}

// interpreter reads a script's first lines: "#!/path/python -s", "#!/usr/bin/env
// python3", and the form pip and uv use for paths that are too long or have
// blanks: "#!/bin/sh", then ”'exec' "/path/python" "$0" "$@".
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
		if inner, err := SplitWords(command); ok && err == nil && len(inner) > 0 {
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

// Answer is what gunicorn says of itself.
type Answer struct {
	Version         string   `json:"version"`
	Python          string   `json:"python"`
	Bind            []string `json:"bind"`
	Workers         int      `json:"workers"`
	Threads         int      `json:"threads"`
	WorkerClass     string   `json:"worker_class"`
	Connections     int      `json:"worker_connections"`
	GracefulTimeout float64  `json:"graceful_timeout"`
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

// ParseAnswer finds gunicorn's answer in the standard output of Ask's command.
func ParseAnswer(output []byte) (Answer, error) {
	var a Answer
	for line := range bytes.Lines(output) {
		text, ok := bytes.CutPrefix(line, []byte(answerMarker))
		if !ok {
			continue
		}
		if err := json.Unmarshal(text, &a); err != nil {
			return a, fmt.Errorf("gunicorn's settings cannot be read: %w", err)
		}
		return a, nil
	}
	return a, errors.New("gunicorn did not tell its settings")
}

// Tell completes g with what gunicorn said. A bind that the command line or
// GUNICORN_CMD_ARGS names keeps its origin; any other comes "gunicorn".
func (g Gunicorn) Tell(a Answer) (Gunicorn, error) {
	from := fromGunicorn
	if !g.undecided() {
		from = g.Bind.From
	}
	g.Bind = Bind{From: from}
	var faults []error
	for _, b := range a.Bind {
		address, err := gunicornAddress(b)
		faults = append(faults, err)
		g.Bind.Addresses = append(g.Bind.Addresses, address)
	}
	seconds := func(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
	g.Version = a.Version
	g.Workers, g.Threads, g.WorkerClass = a.Workers, a.Threads, a.WorkerClass
	g.Timeout, g.GracefulTimeout, g.KeepAlive = seconds(a.Timeout), seconds(a.GracefulTimeout), seconds(a.KeepAlive)
	g.Pidfile, g.Chdir = a.Pidfile, a.Chdir
	g.Daemon, g.ReusePort, g.Reload, g.Preload = a.Daemon, a.ReusePort, a.Reload, a.Preload
	g.TLS, g.ProxyProtocol = a.TLS, a.ProxyProtocol
	if a.Protocol != "" && a.Protocol != "http" {
		faults = append(faults, fmt.Errorf("gunicorn speaks %s here, and tideover only HTTP: remove --protocol", a.Protocol))
	}
	return g, errors.Join(faults...)
}
