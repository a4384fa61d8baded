package supervisor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"tideover/listener"
	"tideover/proxy/remote"
	"tideover/supervisor/api"
	"tideover/supervisor/config"
	"tideover/supervisor/handoff"
	"tideover/supervisor/pathwatch"
)

// systemdPrefix begins a public address that a service manager has opened:
// "systemd:NAME".
const systemdPrefix = "systemd:"

// publicListener is one public address of an app.
type publicListener struct {
	address string // as the configuration has it
	passed  bool   // a service manager has opened it
	// borrowed says that another process has bound the sockets, and removes the path at its end.
	borrowed bool
	app      *App          // that accepts; nil: none
	stop     func()        // stops accepting and waits until it has; nil: serve was not called
	unkeep   func()        // ends the pathKeeper; nil: there is none
	armed    chan struct{} // closed when a removal of a borrowed path is noticed at once; nil: it is not borrowed

	// parts are those whose sockets this one has taken. They are in the record until this one is.
	parts []*publicListener

	kept   map[string]bool // names of its descriptors in the Store; of the goroutine that accepts or closes
	keeper *App            // whose record has them; nil: none

	mu sync.Mutex // guards sockets while it serves
	// sockets are several where a service manager has passed them, and while connections wait in
	// the backlog of a socket whose file was removed: then the last one has the path.
	sockets []*listener.Public
}

// all returns the sockets. The last one has the path of a unix socket.
func (l *publicListener) all() []*listener.Public {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.sockets)
}

// current returns the socket that has the address.
func (l *publicListener) current() *listener.Public {
	all := l.all()
	return all[len(all)-1]
}

// serve accepts connections for an app until stop or close, or has its processes accept them. It does
// nothing where it does so already.
func (l *publicListener) serve(a *App) {
	if l.app == a {
		return
	}
	l.app = a
	ctx, cancel := context.WithCancel(context.Background())
	var accepting sync.WaitGroup
	l.stop = func() {
		a.direct.remove(l)
		cancel()
		accepting.Wait()
		l.app = nil
	}
	shutDown := make(chan struct{}, 1)
	accept := func(socket *listener.Public) (stop func()) {
		until, end := context.WithCancel(ctx)
		ended := make(chan struct{})
		run := l.relay
		if a.direct != nil {
			l.share(a, socket) // before a generation gets it
			run = func(ctx context.Context, a *App, socket *listener.Public) { l.keepListening(ctx, a, socket, shutDown) }
		}
		accepting.Go(func() {
			defer close(ended)
			run(until, a, socket)
		})
		return func() {
			end()
			<-ended
		}
	}
	var stops []func()
	for _, socket := range l.sockets {
		stops = append(stops, accept(socket))
	}
	a.direct.add(l)
	l.keep(a)
	if l.current().HasPath() {
		k := &pathKeeper{listener: l, app: a, path: l.current().Address().Address, accept: accept, stops: stops, shutDown: shutDown}
		keeping, end := context.WithCancel(ctx)
		if l.borrowed {
			k.borrowed, l.armed, l.borrowed = true, make(chan struct{}), false
		}
		ended := make(chan struct{})
		accepting.Go(func() {
			defer close(ended)
			k.run(keeping)
		})
		l.unkeep = func() {
			end()
			<-ended
		}
	}
}

// relay has the relay accept connections from a socket until ctx ends.
func (l *publicListener) relay(ctx context.Context, a *App, socket *listener.Public) {
	if err := a.relay.accept(ctx, l.address, socket); err != nil {
		a.logger.Error("listener failed", "app", a.name, "address", l.address, "error", err)
	}
}

// awaitArmed returns when a removal of a borrowed path is noticed at once.
func (l *publicListener) awaitArmed() {
	if l.armed != nil {
		<-l.armed
	}
}

// leavePath gives the file of a unix socket up to another process. The socket goes on to accept.
func (l *publicListener) leavePath() {
	if l.unkeep != nil {
		l.unkeep()
	}
	for _, socket := range l.sockets {
		socket.LeavePath()
	}
}

// stopAccepting has no connection accepted any more. They wait in the queues of the sockets.
func (l *publicListener) stopAccepting() {
	if l.stop != nil {
		l.stop()
	}
}

