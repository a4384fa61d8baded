package proxy

import "golang.org/x/sys/unix"

// An epollSet is the descriptors whose events a loop wants, all of them edge-triggered.
type epollSet struct {
	epoll int
	slots []slot // by descriptor
}

// A slot is what a descriptor means. An event that was meant for an earlier owner of the same number has another generation.
type slot struct {
	generation uint32
	client     *client
	upstream   *upstream
	door       *door
}

// watch puts a descriptor into the set, once and for all.
func (e *epollSet) watch(fd int, events uint32, s slot) error {
	for fd >= len(e.slots) {
		e.slots = append(e.slots, slot{})
	}
	s.generation = e.slots[fd].generation + 1
	e.slots[fd] = s
	return unix.EpollCtl(e.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: events | unix.EPOLLET, Fd: int32(fd), Pad: int32(s.generation)})
}

// heed changes which events of a descriptor are wanted; what is the case already comes as an event.
func (e *epollSet) heed(fd int, events uint32) {
	unix.EpollCtl(e.epoll, unix.EPOLL_CTL_MOD, fd, &unix.EpollEvent{Events: events | unix.EPOLLET, Fd: int32(fd), Pad: int32(e.slots[fd].generation)})
}

// forget frees the slot of a descriptor, before it is closed.
func (e *epollSet) forget(fd int) {
	e.slots[fd] = slot{generation: e.slots[fd].generation + 1}
}

// at finds what an event is about; nothing when it is about a former owner of the descriptor.
func (e *epollSet) at(event *unix.EpollEvent) slot {
	if s := e.slots[event.Fd]; s.generation == uint32(event.Pad) {
		return s
	}
	return slot{}
}
