package daemon

import (
	"bytes"
	"cmp"
	"fmt"
	"io"

	"github.com/hashicorp/go-hclog"

	"tideover/supervisor/api"
	"tideover/supervisor/config"
	"tideover/supervisor/logs"
)

// openLogger constructs the daemon's logger: to standard error, and to memory
// for `tideover logs --daemon`. Neither makes a caller wait.
func (d *daemon) openLogger() error {
	own := logs.NewOwnLog()
	d.ownLog = own
	level, err := d.logLevel(&d.Config.Daemon)
	if err != nil {
		return err
	}
	d.level.Store(int32(level))
	format := cmp.Or(d.Getenv("TIDEOVER_LOG_FORMAT"), d.Config.Daemon.LogFormat, "auto")
	if format != "auto" && format != "text" && format != "json" {
		return &api.Error{
			Exit:    api.ExitUsage,
			Message: fmt.Sprintf("TIDEOVER_LOG_FORMAT: %q is no format", format),
			Hint:    "auto, text or json",
		}
	}
	options := hclog.LoggerOptions{Name: "tideover", Level: level}
	options.JSONFormat = format == "json" || format == "auto" && !d.logIsReadByPeople()
	output := func(out io.Writer) io.Writer { return out }
	d.logsJSON, d.outputJSON = options.JSONFormat, format == "json"
	if stderrIsJournal() {
		options.DisableTime = !options.JSONFormat // the journal has its own
		output = func(out io.Writer) io.Writer { return prioritized{out} }
	}
	if stderr, ok := d.Stderr.Out.(*logs.Writer); ok {
		stderr.FormatDropped(func(lines uint64, cause string) string { return droppedLine(options, output, lines, cause) })
	}
	options.Output = output(d.Stderr.Out)
	logger := hclog.NewInterceptLogger(&options)
	d.memory = hclog.NewSinkAdapter(&hclog.LoggerOptions{Level: min(level, hclog.Info), Output: own})
	logger.RegisterSink(nameless{d.memory})
	d.logger = logger
	return nil
}

// flushLog writes the lines up to now, for the end of this program by exec.
func (d *daemon) flushLog() {
	if stderr, ok := d.Stderr.Out.(*logs.Writer); ok {
		stderr.Flush()
	}
}

// closeLog writes the last lines, for the end of this process by os.Exit.
func (d *daemon) closeLog() {
	if stderr, ok := d.Stderr.Out.(*logs.Writer); ok {
		stderr.Close() // an error could not be printed
	}
}

// droppedLine is the line of the log in the place of lines that were dropped, in the
// format of the others.
func droppedLine(options hclog.LoggerOptions, output func(io.Writer) io.Writer, lines uint64, cause string) string {
	var line bytes.Buffer
	options.Level, options.Output = hclog.Warn, output(&line)
	logger := hclog.New(&options)
	logger.Warn("log lines dropped", "lines", lines, "cause", cause)
	return line.String()
}

func (d *daemon) logLevel(c *config.Daemon) (hclog.Level, error) {
	level := hclog.LevelFromString(cmp.Or(d.Getenv("TIDEOVER_LOG_LEVEL"), c.LogLevel, "info"))
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

// setLogLevel changes the level of the log, of what is kept of it, and of the relay's.
func (d *daemon) setLogLevel(level hclog.Level) {
	if hclog.Level(d.level.Swap(int32(level))) == level {
		return
	}
	d.logger.SetLevel(level)
	if memory, ok := d.memory.(hclog.Logger); ok {
		memory.SetLevel(min(level, hclog.Info))
	}
	d.relaying.SetLogLevel(level)
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
