package proxy

import (
	"context"
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"tideover/proxy/gate"
	"tideover/proxy/spool"
)

const (
	// directWriteTimeout is how long the app waits for a client before its response is stored. A
	// client that is fast costs neither a copy nor a second goroutine.
	directWriteTimeout = 10 * time.Millisecond
	// storedPiece is how much is read from the spool at once: a client that is waited for keeps as
	// much memory.
	storedPiece = 16 << 10
	// lentPiece is how much the sender takes over at once from an app that waits because there is no
	// room, and roomInterval is after which time the app looks for room again meanwhile.
	lentPiece    = 16 << 10
	roomInterval = 20 * time.Millisecond
	// firstMark is how long after the sender has started what the client has taken is first noted:
	// before that, its kernel takes what it has room for. Its rate is measured for minWindow at least,
	// for a quarter of the time that the client has had up to longWindow, and for about a half of it
	// where the spool has been full for so long, up to maxWindow: it may pause.
	firstMark  = 400 * time.Millisecond
	minWindow  = 600 * time.Millisecond
	longWindow = 2 * time.Second
	maxWindow  = 10 * time.Second
)

// A storedResponse takes a response off the worker of the app while the client reads it more slowly
// than the worker writes it. What the client does not take at once lies in memory, then in a spool
// file, and a goroutine, the sender, writes it to the client. When there is no room, the worker
// waits.
//
// The goroutine of the round trip calls write and wait. The sender runs while there is something to
// be sent.
type storedResponse struct {
	client   *blockingClient
	upstream gate.Conn // closed when the client fails, which ends the read of the response
	settings *Settings

	progress chan struct{} // capacity 1: the sender has sent something, or has failed
	added    chan struct{} // capacity 1: the writer has stored something

	mu        sync.Mutex
	done      chan struct{} // closed when the sender ends; nil: it does not run
	memory    []byte        // sent first,
	file      *spool.File   // then what is here; nil: nothing,
	lent      []byte        // then the writer's own piece, for which there is no room
	lentTaken bool          // the sender is writing its copy of such a piece
	copied    []byte        // the memory of those copies
	reader    *spool.Reader // of file
	appending bool          // the writer uses file
	inFile    int64         // bytes of file that were not sent
	writing   int           // bytes of memory that the sender is writing
	reserved  int           // bytes counted in app.buffered
	blocked   bool          // the worker has waited for want of room
	evicted   bool          // the spool has asked for its space
	err       error         // how the sender failed

	taken          int64     // bytes that the sender has written
	start          time.Time // of the sender
	former, recent mark      // since the former one the client's rate is measured
}

// A mark is how many bytes a client had taken at a time: least at least, and most at most.
type mark struct {
	at          time.Time
	least, most int64
}

// begin prepares for a response. It allocates nothing.
func (s *storedResponse) begin(b *blockingClient, upstream gate.Conn, settings *Settings) {
	s.client, s.upstream, s.settings = b, upstream, settings
}

// sending reports whether there is something that was not sent.
func (s *storedResponse) sending() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.done != nil
}

// write sends p to the client, or stores it behind what is stored. p is not used afterwards.
func (s *storedResponse) write(p []byte) error {
	for len(p) > 0 {
		n, err := 0, error(nil)
		if s.sending() {
			n, err = s.store(p)
		} else if n, err = s.client.conn.write(p, directWriteTimeout); errors.Is(err, os.ErrDeadlineExceeded) {
			p = p[n:]
			n, err = s.store(p)
		} else if err != nil {
			err = errClientGone
		}
		if err != nil {
			return err
		}
		p = p[n:]
	}
	return nil
}

// wait waits until everything was sent, or the sender has failed: then the result says how.
func (s *storedResponse) wait() error {
	s.mu.Lock()
	done := s.done
	s.mu.Unlock()
	if done != nil {
		<-done
	}
	return s.failure()
}

// failure is how the sender has failed, or is about to; nil: it has not.
func (s *storedResponse) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.evicted { // the watch for the client's disconnect may have noticed it before the sender
		return errEvicted
	}
	return s.err
}

// store stores the first bytes of p and returns how many. Without room for one it returns when the
// sender has sent some, or when it is time to look for room again.
func (s *storedResponse) store(p []byte) (n int, err error) {
	if n, err = s.toMemory(p); n == 0 && err == nil {
		n, err = s.toFile(p)
	}
	if n == 0 && err == nil {
		n, err = s.lend(p[:min(len(p), lentPiece)])
	}
	return n, err
}

