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

// A Poller is an epoll set, all of it edge-triggered. It is itself a member of the set that Go's
// runtime polls, so that a goroutine that waits for it occupies no thread.
//
// That rests on three things which no documentation promises. Each has a test of its own: an epoll
// set can be a member of another one; os.NewFile registers such a descriptor with the runtime's
// poller; and RawConn.Read forgets an earlier readiness only before its first call of the function,
// so that an event that comes while the function runs makes the next wait return at once.
type Poller struct {
	fd            int
	file          *os.File
	raw           syscall.RawConn
	registrations []registration // by descriptor
	events        [256]unix.EpollEvent
}

// A registration is the handler of a descriptor. An event that was meant for an earlier owner of
// the same number has another generation.
type registration struct {
	generation uint32
	handler    Handler
}

// Open returns a poller with an empty set.
func Open() (*Poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil { // else os.NewFile does not register it
		unix.Close(fd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	p := &Poller{fd: fd, file: os.NewFile(uintptr(fd), "epoll")}
	if p.raw, err = p.file.SyscallConn(); err != nil {
		p.file.Close()
		return nil, err
	}
	return p, nil
}

// Run calls turn whenever there are events, until it returns true. A turn that returns false must
// have found fewer events than [Poller.Poll] can return: then any later event is a new edge, which
// makes Run call turn again.
func (p *Poller) Run(turn func() (done bool)) {
	p.raw.Read(func(uintptr) bool { return turn() })
}

// Close closes the set.
func (p *Poller) Close() { p.file.Close() }

// Poll takes the events that are there now, without waiting, and returns their number. more reports
// that there may be others.
func (p *Poller) Poll() (n int, more bool) {
	n = epollWait(p.fd, p.events[:])
	return n, n == len(p.events)
}

// Event returns what the event number i of the last Poll is, and its handler, which is nil
// if the descriptor has been removed since, or has none.
func (p *Poller) Event(i int) (Handler, uint32) {
	e := &p.events[i]
	if r := p.registrations[e.Fd]; r.generation == uint32(e.Pad) {
		return r.handler, e.Events
	}
	return nil, 0
}

// Add puts a descriptor into the set. What is the case already comes as an event.
func (p *Poller) Add(fd int, events uint32, h Handler) error {
	for fd >= len(p.registrations) {
		p.registrations = append(p.registrations, registration{})
	}
	r := &p.registrations[fd]
	r.generation++
	r.handler = h
	return os.NewSyscallError("epoll_ctl", p.control(unix.EPOLL_CTL_ADD, fd, events))
}

// Modify changes which events of a descriptor are reported. What is the case already comes as an
// event.
func (p *Poller) Modify(fd int, events uint32) { p.control(unix.EPOLL_CTL_MOD, fd, events) }

func (p *Poller) control(op, fd int, events uint32) error {
	return unix.EpollCtl(p.fd, op, fd,
		&unix.EpollEvent{Events: events | unix.EPOLLET, Fd: int32(fd), Pad: int32(p.registrations[fd].generation)})
}

// Remove takes a descriptor out of the set that stays open.
func (p *Poller) Remove(fd int) {
	unix.EpollCtl(p.fd, unix.EPOLL_CTL_DEL, fd, nil)
	p.Forget(fd)
}

// Forget drops the handler of a descriptor that is about to be closed for good, by which the kernel
// takes it out of the set.
func (p *Poller) Forget(fd int) {
	r := &p.registrations[fd]
	r.generation++
	r.handler = nil
}

// Handles reports whether h is the handler of a descriptor.
func (p *Poller) Handles(fd int, h Handler) bool {
	return fd < len(p.registrations) && p.registrations[fd].handler == h
}

// Handlers iterates over all handlers, in the order of their descriptors. Descriptors may be added
// and removed meanwhile.
func (p *Poller) Handlers() iter.Seq[Handler] {
	return func(yield func(Handler) bool) {
		for fd := 0; fd < len(p.registrations); fd++ {
			if h := p.registrations[fd].handler; h != nil && !yield(h) {
				return
			}
		}
	}
}
