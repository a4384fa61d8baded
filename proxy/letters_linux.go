package proxy

import (
	"sync"

	"golang.org/x/sys/unix"

	"tideover/proxy/gate"
)

// A note is a message to a loop from another goroutine.
type note struct {
	client  *client
	verdict gate.Decision // for a held client
	back    bool          // the client comes back from its goroutine; keep says whether for another request
	keep    bool
	do      func() // anything rare
}

// Letters are the notes that a loop has not read yet, and the bell that wakes it for them.
type letters struct {
	bell int // an eventfd in the loop's set; nobody reads it, because every write is an edge

	mu     sync.Mutex
	posted []note
	spare  []note // memory for the next ones
	asleep bool   // the bell must be rung
	closed bool
}

// take takes the notes; they are valid until it is called again.
func (l *letters) take() []note {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asleep = false
	notes := l.posted
	l.posted, l.spare = l.spare[:0], notes
	return notes
}

// sleep says that from now on the bell must be rung; false: there is a note.
func (l *letters) sleep() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asleep = len(l.posted) == 0
	return l.asleep
}

// post leaves a note, from any goroutine; false: the loop is over.
func (l *letters) post(n note) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	l.posted = append(l.posted, n)
	if l.asleep {
		l.asleep = false
		unix.Write(l.bell, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	}
	return true
}

// ask has the loop do something and waits until it is done; false: the loop is over.
func (l *letters) ask(do func()) bool {
	done := make(chan struct{})
	posted := l.post(note{do: func() { do(); close(done) }})
	if posted {
		<-done
	}
	return posted
}

// seal refuses all that comes later.
func (l *letters) seal() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	unix.Close(l.bell)
}
