package daemon

import (
	"cmp"
	"fmt"

	"github.com/hashicorp/go-hclog"

	"tideover/supervisor/api"
	"tideover/supervisor/logs"
)

// openLogger constructs the daemon's logger: to standard error, and to memory
// for `tideover logs --daemon`.
func (d *daemon) openLogger() error {
	own := logs.NewOwnLog()
	d.ownLog = own
	var err error
	if d.level, err = d.logLevel(); err != nil {
		return err
	}
	format := cmp.Or(d.Getenv("TIDEOVER_LOG_FORMAT"), d.Config.Daemon.LogFormat, "auto")
	if format != "auto" && format != "text" && format != "json" {
		return &api.Error{
			Exit:    api.ExitUsage,
			Message: fmt.Sprintf("TIDEOVER_LOG_FORMAT: %q is no format", format),
			Hint:    "auto, text or json",
		}
	}
	options := &hclog.LoggerOptions{Name: "tideover", Level: d.level, Output: d.Stderr.Out}
	options.JSONFormat = format == "json" || format == "auto" && !d.logIsReadByPeople()
	if stderrIsJournal() {
		options.DisableTime = !options.JSONFormat // the journal has its own
		options.Output = prioritized{d.Stderr.Out}
	}
	logger := hclog.NewInterceptLogger(options)
	memory := hclog.NewSinkAdapter(&hclog.LoggerOptions{Level: min(d.level, hclog.Info), Output: own})
	logger.RegisterSink(nameless{memory})
	d.logger = logger
	return nil
}

func (d *daemon) logLevel() (hclog.Level, error) {
	level := hclog.LevelFromString(cmp.Or(d.Getenv("TIDEOVER_LOG_LEVEL"), d.Config.Daemon.LogLevel, "info"))
	switch {
	case level == hclog.NoLevel:
		return level, &api.Error{
			Exit:    api.ExitUsage,
			Message: fmt.Sprintf("TIDEOVER_LOG_LEVEL: %q is no level", d.Getenv("TIDEOVER_LOG_LEVEL")),
			Hint:    "trace, debug, info, warn or error",
		}
	case d.Verbose:
		return min(level, hclog.Debug), nil
	case d.Quiet:
		return max(level, hclog.Error), nil
	}
	return level, nil
}

// logIsReadByPeople decides log_format = "auto". People read the log on a
// terminal, in the journal, after `run -- COMMAND`, and in the log files of
// supervisord, where it is mixed with the lines of the apps.
func (d *daemon) logIsReadByPeople() bool {
	return stderrIsJournal() || d.Stderr.Terminal || d.App != "" || d.Getenv("SUPERVISOR_ENABLED") != ""
}

// nameless leaves out the logger's name, because `tideover logs --daemon`
// prefixes every line with it.
type nameless struct{ hclog.SinkAdapter }

func (n nameless) Accept(_ string, level hclog.Level, message string, args ...any) {
	n.SinkAdapter.Accept("", level, message, args...)
}
