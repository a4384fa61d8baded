package config

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// Forks names the wrapper that gives gunicorn a pid of its own, so that it
// would ignore a passed socket and bind its own address.
func (g Gunicorn) Forks() (wrapper string, ok bool) {
	for _, w := range g.Wrappers {
		if w.Forks {
			return w.Name, true
		}
	}
	return "", false
}

// Refuse is an error, with the remedy in it, when gunicorn cannot be run this
// way under tideover.
func (g Gunicorn) Refuse(reload ReloadMode) error {
	switch {
	case g.Daemon:
		return refusal("--daemon", "detaches gunicorn from what starts and stops it", "remove it; tideover itself is what stays in the background")
	case g.ReusePort:
		return refusal("--reuse-port", "makes gunicorn bind its own address instead of the socket it is given", "remove it; tideover needs no free port to reload")
	case g.Pidfile != "" && reload == Overlap:
		return refusal("--pid "+g.Pidfile, "lets only one gunicorn run, and a reload needs two for a moment", `remove it (the pid is in "tideover status"), or set reload = "replace"`)
	case g.TLS:
		return refusal("--certfile", "makes gunicorn speak TLS, which tideover does not", "remove it and let the front-end terminate TLS")
	case g.ProxyProtocol:
		return refusal("--proxy-protocol", "makes gunicorn expect PROXY lines, which tideover does not send", "remove it; X-Forwarded-For is passed on")
	case g.Exits != "":
		return refusal(g.Exits, "makes gunicorn exit at once", "remove it")
	}
	for _, a := range g.Bind.Addresses {
		if strings.HasPrefix(a, "fd://") {
			return refusal("--bind "+a, "names a file descriptor that gunicorn will not have", "give the public address with listen (--listen), or as --bind HOST:PORT")
		}
	}
	return nil
}

func refusal(option, why, remedy string) error {
	return fmt.Errorf("%s in gunicorn's settings %s: %s", option, why, remedy)
}

// Warnings are sentences about what works less well than it could.
func (g Gunicorn) Warnings() []string {
	var all []string
	if g.Reload {
		all = append(all, "--reload lets gunicorn restart its workers by itself, and requests are lost then: remove it outside of development")
	}
	if w, ok := g.Forks(); ok {
		all = append(all, fmt.Sprintf("%q may start gunicorn as its child, which then cannot take its socket: run gunicorn itself, such as .venv/bin/gunicorn", w))
	}
	return all
}

// Concurrency is how many requests gunicorn works on at once, as far as it is
// known; 0: not known.
func (g Gunicorn) Concurrency() int {
	if g.Workers == 0 || g.Threads < 2 {
		return g.Workers
	}
	if slices.Contains([]string{"", "sync", "gthread"}, g.WorkerClass) {
		return g.Workers * g.Threads
	}
	return g.Workers
}

// listen is the bind in our spelling, unix paths made absolute.
func (g Gunicorn) listen(directory string) []string {
	var all []string
	for _, a := range g.Bind.Addresses {
		if p, ok := strings.CutPrefix(a, "unix:"); ok && !filepath.IsAbs(p) {
			chdir := g.Chdir
			if !filepath.IsAbs(chdir) {
				chdir = filepath.Join(directory, chdir)
			}
			a = "unix:" + filepath.Join(chdir, p)
		}
		all = append(all, a)
	}
	return all
}

// undecided reports whether only gunicorn itself can tell what it binds:
// its configuration file may say what the command line does not.
func (g Gunicorn) undecided() bool {
	return g.Is && g.Bind.From != fromCommandLine && g.Bind.From != fromEnvironment
}
