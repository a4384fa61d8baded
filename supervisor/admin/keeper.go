package admin

import (
	"context"
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"tideover/listener"
	"tideover/supervisor/admin/supervisord"
	"tideover/supervisor/confine"
	"tideover/supervisor/control"
)

const (
	minPause = 100 * time.Millisecond // until the process is started again
	maxPause = 10 * time.Second
	// soundFor is how long a process has to run until the next one is started after minPause.
	soundFor = 10 * time.Second
)

// Options make a Keeper.
type Options struct {
	Logger hclog.Logger
	Run    func() string // Fleet.Run; it is called when a process is started
	// Confinement says how the process is confined, and makes its directory. It is called by Prepare.
	Confinement func() (confine.Options, error)
	// Serve answers the control protocol on one end of a socket pair until the other end is closed
	// or ctx ends; see control.Server.ServeViewer.
	Serve func(ctx context.Context, end *os.File, rights control.Rights) error
}

// endpoint is what a listening socket is for.
type endpoint string

const (
	adminEndpoint  endpoint = "admin"  // /-/live and /-/ready
	socketEndpoint endpoint = "socket" // clients of supervisord, on a unix socket
	httpEndpoint   endpoint = "http"   // clients of supervisord, by HTTP
)

// agentEndpoint is that of HAProxy's agent-check of an app.
func agentEndpoint(app string) endpoint { return endpoint(agentPrefix + app) }

const agentPrefix = "agent "

// agentOf is the app of an agentEndpoint.
func (at endpoint) agentOf() (app string, ok bool) { return strings.CutPrefix(string(at), agentPrefix) }

// isSupervisord reports whether clients of supervisord are answered there.
func (at endpoint) isSupervisord() bool { return at == socketEndpoint || at == httpEndpoint }

// key is the setting that the address comes from.
func (at endpoint) key() string {
	if app, ok := at.agentOf(); ok {
		return "app." + app + ".agent.listen"
	}
	return map[endpoint]string{adminEndpoint: "daemon.admin", socketEndpoint: "daemon.supervisor_socket", httpEndpoint: "daemon.supervisor_http"}[at]
}

// Addresses are where the process answers; an empty one: not there.
type Addresses struct {
	Admin  string // HOST:PORT or unix:PATH
	Socket string // path
	HTTP   string // HOST:PORT
	// Agents are the addresses of HAProxy's agent-checks, HOST:PORT, by app.
	Agents map[string]string

	SocketMode os.FileMode
	SocketUID  int // -1: this process
	SocketGID  int // -1: that of this process
	Supervisor Supervisor
	Fleet      Fleet

	Page      Page
	PageToken string // empty: the page only looks; the process does not know it
}

// Page is what is to be known to answer for the page.
type Page struct {
	Acts  bool     `json:"acts"`  // there is a token
	Hosts []string `json:"hosts"` // names by which it is asked for, beside addresses and localhost
}

// Supervisor is what is to be known to answer clients of supervisord.
type Supervisor struct {
	Identifier string `json:"identifier"`
	User       string `json:"user"` // empty: no password is asked for
	Password   string `json:"password"`
	SocketAuth bool   `json:"socket_auth"` // the password is asked for on the unix socket, too
}

// access is what clients may do. The mode of the unix socket says who may connect there.
func (s Supervisor) access(at endpoint) supervisord.Access {
	if at == socketEndpoint && !s.SocketAuth {
		return supervisord.Access{}
	}
	return supervisord.Access{User: s.User, Password: s.Password, ReadOnly: s.User == ""}
}

// all are the addresses that are not empty.
func (a Addresses) all() map[endpoint]string {
	all := map[endpoint]string{adminEndpoint: a.Admin, socketEndpoint: a.Socket, httpEndpoint: a.HTTP}
	if a.Socket != "" {
		all[socketEndpoint] = "unix:" + a.Socket
	}
	for app, address := range a.Agents {
		all[agentEndpoint(app)] = address
	}
	maps.DeleteFunc(all, func(_ endpoint, address string) bool { return address == "" })
	return all
}

// equal reports whether nothing has to be changed.
func (a Addresses) equal(b Addresses) bool { return reflect.DeepEqual(a, b) }

// needed is what the process may ask of the supervisor.
func (a Addresses) needed() control.Rights {
	r := control.Rights{Access: control.Look, Token: a.PageToken, Fleet: a.Fleet.on(), Commands: a.Fleet.Commands}
	switch {
	case a.Socket != "", a.HTTP != "" && a.Supervisor.User != "":
		r.Access = control.Drive
	case a.Fleet.on():
		r.Access = control.Operate
	case a.HTTP != "":
		r.Access = control.Read
	}
	return r
}

