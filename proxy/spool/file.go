package spool

import (
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// pieceSize is how much is written or read at once.
	pieceSize = 128 << 10
	// trimBlocks is how many blocks Trim gives back at once.
	trimBlocks = 64
	// maxShare is the part of the spool, as a divisor, that one file with a holder may take.
	maxShare = 4
)

var pieces = sync.Pool{New: func() any { return new([pieceSize]byte) }}

// A File is a sequence of bytes in a spool. One goroutine writes it, at its end, while others read
// it. Release gives its space back.
type File struct {
	spool  *Spool
	holder Holder       // nil: the file is never evicted
	limit  int          // blocks; 0: the spool's limit alone counts
	err    error        // of a write that has failed
	uses   atomic.Int32 // by its owner, and by operations that run

	late <-chan error // of a write that has not ended in time; nil: none has

	fullSince time.Time     // since when a write has waited for room, also between calls; zero: none does
	waited    time.Duration // how long those before it have waited

	mu      sync.Mutex
	store   *store // nil: nothing was written
	trimmed int    // blocks before those in blocks, given back already
	blocks  []uint32
	size    int64
}

// NewFile returns an empty file. It costs nothing before the first byte.
func (s *Spool) NewFile() *File {
	f := &File{spool: s}
	f.uses.Store(1)
	return f
}

// NewFileFor returns an empty file that h can give up when the spool is full. It takes a quarter of
// the spool at most.
func (s *Spool) NewFileFor(h Holder) *File {
	f := s.NewFile()
	f.holder, f.limit = h, s.share()
	return f
}

// Size is the number of bytes that were written.
func (f *File) Size() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.size
}

// Append writes p at the end and returns how many bytes were written: all, or an error says why
// not. After ErrFull, ErrSlow, errSuspended and errNoFile it may be tried again; after a write that
// has failed nothing can be appended any more. For each piece of 128 KiB it waits for room for a
// second at most, and as long for the disk. p is not used afterwards.
func (f *File) Append(p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		piece := p[n:min(len(p), n+pieceSize)]
		if err = f.appendPiece(piece); err == nil {
			n += len(piece)
		}
	}
	return n, err
}

func (f *File) appendPiece(p []byte) error {
	if f.late != nil {
		select {
		case err := <-f.late: // what it wrote is written again
			f.late = nil
			if err != errNoFile {
				f.err = err
			}
		default:
			return ErrSlow
		}
	}
	if f.err != nil {
		return f.err
	}
	timer := time.NewTimer(writeTimeout)
	defer timer.Stop()
	at, blocks, store, err := f.extend(len(p))
	if err == ErrFull && f.fullSince.IsZero() {
		f.fullSince = time.Now()
	}
	for err == ErrFull && f.spool.awaitRoom(f, blocksFor(len(p)), timer.C) {
		at, blocks, store, err = f.extend(len(p))
	}
	if err != nil {
		return err
	}
	if !f.fullSince.IsZero() {
		f.waited += time.Since(f.fullSince)
		f.fullSince = time.Time{}
		timer.Reset(writeTimeout) // the disk has as long as without that wait
	}
	piece := pieces.Get().(*[pieceSize]byte) // the operation's own: it may outlast the call
	n := copy(piece[:], p)
	err = f.await(timer.C, func() error {
		defer f.unuse()
		defer pieces.Put(piece)
		if err := store.open(f.spool.options.Open); err != nil {
			return err
		}
		return store.transfer(blocks, at, piece[:n], store.file.WriteAt)
	})
	switch err {
	case nil:
		f.mu.Lock()
		f.size += int64(n)
		f.mu.Unlock()
	case ErrSlow, errNoFile:
	default:
		f.err = err
	}
	return err
}

// extend makes sure that there are blocks for n bytes more. It returns the blocks of the file and
// where in them those bytes begin.
func (f *File) extend(n int) (at int64, blocks []uint32, of *store, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	at = f.size - int64(f.trimmed)*BlockSize
	if missing := blocksFor(int(at)+n) - len(f.blocks); missing > 0 {
		if f.limit > 0 && len(f.blocks)+missing > f.limit {
			return 0, nil, nil, errShare
		}
		of, blocks, err := f.spool.take(f, f.store, missing)
		if err != nil {
			return 0, nil, nil, err
		}
		f.store, f.blocks = of, append(f.blocks, blocks...)
	}
	return at, f.blocks, f.store, nil
}

