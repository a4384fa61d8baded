// Package gunicorn knows gunicorn's command line and settings, because the
// public address of an app is usually written there and nowhere else.
//
// Parse reads a command without running anything: it looks through wrappers such
// as env or uv run, and reads the arguments as gunicorn's own parser does.
// Command.Query has gunicorn report the settings that only its configuration
// file knows; the caller starts that process. Command.WithReport merges the
// report. Cache keeps the reports over an upgrade of tideover.
//
// The package imports neither config nor the supervisor.
package gunicorn
