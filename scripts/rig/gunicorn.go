package rig

import (
	"fmt"
	"syscall"
	"time"
)

// Gunicorn is a gunicorn command as a user types it.
type Gunicorn struct {
	Version string   // of the environment: "20.1.0", "23.0.0", "latest"; empty: latest
	Class   string   // worker class; empty: sync
	Workers int      // 0: 4
	Bind    string   // empty: none given
	More    []string // further options
	App     string   // empty: shop:app, or shop_asgi:app for uvicorn's worker
}

// uvicornWorker is the class of uvicorn's worker.
const uvicornWorker = "uvicorn_worker.UvicornWorker"

// UvicornWorker is a gunicorn with uvicorn's worker.
func UvicornWorker(version string) Gunicorn {
	return Gunicorn{Version: version, Class: uvicornWorker, App: "shop_asgi:app"}
}

// Argv is the command.
func (g Gunicorn) Argv(r *Room) []string {
	argv := []string{r.Venv("gunicorn-"+orElse(g.Version, "latest"), "gunicorn"), "-w", fmt.Sprint(orElse(g.Workers, 4))}
	if g.Class != "" {
		argv = append(argv, "-k", g.Class)
	}
	if g.Class == "gthread" {
		argv = append(argv, "--threads", "4")
	}
	if g.Bind != "" {
		argv = append(argv, "-b", g.Bind)
	}
	argv = append(argv, g.More...)
	return append(argv, orElse(g.App, "shop:app"))
}

// Bare is a gunicorn that nobody supervises: the other control group.
type Bare struct {
	room    *Room
	command Command
	process *Process
}

// Bare starts gunicorn alone in the shop's folder.
func (r *Room) Bare(s *Shop, g Gunicorn) (*Bare, error) {
	b := &Bare{room: r, command: Command{Name: "gunicorn", Argv: g.Argv(r), Dir: s.Dir, App: true}}
	var err error
	b.process, err = r.Start(b.command)
	return b, err
}

// Restart is TERM, wait, start: what every deploy script does.
func (b *Bare) Restart() error {
	if err := b.process.Stop(syscall.SIGTERM, 40*time.Second); err != nil {
		return err
	}
	var err error
	b.process, err = b.room.Start(b.command)
	return err
}
