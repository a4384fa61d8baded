package netpoll

import (
	"errors"
	"os"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// eventFD is a descriptor that becomes readable with every write, which signal does.
func eventFD(t *testing.T) (fd int, signal func()) {
	t.Helper()
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd, func() {
		if _, err := unix.Write(fd, []byte{1, 0, 0, 0, 0, 0, 0, 0}); err != nil {
			t.Error(err)
		}
	}
}

func open(t *testing.T) *Poller {
	t.Helper()
	p, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// recorder is a handler that keeps the events it is told.
type recorder struct{ events []uint32 }

func (r *recorder) OnEvents(events uint32) { r.events = append(r.events, events) }

// poll tells the handlers what there is.
func (p *Poller) tell() {
	n, _ := p.Poll()
	for i := range n {
		if h, events := p.Event(i); h != nil {
			h.OnEvents(events)
		}
	}
}

// The first assumption of Poller.
func TestEpollSetCanBeAMemberOfAnotherOne(t *testing.T) {
	inner, outer := open(t), open(t)
	fd, signal := eventFD(t)
	if err := inner.Add(fd, unix.EPOLLIN, &recorder{}); err != nil {
		t.Fatal(err)
	}
	if err := outer.Add(inner.fd, unix.EPOLLIN, &recorder{}); err != nil {
		t.Fatal(err)
	}
	for range 3 { // with each edge again
		if n, _ := outer.Poll(); n != 0 {
			t.Fatalf("%d events of a set without any", n)
		}
		signal()
		if n, _ := outer.Poll(); n != 1 {
			t.Fatalf("%d events of a set that has one", n)
		}
		if n, _ := inner.Poll(); n != 1 {
			t.Fatalf("%d events inside", n)
		}
	}
}

// The second assumption of Poller: else a wait would block a thread, and a deadline would be an
// error.
func TestNewFileRegistersAnEpollSetWithTheRuntimesPoller(t *testing.T) {
	p := open(t)
	if err := p.wakeFile.SetReadDeadline(time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	if err := p.raw.Read(func(uintptr) bool { return false }); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a wait behind its deadline: %v", err)
	}
}

// The third assumption of Poller: an event that comes while the function runs is not lost, although
// the function does not see it.
func TestEventWhileATurnRunsMakesTheNextWaitReturnAtOnce(t *testing.T) {
	p := open(t)
	fd, signal := eventFD(t)
	if err := p.Add(fd, unix.EPOLLIN, &recorder{}); err != nil {
		t.Fatal(err)
	}
	p.wakeFile.SetReadDeadline(time.Now().Add(10 * time.Second))
	turns, events := 0, 0
	err := p.raw.Read(func(uintptr) bool {
		n, _ := p.Poll()
		events += n
		if turns++; turns <= 100 {
			signal() // behind the poll: only the runtime can know of it
		}
		return turns > 100
	})
	if err != nil || events < 99 {
		t.Errorf("%d turns have seen %d events: %v", turns, events, err)
	}
}

// The same with the event in another goroutine, at any moment.
func TestEventAtAnyMomentWakesTheLoop(t *testing.T) {
	p := open(t)
	fd, signal := eventFD(t)
	if err := p.Add(fd, unix.EPOLLIN, &recorder{}); err != nil {
		t.Fatal(err)
	}
	const n = 10_000
	seen := make(chan struct{})
	go func() {
		for range n {
			signal()
			<-seen
		}
	}()
	left := n
	p.Run(func() bool {
		for {
			got, more := p.Poll()
			for range got {
				left--
				seen <- struct{}{}
			}
			if left == 0 || !more {
				return left == 0
			}
		}
	})
}

// Between two waits a busy loop costs the runtime nothing, and an event at the end of it is not lost.
func TestBusyLoopWakesNoThread(t *testing.T) {
	p := open(t)
	one, signalOne := eventFD(t)
	other, signalOther := eventFD(t)
	for _, fd := range []int{one, other} {
		if err := p.Add(fd, unix.EPOLLIN, &recorder{}); err != nil {
			t.Fatal(err)
		}
	}
	expect := func(wanted int) {
		t.Helper()
		if n, more := p.Poll(); n != wanted || more != (n > 0) {
			t.Errorf("%d events, more: %v; want %d", n, more, wanted)
		}
	}
	p.wakeFile.SetReadDeadline(time.Now().Add(10 * time.Second))
	for range 3 {
		turns := 0
		signalOne()
		signalOther()
		p.Run(func() bool {
			switch turns++; turns {
			case 1:
				expect(2)
				for range busyStreak - 1 {
					signalOne()
					signalOther()
					expect(2)
				}
				signalOther()
				if poll(p.wakeFD, unix.POLLIN) != 0 {
					t.Error("the wake set reports an event while the loop is busy")
				}
				expect(1)
				expect(0)
				signalOne() // behind the last poll
				return false
			default:
				if n, _ := p.Poll(); n != 1 {
					t.Errorf("%d events after a wait", n)
				}
				return true
			}
		})
		if turns != 2 {
			t.Fatalf("%d turns", turns)
		}
	}
}

// The same with events in other goroutines, at any moment.
func TestNoEventIsLostBetweenBusyAndWaiting(t *testing.T) {
	p := open(t)
	const goroutines, each = 4, 5000
	seen := map[Handler]chan struct{}{}
	for range goroutines {
		fd, signal := eventFD(t)
		told, answered := &recorder{}, make(chan struct{}, 1)
		seen[told] = answered
		if err := p.Add(fd, unix.EPOLLIN, told); err != nil {
			t.Fatal(err)
		}
		go func() {
			for range each {
				signal()
				<-answered
			}
		}()
	}
	p.wakeFile.SetReadDeadline(time.Now().Add(time.Minute))
	left := goroutines * each
	p.Run(func() bool {
		for {
			n, more := p.Poll()
			for i := range n {
				h, _ := p.Event(i)
				left--
				seen[h] <- struct{}{}
			}
			if left == 0 || !more {
				return left == 0
			}
		}
	})
	if left > 0 {
		t.Errorf("%d events were not seen", left)
	}
}

func TestHandlersAreToldTheirEvents(t *testing.T) {
	p := open(t)
	fd, signal := eventFD(t)
	other, _ := eventFD(t)
	var r, quiet recorder
	for fd, h := range map[int]Handler{fd: &r, other: &quiet} {
		if err := p.Add(fd, unix.EPOLLIN, h); err != nil {
			t.Fatal(err)
		}
	}
	p.tell()
	signal()
	p.tell()
	p.tell() // an edge is told once
	if !slices.Equal(r.events, []uint32{unix.EPOLLIN}) || len(quiet.events) > 0 {
		t.Errorf("%v and %v", r.events, quiet.events)
	}
	if !p.Handles(fd, &r) || p.Handles(fd, &quiet) || p.Handles(1<<20, &r) {
		t.Error("the handlers are confused")
	}
	p.Remove(fd)
	signal()
	p.tell()
	if len(r.events) != 1 || p.Handles(fd, &r) {
		t.Errorf("told after its removal: %v", r.events)
	}
}

// A batch of events may have one of a descriptor that an earlier handler of the batch has closed.
// The number of that descriptor may be in use again.
func TestEventOfAClosedDescriptorIsNotToldToTheNextOwnerOfTheNumber(t *testing.T) {
	p := open(t)
	fd, signal := eventFD(t)
	var former, next recorder
	if err := p.Add(fd, unix.EPOLLIN, &former); err != nil {
		t.Fatal(err)
	}
	signal()
	n, _ := p.Poll()
	p.Remove(fd) // and its number is that of another file:
	if err := p.Add(fd, unix.EPOLLIN, &next); err != nil {
		t.Fatal(err)
	}
	if h, _ := p.Event(0); n != 1 || h != nil {
		t.Errorf("%d events, the first for %v", n, h)
	}
	p.tell()
	if len(former.events) > 0 || len(next.events) != 1 {
		t.Errorf("%v and %v", former.events, next.events)
	}
}

func TestHandlersAreListedWhileTheyChange(t *testing.T) {
	p := open(t)
	var all []int
	for range 5 {
		fd, _ := eventFD(t)
		if err := p.Add(fd, unix.EPOLLIN, &recorder{}); err != nil {
			t.Fatal(err)
		}
		all = append(all, fd)
	}
	seen := 0
	for range p.Handlers() {
		if seen++; seen == 1 {
			p.Remove(all[4])
		}
	}
	if seen != 4 {
		t.Errorf("%d handlers, want 4", seen)
	}
}
