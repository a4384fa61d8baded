package connlimit

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"
)

const (
	// askTimeout is how long servers are waited for that are being asked: one may end meanwhile.
	askTimeout = time.Second
	// reclaimInterval is how long no server is asked again when none had an idle connection.
	reclaimInterval = 250 * time.Millisecond
	// warnInterval is the shortest time between two warnings of the same kind.
	warnInterval = time.Minute
)

// Options make a limiter.
type Options struct {
	Max         int // client connections; 0: as many as Descriptors allow
	Descriptors int // that the process may have, RLIMIT_NOFILE; 0: without bound
	Apps        int // that need some of these to start
	Logger      hclog.Logger
}

// A Limiter bounds the client connections of all servers. Its methods may be called from any
// goroutine. A nil Limiter has no limit.
type Limiter struct {
	logger      hclog.Logger
	descriptors int
	bounds      atomic.Pointer[bounds]

	open  atomic.Int64 // client connections
	short atomic.Bool  // a descriptor above acceptMax was in use

	mu        sync.Mutex // guards the fields below
	servers   []Server
	nextAsk   time.Time // no server is asked before
	nextWarns [2]time.Time
}

// bounds are what follows from the options.
type bounds struct {
	max       int // as asked for; 0: no bound was
	acceptMax int // number of a client's descriptor; exclusive; 0: without bound
	dialMax   int // number of the descriptor of a connection to an app; exclusive
}

// A Server has client connections.
type Server interface {
	// Connections is their number.
	Connections() int
	// Reclaim closes some idle ones, on a goroutine of the server's, and then calls done with their
	// number.
	Reclaim(done func(closed int))
}

// Reserve is how many of a number of descriptors are kept for what is no connection of a client or
// to an app. Each app may need 16 at the same time: its generation starts while another one stops.
func Reserve(descriptors, apps int) int { return min(64+16*apps, descriptors/4) }

// New returns a limiter. Connections to the apps have an eighth of the descriptors for themselves:
// clients that are connected must not prevent the connections by which they are served.
func New(o Options) *Limiter {
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	l := &Limiter{logger: o.Logger, descriptors: o.Descriptors}
	l.Configure(o.Max, o.Apps)
	return l
}

// Configure changes Options.Max and Options.Apps. Connections above a lower bound are not closed; no
// further one is accepted meanwhile.
func (l *Limiter) Configure(max, apps int) {
	b := &bounds{max: max}
	if n := l.descriptors; n > 0 {
		b.dialMax = n - Reserve(n, apps)
		b.acceptMax = b.dialMax - n/8
	}
	if former := l.bounds.Swap(b); (former == nil || former.max != max) && max > l.Max() {
		l.logger.Warn("daemon.max_connections out of reach", "max_connections", max, "limit", l.Max(),
			"hint", fmt.Sprintf("RLIMIT_NOFILE is %d: raise it (LimitNOFILE= of a systemd unit, ulimit -n)", l.descriptors))
	}
}

// Max is how many client connections there can be; 0: without bound. Where the descriptors are the
// limit, it may be fewer: each of another kind costs one.
func (l *Limiter) Max() int {
	if l == nil {
		return 0
	}
	b := l.bounds.Load()
	if b.max == 0 || b.acceptMax > 0 && b.acceptMax < b.max {
		return b.acceptMax
	}
	return b.max
}

// Open is how many client connections there are.
func (l *Limiter) Open() int { return int(l.open.Load()) }

// Join and Leave add and remove a server.
func (l *Limiter) Join(s Server) {
	if l != nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.servers = append(l.servers, s)
	}
}

func (l *Limiter) Leave(s Server) {
	if l != nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.servers = slices.DeleteFunc(l.servers, func(other Server) bool { return other == s })
	}
}

