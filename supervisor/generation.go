package supervisor

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"tideover/listener"
	"tideover/proxy"
	"tideover/supervisor/config"
	"tideover/supervisor/logs"
	"tideover/supervisor/process"
)

// Generation is one incarnation of an app: a private socket, a process tree
// and, for a web app, a target. Nothing in it changes once it has been
// started but ready and lenient, which the app's goroutine sets when it goes
// into service; what its process does is learnt from its channels.
type Generation struct {
	number   int
	settings *config.App
	dir      string // where its processes began, symlinks resolved
	scratch  string // for what the child makes itself
	started  time.Time

	private *listener.Private // nil when the child binds for itself
	process *process.Process
	target  *proxy.Target // nil: a plain process
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

// start brings up the app's next generation: private socket, child, target.
// It does not wait for an answer. When it fails nothing is left of it.
func (h *house) start(a *App, cfg *config.App, number int) (*Generation, error) {
	g := &Generation{number: number, settings: cfg, started: time.Now()}
	var err error
	if g.dir, err = filepath.EvalSymlinks(cfg.Directory); err != nil {
		return nil, errorf(ExitError, "cannot use directory %s: %v", cfg.Directory, plainPath(err))
	}
	user, err := h.user(cfg)
	if err != nil {
		return nil, err
	}
	if g.scratch, err = h.scratchDir(cfg, number, user); err != nil {
		return nil, err
	}
	at, err := h.place(cfg, number, g.scratch)
	if err == nil {
		g.private = at.private
		err = g.spawn(h, a, at, user)
	}
	if err != nil {
		g.clean()
		if e := h.records.gone(cfg.Name, number); e != nil {
			h.logger.Debug("cannot record that nothing was started", "app", cfg.Name, "error", e)
		}
		return nil, err
	}
	if cfg.Web() {
		g.aim(at, hostOf(h.inherited.real(cfg.Listen[0])))
	}
	h.record(g, g.process.Record())
	return g, nil
}

// record notes the generation's tree for the next daemon.
func (h *house) record(g *Generation, tree process.Record) {
	if err := h.records.started(g.settings.Name, g.number, tree); err != nil {
		h.logger.Warn("cannot record the process; after a crash of tideover it would not be found", "app", g.settings.Name, "error", err)
	}
}

// clean removes what the generation had beside its processes.
func (g *Generation) clean() {
	if g.private != nil {
		g.private.Close()
	}
	os.RemoveAll(g.scratch)
}

// spawn starts the child with the private socket as fd 3.
func (g *Generation) spawn(h *house, a *App, at place, user *process.User) error {
	env, err := h.environment(g.settings, g.dir, user)
	if err != nil {
		return err
	}
	env = append(env, "TIDEOVER_APP="+g.settings.Name, "TIDEOVER_GENERATION="+strconv.Itoa(g.number))
	if gu := g.settings.Gunicorn; gu != nil && gu.HasControlSocket() {
		// One path for all gunicorns of a user: two generations would take it from each other.
		env = prepend(env, "GUNICORN_CMD_ARGS", "--control-socket "+filepath.Join(g.scratch, "gunicorn.ctl"))
	}
	stdout, err := a.log.Pipe(g.number, logs.Stdout)
	if err != nil {
		return err
	}
	defer stdout.Close()
	stderr, err := a.log.Pipe(g.number, logs.Stderr)
	if err != nil {
		return err
	}
	defer stderr.Close()
	token := rand.Text()
	spec := process.Spec{
		Argv: at.command(g.settings.Command),
		Dir:  g.dir, Env: env, Stdout: stdout, Stderr: stderr, User: user,
		Umask: g.settings.Umask, Nofile: g.settings.Limits.Nofile, Nice: g.settings.Nice,
		OOMScoreAdj: g.settings.OOMScoreAdj, NoNewPrivs: g.settings.NoNewPrivs,
		Name: fmt.Sprintf("%s.%d", g.settings.Name, g.number), Token: token,
	}
	if at.private != nil {
		spec.Listen = at.private.File()
	}
	// Before it exists: a daemon that dies at this moment has its token on record.
	h.record(g, process.Record{Name: spec.Name, Token: token})
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
		return place{}, errorf(ExitError, "cannot open a private socket: %v", err)
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

// scratchDir makes a directory for what the child of one generation creates
// itself: its socket, or gunicorn's control socket. It goes with the
// generation. Another user's child could not come to it through ours.
func (h *house) scratchDir(cfg *config.App, number int, user *process.User) (string, error) {
	parent := h.runtimeDir
	if user != nil {
		parent = "" // the system's
	}
	dir, err := os.MkdirTemp(parent, fmt.Sprintf("%.20s.%d-", cfg.Name, number))
	if err != nil {
		return "", errorf(ExitError, "cannot make a directory for the child's socket: %v", err)
	}
	if user != nil {
		if err := os.Chown(dir, int(user.UID), int(user.GID)); err != nil {
			os.Remove(dir)
			return "", errorf(ExitError, "cannot give %s to user %s: %v", dir, user.Name, err)
		}
	}
	return dir, nil
}

// exited is ready when the main process is gone. No generation never exits.
func (g *Generation) exited() <-chan struct{} {
	if g == nil {
		return nil
	}
	return g.process.Exited()
}

// answered waits until the generation may serve. It ends early when the
// process does, and always at the app's ready.timeout.
func (g *Generation) answered(ctx context.Context) (answer, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, g.settings.Ready.Timeout, errReadyTimeout)
	defer cancel()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		g.watch(ctx, stop)
	}()
	heard, err := g.wait(ctx)
	if err != nil {
		err = context.Cause(ctx)
	}
	if err == errReadyTimeout && g.private != nil {
		if at, elsewhere := g.elsewhere(nil); elsewhere {
			err = &elsewhereError{address: at, late: true}
		}
	}
	stop(nil)
	<-watched
	return heard, err
}

