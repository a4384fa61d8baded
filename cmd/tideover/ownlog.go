package main

import (
	"cmp"

	"github.com/hashicorp/go-hclog"

	"tideover/supervisor/api"
	"tideover/supervisor/logs"
)

// openLog makes the daemon's logger: to standard error, and to memory for
// `tideover logs --daemon`.
func (d *daemon) openLog() error {
	own, err := logs.NewOwnLog()
	if err != nil {
		return err
	}
	d.ownLog = own
	level := hclog.LevelFromString(cmp.Or(d.cli.getenv("TIDEOVER_LOG_LEVEL"), d.file.Daemon.LogLevel, "info"))
	switch {
	case level == hclog.NoLevel:
		return fault(api.ExitUsage, "trace, debug, info, warn or error", "TIDEOVER_LOG_LEVEL: %q is no level", d.cli.getenv("TIDEOVER_LOG_LEVEL"))
	case d.cli.verbose:
		level = min(level, hclog.Debug)
	case d.cli.quiet:
		level = max(level, hclog.Error)
	}
	format := cmp.Or(d.cli.getenv("TIDEOVER_LOG_FORMAT"), d.file.Daemon.LogFormat, "auto")
	if format != "auto" && format != "text" && format != "json" {
		return fault(api.ExitUsage, "auto, text or json", "TIDEOVER_LOG_FORMAT: %q is no format", format)
	}
	d.level = level
	options := &hclog.LoggerOptions{Name: "tideover", Level: level, Output: d.cli.stderr}
	options.JSONFormat = format == "json" || format == "auto" && !d.readByPeople()
	if stderrIsJournal() {
		options.DisableTime = !options.JSONFormat // the journal knows it
		options.Output = prioritized{d.cli.stderr}
	}
	logger := hclog.NewInterceptLogger(options)
	logger.RegisterSink(nameless{hclog.NewSinkAdapter(&hclog.LoggerOptions{Level: min(level, hclog.Info), Output: own})})
	d.logger = logger
	return nil
}

// readByPeople is what log_format = "auto" asks: on a terminal, with the command
// one has put in front of one's own, in the journal, and in the files of
// supervisord, where the apps' lines stand too.
func (d *daemon) readByPeople() bool {
	return stderrIsJournal() || d.cli.errors().terminal || d.name != "" || d.cli.getenv("SUPERVISOR_ENABLED") != ""
}

// nameless leaves out the logger's name, which `tideover logs --daemon` puts in
// front of every line.
type nameless struct{ hclog.SinkAdapter }

func (n nameless) Accept(_ string, level hclog.Level, message string, args ...any) {
	n.SinkAdapter.Accept("", level, message, args...)
}