// Opened counts a client connection that was accepted as the descriptor fd.
func (l *Limiter) Opened(fd int) {
	if l != nil {
		l.open.Add(1)
		if max := l.bounds.Load().acceptMax; max > 0 && fd >= max {
			l.short.Store(true)
		}
	}
}

// Closed counts the end of a client connection.
func (l *Limiter) Closed() {
	if l != nil {
		l.open.Add(-1)
	}
}

// HasRoom reports whether another client may be accepted. fd is any open descriptor: where the last
// number was at the limit, a duplicate of it shows which one the next connection would have.
func (l *Limiter) HasRoom(fd int) bool {
	max := l.Max()
	switch {
	case max == 0:
		return true
	case l.open.Load() >= int64(max):
		return false
	case !l.short.Load():
		return true
	}
	next, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return false
	}
	unix.Close(next)
	if max := l.bounds.Load().acceptMax; max > 0 && next >= max {
		return false
	}
	l.short.Store(false)
	return true
}

// MayDial reports whether a connection to an app may keep the descriptor fd. One that may not must be
// closed, and can be tried again soon: idle connections of clients are closed meanwhile.
func (l *Limiter) MayDial(fd int) bool {
	if l.MayUse(fd) {
		return true
	}
	l.Reclaim(func() {})
	return false
}

// MayUse reports whether the descriptor fd is not of the reserve for clients, so that something may
// keep it that can do without.
func (l *Limiter) MayUse(fd int) bool {
	if l == nil {
		return true
	}
	max := l.bounds.Load().dialMax
	return max == 0 || fd < max
}

// Settle returns the connection fd under a lower number, where it has one of the reserve and there is
// another one now.
func (l *Limiter) Settle(fd int) int {
	if l == nil {
		return fd
	}
	if max := l.bounds.Load().acceptMax; max == 0 || fd < max {
		return fd
	}
	lower, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return fd
	}
	unix.Close(max(fd, lower))
	return min(fd, lower)
}

// Reclaim has the servers close idle connections, and calls retry if one has. If all connections are
// in use it does nothing else for a while.
func (l *Limiter) Reclaim(retry func()) {
	if l == nil {
		return
	}
	if all := l.beginAsking(); all != nil {
		l.ask(all, retry)
	}
}

// beginAsking returns the servers in the order in which they are to be asked; nil: they are not.
func (l *Limiter) beginAsking() []Server {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if now.Before(l.nextAsk) {
		return nil
	}
	l.nextAsk = now.Add(askTimeout)
	connections := make(map[Server]int, len(l.servers))
	for _, s := range l.servers {
		connections[s] = s.Connections()
	}
	all := append([]Server{}, l.servers...)
	slices.SortStableFunc(all, func(a, b Server) int { return cmp.Compare(connections[b], connections[a]) })
	return all
}

// ask asks the servers one after the other.
func (l *Limiter) ask(all []Server, retry func()) {
	if len(all) == 0 {
		l.asked(0)
		return
	}
	all[0].Reclaim(func(closed int) {
		if closed == 0 {
			l.ask(all[1:], retry)
			return
		}
		l.asked(closed)
		retry()
	})
}

// asked ends the asking.
func (l *Limiter) asked(closed int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now, kind := time.Now(), 0
	l.nextAsk = now
	follows := "idle connections are closed, the oldest first"
	if closed == 0 {
		l.nextAsk = now.Add(reclaimInterval)
		kind, follows = 1, "all connections are in use, so that new ones wait in the backlog"
	}
	if now.Before(l.nextWarns[kind]) {
		return
	}
	l.nextWarns[kind] = now.Add(warnInterval)
	remedy := "raise RLIMIT_NOFILE (LimitNOFILE= of a systemd unit, ulimit -n)"
	if max := l.bounds.Load().max; max > 0 && l.Max() == max {
		remedy = "raise daemon.max_connections"
	}
	l.logger.Warn("connection limit reached", "connections", l.Open(), "limit", l.Max(), "hint", follows+"; "+remedy)
}
