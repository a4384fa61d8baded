package channel

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"tideover/proxy/awake"
)

const (
	// MaxCalls is how many calls of one side are open at most. A further one waits.
	MaxCalls = 4096
	// MaxMessage is how many bytes a message has at most.
	MaxMessage = 64 << 20
	// MaxMessageFiles is how many descriptors a message has at most.
	MaxMessageFiles = 1 << 16

	writeTimeout = 10 * time.Second
)

// Options make a channel.
type Options struct {
	// Epoch is that of this process's calls. 0: the highest epoch that the peer has used.
	Epoch uint64
	// Handler is called for each call of the peer, in the order of their arrival, on the goroutine
	// that reads the channel. So it must not block, and must not wait for a call of its own. nil:
	// a call of the peer is a violation of the protocol.
	Handler func(*Request)
	// WriteTimeout is how long the peer may not read while a frame waits for it. 0: 10 s.
	WriteTimeout time.Duration
	// MaxBody is how many bytes a message of the peer may have, MaxFiles how many descriptors a call
	// of the peer may have. 0: MaxMessage and none.
	MaxBody, MaxFiles int
}

// A Channel is one side of the connection of two processes. Its methods may be called from any
// goroutine.
type Channel struct {
	conn    *net.UnixConn
	options Options

	slots   chan struct{} // one element per open call of this side
	calls   chan *message // unbuffered: a caller waits until its message is the next one
	acked   chan struct{} // the peer's acknowledgement, cap 1
	ackDue  chan struct{} // an acknowledgement of this side, cap 1
	workers sync.WaitGroup
	stop    context.CancelFunc
	context context.Context // ends with the channel

	mu       sync.Mutex
	err      error // why the channel has ended; nil: it has not
	lastCall uint64
	epoch    uint64              // the highest one that the peer has used
	open     map[uint64]*pending // calls of this side
	requests map[callID]*Request // calls of the peer
	replies  []*message          // answers and cancellations that wait to be written
	replied  chan struct{}       // cap 1: replies has grown
}

// callID is what a call of the peer is known by.
type callID struct{ epoch, call uint64 }

// Pair returns two connected sockets, one for each process. They are close-on-exec.
func Pair() (ours, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	return os.NewFile(uintptr(fds[0]), "channel"), os.NewFile(uintptr(fds[1]), "channel"), nil
}

// New returns a channel over socket, a connected SOCK_SEQPACKET socket, which it closes.
func New(socket *os.File, o Options) (*Channel, error) {
	defer socket.Close()
	conn, err := net.FileConn(socket)
	if err != nil {
		return nil, err
	}
	packets, ok := conn.(*net.UnixConn)
	if !ok || packets.LocalAddr().Network() != "unixpacket" {
		conn.Close()
		return nil, errors.New("not a unix socket of type SOCK_SEQPACKET")
	}
	if o.WriteTimeout == 0 {
		o.WriteTimeout = writeTimeout
	}
	if o.MaxBody == 0 {
		o.MaxBody = MaxMessage
	}
	c := &Channel{
		conn: packets, options: o,
		slots: make(chan struct{}, MaxCalls), calls: make(chan *message),
		acked: make(chan struct{}, 1), ackDue: make(chan struct{}, 1), replied: make(chan struct{}, 1),
		open: map[uint64]*pending{}, requests: map[callID]*Request{},
	}
	c.context, c.stop = context.WithCancel(context.Background())
	c.workers.Go(c.read)
	c.workers.Go(c.write)
	return c, nil
}

// Done is closed when the channel has ended.
func (c *Channel) Done() <-chan struct{} { return c.context.Done() }

// Err is why the channel has ended, an [ErrEnded]; nil: it has not.
func (c *Channel) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Close ends the channel, as the death of the peer would, and waits for its goroutines. The handler
// must not call it.
func (c *Channel) Close() {
	c.end(ErrClosed)
	c.workers.Wait()
}

// end ends the channel for the first cause that it is called with.
func (c *Channel) end(cause error) {
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return
	}
	c.err = fmt.Errorf("%w: %w", ErrEnded, cause)
	open, replies := c.open, c.replies
	c.open, c.replies = nil, nil
	c.mu.Unlock()
	c.stop()
	c.conn.Close()
	for _, p := range open {
		p.finish(Answer{}, c.err)
	}
	for _, m := range replies {
		m.closeFiles()
	}
}

// stallTimer returns a timer that ends the channel unless it is stopped.
func (c *Channel) stallTimer() *awake.Timer {
	return awake.AfterFunc(c.options.WriteTimeout, func() { c.end(ErrNotReading) })
}