// close stops accepting and closes the sockets.
func (l *publicListener) close() {
	l.stopAccepting()
	for _, socket := range l.sockets {
		socket.Close()
	}
	l.release()
}

// keep keeps the sockets for a later supervisor, and records that they are the app's.
func (l *publicListener) keep(a *App) {
	if a.store == nil {
		return
	}
	r := handoff.ListenerRecord{Address: l.address, Passed: l.passed}
	kept := map[string]bool{}
	put := func(name string, f *os.File) {
		kept[name] = true
		if l.kept[name] {
			return
		}
		if err := a.store.Put(context.Background(), name, f); err != nil {
			a.logger.Warn("cannot keep a descriptor", "name", name, "error", err)
		}
	}
	for _, socket := range l.all() {
		if l.passed {
			break // it is the service manager's
		}
		s := handoff.Socket{Socket: fmt.Sprintf("listener/%s/%d", l.address, socket.Inode())}
		if f, err := remote.DuplicateFile(socket); err == nil {
			put(s.Socket, f)
			f.Close()
		}
		if path := socket.PathFile(); path != nil {
			s.Path = s.Socket + "/path"
			put(s.Path, path)
		}
		r.Sockets = append(r.Sockets, s)
	}
	if l.keeper == nil || l.keeper == a {
		a.journal.listens(r)
	} else {
		a.journal.takesListener(r, l.keeper.journal)
	}
	former := l.kept
	l.kept, l.keeper = kept, a
	for _, part := range l.parts {
		part.release()
	}
	l.parts = nil
	for name := range former {
		if !kept[name] {
			_ = a.store.Drop(context.Background(), name) // a later supervisor drops what no record names
		}
	}
}

// release drops what keep has kept.
func (l *publicListener) release() {
	for _, part := range l.parts {
		part.release()
	}
	l.parts = nil
	if l.keeper == nil {
		return
	}
	l.keeper.journal.listensNoMore(l.address)
	if len(l.kept) > 0 {
		_ = l.keeper.store.Drop(context.Background(), slices.Collect(maps.Keys(l.kept))...)
	}
	l.kept, l.keeper = nil, nil
}

// pathInterval is the time between two checks of the file of a public unix socket that cannot be
// bound again yet, or whose directory cannot be watched.
const pathInterval = time.Second

// pathKeeper binds the path of a public unix socket again when its file was removed or replaced:
// clients find a socket by its file only, although it still listens.
type pathKeeper struct {
	listener *publicListener
	app      *App
	path     string
	accept   func(*listener.Public) (stop func())
	stops    []func()        // of the listener's sockets, in their order
	shutDown <-chan struct{} // a process has shut the socket down, and another one is needed
	borrowed bool            // the process that has bound the path removes it
	logged   string          // the error that was logged last
}

// run checks the file after each event of its directory. Clients that connect between its
// removal and the check fail with ENOENT.
func (k *pathKeeper) run(ctx context.Context) {
	file := k.app.listeners.watch(k.path)
	defer file.Stop()
	if k.borrowed {
		k.takePath(ctx)
	}
	for {
		watched := file.Renew() // before the check, so that no change is missed
		k.rebind(ctx)
		var later <-chan time.Time
		if !watched || k.logged != "" || len(k.stops) > 1 {
			later = time.After(pathInterval)
		}
		select {
		case <-file.Changed:
		case <-k.shutDown:
			k.replace(ctx)
		case <-later:
			k.retire()
		case <-ctx.Done():
			return
		}
	}
}

// borrowedTime is how long the process that has bound a borrowed socket is expected to remove its
// path. Later, events of the directory are enough.
const borrowedTime = 30 * time.Second

// takePath waits until the process that has bound the path removes it.
func (k *pathKeeper) takePath(ctx context.Context) {
	taking, cancel := context.WithTimeout(ctx, borrowedTime)
	defer cancel()
	fresh, err := k.listener.current().TakePath(taking, func() { close(k.listener.armed) })
	k.use(ctx, fresh, err)
}

// rebind binds the path again if it has to.
func (k *pathKeeper) rebind(ctx context.Context) {
	fresh, err := k.listener.current().Rebind()
	k.use(ctx, fresh, err)
}

// replace puts another socket in the place of one that was shut down.
func (k *pathKeeper) replace(ctx context.Context) {
	if current := k.listener.current(); !current.IsListening() {
		fresh, err := current.Replace()
		k.use(ctx, fresh, err)
	}
}

