package remote

import (
	"context"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"

	"tideover/listener"
	"tideover/proxy/awake"
)

const (
	// reclaimTimeout bounds the accepting of what waits in a private socket's backlog.
	reclaimTimeout = 5 * time.Second
	// reclaimInterval is how often the backlog is accepted while workers live. A request that
	// passed the gate before the swap may connect after it.
	reclaimInterval = 50 * time.Millisecond
)

// keep duplicates the descriptors of a generation. Without them its exit is not seen, and its backlog
// not reclaimed.
func (t *localTarget) keep(of *Target, logger hclog.Logger) {
	var errs [2]error
	if of.Main != nil {
		t.main, errs[0] = DuplicateFile(of.Main)
	}
	if of.Socket != nil {
		var socket *listener.Backlog
		if socket, errs[1] = listener.NewBacklog(of.Socket, of.Name); socket != nil {
			t.backlog = &backlog{socket: socket, marker: of.Marker, exited: make(chan struct{}, 1)}
		}
	}
	for _, err := range errs {
		if err != nil {
			logger.Error("relay cannot watch", "generation", of.Name, "error", err)
		}
	}
}

// close closes the descriptors of a generation.
func (t *localTarget) close() {
	if t.main != nil {
		t.main.Close()
	}
	t.watch.Wait()
	if t.backlog != nil {
		t.backlog.close()
	}
}

// watchMain takes a target out of service once the main process of its generation has exited: what
// is sent to it would wait in the backlog for nothing. Orphaned workers finish what they have.
func (a *localApp) watchMain(t *localTarget, generation int) {
	raw, err := t.main.SyscallConn()
	if err == nil {
		err = raw.Read(func(fd uintptr) bool {
			n, _ := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
			return n > 0
		})
	}
	if err != nil {
		return // closed
	}
	a.mu.Lock()
	t.exited = true
	if a.current == generation {
		a.desired.Target, a.current = nil, 0
		a.gate.Apply(a.desired)
	}
	a.mu.Unlock()
	if t.backlog != nil {
		t.backlog.begin(true)
	}
}

// backlog takes back what no worker of a generation has accepted: it accepts the connections of this
// relay itself and writes the marker to them, which proves that the app never saw the request.
type backlog struct {
	socket *listener.Backlog
	marker []byte
	exited chan struct{} // capacity 1: the main process has

	mu    sync.Mutex
	total int           // connections that were accepted
	stop  chan struct{} // closed by end; nil: not running
	done  chan struct{} // closed when run has returned
}

// begin begins to accept what waits, while workers compete for it. mainExited says that the main
// process has exited: then no worker needs the socket blocking.
func (b *backlog) begin(mainExited bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if mainExited {
		select {
		case b.exited <- struct{}{}:
		default:
		}
	}
	if b.stop == nil {
		b.stop, b.done = make(chan struct{}), make(chan struct{})
		go b.run(b.stop, b.done)
	}
}

func (b *backlog) run(stop, done chan struct{}) {
	defer close(done)
	ticker := time.NewTicker(reclaimInterval)
	defer ticker.Stop()
	for {
		select {
		case <-b.exited:
			b.take(b.socket.Reclaim)
		default:
			b.take(b.socket.ReclaimWhileServing)
		}
		select {
		case <-ticker.C:
		case <-b.exited:
			b.take(b.socket.Reclaim)
		case <-stop:
			return
		}
	}
}

// take accepts once.
func (b *backlog) take(accept func(context.Context, []byte) (int, error)) {
	ctx, cancel := awake.WithTimeout(context.Background(), reclaimTimeout)
	defer cancel()
	n, _ := accept(ctx, b.marker)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.total += n
}

// end ends begin, and returns when nothing more is accepted.
func (b *backlog) end() {
	b.mu.Lock()
	stop, done := b.stop, b.done
	b.stop = nil
	b.mu.Unlock()
	if stop != nil {
		close(stop)
		<-done
	}
}

// finish accepts what is left when no process of the generation exists, and returns the number of
// all connections that were accepted.
func (b *backlog) finish() int {
	b.end()
	b.take(b.socket.Reclaim)
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.total
}

func (b *backlog) close() {
	b.end()
	b.socket.Close()
}
