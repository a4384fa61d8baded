package gunicorn

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Settings are the values in effect. Before gunicorn has reported its settings
// they are those of the command line and GUNICORN_CMD_ARGS, and a value that is
// not written there is zero: the configuration file or gunicorn's default
// decides.
type Settings struct {
	Version string // of gunicorn; empty before it has reported its settings
	Python  string // version of the Python that runs it; empty: unknown

	Bind            Bind
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
	Protocol      string // "" or "http", "uwsgi", "fastcgi"

	// After a report only:
	Limits            Limits
	WorkerKind        WorkerKind
	ForwardedAllowIPs []string // "*" or addresses of front-ends whose X-Forwarded-* count
	ProxyAllowIPs     []string // the same for lines of the PROXY protocol
	Lingers           bool     // after a response it waits for the client to close the connection
}

// WorkerKind is the worker class of gunicorn or uvicorn that an app's worker class is or derives
// from. It says how a worker learns the address of its client. Empty: another one, or unknown.
type WorkerKind string

const (
	Sync     WorkerKind = "sync"
	Gthread  WorkerKind = "gthread"
	Gevent   WorkerKind = "gevent"
	Eventlet WorkerKind = "eventlet"
	ASGI     WorkerKind = "asgi" // gunicorn's own
	Uvicorn  WorkerKind = "uvicorn"
)

// IsWSGI reports whether gunicorn's own parser reads the requests of a WSGI app.
func (k WorkerKind) IsWSGI() bool {
	return k == Sync || k == Gthread || k == Gevent || k == Eventlet
}

// read sets the settings from the command line (args) and, for options that are
// not in it, from GUNICORN_CMD_ARGS (envArgs).
func (c *Command) read(args, envArgs parsedArgs, env func(string) string) error {
	last := func(name string) string {
		if v, ok := args.last(name); ok {
			return v
		}
		v, _ := envArgs.last(name)
		return v
	}
	flag := func(name string) bool { return len(args.values[name])+len(envArgs.values[name]) > 0 }

	var errs []error
	number := func(name string) int {
		text := last(name)
		if text == "" || strings.ContainsAny(text, "$`") { // only the shell of a script knows it
			return 0
		}
		n, err := strconv.ParseInt(text, 0, 32)
		if err != nil || n < 0 {
			errs = append(errs, fmt.Errorf("gunicorn's --%s %q is not a whole number", name, text))
		}
		return int(n)
	}
	seconds := func(name string) time.Duration { return time.Duration(number(name)) * time.Second }

	if len(args.positionals) > 0 {
		c.App = args.positionals[0]
	}
	c.Workers, c.Threads, c.WorkerClass = number("workers"), number("threads"), last("worker-class")
	if n, err := strconv.Atoi(env("WEB_CONCURRENCY")); c.Workers == 0 && err == nil {
		c.Workers = n
	}
	c.Timeout, c.GracefulTimeout, c.KeepAlive = seconds("timeout"), seconds("graceful-timeout"), seconds("keep-alive")
	c.Chdir, c.Pidfile = last("chdir"), last("pid")
	c.Daemon, c.ReusePort, c.Reload, c.Preload = flag("daemon"), flag("reuse-port"), flag("reload"), flag("preload")
	c.TLS = flag("certfile") || flag("keyfile")
	c.ProxyProtocol = flag("proxy-protocol") && last("proxy-protocol") != "off"
	c.Protocol = last("protocol")
	for _, name := range []string{"check-config", "print-config", "version", "help"} {
		if flag(name) {
			c.Exits = "--" + name
		}
	}
	c.ConfigFile, c.ConfigFrom = "./gunicorn.conf.py", FromDefault
	if v, ok := envArgs.last("config"); ok {
		c.ConfigFile, c.ConfigFrom = v, FromEnvironment
	}
	if v, ok := args.last("config"); ok {
		c.ConfigFile, c.ConfigFrom = v, FromCommandLine
	}
	return errors.Join(append(errs, c.readBind(args, envArgs, env))...)
}

// Concurrency is how many requests gunicorn processes at once, as far as it is
// known; 0: not known.
func (s Settings) Concurrency() int {
	if s.Workers == 0 || s.Threads < 2 {
		return s.Workers
	}
	if s.IsBounded() {
		return s.Workers * s.Threads
	}
	return s.Workers
}

// ServesOneAtATime reports whether a worker, or each of its threads, serves one connection at a
// time and waits for what its client sends and takes: the worker classes sync and gthread.
func (s Settings) ServesOneAtATime() bool {
	return slices.Contains([]string{"", "sync", "gthread"}, s.WorkerClass)
}

// IsBounded reports whether gunicorn never processes more requests at once than Concurrency.
func (s Settings) IsBounded() bool {
	return s.Workers > 0 && s.ServesOneAtATime()
}

// ReadsProxyLine reports whether the workers read a line of the PROXY protocol, on TCP at least.
func (s Settings) ReadsProxyLine() bool { return s.WorkerKind.IsWSGI() || s.WorkerKind == ASGI }

// ReadsForwardedFor reports whether the workers take the address of a client from X-Forwarded-For.
func (s Settings) ReadsForwardedFor() bool { return s.WorkerKind == Uvicorn }

// AwaitsClose reports whether a worker that has answered takes no other connection until the client
// has closed this one: gunicorn's close_graceful in a sync worker.
func (s Settings) AwaitsClose() bool { return s.Lingers && s.WorkerKind == Sync }

// ForgetsPeer reports whether a worker has forgotten the PROXY line of a connection at its second
// request.
func (s Settings) ForgetsPeer() bool { return s.WorkerKind == Gthread }