// blocksFor is the number of blocks that n bytes need.
func blocksFor(n int) int { return (n + BlockSize - 1) / BlockSize }

// length is the number of blocks that the file has.
func (f *File) length() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.blocks)
}

// await runs a write and waits for it until expired.
func (f *File) await(expired <-chan time.Time, op func() error) error {
	s := f.spool
	done := make(chan error, 1)
	f.uses.Add(1)
	err := ErrSlow
	if !s.begin(op, done, expired) {
		f.unuse()
	} else {
		select {
		case err = <-done:
		case <-expired:
			f.late = done
		}
	}
	switch err {
	case nil:
		s.succeeded()
	case errNoFile:
	default:
		s.failed(err)
	}
	return err
}

// Release gives the space back. Operations that still run are waited for in the background.
func (f *File) Release() { f.unuse() }

// unuse gives the blocks back when nothing uses the file any more.
func (f *File) unuse() {
	if f.uses.Add(-1) == 0 {
		f.spool.give(f.store, f.blocks)
		if f.holder != nil {
			f.spool.forget(f)
		}
	}
}

// A Reader reads a file from its start. It belongs to one goroutine. A read that runs keeps the
// space of a file that is released until it ends.
type Reader struct {
	file  *File
	at    int64
	piece []byte
	done  chan error // of a read that runs
	n     int        // length of what it reads
}

// NewReader returns a reader at the start of the file, which returns up to size bytes at once.
func (f *File) NewReader(size int) *Reader { return &Reader{file: f, piece: make([]byte, size)} }

// Next returns the next bytes, valid until the following call; io.EOF at the end of what is written
// by now. ErrSlow says that the disk has not answered within timeout: Next is to be called again.
func (r *Reader) Next(timeout time.Duration) ([]byte, error) {
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	if r.done == nil {
		if r.AtEnd() {
			return nil, io.EOF
		}
		if !r.begin(timer.C) {
			return nil, ErrSlow
		}
	}
	select {
	case err := <-r.done:
		r.done = nil
		if err != nil {
			return nil, err
		}
		r.at += int64(r.n)
		return r.piece[:r.n], nil
	case <-timer.C:
		return nil, ErrSlow
	}
}

// AtEnd reports whether all that is written by now was read.
func (r *Reader) AtEnd() bool { return r.Unread() == 0 }

// Unread is the number of bytes that are written by now and were not read.
func (r *Reader) Unread() int64 { return r.file.Size() - r.at }

// Trim gives the space of what was read back, in large pieces. It must not be called while a read
// runs, which is after ErrSlow, and the file must have no other reader.
func (r *Reader) Trim() {
	f := r.file
	f.mu.Lock()
	n := min(int(r.at/BlockSize)-f.trimmed, len(f.blocks)-1) // without a block the store may be closed
	if n < trimBlocks {
		f.mu.Unlock()
		return
	}
	of, given := f.store, f.blocks[:n]
	f.blocks, f.trimmed = f.blocks[n:], f.trimmed+n
	f.mu.Unlock()
	f.spool.give(of, given)
}

// begin begins to read the next piece.
func (r *Reader) begin(expired <-chan time.Time) bool {
	f := r.file
	f.mu.Lock()
	piece, at, blocks, store := r.piece, r.at-int64(f.trimmed)*BlockSize, f.blocks, f.store
	n := int(min(int64(len(piece)), f.size-r.at))
	f.mu.Unlock()
	done := make(chan error, 1)
	f.uses.Add(1)
	begun := f.spool.begin(func() error {
		defer f.unuse()
		return store.transfer(blocks, at, piece[:n], store.file.ReadAt)
	}, done, expired)
	if !begun {
		f.unuse()
		return false
	}
	r.done, r.n = done, n
	return true
}

// transfer reads or writes p at an offset of the file that consists of blocks.
func transfer(blocks []uint32, at int64, p []byte, do func([]byte, int64) (int, error)) error {
	for len(p) > 0 {
		first, within := int(at/BlockSize), at%BlockSize
		n := int(min(int64(len(p)), int64(adjacent(blocks[first:]))*BlockSize-within))
		m, err := do(p[:n], int64(blocks[first])*BlockSize+within)
		if m < n {
			if err == nil || errors.Is(err, io.EOF) {
				err = unix.EIO // the file is shorter than what was written
			}
			return err
		}
		p, at = p[n:], at+int64(n)
	}
	return nil
}