func (g *Generation) wait(ctx context.Context) (answer, error) {
	if g.target != nil {
		return g.probe.wait(ctx)
	}
	select { // a plain process is ready when it is still there after a while
	case <-time.After(g.settings.Ready.After):
		return answer{text: "alive"}, nil
	case <-ctx.Done():
		return answer{text: "ended"}, ctx.Err()
	}
}

// firstLook is when it is first looked whether the command listens somewhere
// else; the pauses double from there, because looking means reading tables as
// long as the machine has connections.
const firstLook = 2 * time.Second

// watch ends the wait as soon as it has become pointless: the process is gone,
// or it listens somewhere else.
func (g *Generation) watch(ctx context.Context, stop context.CancelCauseFunc) {
	pause := firstLook
	look := time.NewTimer(pause)
	defer look.Stop()
	if !g.mayStray() {
		look.Stop()
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-g.process.Exited():
			stop(errExited)
			return
		case <-look.C:
			if at, elsewhere := g.elsewhere(g.settings.Gunicorn.Bind.Addresses); elsewhere {
				stop(&elsewhereError{address: at})
				return
			}
			pause *= 2
			look.Reset(pause)
		}
	}
}

// mayStray reports whether gunicorn could open another address than the public
// one. That one is ours, and an attempt to bind it fails aloud.
func (g *Generation) mayStray() bool {
	gu := g.settings.Gunicorn
	if gu == nil || g.private == nil {
		return false
	}
	return slices.ContainsFunc(gu.Bind.Addresses, func(bind string) bool { return !slices.Contains(g.settings.Listen, bind) })
}

var (
	errReadyTimeout = errors.New("no answer in time")
	errExited       = errors.New("the process ended")
	errOvertaken    = errors.New("a later request overtook it")
)

// elsewhereError says that the command opened its own address instead of the
// socket it was given.
type elsewhereError struct {
	address string
	late    bool // seen only when it had not answered in time
}

func (e *elsewhereError) Error() string { return "it listens on " + e.address + " by itself" }

// elsewhere reports whether the command listens on one of these addresses, or
// with none given on any that is not the socket it got: a wrapper that forks
// (uv run, a shell) makes gunicorn ignore LISTEN_FDS without a word, because
// LISTEN_PID no longer names it.
func (g *Generation) elsewhere(binds []string) (string, bool) {
	open, err := g.process.Listening()
	if err != nil {
		return "", false
	}
	for _, l := range open {
		if l.Inode == g.private.Inode() {
			continue
		}
		if binds == nil && l.Network != "unix" {
			return l.Address, true
		}
		for _, bind := range binds {
			if sameListener(bind, l.Network, l.Address) {
				return bind, true
			}
		}
	}
	return "", false
}