// toMemory appends to the memory as much of p as the response may have there. Half of the app's
// budget is left to requests.
func (s *storedResponse) toMemory(p []byte) (n int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil || s.file != nil || s.lent != nil {
		return 0, s.err
	}
	n = min(len(p), max(0, int(s.settings.Buffer)-s.writing-len(s.memory)))
	if need := len(s.memory) + n; need > cap(s.memory) {
		size := max(need, min(2*cap(s.memory), int(s.settings.Buffer)-s.writing))
		if !s.client.app.reserve(int64(size-cap(s.memory)), s.settings.BufferTotal/2) {
			return 0, nil
		}
		s.reserved += size - cap(s.memory)
		s.memory = append(make([]byte, 0, size), s.memory...)
	}
	if n > 0 {
		s.memory = append(s.memory, p[:n]...)
		s.startLocked()
	}
	return n, nil
}

// toFile appends to the file what the spool takes of p.
func (s *storedResponse) toFile(p []byte) (n int, err error) {
	if s.client.app.spool == nil {
		return 0, nil
	}
	s.mu.Lock()
	if s.err != nil {
		s.mu.Unlock()
		return 0, s.err
	}
	if s.file == nil {
		s.file = s.client.app.spool.NewFileFor(s)
		s.reader = s.file.NewReader(storedPiece)
	}
	file := s.file
	s.appending = true
	s.startLocked()
	s.mu.Unlock()
	n, _ = file.Append(p)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.appending = false
	s.inFile += int64(n)
	notify(s.added)
	return n, s.err
}

// lend has the sender take p over, behind all that is stored. It returns 0 when there may be room
// meanwhile. The sender copies p: a client that takes nothing of it keeps the worker no longer than
// there is no room for what follows.
func (s *storedResponse) lend(p []byte) (n int, err error) {
	s.mu.Lock()
	s.lent = p
	if !s.blocked {
		s.blocked = true
		s.client.app.counters.blocked.Add(1)
	}
	s.startLocked()
	s.mu.Unlock()
	ticker := time.NewTicker(roomInterval)
	defer ticker.Stop()
	for {
		look := false
		select {
		case <-s.progress:
		case <-ticker.C:
			look = true
		}
		if n, err, over := s.returned(len(p), look); over {
			return n, err
		}
	}
}

// returned reports whether the writer has its piece of n bytes back: the sender has a copy, or has
// failed, or the piece can be taken back, to look for room.
func (s *storedResponse) returned(n int, look bool) (sent int, err error, over bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.err != nil:
		return 0, s.err, true
	case s.lent == nil:
		return n, nil, true
	case look || s.file == nil:
		s.lent = nil
		return 0, nil, true
	}
	return 0, nil, false
}

// startLocked starts the sender, unless it runs. s.mu must be held.
func (s *storedResponse) startLocked() {
	if s.done != nil {
		notify(s.added)
		return
	}
	if s.progress == nil {
		s.progress, s.added = make(chan struct{}, 1), make(chan struct{}, 1)
	}
	s.done = make(chan struct{})
	s.former = s.markLocked()
	s.recent, s.start = s.former, s.former.at
	go s.send()
}

// send is the sender.
func (s *storedResponse) send() {
	for {
		p, err := s.next()
		if p == nil && err == nil {
			return
		}
		if err == nil && s.client.conn.writeMinRate(p, s.settings.WriteTimeout, s.minRate()) != nil {
			err = errClientGone
		}
		if err != nil {
			s.fail(err)
			return
		}
		s.sent(len(p))
	}
}

// next returns the next piece; nil: everything was sent, and the sender has ended.
func (s *storedResponse) next() ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case len(s.memory) > 0:
			p := s.memory
			s.memory, s.writing = nil, len(p)
			return p, nil
		case s.file != nil && !s.reader.AtEnd():
			s.mu.Unlock()
			p, err := s.read()
			s.mu.Lock()
			return p, err
		case s.file != nil && s.appending:
			s.mu.Unlock()
			<-s.added
			s.mu.Lock()
		case s.file != nil:
			s.file.Release()
			s.file, s.reader = nil, nil
			notify(s.progress)
		case s.lent != nil:
			s.copied = append(s.copied[:0], s.lent...)
			s.lent, s.lentTaken = nil, true
			notify(s.progress)
			return s.copied, nil
		default:
			s.endLocked()
			return nil, nil
		}
	}
}

