package config

import "time"

// Bind is the addresses a command says it serves on, in the spelling of
// package listener.
type Bind struct {
	Addresses []string
	From      string // "command line", "GUNICORN_CMD_ARGS", "PORT" or "default"
}

// Wrapper is a command that runs another one.
type Wrapper struct {
	Name  string // "uv run", "env", "sh -c"
	Forks bool   // the wrapped command gets another pid (or may get one)
}

// Gunicorn is what a gunicorn command line tells without running anything.
// Numbers and strings are zero where the command line and GUNICORN_CMD_ARGS
// are silent; a configuration file or gunicorn's defaults decide then.
type Gunicorn struct {
	Is       bool // false: the command is not gunicorn, and nothing else is set
	Wrappers []Wrapper
	Script   string   // the word that runs gunicorn: "gunicorn", "venv/bin/gunicorn"; empty with `python -m gunicorn`
	Python   []string // interpreter and its options when the command names it
	Prefix   []string // the wrappers' words
	Args     []string // gunicorn's own arguments

	Bind       Bind
	ConfigFile string // as given with -c, else "./gunicorn.conf.py" (which may not exist)
	ConfigFrom string // "command line", "GUNICORN_CMD_ARGS" or "default"

	App             string // module:callable
	Workers         int
	Threads         int
	WorkerClass     string
	Timeout         time.Duration
	GracefulTimeout time.Duration
	KeepAlive       time.Duration
	Chdir           string
	Pidfile         string

	Daemon        bool
	ReusePort     bool
	Reload        bool
	Preload       bool
	TLS           bool
	ProxyProtocol bool
	Exits         string // an option that makes gunicorn exit at once, such as --check-config
}

// Forks names the wrapper that gives gunicorn a pid of its own, so that it
// would ignore a passed socket.
func (g Gunicorn) Forks() (wrapper string, ok bool) {
	for _, w := range g.Wrappers {
		if w.Forks {
			return w.Name, true
		}
	}
	return "", false
}
