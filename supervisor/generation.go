package supervisor

import (
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"tideover/listener"
	"tideover/proxy"
	"tideover/supervisor/api"
	"tideover/supervisor/config"
	"tideover/supervisor/logs"
	"tideover/supervisor/process"
)

// Generation is one incarnation of an app: a private socket, a process tree
// and, for a web app, a target. Nothing in it changes once it has been
// started but ready and lenient, which the app's goroutine sets when it goes
// into service; what its process does is learnt from its channels.
type Generation struct {
	post
	scratch string // for what the child makes itself
	started time.Time

	private *listener.Private // nil when the child binds for itself
	process *process.Process
	target  *proxy.Target // nil: a plain process
	notices *notices      // nil: it is not asked to say READY=1
	probe   probe
	marker  []byte // what Reclaim writes to connections the app never saw

	ready   time.Time // when it went into service; zero: never
	lenient bool      // its first answer was an error
}

// place is where a generation is reached: the socket we pass to it, or the one
// it is told to open.
type place struct {
	private          *listener.Private
	network, address string
	port             int // of the placeholder {port}
}

// command is the app's command with the placeholder for its socket filled in.
func (p place) command(argv []string) []string {
	argv = config.Substitute(argv, config.FD, "3")
	argv = config.Substitute(argv, config.Socket, p.address)
	return config.Substitute(argv, config.Port, strconv.Itoa(p.port))
}

// start brings up a generation: private socket, child, target. It does not
// wait for an answer. When it fails nothing is left of it.
func (h *house) start(log *logs.Log, p post) (_ *Generation, err error) {
	g := &Generation{post: p, started: time.Now()}
	defer func() {
		if err != nil {
			g.clean()
			if e := h.records.RemoveTree(p.settings.Name, p.number); e != nil {
				h.logger.Debug("cannot record that nothing was started", "app", p.settings.Name, "error", e)
			}
		}
	}()
	g.scratch, err = p.scratch(h.runtimeDir, func(dir string) (err error) {
		if readiness(p.settings) == byNotice {
			g.notices, err = openNotices(dir)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	at, err := h.place(p.settings, p.number, g.scratch)
	if err != nil {
		return nil, err
	}
	g.private = at.private
	if err := g.spawn(h, log, at); err != nil {
		return nil, err
	}
	if g.notices != nil {
		g.notices.begin(g.process, h.logger)
	}
	if p.settings.Web() {
		g.aim(at, hostOf(h.inherited.real(p.settings.Listen[0])))
	}
	h.record(g, g.process.Record())
	return g, nil
}

// record notes the generation's tree for the next daemon.
func (h *house) record(g *Generation, tree process.Record) {
	if err := h.records.SetTree(g.settings.Name, g.number, tree); err != nil {
		h.logger.Warn("cannot record the process; after a crash of tideover it would not be found", "app", g.settings.Name, "error", err)
	}
}

// clean removes what the generation had beside its processes.
func (g *Generation) clean() {
	if g.private != nil {
		g.private.Close()
	}
	if g.notices != nil {
		g.notices.close()
	}
	if g.scratch != "" {
		os.RemoveAll(g.scratch)
	}
}

// spawn starts the child with the private socket as fd 3.
func (g *Generation) spawn(h *house, log *logs.Log, at place) error {
	spec, err := g.spec(at.command(g.settings.Command), fmt.Sprintf("%s.%d", g.settings.Name, g.number))
	if err != nil {
		return err
	}
	if gu := g.settings.Gunicorn; gu != nil && gu.HasControlSocket() {
		// One path for all gunicorns of a user: two generations would take it from each other.
		spec.Env = prepend(spec.Env, "GUNICORN_CMD_ARGS", "--control-socket "+filepath.Join(g.scratch, "gunicorn.ctl"))
	}
	if g.notices != nil {
		spec.Env = append(spec.Env, "NOTIFY_SOCKET="+g.notices.path)
	}
	if spec.Stdout, err = log.Pipe(g.number, logs.Stdout); err != nil {
		return err
	}
	defer spec.Stdout.Close()
	if spec.Stderr, err = log.Pipe(g.number, logs.Stderr); err != nil {
		return err
	}
	defer spec.Stderr.Close()
	if at.private != nil {
		spec.Listen = at.private.File()
	}
	// Before it exists: a daemon that dies at this moment has its token on record.
	h.record(g, process.Record{Name: spec.Name, Token: spec.Token})
	g.process, err = process.Start(spec)
	if err != nil {
		return startFailed(g.settings.Name, err)
	}
	return nil
}

// aim makes the target requests go to and the probe that asks it. Host is what
// a client of the public address would send.
func (g *Generation) aim(at place, host string) {
	cfg := g.settings
	g.marker = []byte("tideover: never read " + rand.Text() + "\r\n")
	g.target = proxy.NewTarget(proxy.TargetOptions{
		Name: fmt.Sprintf("%s#%d", cfg.Name, g.number), Network: at.network, Address: at.address,
		Concurrency: concurrency(cfg), Marker: g.marker, HostDefault: host,
	})
	g.probe = probe{
		network: at.network, address: at.address, host: cfg.Ready.Host, path: cfg.Ready.Path,
		accept: cfg.Ready.Status.Counts, warm: cfg.Ready.Warm,
	}
	if g.probe.host == "" {
		g.probe.host = host
	}
	if g.probe.path == "" {
		g.probe.path = "/"
	}
}

// place opens the private socket, or picks what the command's placeholder asks
// for.
func (h *house) place(cfg *config.App, number int, scratch string) (place, error) {
	if !cfg.Web() {
		return place{}, nil
	}
	asked := config.Placeholders(cfg.Command)
	switch {
	case slices.Contains(asked, config.Socket):
		return place{network: "unix", address: filepath.Join(scratch, "app.sock")}, nil
	case slices.Contains(asked, config.Port):
		port, err := freePort()
		return place{network: "tcp", address: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), port: port}, err
	}
	o := listener.PrivateOptions{Family: "unix", Dir: h.runtimeDir, Name: cfg.Name, Generation: number}
	if public, err := listener.Parse(h.inherited.real(cfg.Listen[0])); err == nil && cfg.Upstream != "unix" && (cfg.Upstream == "tcp" || public.Network == "tcp") {
		o.Family, o.PortHint = "tcp", 0
		if ip, port, ok := loopback(public); ok && ip == "127.0.0.1" {
			o.PortHint = port
		} else if ok && ip == "::1" {
			o.Family = "tcp6"
		}
	}
	private, err := listener.OpenPrivate(o)
	if err != nil {
		return place{}, api.Errorf(api.ExitError, "cannot open a private socket: %v", err)
	}
	return place{private: private, network: private.Network(), address: private.Address()}, nil
}

// freePort asks the kernel for a port nobody listens on. Somebody may take it
// before the child does; the start fails then and is tried again.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// exited is ready when the main process is gone. No generation never exits.
func (g *Generation) exited() <-chan struct{} {
	if g == nil {
		return nil
	}
	return g.process.Exited()
}