// read reads the next piece of the file. While the disk does not answer it checks whether the client
// is gone.
func (s *storedResponse) read() ([]byte, error) {
	s.reader.Trim()
	for waited := time.Duration(0); ; waited += disconnectCheckInterval {
		p, err := s.reader.Next(disconnectCheckInterval)
		switch {
		case err == nil:
			return p, nil
		case err != spool.ErrSlow || waited >= s.settings.WriteTimeout:
			return nil, errSpoolUnreadable
		case s.client.conn.hungUp(s.settings.finCounts()):
			return nil, errClientGone
		}
	}
}

// minRate is how many bytes a second the client must take: more while the worker waits for it.
func (s *storedResponse) minRate() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lent != nil || s.lentTaken {
		return max(s.settings.MinRate, s.settings.WorkerMinRate)
	}
	return s.settings.MinRate
}

// sent says that the piece of the latest call of next was written.
func (s *storedResponse) sent(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken += int64(n)
	switch {
	case s.writing > 0:
		s.writing = 0
		s.unreserveLocked(cap(s.memory))
	case s.lentTaken:
		s.lentTaken = false
	default:
		s.inFile -= int64(n)
	}
	notify(s.progress)
}

// fail ends the sender, which has failed, and the round trip.
func (s *storedResponse) fail(err error) {
	s.mu.Lock()
	if s.evicted {
		err = errEvicted
	}
	s.err = err
	s.memory, s.writing = nil, 0
	s.mu.Unlock()
	s.upstream.Close()
	notify(s.progress)
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.appending {
		s.mu.Unlock()
		<-s.added
		s.mu.Lock()
	}
	if s.file != nil {
		s.file.Release()
		s.file, s.reader = nil, nil
	}
	s.endLocked()
}

// endLocked says that the sender has ended. s.mu must be held.
func (s *storedResponse) endLocked() {
	s.unreserveLocked(0)
	close(s.done)
	s.done = nil
}

// unreserveLocked uncounts what is counted as kept but for left bytes. s.mu must be held.
func (s *storedResponse) unreserveLocked(left int) {
	s.client.app.buffered.Add(int64(left - s.reserved))
	s.reserved = left
}

// markLocked notes what the client has taken by now. s.mu must be held.
func (s *storedResponse) markLocked() mark {
	if taken, known := s.client.conn.acknowledged(); known {
		return mark{time.Now(), taken, taken}
	}
	taken := s.taken - int64(s.client.conn.unsent())
	return mark{time.Now(), taken, taken + int64(max(s.writing, storedPiece))} // with what is being written
}

// Remaining is how long the client will take for what is stored, if it goes on as it does. It is 0
// while that is not known. It has to be called again and again to become known.
func (s *storedResponse) Remaining() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file == nil {
		return 0
	}
	now := s.markLocked()
	if now.at.Sub(s.recent.at) >= min(max(firstMark, s.recent.at.Sub(s.start)), maxWindow) {
		s.former, s.recent = s.recent, now
	}
	age, since := now.at.Sub(s.start), s.former
	if since.at.Equal(s.start) && age < maxWindow {
		since = s.recent
	}
	window := now.at.Sub(since.at)
	if since.at.Equal(s.start) && age < maxWindow || window < max(minWindow, min(age/4, longWindow)) {
		return 0
	}
	left, took := max(0, s.inFile+int64(len(s.memory)+s.writing)), max(1, now.most-since.least)
	return time.Duration(min(float64(left)/float64(took)*float64(window), 1<<62))
}

// Evict gives up the client, if the file is still in use.
func (s *storedResponse) Evict() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file != nil && s.err == nil {
		s.evicted = true
		s.client.conn.abort()
	}
}

// notify signals on a channel of capacity 1.
func notify(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// A sendings counts the responses that are sent from what is stored, while no target has their
// request any more.
type sendings struct {
	mu    sync.Mutex
	n     int
	total *atomic.Int64 // n, for other processes
	none  chan struct{} // closed when there is none any more; nil when no call waits for it
}

// await waits for the end of a response.
func (c *sendings) await(s *storedResponse) error {
	c.mu.Lock()
	c.n++
	c.total.Store(int64(c.n))
	c.mu.Unlock()
	err := s.wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n--
	c.total.Store(int64(c.n))
	if c.n == 0 && c.none != nil {
		close(c.none)
		c.none = nil
	}
	return err
}

// number is how many there are.
func (c *sendings) number() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n
}

// wait waits until there is none, or ctx ends.
func (c *sendings) wait(ctx context.Context) {
	c.mu.Lock()
	if c.n == 0 {
		c.mu.Unlock()
		return
	}
	if c.none == nil {
		c.none = make(chan struct{})
	}
	none := c.none
	c.mu.Unlock()
	select {
	case <-none:
	case <-ctx.Done():
	}
}