// use accepts on a socket that has the path now; nil: there is none.
func (k *pathKeeper) use(ctx context.Context, fresh *listener.Public, err error) {
	l, a := k.listener, k.app
	switch {
	case err != nil:
		if text := err.Error(); text != k.logged {
			k.logged = text
			a.logger.Error("cannot bind public socket again", "app", a.name, "address", l.address, "error", err,
				"hint", "clients cannot connect; it is tried again every second")
		}
		return
	case fresh == nil:
		k.logged = ""
		return
	}
	k.logged = ""
	hint := "its file was removed or replaced"
	if a.direct != nil {
		hint = "its file was removed or replaced, or a process has shut it down; the app is reloaded, so that it accepts from the new socket"
	}
	a.logger.Warn("public socket bound again", "app", a.name, "address", l.address, "hint", hint)
	k.stops = append(k.stops, k.accept(fresh))
	l.mu.Lock()
	l.sockets = append(l.sockets, fresh)
	l.mu.Unlock()
	l.keep(a)
	if a.direct != nil {
		k.reload(ctx)
	}
}

// reload has the next generation accept from the new socket. The app's goroutine may not run yet.
func (k *pathKeeper) reload(ctx context.Context) {
	k.app.do(ctx, func() {
		if k.app.restart.desired == desiredUp {
			k.app.queue.add(newTicket(api.Request{Verb: api.Reload, App: k.app.name, By: api.Caller{Via: "public socket bound again"}}))
		}
	})
}

// retire closes the sockets without a path whose backlog is empty. They have accepted for
// pathInterval at least, so a connect that had found the file has ended.
func (k *pathKeeper) retire() {
	l := k.listener
	for len(k.stops) > 1 && !(l.sockets[0].Pending() && l.sockets[0].IsListening()) {
		k.stops[0]()
		l.sockets[0].Close()
		k.stops = k.stops[1:]
		l.mu.Lock()
		l.sockets = l.sockets[1:]
		l.mu.Unlock()
		l.keep(k.app)
	}
}

// listeners opens public sockets: new ones, those of a service manager, and those
// of the former supervisor. The sockets of a service manager stay open for
// the daemon's life: an app that is removed and added again finds its socket, with
// the connections that wait in its backlog.
type listeners struct {
	systemd map[string][]*os.File // by name

	mu        sync.Mutex                  // guards what follows
	paths     *pathwatch.Watcher          // of the files of unix sockets; nil: not needed yet, or inotify does not work
	inherited map[string]handoff.Listener // by address: of the former supervisor, each once
	addresses map[string]string           // by name: where the opened sockets of systemd listen
	used      map[*os.File]bool           // of the sockets of systemd
}

// newListeners returns the sockets of the service manager and of the former supervisor; left is nil when
// there was none.
func newListeners(systemd map[string][]*os.File, left *handoff.State) *listeners {
	ls := &listeners{systemd: systemd, addresses: map[string]string{}, used: map[*os.File]bool{}}
	if left != nil {
		ls.inherited = left.Listeners
	}
	return ls
}

// watch begins to watch the file of a unix socket.
func (ls *listeners) watch(path string) *pathwatch.Path {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if ls.paths == nil {
		ls.paths, _ = pathwatch.New() // after an error the files are checked every second
	}
	return ls.paths.Watch(path)
}

// close ends what watch has begun. No socket is open any more.
func (ls *listeners) close() {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	ls.paths.Close()
}

// socketOptions are the options of the public sockets of an app. Root lets the app's user make,
// rename and remove the file of a unix socket whose path that user can change.
func socketOptions(cfg *config.App) listener.Options {
	return listener.Options{Mode: cfg.ListenMode, As: func(path string) (*listener.User, error) {
		opener, err := cfg.Opener()
		if err != nil {
			return nil, err
		}
		access, err := opener.Access(path)
		if err != nil || access.As == "" {
			return nil, err
		}
		return &listener.User{UID: opener.User.UID, GID: opener.User.GID, Groups: opener.User.Groups}, nil
	}}
}

