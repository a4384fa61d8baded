package spool

import (
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// pieceSize is how much is written or read at once.
const pieceSize = 128 << 10

var pieces = sync.Pool{New: func() any { return new([pieceSize]byte) }}

// A File is a sequence of bytes in a spool. It is written at its end and may be read from any
// offset, also while it is written. Release gives its space back.
type File struct {
	spool  *Spool
	store  *store // nil: nothing was written
	blocks []uint32
	size   int64
	err    error        // of Append
	uses   atomic.Int32 // by its owner, and by operations that run
}

// NewFile returns an empty file. It costs nothing before the first byte.
func (s *Spool) NewFile() *File {
	f := &File{spool: s}
	f.uses.Store(1)
	return f
}

// Size is the number of bytes.
func (f *File) Size() int64 { return f.size }

// Append writes p at the end and returns how many bytes were written: all, or an error says why
// not. Nothing can be appended after an error. It returns after a second at the latest for each
// piece of 128 KiB. p is not used afterwards.
func (f *File) Append(p []byte) (n int, err error) {
	for n < len(p) && f.err == nil {
		piece := p[n:min(len(p), n+pieceSize)]
		if f.err = f.appendPiece(piece); f.err == nil {
			n += len(piece)
		}
	}
	return n, f.err
}

func (f *File) appendPiece(p []byte) error {
	size := f.size + int64(len(p))
	if missing := int((size+BlockSize-1)/BlockSize) - len(f.blocks); missing > 0 {
		of, blocks, err := f.spool.take(f.store, missing)
		if err != nil {
			return err
		}
		f.store, f.blocks = of, append(f.blocks, blocks...)
	}
	piece := pieces.Get().(*[pieceSize]byte) // the operation's own: it may outlast the call
	n := copy(piece[:], p)
	at, blocks, store := f.size, f.blocks, f.store
	err := f.await(func() error {
		defer f.unuse()
		defer pieces.Put(piece)
		if err := store.open(f.spool.options.Open); err != nil {
			return err
		}
		return transfer(blocks, at, piece[:n], store.file.WriteAt)
	})
	if err == nil {
		f.size = size
	}
	return err
}

// await runs a write and waits for it until the deadline.
func (f *File) await(op func() error) error {
	s := f.spool
	timer := time.NewTimer(writeTimeout)
	defer timer.Stop()
	done := make(chan error, 1)
	f.uses.Add(1)
	err := ErrSlow
	if !s.begin(op, done, timer.C) {
		f.unuse()
	} else {
		select {
		case err = <-done:
		case <-timer.C:
		}
	}
	if err != nil {
		s.failed(err)
		return err
	}
	s.succeeded()
	return nil
}

// Release gives the space back. Operations that still run are waited for in the background.
func (f *File) Release() { f.unuse() }

// unuse gives the blocks back when nothing uses the file any more.
func (f *File) unuse() {
	if f.uses.Add(-1) == 0 {
		f.spool.give(f.store, f.blocks)
	}
}

// A Reader reads a file from its start. It belongs to one goroutine, and must be closed before the
// file is released.
type Reader struct {
	file  *File
	at    int64
	piece *[pieceSize]byte
	done  chan error // of a read that runs
	n     int        // length of what it reads
}

// NewReader returns a reader at the start of the file.
func (f *File) NewReader() *Reader { return &Reader{file: f} }

// Next returns the next bytes, valid until the following call; io.EOF at the end of what is written
// by now. ErrSlow says that the disk has not answered within timeout: Next is to be called again.
func (r *Reader) Next(timeout time.Duration) ([]byte, error) {
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	if r.done == nil {
		if r.at == r.file.size {
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

// begin begins to read the next piece.
func (r *Reader) begin(expired <-chan time.Time) bool {
	f := r.file
	if r.piece == nil {
		r.piece = pieces.Get().(*[pieceSize]byte)
	}
	piece, at, blocks, store := r.piece, r.at, f.blocks, f.store
	n := int(min(pieceSize, f.size-at))
	done := make(chan error, 1)
	f.uses.Add(1)
	begun := f.spool.begin(func() error {
		defer f.unuse()
		return transfer(blocks, at, piece[:n], store.file.ReadAt)
	}, done, expired)
	if !begun {
		f.unuse()
		return false
	}
	r.done, r.n = done, n
	return true
}

// Close gives the reader's memory back.
func (r *Reader) Close() {
	if r.piece != nil && r.done == nil { // else a read still runs into it
		pieces.Put(r.piece)
	}
	r.piece = nil
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
