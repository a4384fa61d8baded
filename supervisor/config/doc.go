// Package config turns text into settings: a TOML file, or the words behind
// `tideover run --`, becomes a File of Apps in which every default is filled
// in and nothing is left to be parsed.
//
// Every key stands once, in the tables of keys_app.go and keys_daemon.go, with
// its type, default and meaning; loading, the search for unknown keys, the
// difference that apply shows and the documentation all read these tables.
//
// Load reports all faults at once, each with its file, line and column. What
// it returns has been validated as text: nothing was started, bound or
// resolved, and no process is known here. Only files named by the
// configuration (includes, env files) are read.
//
// Inspect compares what was loaded with the machine it is on, and Import makes
// such a file of a supervisord.conf.
//
// The package also knows gunicorn's command line (see ParseGunicorn), because
// the public address of an app is usually written there and nowhere else.
package config
