package gunicorn

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Forks returns the name of the wrapper that starts gunicorn as its child.
// gunicorn then has another pid than LISTEN_PID says, and takes its socket only by
// SocketsOfParent. A wrapper that closes descriptors or clears the environment
// (sudo) keeps that from it.
func (c *Command) Forks() (wrapper string, ok bool) {
	for _, w := range c.Wrappers {
		if w.Forks {
			return w.Name, true
		}
	}
	return "", false
}

// MayFork reports whether a wrapper may start gunicorn as its child.
func (c *Command) MayFork() bool {
	_, forks := c.Forks()
	return forks
}

// SocketsOfParent returns the environment in which a gunicorn that is the child of a wrapper takes
// inherited descriptors, from first on, for its listening sockets, also with a pid that is not LISTEN_PID: that of
// gunicorn's own USR2. No process has the pid -1, so gunicorn finds at once that the parent is gone, and removes
// GUNICORN_PID. LISTEN_FDS counts before these variables, where LISTEN_PID is right.
func SocketsOfParent(first, count int) []string {
	var numbers []string
	for fd := first; fd < first+count; fd++ {
		numbers = append(numbers, strconv.Itoa(fd))
	}
	return []string{"GUNICORN_FD=" + strings.Join(numbers, ","), "GUNICORN_PID=-1"}
}

// Validate returns an error, with the remedy in it, if gunicorn cannot be run
// this way under tideover. overlap says that two generations run for a moment
// during a reload.
func (c *Command) Validate(overlap bool) error {
	switch {
	case c.Daemon:
		return unusable("--daemon", "detaches gunicorn from what starts and stops it", "remove it; tideover itself is what stays in the background")
	case c.ReusePort:
		return unusable("--reuse-port", "makes gunicorn bind its own address instead of the socket it is given", "remove it; tideover needs no free port to reload")
	case c.Pidfile != "" && overlap:
		return unusable("--pid "+c.Pidfile, "lets only one gunicorn run, and a reload needs two for a moment", `remove it (the pid is in "tideover status"), or set reload = "replace"`)
	case c.Exits != "":
		return unusable(c.Exits, "makes gunicorn exit at once", "remove it")
	}
	for _, a := range c.Bind.Addresses {
		if strings.HasPrefix(a, "fd://") {
			return unusable("--bind "+a, "names a file descriptor that gunicorn will not have", "give the public address with listen (--listen), or as --bind HOST:PORT")
		}
	}
	return nil
}

// ValidateRelay returns an error, with the remedy in it, if requests cannot be relayed to this
// gunicorn.
func (c *Command) ValidateRelay() error {
	const without = `, or set relay = "none" (--relay none): then gunicorn gets the public socket itself`
	switch {
	case c.TLS:
		return unusable("--certfile", "makes gunicorn speak TLS, which tideover does not", "remove it and let the front-end terminate TLS"+without)
	case c.Protocol != "" && c.Protocol != "http":
		return unusable("--protocol "+c.Protocol, "makes gunicorn speak "+c.Protocol+", and tideover relays only HTTP", "remove it"+without)
	}
	return nil
}

func unusable(option, why, remedy string) error {
	return fmt.Errorf("%s in gunicorn's settings %s: %s", option, why, remedy)
}

// Warnings are sentences about settings that are allowed but likely to cause
// trouble.
func (c *Command) Warnings() []string {
	var all []string
	if c.Reload {
		all = append(all, "--reload lets gunicorn restart its workers by itself, and requests are lost then: remove it outside of development")
	}
	if w, ok := c.Forks(); ok {
		all = append(all, fmt.Sprintf("%q may start gunicorn as its child, so that signals reach only %[1]q: run gunicorn itself, such as .venv/bin/gunicorn (in a shell: with exec)", w))
	}
	return all
}

// HasControlSocket reports whether this gunicorn opens a control socket at the
// default path, which is the same for all gunicorns of a user. gunicorn 25.1 and
// newer do so unless an option says otherwise.
func (c *Command) HasControlSocket() bool {
	var major, minor int
	if n, _ := fmt.Sscanf(c.Version, "%d.%d", &major, &minor); n < 2 || major < 25 || major == 25 && minor < 1 {
		return false
	}
	return !slices.ContainsFunc(c.Args, func(word string) bool {
		return strings.HasPrefix(word, "--control-socket") || strings.HasPrefix(word, "--no-control-socket")
	})
}