// open opens a public address: one socket, or those that a service manager has
// passed under its name. A socket that the service manager has passed for the same address is
// used.
func (ls *listeners) open(address string, o listener.Options) (sockets []*listener.Public, passed bool, err error) {
	if name, ok := strings.CutPrefix(address, systemdPrefix); ok {
		sockets, err = ls.openSystemd(name)
		return sockets, true, err
	}
	parsed, err := listener.Parse(address)
	if err != nil {
		return nil, false, err
	}
	if sockets, err := ls.takeInherited(address, parsed, o); len(sockets) > 0 || err != nil {
		return sockets, false, err
	}
	if public := ls.takePassed(parsed); public != nil {
		return []*listener.Public{public}, true, nil
	}
	public, err := listener.Open(parsed, o)
	if err != nil {
		return nil, false, err
	}
	return []*listener.Public{public}, false, nil
}

// duplicate returns the sockets of these processes that listen on a public address.
func (ls *listeners) duplicate(address string, o listener.Options, pids []int) ([]*listener.Public, error) {
	parsed, err := listener.Parse(address)
	if err != nil {
		return nil, err
	}
	return listener.Duplicate(parsed, o, pids)
}

// openWhenFree is open that waits while another process has the address, until ctx ends.
func (ls *listeners) openWhenFree(ctx context.Context, address string, o listener.Options) ([]*listener.Public, error) {
	parsed, err := listener.Parse(address)
	if err != nil {
		return nil, err
	}
	public, err := listener.OpenWhenFree(ctx, parsed, o)
	if err != nil {
		return nil, err
	}
	return []*listener.Public{public}, nil
}

// takeInherited returns the sockets of the former supervisor; none: there are none.
func (ls *listeners) takeInherited(address string, parsed listener.Address, o listener.Options) (all []*listener.Public, err error) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	left := ls.inherited[address]
	delete(ls.inherited, address)
	for i, socket := range left.Sockets {
		defer socket.Close() // a Public has a duplicate
		var p *listener.Public
		if i == len(left.Sockets)-1 { // which has the path
			p, err = listener.Restore(socket, parsed, o, left.Path)
		} else {
			p, err = listener.FromFile(socket)
		}
		if err != nil {
			for _, p := range all {
				p.Close()
			}
			return nil, err
		}
		all = append(all, p)
	}
	return all, nil
}

func (ls *listeners) openSystemd(name string) ([]*listener.Public, error) {
	if len(ls.systemd[name]) == 0 {
		return nil, ls.missing(name)
	}
	var open []*listener.Public
	var addresses []string
	for _, f := range ls.systemd[name] {
		public, err := listener.FromFile(f)
		if err != nil {
			for _, p := range open {
				p.Close()
			}
			return nil, err
		}
		open, addresses = append(open, public), append(addresses, public.Address().String())
	}
	ls.mu.Lock()
	defer ls.mu.Unlock()
	ls.addresses[name] = strings.Join(addresses, ", ")
	for _, f := range ls.systemd[name] {
		ls.used[f] = true
	}
	return open, nil
}

// missing says which sockets the service manager has passed instead.
func (ls *listeners) missing(name string) error {
	if len(ls.systemd) == 0 {
		return errors.New("no socket was passed to tideover, so there is none named " + strconv.Quote(name) +
			": start the .socket unit, whose Service= is tideover's, with FileDescriptorName=" + name)
	}
	var there []string
	for _, n := range slices.Sorted(maps.Keys(ls.systemd)) {
		there = append(there, strconv.Quote(n))
	}
	return errors.New("no socket named " + strconv.Quote(name) + " was passed to tideover (FileDescriptorName= of its .socket unit); there is " +
		strings.Join(there, ", "))
}

// resolve returns where a public address really listens: of several sockets, the
// first.
func (ls *listeners) resolve(address string) string {
	name, ok := strings.CutPrefix(address, systemdPrefix)
	if !ok {
		return address
	}
	ls.mu.Lock()
	defer ls.mu.Unlock()
	first, _, _ := strings.Cut(ls.addresses[name], ", ")
	return first
}

// describe returns public addresses as status shows them.
func (ls *listeners) describe(addresses []string) []string {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	all := make([]string, len(addresses))
	for i, address := range addresses {
		all[i] = address
		if resolved := ls.addresses[strings.TrimPrefix(address, systemdPrefix)]; resolved != "" && strings.HasPrefix(address, systemdPrefix) {
			all[i] += " (" + resolved + ")"
		}
	}
	return all
}
