package supervisor

import (
	"context"
	"errors"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"

	"tideover/listener"
	"tideover/proxy"
	"tideover/supervisor/handoff"
)

// systemdPrefix begins a public address that a service manager has opened:
// "systemd:NAME".
const systemdPrefix = "systemd:"

// publicListener is one public address of an app.
type publicListener struct {
	address string             // as the configuration has it
	sockets []*listener.Public // several only where a service manager has passed them
	stop    func()             // stops accepting and waits until it has; nil: serve was not called
}

// fromSystemd reports whether a service manager has opened it.
func (l *publicListener) fromSystemd() bool { return strings.HasPrefix(l.address, systemdPrefix) }

// serve accepts connections for a server until stop or close. failed is called when
// accepting fails for good.
func (l *publicListener) serve(server *proxy.Server, failed func(error)) {
	ctx, cancel := context.WithCancel(context.Background())
	var accepting sync.WaitGroup
	l.stop = func() {
		cancel()
		accepting.Wait()
	}
	for _, socket := range l.sockets {
		accepting.Go(func() {
			if err := server.Serve(ctx, socket.Listener()); err != nil {
				failed(err)
			}
		})
	}
}

// close stops accepting and closes the sockets.
func (l *publicListener) close() {
	if l.stop != nil {
		l.stop()
	}
	for _, socket := range l.sockets {
		socket.Close()
	}
}

// listeners opens public sockets: new ones, those of a service manager, and those
// of the program before the exec. The sockets of a service manager stay open for
// the daemon's life: an app that is removed and added again finds its socket, with
// the connections that wait in its backlog.
type listeners struct {
	systemd map[string][]*os.File // by name

	mu        sync.Mutex          // guards inherited and addresses
	inherited map[string]*os.File // by address: of the program before the exec, each once
	addresses map[string]string   // by name: where the opened sockets of systemd listen
}

// newListeners returns the sockets of the service manager and of the program before
// the exec; left is nil when there was none.
func newListeners(systemd map[string][]*os.File, left *handoff.State) *listeners {
	ls := &listeners{systemd: systemd, inherited: map[string]*os.File{}, addresses: map[string]string{}}
	if left != nil {
		ls.systemd = left.SystemdSockets()
		for address, fd := range left.Listeners {
			ls.inherited[address] = os.NewFile(uintptr(fd), address)
		}
	}
	return ls
}

// open opens a public address: one socket, or those that a service manager has
// passed under its name.
func (ls *listeners) open(address string, mode os.FileMode) ([]*listener.Public, error) {
	if name, ok := strings.CutPrefix(address, systemdPrefix); ok {
		return ls.openSystemd(name)
	}
	parsed, err := listener.Parse(address)
	if err != nil {
		return nil, err
	}
	public, err := ls.takeInherited(address, parsed)
	if public == nil && err == nil {
		public, err = listener.Open(parsed, listener.Options{Mode: mode})
	}
	if err != nil {
		return nil, err
	}
	return []*listener.Public{public}, nil
}

// takeInherited returns the socket of the program before the exec; nil: there is
// none.
func (ls *listeners) takeInherited(address string, parsed listener.Address) (*listener.Public, error) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	f := ls.inherited[address]
	if f == nil {
		return nil, nil
	}
	delete(ls.inherited, address)
	defer f.Close()
	return listener.Restore(f, parsed)
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

// unused returns the names of the service manager's sockets that no app has opened.
func (ls *listeners) unused() []string {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	return slices.DeleteFunc(slices.Sorted(maps.Keys(ls.systemd)), func(name string) bool { return ls.addresses[name] != "" })
}
