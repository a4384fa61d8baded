package logs

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// spoolStart is where the text begins in a spool; the head is before it.
	spoolStart = 4 << 10
	// spoolPending is how many blocks a write to a file may have of one spool.
	spoolPending = 96
	// spoolSlack is how many bytes that are not needed any more a spool has at most.
	spoolSlack = 64 << 10
	// spoolVersion is the first word of a head.
	spoolVersion = 0x73706f6f6c2d3031 // "spool-01"
)

// A Spool has what was read from a pipe and is not in the log file yet. It is a memfd, of which another process
// keeps a descriptor: when the process that reads the pipe is killed, another one goes on with the spool and the
// pipe, and no line is lost, doubled or torn.
//
// splice(2) moves the text from the pipe to the memfd and the position of the open file description along with it,
// so the position says what was taken from the pipe at each instant at which the process may die. Before the lines are
// written to the log file the head says to which part of which file they go: how much was written of them is then
// known by the size of the file.
type Spool struct {
	file   *os.File
	end    int64    // position of the descriptor. Only the goroutine that reads the pipe uses end and read
	read   int64    // what was handed on of it
	pipe   *os.File // what it is filled from
	fill   func(fd uintptr) bool
	filled int
	failed error

	mu       sync.Mutex // guards what follows
	head     *spoolHead // nil: closed
	freed    int64      // the text before it takes no memory
	complete bool       // the pipe was read to its end
	closed   chan struct{}
	left     bool  // the head may say what a process that has died was writing
	former   int64 // the lines before it are written by that process
}

// spoolHead is the head of a spool, which is mapped. A process that dies between two stores leaves what those before
// have stored. Positions are those in the spool, but for the ones that are said to be others.
type spoolHead struct {
	version int64
	written atomic.Int64 // the lines before it are in the file, or given up

	// A text that is being written to a file. Its first byte goes to position base of the file with this
	// identity; its first bytes up to done have been written, whichever the file is.
	device, inode uint64
	base          int64
	known         atomic.Int64 // not 0: device, inode and base are valid
	length        int64        // of the text
	done          atomic.Int64
	count         atomic.Int64 // pending blocks that are valid
	pending       [spoolPending]pendingBlock
}

// pendingBlock is a block of lines within a text that is being written.
type pendingBlock struct {
	from, to   int64 // in the text, with prefixes
	start, end int64 // in the spool
	time       int64 // in nanoseconds since 1970
}

// NewSpool makes an empty spool.
func NewSpool(name string) (*Spool, error) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &limit); err != nil || limit.Cur != unix.RLIM_INFINITY {
		return nil, errors.New("the size of files is limited") // positions only grow, and SIGXFSZ ends the process
	}
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), name)
	err = f.Truncate(spoolStart)
	if err == nil {
		_, err = f.Seek(spoolStart, io.SeekStart)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	s, err := mapSpool(f)
	if err == nil {
		s.end, s.read, s.freed = spoolStart, spoolStart, spoolStart
		s.head.written.Store(spoolStart)
		s.head.version = spoolVersion
	}
	return s, err
}

// OpenSpool goes on with the spool of a process that has ended. It owns the file.
func OpenSpool(f *os.File) (*Spool, error) {
	info, err := f.Stat()
	if err == nil && info.Size() < spoolStart {
		err = errors.New("it has no head")
	}
	end := int64(0)
	if err == nil {
		end, err = f.Seek(0, io.SeekCurrent)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("cannot read a spool: %w", err)
	}
	s, err := mapSpool(f)
	if err != nil {
		return nil, err
	}
	written := s.head.written.Load()
	if s.head.version != spoolVersion || written < spoolStart || written > end {
		s.close()
		return nil, errors.New("cannot read a spool: its head is of another version")
	}
	s.end, s.read, s.freed, s.left = end, written, spoolStart, true
	return s, nil
}

func mapSpool(f *os.File) (*Spool, error) {
	memory, err := unix.Mmap(int(f.Fd()), 0, spoolStart, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		f.Close()
		return nil, os.NewSyscallError("mmap", err)
	}
	s := &Spool{file: f, closed: make(chan struct{}), head: (*spoolHead)(unsafe.Pointer(unsafe.SliceData(memory)))}
	s.fill = s.splice
	return s, nil
}

// closeLocked gives the memory back. s.mu must be held.
func (s *Spool) closeLocked() {
	if s.head != nil {
		_ = unix.Munmap(unsafe.Slice((*byte)(unsafe.Pointer(s.head)), spoolStart)) // it is mapped
		s.head = nil
		s.file.Close()
		close(s.closed)
	}
}

func (s *Spool) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closeLocked()
}

