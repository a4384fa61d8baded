package testenv

import (
	"fmt"
	"syscall"
	"time"
)

// Gunicorn is a gunicorn command line.
type Gunicorn struct {
	Version string   // of the environment: "20.1.0", "23.0.0", "latest"; empty: latest
	Class   string   // worker class; empty: sync
	Workers int      // 0: 4
	Bind    string   // empty: no option
	Args    []string // further options
	App     string   // empty: shop:app, or shop_asgi:app for uvicorn's worker
}

// uvicornWorker is the class name of uvicorn's worker.
const uvicornWorker = "uvicorn_worker.UvicornWorker"

// UvicornWorker returns a gunicorn with uvicorn's worker class.
func UvicornWorker(version string) Gunicorn {
	return Gunicorn{Version: version, Class: uvicornWorker, App: "shop_asgi:app"}
}

// Argv returns the command line.
func (g Gunicorn) Argv(e *Env) []string {
	argv := []string{e.Venv("gunicorn-"+orElse(g.Version, "latest"), "gunicorn"), "-w", fmt.Sprint(orElse(g.Workers, 4))}
	if g.Class != "" {
		argv = append(argv, "-k", g.Class)
	}
	if g.Class == "gthread" {
		argv = append(argv, "--threads", "4")
	}
	if g.Bind != "" {
		argv = append(argv, "-b", g.Bind)
	}
	argv = append(argv, g.Args...)
	return append(argv, orElse(g.App, "shop:app"))
}

// Direct is a gunicorn without a supervisor, for comparison.
type Direct struct {
	env     *Env
	command Command
	process *Process
}

// Direct starts gunicorn without a supervisor in the folder of a.
func (e *Env) Direct(a *App, g Gunicorn) (*Direct, error) {
	d := &Direct{env: e, command: Command{Name: "gunicorn", Argv: g.Argv(e), Dir: a.Dir, App: true}}
	var err error
	d.process, err = e.Start(d.command)
	return d, err
}

// Signal sends a signal to the main process.
func (d *Direct) Signal(sig syscall.Signal) error { return d.process.Signal(sig) }

// Restart sends SIGTERM, waits for the exit and starts gunicorn again, as simple
// deploy scripts do.
func (d *Direct) Restart() error {
	if err := d.process.Stop(syscall.SIGTERM, 40*time.Second); err != nil {
		return err
	}
	var err error
	d.process, err = d.env.Start(d.command)
	return err
}
