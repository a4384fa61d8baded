package generation

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"tideover/listener"
	"tideover/proxy/remote"
	"tideover/supervisor/api"
	"tideover/supervisor/config"
	"tideover/supervisor/gunicorn"
	"tideover/supervisor/logs"
	"tideover/supervisor/process"
)

// Generation is one incarnation of an app: a private socket, a process tree and,
// for a web app, a target. Its fields do not change once it has been started,
// except Ready, Lenient and Status: the app's goroutine sets them when it puts the
// generation into service.
type Generation struct {
	LaunchSpec
	scratchDir string   // see scratch
	kept       []string // names of its descriptors in Options.Store
	restored   *Kept    // of a supervisor that has died; else nil
	marker     []byte   // on a connection, it proves that the app has never accepted it
	Started    time.Time

	public  []uint64          // inodes of the public sockets that the child gets
	private *listener.Private // nil: the child opens its listening socket itself, or has public ones only
	child   *childListener    // nil: it gets the private socket
	Process Process
	Target  *Target       // nil: no request is relayed to it
	notify  *notifySocket // nil: it is not asked to say READY=1
	probe   httpProbe
	watches sync.WaitGroup // of WatchLiveness and WatchMemory

	Ready   time.Time // when it went into service; zero: never
	Lenient bool      // its first answer was an error
	Status  int       // of its first answer; 0: a plain process, or unknown
}

// HostRejected returns the Host of the readiness probe if the first answer may only mean that
// the app does not accept it; else "".
func (g *Generation) HostRejected() string {
	if !hostRejected(g.Status) || g.probe.before.named {
		return ""
	}
	return g.probe.host
}

// upstream is the address at which a generation answers: the private socket that
// is passed to it, or the address that it is told to open.
type upstream struct {
	private          *listener.Private
	public           []*os.File // the public sockets, which the child inherits in front of the private one
	peer             peer       // how the address of a client reaches the app
	network, address string     // what this process dials
	relayed          string     // what the relay dials
	socket           string     // of the placeholder {socket}: the path at which the child listens
	port             int        // of the placeholder {port}
}

// substitute fills in the placeholders {fd}, {socket} and {port}.
func (p upstream) substitute(argv []string) []string {
	argv = config.Substitute(argv, config.FD, "3")
	argv = config.Substitute(argv, config.Socket, p.socket)
	return config.Substitute(argv, config.Port, strconv.Itoa(p.port))
}