// A Keeper keeps one admin process for some addresses, or none. They are bound by the daemon, so that
// clients wait in the backlog while another process is started.
type Keeper struct {
	options Options
	changed chan struct{} // capacity 1: what the process is to have is another; filled with mu held
	inUse   chan struct{} // capacity 1: an address is missing
	serving sync.WaitGroup
	shown   bool // what does not hold was logged; of Run's goroutine
	files   files

	mu          sync.Mutex // guards the fields below
	wanted      Addresses
	sockets     map[endpoint]*listener.Public
	missing     bool // an address of wanted is not bound yet: it is tried again
	confinement confine.Options
	process     *roleProcess // nil: none runs
}

// NewKeeper returns a keeper without an address.
func NewKeeper(o Options) *Keeper {
	return &Keeper{options: o, changed: make(chan struct{}, 1), inUse: make(chan struct{}, 1)}
}

// Change is a change of the addresses that is prepared: the new ones are bound. Exactly one of its
// functions must be called.
type Change struct {
	Commit, Discard func()
}

// Prepare binds the addresses that are new. Nothing that serves is changed before Commit. With later,
// those for clients of supervisord may be in use now, as while tideover takes over from it: they are
// tried again until they are free.
func (k *Keeper) Prepare(to Addresses, later bool) (Change, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if to.equal(k.wanted) && !k.missing {
		return Change{Commit: func() {}, Discard: func() {}}, nil
	}
	s, err := k.bindLocked(to, later)
	if err != nil {
		return Change{}, err
	}
	return Change{Commit: func() { k.set(to, s) }, Discard: func() { closeAll(s.opened) }}, nil
}

// bound is what the keeper has of some addresses.
type bound struct {
	kept    []endpoint                    // their sockets stay
	opened  map[endpoint]*listener.Public // new
	missing bool                          // one is in use
}

// bindLocked binds the addresses that are new. k.mu must be held.
func (k *Keeper) bindLocked(to Addresses, later bool) (bound, error) {
	if len(to.all()) > 0 || to.Fleet.on() {
		var err error
		if k.confinement, err = k.options.Confinement(); err != nil {
			return bound{}, fmt.Errorf("admin process: %w", err)
		}
	}
	s := bound{opened: map[endpoint]*listener.Public{}}
	for at, address := range to.all() {
		if k.sockets[at] != nil && k.wanted.all()[at] == address {
			s.kept = append(s.kept, at)
			continue
		}
		socket, err := open(at, address, to)
		switch {
		case err == nil:
			s.opened[at] = socket
		case (later || k.missing && k.wanted.all()[at] == address) && at.isSupervisord():
			s.missing = true
			if !k.missing {
				k.options.Logger.Warn("cannot open address for supervisorctl", "address", address, "error", err, "hint", "it is tried again every second")
			}
		default:
			closeAll(s.opened)
			return bound{}, err
		}
	}
	return s, nil
}

func closeAll(sockets map[endpoint]*listener.Public) {
	for _, socket := range sockets {
		socket.Close()
	}
}

// open binds an address.
func open(at endpoint, address string, to Addresses) (*listener.Public, error) {
	key := at.key()
	parsed, err := listener.Parse(address)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	o := listener.Options{}
	if at == socketEndpoint {
		o.Mode = to.SocketMode
	}
	socket, err := listener.Open(parsed, o)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	if at == socketEndpoint {
		if err := setAccess(socket, to); err != nil {
			socket.Close()
			return nil, fmt.Errorf("daemon.supervisor_socket_owner: %w", err)
		}
	}
	return socket, nil
}

// set gives the keeper other sockets and closes the former ones but those that are kept. Its process
// goes on until Run has ended it; it accepts nothing more than what the backlog has.
func (k *Keeper) set(to Addresses, s bound) {
	k.mu.Lock()
	former := k.setLocked(to, s)
	k.mu.Unlock()
	for _, socket := range former {
		socket.Shutdown()
		socket.Close()
	}
	if s.missing {
		wake(k.inUse)
	}
}

// setLocked returns the sockets that the keeper has no more. k.mu must be held.
func (k *Keeper) setLocked(to Addresses, s bound) (former []*listener.Public) {
	sockets := s.opened
	for at, socket := range k.sockets {
		if slices.Contains(s.kept, at) {
			sockets[at] = socket
		} else {
			former = append(former, socket)
		}
	}
	if slices.Contains(s.kept, socketEndpoint) && !k.wanted.sameAccess(to) {
		if err := setAccess(sockets[socketEndpoint], to); err != nil {
			k.options.Logger.Error("cannot set owner of admin socket", "address", to.Socket, "error", err)
		}
	}
	k.wanted, k.sockets, k.missing = to, sockets, s.missing
	wake(k.changed)
	return former
}

