package gunicorn

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// QueryProgram is the Python program that prints gunicorn's settings. gunicorn reads it as
// its configuration file; see Command.Query.
//
//go:embed query.py
var QueryProgram []byte

// reportMarker is printed before the report, because a configuration file may
// print as well.
const reportMarker = "tideover-gunicorn-settings:"

// Report is what gunicorn reports about its settings.
type Report struct {
	Version         string   `json:"version"`
	Python          string   `json:"python"` // its version; empty: an earlier version of tideover has not asked for it
	Bind            []string `json:"bind"`
	Workers         int      `json:"workers"`
	Threads         int      `json:"threads"`
	WorkerClass     string   `json:"worker_class"`
	WorkerKind      string   `json:"worker_kind"`
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

	RequestLine       int      `json:"limit_request_line"` // as the next two, in gunicorn's terms; see Limits
	RequestFields     int      `json:"limit_request_fields"`
	RequestFieldSize  int      `json:"limit_request_field_size"`
	ForwardedAllowIPs []string `json:"forwarded_allow_ips"`
	ProxyAllowIPs     []string `json:"proxy_allow_ips"`
	Lingers           bool     `json:"lingers"`

	Command []string `json:"command,omitempty"` // the app's, set by Cache
}

// Query has gunicorn report its settings, without importing the app and without binding an
// address. program is the path of a file with QueryProgram that the app's user can read. run
// starts a command as a start of the app would, and returns its standard output.
//
// The command is the user's own, with "-c program" as its last option. So gunicorn itself reads
// its command line, environment and configuration file, with the interpreter, sys.path and
// directory of a start, behind every wrapper that passes arguments on. What a script does before
// gunicorn is done, too: Unaskable is the error of a script that must not run twice.
func (c *Command) Query(program string, run func(argv []string) ([]byte, error)) (Report, error) {
	argv, err := c.queryArgv(program)
	if err != nil {
		return Report{}, err
	}
	output, err := run(argv)
	if err != nil {
		return Report{}, err
	}
	return parseReport(output)
}

// queryArgv is the command of a query.
func (c *Command) queryArgv(program string) ([]string, error) {
	if err := c.Unaskable(); err != nil {
		return nil, err
	}
	q := c.query
	if q.script == "" {
		return append(slices.Clone(q.head), insertOption(q.tail, program)...), nil
	}
	quoted := "'" + strings.ReplaceAll(program, "'", `'\''`) + "'"
	return append(append(slices.Clone(q.head), "-c", q.script+"-c "+quoted), q.tail...), nil
}

// queryForm is the command of a query without its last option.
type queryForm struct {
	head   []string // up to gunicorn's arguments; with script, up to the options of the shell
	script string   // which a shell runs up to gunicorn's arguments; "": there is no shell
	tail   []string // gunicorn's arguments; with script, the words behind it
}

// insertOption returns the arguments of gunicorn with "-c program" as the last option. It stands
// before "--", behind which argparse takes every word for a positional argument.
func insertOption(args []string, program string) []string {
	end := len(args)
	for i, word := range args {
		if word == "--" {
			end = i
			break
		}
	}
	return append(append(append([]string{}, args[:end]...), "-c", program), args[end:]...)
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
	merged.Version, merged.Python = r.Version, r.Python
	merged.Workers, merged.Threads, merged.WorkerClass = r.Workers, r.Threads, r.WorkerClass
	merged.Timeout, merged.GracefulTimeout, merged.KeepAlive = seconds(r.Timeout), seconds(r.GracefulTimeout), seconds(r.KeepAlive)
	merged.Pidfile, merged.Chdir = r.Pidfile, r.Chdir
	merged.Daemon, merged.ReusePort, merged.Reload, merged.Preload = r.Daemon, r.ReusePort, r.Reload, r.Preload
	merged.TLS, merged.ProxyProtocol, merged.Protocol = r.TLS, r.ProxyProtocol, r.Protocol
	merged.Limits = limitsOf(r.RequestLine, r.RequestFields, r.RequestFieldSize)
	merged.WorkerKind = WorkerKind(r.WorkerKind)
	if slices.Contains([]WorkerKind{Sync, Gthread, Gevent, Eventlet, ASGI}, WorkerKind(r.WorkerClass)) {
		merged.WorkerKind = WorkerKind(r.WorkerClass) // an earlier version of tideover has not asked for it
	}
	merged.ForwardedAllowIPs, merged.ProxyAllowIPs, merged.Lingers = r.ForwardedAllowIPs, r.ProxyAllowIPs, r.Lingers
	return &merged, errors.Join(errs...)
}