// spawn opens the private socket, starts the child and makes the target. It does
// not wait for an answer. When it fails, nothing is left.
//
// public are the public sockets of an app without a relay: the child accepts from them.
func (l *Launcher) spawn(log *logs.Log, p LaunchSpec, public []*listener.Public) (_ *Generation, err error) {
	g := &Generation{LaunchSpec: p, Started: time.Now(), marker: newMarker()}
	defer func() {
		if err != nil {
			g.cleanup()
			l.release(g)
			if e := l.options.State.RemoveTree(p.App.Name, p.Number); e != nil {
				l.logger.Warn("cannot save state", "record", "process ended", "app", p.App.Name, "generation", p.Number, "error", e)
			}
		}
	}()
	if err := l.prepareDirectories(); err != nil {
		return nil, err
	}
	parent, err := l.scratchParent(p)
	if err != nil {
		return nil, err
	}
	g.scratchDir, err = p.scratch(parent, func(childDir string) (err error) {
		if ProbeOf(p.App) == ProbeNotify {
			g.notify, err = openNotifySocket(childDir)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if d := l.options.RelayDir; d != nil && d.Group != 0 && parent == d.Path {
		if err := os.Chmod(g.scratchDir, 0o711); err != nil { // the relay passes, too
			return nil, err
		}
	}
	at, err := l.openUpstream(p.App, p.Number, g.scratchDir)
	if err != nil {
		return nil, err
	}
	at.peer = newPeer(p.App)
	g.private = at.private
	defer func() {
		for _, f := range at.public {
			f.Close()
		}
	}()
	for _, socket := range public {
		f, err := socket.File()
		if err != nil {
			return nil, err
		}
		at.public, g.public = append(at.public, f), append(g.public, socket.Inode())
	}
	if err := g.spawn(l, log, at); err != nil {
		return nil, err
	}
	if g.notify != nil {
		g.notify.start(g.Process, l.logger)
	}
	g.buildTarget(l, at)
	l.record(g, g.Process.Record())
	l.options.Journal.Forked(g.Number, g.Process.Record())
	return g, nil
}

// record stores the process tree for the next daemon.
func (l *Launcher) record(g *Generation, tree process.Record) {
	if err := l.options.State.SetTree(g.App.Name, g.Number, tree); err != nil {
		l.logger.Warn("cannot save state", "record", "process started", "app", g.App.Name, "generation", g.Number, "error", err)
	}
}

// cleanup closes the sockets and removes the scratch directory. Every watch must have been stopped.
func (g *Generation) cleanup() {
	g.watches.Wait()
	g.Target.close()
	if g.private != nil {
		g.private.Close()
	}
	if g.notify != nil {
		g.notify.close()
	}
	g.child.close()
	if g.scratchDir != "" {
		os.RemoveAll(g.scratchDir)
	}
}

// spawn starts the child with its listening sockets from fd 3 on.
func (g *Generation) spawn(l *Launcher, log *logs.Log, at upstream) error {
	spec, err := g.processSpec(at.substitute(g.App.Argv()), fmt.Sprintf("%s.%d", g.App.Name, g.Number))
	if err != nil {
		return err
	}
	if gu := g.App.Gunicorn; gu != nil && gu.HasControlSocket() {
		// One path for all gunicorns of a user: two generations would take it from each other.
		spec.Env = prepend(spec.Env, "GUNICORN_CMD_ARGS", "--control-socket "+filepath.Join(childDir(g.scratchDir), "gunicorn.ctl"))
	}
	if args := g.App.GunicornArgs(); args != "" {
		spec.Env = extend(spec.Env, "GUNICORN_CMD_ARGS", args)
	}
	spec.Listen = at.public
	if at.private != nil {
		spec.Listen = append(slices.Clone(spec.Listen), at.private.File())
	}
	if gu := g.App.Gunicorn; gu != nil && at.private != nil && gu.MayFork() {
		spec.Env = append(spec.Env, gunicorn.SocketsOfParent(3, len(spec.Listen))...)
	}
	if g.notify != nil {
		spec.Env = append(spec.Env, "NOTIFY_SOCKET="+g.notify.path)
	}
	if spec.Stdout, err = log.Pipe(g.Number, logs.Stdout); err != nil {
		return err
	}
	defer spec.Stdout.Close()
	if spec.Stderr, err = log.Pipe(g.Number, logs.Stderr); err != nil {
		return err
	}
	defer spec.Stderr.Close()
	// Before it exists: a daemon that dies at this moment has its token on record.
	l.record(g, spec.Record())
	l.keep(log, g, at, spec.Record())
	g.Process, err = l.options.System.Start(spec)
	if err != nil {
		return startFailed(g.App.Name, err)
	}
	return nil
}

func newMarker() []byte { return []byte("tideover: never read " + rand.Text() + "\r\n") }

// buildTarget makes the target and the probe of an app with public sockets.
func (g *Generation) buildTarget(l *Launcher, at upstream) {
	if !g.App.Listens() {
		return
	}
	cfg, host := g.App, hostOf(l.options.Resolve(g.App.Listen[0])) // what a client of the public address sends
	id := remote.ID{App: l.options.App, Generation: g.Number}
	g.probe = newProbe(cfg, at.peer, host)
	g.probe.ask = func(ctx context.Context, q remote.Probe) (remote.ProbeAnswer, error) {
		q.ID, q.Network, q.Address = id, at.network, at.relayed
		return l.options.Relay.Probe(ctx, q)
	}
	if !cfg.Web() {
		return
	}
	g.Target = &Target{relay: l.options.Relay, id: id, message: remote.Target{
		Generation: g.Number, Name: fmt.Sprintf("%s#%d", cfg.Name, g.Number), Network: at.network, Address: at.relayed,
		Concurrency: concurrency(cfg), Bounded: cfg.Gunicorn != nil && cfg.Gunicorn.IsBounded(), Marker: g.marker, DefaultHost: host,
		Peer: at.peer.passing, OneRequest: at.peer.oneRequest,
		HalfClose: cfg.Gunicorn != nil && cfg.Gunicorn.AwaitsClose(), NeedsProof: g.private == nil,
	}}
	g.Target.message.Main, _ = g.Process.Pidfd() // without it the relay learns of the exit with the next Set
	if g.private != nil {
		g.Target.message.Socket = g.private.File()
	}
	if g.private == nil {
		g.child = g.newChildListener(l.logger, at, l.options.RelayDir)
		if g.restored != nil {
			g.child.last = g.restored.Proof // a lower number has no effect
		}
		g.probe.ask = g.child.ask
		g.child.start(g.Target, g.Process.Exited())
	}
}

// newProbe returns the readiness probe without its ask. host is what a client of the public address
// sends.
func newProbe(cfg *config.App, peer peer, host string) httpProbe {
	p := httpProbe{host: cmp.Or(cfg.Ready.Host, host), path: cmp.Or(cfg.Ready.Path, "/"), accept: cfg.Ready.Status.Counts, warm: cfg.Ready.Warm}
	p.before.named = cfg.Ready.Status.Names(http.StatusBadRequest) || cfg.Ready.Status.Names(http.StatusMisdirectedRequest)
	p.tls = cfg.Gunicorn != nil && cfg.Gunicorn.TLS // on every socket that it has
	if peer.passing == remote.PeerProxyLine {
		p.line = probeLine
	}
	return p
}

// newChildListener returns the listener at the address that the child was told to open.
func (g *Generation) newChildListener(logger hclog.Logger, at upstream, relay *listener.PrivateDir) *childListener {
	l := &childListener{app: g.App.Name, generation: g.Number, network: at.network, dialed: at.address, logger: logger, lost: make(chan struct{}, 1), removed: make(chan struct{})}
	user := g.User
	if user != nil && user.UID == 0 {
		user = nil // it may give its socket to any user
	}
	if at.network == "unix" {
		s := &childSocket{process: g.Process, user: user, path: at.socket, link: at.address, relay: relay}
		l.address, l.prove = at.socket, s.prove
		return l
	}
	p := &childPort{process: g.Process, uid: uint32(os.Geteuid()), port: at.port}
	if user != nil {
		p.uid = user.UID
	}
	l.address, l.prove = at.address, p.prove
	return l
}

// openUpstream opens the private socket, or chooses the address for the
// placeholder of the command.
func (l *Launcher) openUpstream(cfg *config.App, number int, scratch string) (upstream, error) {
	switch {
	case cfg.Direct() && cfg.Gunicorn != nil: // for the readiness probe: on the public socket another generation may answer
		return l.openPrivate(listener.PrivateOptions{Family: "unix", Name: cfg.Name, Generation: number})
	case !cfg.Web():
		return upstream{}, nil
	}
	asked := config.Placeholders(cfg.Argv())
	switch {
	case slices.Contains(asked, config.Socket):
		return l.socketUpstream(scratch, filepath.Join(childDir(scratch), "app.sock"))
	case slices.Contains(asked, config.Port):
		port, err := freePort()
		return portUpstream(port), err
	}
	o := listener.PrivateOptions{Family: "unix", Name: cfg.Name, Generation: number}
	if public, err := listener.Parse(l.options.Resolve(cfg.Listen[0])); err == nil && !cfg.UnixUpstream() && (cfg.Upstream == "tcp" || public.Network == "tcp") {
		o.Family, o.PortHint = "tcp", 0
		if ip, port, ok := loopback(public); ok && ip == "127.0.0.1" {
			o.PortHint = port
		} else if ok && ip == "::1" {
			o.Family = "tcp6"
		}
	}
	return l.openPrivate(o)
}

func (l *Launcher) openPrivate(o listener.PrivateOptions) (upstream, error) {
	o.Dir = l.options.RuntimeDir
	private, err := listener.OpenPrivate(o)
	if err != nil {
		return upstream{}, api.Errorf(api.ExitError, "cannot open a private socket: %v", err)
	}
	return l.privateUpstream(private)
}

// privateUpstream is the upstream of a child that gets a private socket, which is closed after an
// error.
func (l *Launcher) privateUpstream(private *listener.Private) (upstream, error) {
	at := upstream{private: private, network: private.Network(), address: private.DialAddress()}
	at.relayed = at.address
	if d := l.options.RelayDir; d != nil && at.network == "unix" {
		var err error
		if at.relayed, err = private.Offer(d); err != nil {
			private.Close()
			return upstream{}, err
		}
	}
	return at, nil
}

// socketUpstream is the upstream of a child that listens at path.
func (l *Launcher) socketUpstream(scratch, path string) (at upstream, err error) {
	if _, err = listener.Parse("unix:" + path); err != nil { // it is longer than the kernel allows
		return at, err
	}
	at = upstream{network: "unix", address: filepath.Join(scratch, "app.sock"), socket: path}
	at.relayed = at.address
	if d := l.options.RelayDir; d != nil {
		at.relayed, err = d.Name(at.address)
	}
	return at, err
}

// portUpstream is the upstream of a child that listens on a port of 127.0.0.1.
func portUpstream(port int) upstream {
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	return upstream{network: "tcp", address: address, relayed: address, port: port}
}

// freePort returns a port on which nothing listens. Another process may take it
// before the child does; then the start fails and is tried again with another port.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// ListensOn reports whether a process of the generation listens on an address by itself. For a nil
// Generation, and one that has the public sockets of the daemon, it reports false.
func (g *Generation) ListensOn(address string) bool {
	if g == nil || g.App.Direct() {
		return false
	}
	open, err := g.Process.Listening()
	return err == nil && slices.ContainsFunc(open, func(l process.Listening) bool { return SameListener(address, l.Network, l.Address) })
}

// PrivateSocket returns the private socket; nil: a nil Generation, or one without it, has none.
func (g *Generation) PrivateSocket() *listener.Private {
	if g == nil {
		return nil
	}
	return g.private
}

// Upstream returns the address at which the generation answers.
func (g *Generation) Upstream() (network, address string) {
	if g.private != nil {
		return g.private.Network(), g.private.Address()
	}
	return g.child.network, g.child.dialed
}

// ListenerProblem says why requests are held although the main process lives; empty:
// they are not.
func (g *Generation) ListenerProblem() string { return g.child.Problem() }

// SocketRemoved is closed when the socket that the child has opened cannot be reached any more,
// because its files were removed. It is nil for a nil Generation, and where the daemon has opened
// the socket.
func (g *Generation) SocketRemoved() <-chan struct{} {
	if g == nil || g.child == nil {
		return nil
	}
	return g.child.removed
}

// NotifyStatus is the last STATUS that the processes have sent (sd_notify).
func (g *Generation) NotifyStatus() string { return g.notify.Status() }

// Exited is closed when the main process has exited. For a nil Generation it is
// nil.
func (g *Generation) Exited() <-chan struct{} {
	if g == nil {
		return nil
	}
	return g.Process.Exited()
}

// concurrency is the number of requests that gunicorn works on at once; 0:
// unknown.
func concurrency(cfg *config.App) int {
	if cfg.Gunicorn == nil {
		return 0
	}
	return cfg.Gunicorn.Concurrency()
}
