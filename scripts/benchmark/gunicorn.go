package main

import (
	"os"
	"slices"
	"time"

	"tideover/scripts/testenv"
)

// wsgi is an app that does as little as an app can; /sleep keeps its worker busy.
const wsgi = `import time

def app(environ, start_response):
    if environ["PATH_INFO"] == "/sleep":
        time.sleep(4)
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "13")])
    return [b"Hello, world\n"]
`

// gunicornCommand is an app with two workers.
func (e *environment) gunicornCommand(class string, more ...string) ([]string, error) {
	if _, err := e.Write("hello.py", wsgi); err != nil {
		return nil, err
	}
	argv := []string{e.Venv("gunicorn-latest", "gunicorn"), "-w", "2", "-k", class, "--backlog", "2048",
		"--chdir", e.Dir, "--log-level", "error", "--no-control-socket"}
	if class == "gthread" {
		argv = append(argv, "--threads", "8")
	}
	return append(append(argv, more...), "hello:app"), nil
}

// gunicornAlone starts a gunicorn with nothing in front of it.
func (e *environment) gunicornAlone(class string) (*server, error) {
	address, err := testenv.Address()
	if err != nil {
		return nil, err
	}
	argv, err := e.gunicornCommand(class, "-b", address)
	if err != nil {
		return nil, err
	}
	p, err := e.Start(testenv.Command{Name: "alone-" + class, Argv: argv})
	if err != nil {
		return nil, err
	}
	return &server{name: alone, address: address, process: p}, eventually(func() error { return answers(address) })
}

// gunicornOnSocket starts a gunicorn on a unix socket, for servers that do not start it themselves.
func (e *environment) gunicornOnSocket(class string) (path string, p *testenv.Process, err error) {
	path = e.Path(class + ".sock")
	os.Remove(path)
	argv, err := e.gunicornCommand(class, "-b", "unix:"+path)
	if err != nil {
		return "", nil, err
	}
	if p, err = e.Start(testenv.Command{Name: "socket-" + class, Argv: argv}); err != nil {
		return "", nil, err
	}
	// nginx and HAProxy run as other users.
	return path, p, eventually(func() error { os.Chmod(path, 0o777); return answers(path) })
}

// compareGunicorn is how many requests come through a real app that has nothing to do.
func compareGunicorn(class string) func(*bench) (*table, error) {
	return func(b *bench) (*table, error) {
		e, err := b.newEnvironment()
		if err != nil {
			return nil, err
		}
		defer e.close()
		command, err := e.gunicornCommand(class)
		if err != nil {
			return nil, err
		}
		if e.app, _, err = e.gunicornOnSocket(class); err != nil {
			return nil, err
		}
		names := b.servers([]string{alone, "tideover", "tideover-tcp", "haproxy-1", "nginx-1"})
		servers, err := e.startAll(slices.DeleteFunc(slices.Clone(names), func(name string) bool { return name == alone }), command...)
		if err != nil {
			return nil, err
		}
		if slices.Contains(names, alone) {
			if servers[alone], err = e.gunicornAlone(class); err != nil {
				return nil, err
			}
		}
		turns, d := b.turns(4*time.Second, 500*time.Millisecond)
		t := newTable(names, column{"req/s", higher, []string{alone}, true}, shown("failed", lower))
		return t, b.interleaved(turns, t, func(name string) ([]float64, error) {
			r, err := sendFor(servers[name].address, 32, false, d)
			return []float64{float64(r.Answered) / r.Elapsed.Seconds(), float64(r.Failed)}, err
		})
	}
}