// Read reads text that is in the spool already, or else has the spool take more from the pipe.
func (s *Spool) Read(to []byte) (int, error) {
	if s.read == s.end {
		raw, err := s.pipe.SyscallConn()
		if err != nil {
			return 0, err
		}
		s.filled, s.failed = len(to), nil
		if err := raw.Read(s.fill); err != nil {
			return 0, err
		}
		if s.failed != nil {
			return 0, s.failed
		}
		if s.filled == 0 {
			return 0, io.EOF
		}
		s.end += int64(s.filled)
	}
	n, err := s.file.ReadAt(to[:min(int64(len(to)), s.end-s.read)], s.read)
	s.read += int64(n)
	return n, err
}

// splice moves up to s.filled bytes from a pipe, and stores how many there were. It returns false if the pipe is empty.
func (s *Spool) splice(pipe uintptr) bool {
	for {
		n, err := unix.Splice(int(pipe), nil, int(s.file.Fd()), nil, s.filled, unix.SPLICE_F_NONBLOCK)
		switch err {
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			return false
		}
		s.filled, s.failed = int(max(n, 0)), os.NewSyscallError("splice", err)
		return true
	}
}

// giveUp gives the text before a position up: it is written, or will not be.
func (s *Spool) giveUp(before int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writtenLocked(before)
}

// writtenLocked is giveUp; s.mu must be held.
func (s *Spool) writtenLocked(before int64) {
	if s.head != nil && before > s.head.written.Load() {
		s.head.written.Store(before)
		s.releaseLocked()
	}
}

// releaseLocked gives memory back that is not needed any more. s.mu must be held.
func (s *Spool) releaseLocked() {
	written := s.head.written.Load()
	if s.complete && written == s.end {
		s.closeLocked()
		return
	}
	if unneeded := written&^(spoolStart-1) - s.freed; unneeded >= spoolSlack {
		if unix.Fallocate(int(s.file.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, s.freed, unneeded) == nil {
			s.freed += unneeded
		}
	}
}

// finish says that the pipe was read to its end. The spool is closed when everything is written.
func (s *Spool) finish() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.complete = true
	if s.head != nil {
		s.releaseLocked()
	}
}

// begin says that a text of this length with these blocks is going to be written to a file.
func (s *Spool) begin(length int, blocks []pendingBlock) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h := s.head; h != nil {
		h.count.Store(0)
		h.known.Store(0)
		h.done.Store(0)
		h.length = int64(length)
		copy(h.pending[:], blocks)
		h.count.Store(int64(len(blocks)))
	}
}

// aim says which file gets the rest of the text, of which done bytes are written.
func (s *Spool) aim(to fileID, base, done int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h := s.head; h != nil {
		h.done.Store(done)
		h.known.Store(0)
		if h.device, h.inode, h.base = to.device, to.inode, base; to != (fileID{}) {
			h.known.Store(1)
		}
	}
}

// wrote says how many bytes of the text are written.
func (s *Spool) wrote(done int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.head != nil {
		s.head.done.Store(done)
	}
}

// conclude says that the text is written, or will not be: it has the lines up to end.
func (s *Spool) conclude(end int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.head != nil {
		s.head.written.Store(max(end, s.head.written.Load()))
		s.head.count.Store(0)
		s.releaseLocked()
	}
}

// recover finds out what was written by a process that has died: the lines before the position that it returns. A line
// that was written in part is among them; rest is what is missing of it, and is returned once. found is the file as it
// was when this process had opened it; like is a line of the pipe.
func (s *Spool) recover(found firstFile, like Line, format func([]byte, block) []byte) (written int64, rest []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.head
	if h == nil || !s.left {
		return s.former, nil
	}
	s.left = false
	done := h.done.Load()
	if grown := found.size - h.base; h.known.Load() != 0 && (fileID{h.device, h.inode}) == found.id && grown <= h.length { // else others write to it
		done = max(done, grown)
	}
	written = h.written.Load()
	for _, p := range h.pending[:min(max(h.count.Load(), 0), spoolPending)] {
		if done < p.to {
			if done > p.from {
				if rest = s.formatted(p, like, format); len(rest) > 0 {
					rest, written = rest[done-p.from:], p.end
				}
			}
			break
		}
		written = max(written, p.end)
	}
	s.former = written
	h.written.Store(written)
	h.count.Store(0)
	s.releaseLocked()
	return written, rest
}

// formatted is a block as it was to be written; empty: it cannot be said.
func (s *Spool) formatted(p pendingBlock, like Line, format func([]byte, block) []byte) []byte {
	if p.end <= p.start || p.end-p.start > maxLineLength+1 {
		return nil
	}
	raw := make([]byte, p.end-p.start)
	if _, err := s.file.ReadAt(raw, p.start); err != nil {
		return nil
	}
	like.Time, like.Text = time.Unix(0, p.time), strings.TrimSuffix(string(raw), "\n")
	text := format(nil, block{Line: like, count: strings.Count(like.Text, "\n") + 1})
	if int64(len(text)) != p.to-p.from {
		return nil
	}
	return text
}

// duplicate returns a descriptor of the spool, which is the caller's.
func (s *Spool) duplicate() (*os.File, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.head == nil {
		return nil, os.ErrClosed
	}
	return duplicate(s.file)
}
