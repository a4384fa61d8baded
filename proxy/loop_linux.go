package proxy

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// A loop is an event loop: an epoll set of our own inside the set that Go's runtime polls, and one goroutine that does the short
// things, never waits and never blocks. A client that is idle or held costs a slot and no goroutine; a request without a body whose
// answer comes in one piece is carried from end to end without leaving the loop. Whatever takes longer (a body, a long response, a
// tunnel, a fault and its answer) goes away: to straight-line code on a goroutine, and back.
//
// Everything in a loop belongs to its goroutine but the letters, by which others reach it.
//
// It relies on three things which the documentation does not promise and stress tests pin: that an epoll set can be a member of
// another, that os.NewFile hands such a descriptor to the runtime's poller, and that RawConn.Read forgets an earlier readiness only
// before its first call of the function, so that an event that comes while the function runs makes the wait behind it return at once.
type loop struct {
	letters
	epollSet
	server    *Server
	file      *os.File  // the epoll set
	now       time.Time // of this turn
	events    [256]unix.EpollEvent
	out       []byte      // what is being written; memory only
	exchanges []*exchange // memory for requests
	ending    bool
	suspended bool          // see Server.Suspend
	still     chan struct{} // closed once every client is silent then
	open      int           // clients

	silent   roster // idle clients, since when
	dialing  roster // requests whose connections are being made
	flying   roster // requests out, whose answer is due by a certain time
	alone    roster // requests out that have the head of their response, and nothing of its body
	leaving  roster // requests out whose clients have left
	moored   roster // idle connections to the app
	stranded []traveller
	doors    []*door

	timer *time.Timer
	alarm time.Time // when it rings; zero: not set
}

// newLoop starts a loop; it ends after end when the last client is gone.
func newLoop(s *Server) (*loop, error) {
	l := &loop{server: s, now: time.Now()}
	for _, r := range []*roster{&l.silent, &l.dialing, &l.flying, &l.alone, &l.leaving, &l.moored} {
		r.init()
	}
	var err error
	if l.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, err
	}
	if l.bell, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		unix.Close(l.epoll)
		return nil, err
	}
	unix.SetNonblock(l.epoll, true)
	l.file = os.NewFile(uintptr(l.epoll), "epoll")
	if err := l.watch(l.bell, unix.EPOLLIN, slot{}); err != nil {
		return nil, err
	}
	l.timer = time.AfterFunc(time.Hour, func() { l.post(note{do: l.tick}) })
	l.timer.Stop()
	raw, err := l.file.SyscallConn()
	if err != nil {
		return nil, err
	}
	s.running.Go(func() {
		raw.Read(func(uintptr) bool { return l.turn() })
		l.close()
	})
	return l, nil
}

// turn does everything there is to do; over: and there never will be more. When it returns, whatever comes next wakes the poller,
// because everything in the set is edge-triggered and a batch that is not full has emptied it.
func (l *loop) turn() (over bool) {
	for {
		n := poll0(l.epoll, l.events[:])
		l.now = time.Now()
		batch := l.events[:n]
		for i := range batch { // the app first: a connection that it has just closed must not be used below
			if u := l.at(&batch[i]).upstream; u != nil {
				u.notice(batch[i].Events)
			}
		}
		for i := range batch {
			switch s := l.at(&batch[i]); {
			case s.client != nil:
				l.notice(s.client, batch[i].Events)
			case s.door != nil:
				s.door.accept(l)
			}
		}
		noted := l.read()
		if l.still != nil && l.settled() {
			close(l.still)
			l.still = nil
		}
		if l.ending && l.open == 0 {
			return true
		}
		if n < len(l.events) && !noted && l.sleep() {
			return false
		}
	}
}

// read does what the notes say; false: there were none.
func (l *loop) read() bool {
	notes := l.take()
	for i := range notes {
		switch n := &notes[i]; {
		case n.do != nil:
			n.do()
		case n.back:
			l.welcome(n.client, n.keep)
		default:
			l.release(n.client, n.verdict)
		}
		notes[i] = note{}
	}
	return len(notes) > 0
}

// close gives the loop's own descriptors back. No client is left.
func (l *loop) close() {
	for l.moored.first() != nil {
		l.moored.first().upstream.sink()
	}
	l.seal()
	for l.read() { // what was posted before that: others wait for it
	}
	l.timer.Stop()
	l.file.Close()
}

// wakeAt makes sure that tick is called at that moment, or earlier.
func (l *loop) wakeAt(t time.Time) {
	if l.alarm.IsZero() || t.Before(l.alarm) {
		l.alarm = t
		l.timer.Reset(t.Sub(l.now))
	}
}

// tick does what is due by the clock.
func (l *loop) tick() {
	l.alarm = time.Time{}
	l.now = time.Now()
	if l.suspended {
		return
	}
	l.closeSilent()
	l.sendOff()
	for b := l.moored.first(); b != nil && l.due(b.since.Add(idleUpstream)); b = l.moored.first() {
		b.upstream.sink()
	}
	stranded := l.stranded
	l.stranded = nil
	for _, t := range stranded {
		l.away(t.client, t.errand)
	}
	for _, d := range l.doors {
		if !d.trouble.IsZero() {
			d.accept(l)
		}
	}
}

// due reports whether a moment has come; else it will be asked again then.
func (l *loop) due(t time.Time) bool {
	if l.now.Before(t) {
		l.wakeAt(t)
		return false
	}
	return true
}
