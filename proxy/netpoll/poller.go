package netpoll

import (
	"iter"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// A Handler is told the events of a descriptor.
type Handler interface {
	OnEvents(events uint32) // a set of unix.EPOLL*
}

// A Poller is an epoll set, all of it edge-triggered, for one goroutine that waits without occupying
// a thread: Go's runtime polls a second set, the wake set, whose only member is the first one.
//
// While the loop is busy, the wake set reports nothing. Else each event would wake a thread of the
// runtime, which would find that the loop runs already.
//
// That rests on three things, and each has a test of its own: an epoll set can be a member of
// another one (epoll(7)); os.NewFile registers a non-blocking one with the runtime's poller (its
// documentation); and RawConn.Read forgets an earlier readiness only before its first call of the
// function, so that an event that comes while the function runs makes the next wait return at once
// (not documented).
type Poller struct {
	fd       int
	wakeFD   int // the wake set
	wakeFile *os.File
	raw      syscall.RawConn
	pages    []*page // of registrations, by descriptor; nil: none of them was ever added
	events   [256]unix.EpollEvent

	streak int  // how often in a row Poll has found events and reported more
	silent bool // the wake set reports nothing
}

// busyStreak is how often in a row a loop finds events before the wake set is silenced. That costs
// two system calls, this one and its opposite, which a loop that soon waits again does not need.
const busyStreak = 4

// A registration is the handler of a descriptor. An event that was meant for an earlier owner of
// the same number has another generation.
type registration struct {
	generation uint32
	handler    Handler
}

// A page has the registrations of pageSize descriptors in a row. With pages a registration never
// moves, so that thousands of new descriptors leave no outgrown array to the garbage collector.
type page [pageSize]registration

const pageSize = 128

// registration returns that of a descriptor that was added once.
func (p *Poller) registration(fd int) *registration {
	return &p.pages[uint(fd)/pageSize][uint(fd)%pageSize]
}

// Open returns a poller with an empty set.
func Open() (*Poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	p := &Poller{fd: fd}
	if err := p.openWakeSet(); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return p, nil
}

func (p *Poller) openWakeSet() (err error) {
	if p.wakeFD, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return os.NewSyscallError("epoll_create1", err)
	}
	if err = unix.SetNonblock(p.wakeFD, true); err != nil { // else os.NewFile does not register it
		unix.Close(p.wakeFD)
		return os.NewSyscallError("fcntl", err)
	}
	p.wakeFile = os.NewFile(uintptr(p.wakeFD), "epoll")
	if err = unix.EpollCtl(p.wakeFD, unix.EPOLL_CTL_ADD, p.fd, &unix.EpollEvent{Events: unix.EPOLLIN}); err != nil {
		err = os.NewSyscallError("epoll_ctl", err)
	} else {
		p.raw, err = p.wakeFile.SyscallConn()
	}
	if err != nil {
		p.wakeFile.Close()
	}
	return err
}

// Run calls turn whenever there are events, until it returns true. A turn that returns false must
// have called [Poller.Poll] until that reported no more events: then any later event is a new edge,
// which makes Run call turn again.
func (p *Poller) Run(turn func() (done bool)) {
	p.raw.Read(func(uintptr) bool {
		done := turn()
		if p.silent && !done {
			p.setSilent(false) // what is the case already wakes the runtime at once
		}
		return done
	})
}

// setSilent sets whether the wake set reports nothing.
func (p *Poller) setSilent(silent bool) {
	events := unix.EpollEvent{Events: unix.EPOLLIN}
	if silent {
		events.Events = 0
	}
	p.silent = silent
	unix.EpollCtl(p.wakeFD, unix.EPOLL_CTL_MOD, p.fd, &events)
}

// Close closes the set.
func (p *Poller) Close() {
	p.wakeFile.Close()
	unix.Close(p.fd)
}

// Poll takes the events that are there now, without waiting, and returns their number. more reports
// that there may be others: after one event that ends a wait there is seldom another one, after
// several there often is.
func (p *Poller) Poll() (n int, more bool) {
	n = epollWait(p.fd, p.events[:])
	more = n > 1 || n > 0 && p.silent
	if !more {
		p.streak = 0
	} else if p.streak++; p.streak == busyStreak {
		p.setSilent(true)
	}
	return n, more
}

// Event returns what the event number i of the last Poll is, and its handler, which is nil
// if the descriptor has been removed since, or has none.
func (p *Poller) Event(i int) (Handler, uint32) {
	e := &p.events[i]
	if r := p.registration(int(e.Fd)); r.generation == uint32(e.Pad) {
		return r.handler, e.Events
	}
	return nil, 0
}

// Add puts a descriptor into the set. What is the case already comes as an event.
func (p *Poller) Add(fd int, events uint32, h Handler) error {
	i := fd / pageSize
	if i >= len(p.pages) {
		p.pages = append(p.pages, make([]*page, i+1-len(p.pages))...)
	}
	if p.pages[i] == nil {
		p.pages[i] = new(page)
	}
	r := p.registration(fd)
	r.generation++
	r.handler = h
	return os.NewSyscallError("epoll_ctl", p.control(unix.EPOLL_CTL_ADD, fd, events))
}

func (p *Poller) control(op, fd int, events uint32) error {
	return unix.EpollCtl(p.fd, op, fd,
		&unix.EpollEvent{Events: events | unix.EPOLLET, Fd: int32(fd), Pad: int32(p.registration(fd).generation)})
}

// Remove takes a descriptor out of the set that stays open.
func (p *Poller) Remove(fd int) {
	unix.EpollCtl(p.fd, unix.EPOLL_CTL_DEL, fd, nil)
	p.Forget(fd)
}

// Forget drops the handler of a descriptor that is about to be closed for good, by which the kernel
// takes it out of the set.
func (p *Poller) Forget(fd int) {
	r := p.registration(fd)
	r.generation++
	r.handler = nil
}

// Handles reports whether h is the handler of a descriptor.
func (p *Poller) Handles(fd int, h Handler) bool {
	i := fd / pageSize
	return i < len(p.pages) && p.pages[i] != nil && p.registration(fd).handler == h
}

// Handlers iterates over all handlers, in the order of their descriptors. Descriptors may be added
// and removed meanwhile.
func (p *Poller) Handlers() iter.Seq[Handler] {
	return func(yield func(Handler) bool) {
		for i := 0; i < len(p.pages); i++ {
			if p.pages[i] == nil {
				continue
			}
			for fd := range p.pages[i] {
				if h := p.pages[i][fd].handler; h != nil && !yield(h) {
					return
				}
			}
		}
	}
}