// wake fills a channel of capacity 1.
func wake(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// missingInterval is the time between two tries to bind an address that is in use.
const missingInterval = time.Second

// openMissing binds addresses that were in use, until ctx ends.
func (k *Keeper) openMissing(ctx context.Context) {
	for {
		select {
		case <-k.inUse:
		case <-ctx.Done():
			return
		}
		select {
		case <-time.After(missingInterval):
		case <-ctx.Done():
			return
		}
		k.tryMissing()
	}
}

// tryMissing binds what can be bound now, and has the rest tried again.
func (k *Keeper) tryMissing() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.missing {
		return
	}
	s, err := k.bindLocked(k.wanted, true)
	if err == nil && len(s.opened) > 0 { // else the process has what there is
		k.setLocked(k.wanted, s) // all that there was is kept
		k.options.Logger.Info("address for supervisorctl opened")
	}
	if k.missing {
		wake(k.inUse)
	}
}

// Run keeps the process until ctx ends. Then the address is closed.
func (k *Keeper) Run(ctx context.Context) {
	defer k.serving.Wait()
	defer k.files.close()
	defer func() { k.set(Addresses{}, bound{}) }()
	retrying, endRetries := context.WithCancel(ctx)
	defer endRetries()
	k.serving.Go(func() { k.openMissing(retrying) })
	pause := minPause
	for ctx.Err() == nil {
		began := time.Now()
		p, err := k.start(ctx)
		if p == nil && err == nil {
			pause = minPause
			select {
			case <-k.changed:
			case <-ctx.Done():
			}
			continue
		}
		if err == nil {
			changed := k.attend(ctx, p)
			if changed || ctx.Err() != nil {
				p.end()
			}
			k.forget(p)
			if changed {
				pause = minPause
				continue
			}
			if ctx.Err() != nil {
				return
			}
			if time.Since(began) > soundFor {
				pause = minPause
			}
		}
		k.logEnd(p, err, pause)
		select {
		case <-time.After(pause):
			pause = min(2*pause, maxPause)
		case <-k.changed:
			pause = minPause
		case <-ctx.Done():
		}
	}
}

// start starts a process, if there is an address. It is nil when none is to run.
func (k *Keeper) start(ctx context.Context) (*roleProcess, error) {
	k.mu.Lock()
	select {
	case <-k.changed: // what follows has it
	default:
	}
	sockets, to, o := k.sockets, k.wanted, k.confinement
	if len(sockets) == 0 && !to.Fleet.on() {
		k.mu.Unlock()
		return nil, nil
	}
	k.mu.Unlock()
	p, err := fork()
	k.mu.Lock()
	k.process = p
	k.mu.Unlock()
	if err == nil {
		k.serving.Go(func() {
			if err := k.options.Serve(ctx, p.control, to.needed()); err != nil {
				k.options.Logger.Error("cannot answer admin process", "error", err)
			}
		})
		if to.Fleet.on() {
			to.Fleet.Run = k.options.Run()
		}
		err = p.confine(sockets, to, o)
	}
	if err != nil {
		k.forget(p)
		return nil, err
	}
	if to.Fleet.on() {
		k.serving.Go(func() { k.answerMember(ctx, p, to.Fleet) })
	}
	k.options.Logger.Info("admin process started", "address", slices.Sorted(maps.Values(to.all())), "pid", p.cmd.Process.Pid)
	if !k.shown {
		k.shown = true
		k.logMissing(o, p.measures)
	}
	return p, nil
}

// forget waits until a process that was ended is gone.
func (k *Keeper) forget(p *roleProcess) {
	if p != nil {
		p.kill()
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.process = nil
}

// Pid is that of the process; 0: none runs.
func (k *Keeper) Pid() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.process == nil {
		return 0
	}
	return k.process.cmd.Process.Pid
}

// logMissing logs what of the confinement does not hold. Without root that is expected.
func (k *Keeper) logMissing(o confine.Options, all []confine.Measure) {
	missing := confine.MissingText(all)
	if missing == "" {
		return
	}
	level := hclog.Warn
	if o.User == nil {
		level = hclog.Info
	}
	k.options.Logger.Log(level, "process confined in part", "process", roleName, "missing", missing)
}

func (k *Keeper) logEnd(p *roleProcess, err error, pause time.Duration) {
	if err != nil {
		k.options.Logger.Error("cannot start admin process", "error", err, "next_s", pause.Seconds())
		return
	}
	var said string
	if i := slices.IndexFunc(p.said, func(line string) bool { return line != "" }); i >= 0 {
		said = p.said[i]
	}
	k.options.Logger.Warn("admin process ended", "error", said, "next_s", pause.Seconds(),
		"hint", "the apps are not concerned; requests to it wait")
	for _, line := range p.said {
		k.options.Logger.Debug("admin process output", "line", line)
	}
}
