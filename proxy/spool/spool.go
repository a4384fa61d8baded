package spool

import (
	"errors"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"
)

const (
	// BlockSize is the unit in which disk space is taken and given back.
	BlockSize = 16 << 10
	// maxOperations is how many system calls on the file run at once, each on a thread of its own
	// while the disk hangs.
	maxOperations = 32
	// writeTimeout is how long a caller waits for a write that has room, with all that comes before it.
	writeTimeout = time.Second
	// retryInterval is for how long nothing is written after a failure.
	retryInterval = 5 * time.Second
)

// Reasons for which a spool takes nothing.
var (
	ErrFull = errors.New("the spool is full")
	ErrSlow = errors.New("the disk of the spool did not answer in time")

	errSuspended = errors.New("the spool has failed a moment ago")
	errShare     = errors.New("the file has its share of the spool")
)

// Options make a spool.
type Options struct {
	// Open opens the unlinked file. It is called on a goroutine, for the first byte and after each
	// time at which the spool was empty. nil: OpenIn(Dir).
	Open func() (*os.File, error)
	// Close closes such a file, in the background, when nothing in it is used any more. failed says
	// that an operation on it has failed. nil: it is closed.
	Close  func(f *os.File, failed bool)
	Dir    string // for logs too
	Limit  int64  // bytes of all files together; 0: nothing is taken
	Logger hclog.Logger
}

// A Spool keeps a bounded number of bytes in one unlinked file. Its methods and those of its files
// may be called from any goroutine; those of one file from one at a time.
type Spool struct {
	options    Options       // Limit and Dir: mu must be held
	operations chan struct{} // a place for each that runs
	running    sync.WaitGroup

	mu           sync.Mutex
	store        *store        // nil: no block is in use
	blocks       int           // in use, in this store and in those that are being closed
	held         map[*File]int // the files with a holder that have blocks; not 0: those of a file that was evicted
	leaving      int           // the sum of held
	wanted       int           // blocks for which calls of awaitRoom wait
	searching    bool          // searchLocked runs
	searchAt     time.Time     // not before
	candidates   []candidate   // of the latest search, the one that will be needed longest last
	room         chan struct{} // closed when blocks were given back; nil when no call waits for it
	returned     []returned
	returning    int  // blocks in returned, and those that giveReturned gives back
	giving       bool // giveReturned runs
	failingSince time.Time
	retryAt      time.Time
}

// A store is one unlinked file. It lives from the first block that is in use to the last.
type store struct {
	opening sync.Mutex  // held while file is opened, by an operation
	file    *os.File    // nil: not opened yet
	failed  atomic.Bool // an operation on file has failed

	// Guarded by the spool's mu:
	free  []uint32 // blocks that were in use before, without disk space,
	kept  []uint32 // and with it: they are used first
	end   uint32   // the blocks from here on were never in use
	inUse int      // blocks
}

// returned are blocks whose disk space is still to be given back.
type returned struct {
	store  *store
	blocks []uint32
}

// New returns a spool. It opens nothing before the first byte.
func New(o Options) *Spool {
	if o.Close == nil {
		o.Close = func(f *os.File, _ bool) { f.Close() }
	}
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	s := &Spool{options: o, operations: make(chan struct{}, maxOperations), held: map[*File]int{}}
	if o.Open == nil {
		s.options.Open = func() (*os.File, error) { return OpenIn(s.dir()) }
	}
	return s
}

// Configure changes how much is taken, and in which directory the next file is opened. What is in use
// stays where it is.
func (s *Spool) Configure(dir string, limit int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.options.Dir, s.options.Limit = dir, limit
}

// share is how many blocks a file with a holder has at most.
func (s *Spool) share() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return max(1, int(s.options.Limit/BlockSize/maxShare))
}

func (s *Spool) dir() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.options.Dir
}

// OpenIn opens an unlinked file in a directory (O_TMPFILE), or makes one and unlinks it where the
// file system has no such files.
func OpenIn(dir string) (*os.File, error) {
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err == nil {
		return os.NewFile(uintptr(fd), "spool"), nil
	}
	if err != unix.EOPNOTSUPP && err != unix.EISDIR && err != unix.EINVAL {
		return nil, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	f, err := os.CreateTemp(dir, "tideover-spool-") // O_EXCL, 0600
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// Used is the number of bytes that are taken, in whole blocks.
func (s *Spool) Used() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return int64(s.blocks) * BlockSize
}

// Wait waits until no system call on the file runs, or for at most d. No file may be in use any
// more.
func (s *Spool) Wait(d time.Duration) {
	done := make(chan struct{})
	go func() {
		s.running.Wait()
		close(done)
	}()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C: // the disk hangs: the goroutines end with the process
	}
}

// take takes n blocks for f. All of them are of the same store, which is of if that is not nil.
func (s *Spool) take(f *File, of *store, n int) (*store, []uint32, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case time.Now().Before(s.retryAt):
		return nil, nil, errSuspended
	case n > s.freeLocked():
		return nil, nil, ErrFull
	}
	if of == nil {
		if s.store == nil {
			s.store = &store{}
		}
		of = s.store
	}
	taken := make([]uint32, 0, n)
	for _, from := range []*[]uint32{&of.kept, &of.free} {
		rest := max(0, len(*from)-(n-len(taken)))
		taken, *from = append(taken, (*from)[rest:]...), (*from)[:rest] // in their order: adjacent ones are written at once
	}
	for ; len(taken) < n; of.end++ {
		taken = append(taken, of.end)
	}
	of.inUse += n
	s.blocks += n
	if _, is := s.held[f]; f.holder != nil && !is {
		s.held[f] = 0
	}
	return of, taken, nil
}

// give gives blocks back, in the background: their disk space first.
func (s *Spool) give(of *store, blocks []uint32) {
	if len(blocks) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.returned = append(s.returned, returned{of, blocks})
	s.returning += len(blocks)
	if !s.giving {
		s.giving = true
		s.running.Go(s.giveReturned)
	}
}

// giveReturned gives back what there is to be given back.
func (s *Spool) giveReturned() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.returned) > 0 {
		of, blocks := s.returned[0].store, []uint32(nil)
		rest := s.returned[:0]
		for _, r := range s.returned {
			if r.store == of {
				blocks = append(blocks, r.blocks...)
			} else {
				rest = append(rest, r)
			}
		}
		s.returned = rest
		s.giveLocked(of, blocks)
		s.returning -= len(blocks)
		s.notifyLocked()
	}
	s.giving = false
}

// giveLocked gives blocks back, and the store with the last ones. Those for which a call waits keep
// their disk space, until blocks are given back for which none waits: to give disk space back and
// take it again costs more than to write. s.mu must be held; it is released meanwhile.
func (s *Spool) giveLocked(of *store, blocks []uint32) {
	switch {
	case of.inUse == len(blocks):
		if s.store == of {
			s.store = nil // the next byte opens another file
		}
		s.mu.Unlock()
		of.close(s.options.Close)
		s.mu.Lock()
	case s.wanted > 0:
		of.kept = append(of.kept, blocks...)
	default:
		all, kept := append(of.kept, blocks...), len(of.kept)
		s.blocks += kept // none of them is free meanwhile
		s.returning += kept
		of.kept = nil
		s.mu.Unlock()
		slices.Sort(all) // adjacent ones are given back at once
		of.punch(all)
		s.mu.Lock()
		s.blocks -= kept
		s.returning -= kept
		of.free = append(of.free, all...)
	}
	of.inUse -= len(blocks)
	s.blocks -= len(blocks)
}

// begin has op run on a goroutine, once there is a place for it. done gets its result. It reports
// false when there is no place before expired: then op is not run.
func (s *Spool) begin(op func() error, done chan<- error, expired <-chan time.Time) bool {
	select {
	case s.operations <- struct{}{}:
	case <-expired:
		return false
	}
	s.running.Go(func() {
		defer func() { <-s.operations }()
		done <- op()
	})
	return true
}

// succeeded and failed say how a write ended.
func (s *Spool) succeeded() {
	s.mu.Lock()
	since := s.failingSince
	s.failingSince = time.Time{}
	s.mu.Unlock()
	if !since.IsZero() {
		s.options.Logger.Info("spool resumed", "after_s", time.Since(since).Round(time.Millisecond).Seconds())
	}
}

func (s *Spool) failed(err error) {
	s.mu.Lock()
	now := time.Now()
	first := s.failingSince.IsZero()
	if first {
		s.failingSince = now
	}
	s.retryAt = now.Add(retryInterval)
	s.mu.Unlock()
	if first {
		s.options.Logger.Warn("spool failed", "file", s.dir(), "error", err,
			"hint", "bodies and responses that do not fit into memory are streamed: a slow client then occupies a worker; see daemon.spool_dir")
	}
}

// open opens the file, unless it is open.
func (t *store) open(how func() (*os.File, error)) (err error) {
	t.opening.Lock()
	defer t.opening.Unlock()
	if t.file == nil {
		t.file, err = how()
	}
	return err
}

func (t *store) close(how func(f *os.File, failed bool)) {
	t.opening.Lock()
	defer t.opening.Unlock()
	if t.file != nil {
		how(t.file, t.failed.Load())
	}
}

// transfer reads or writes p at an offset of what the blocks hold.
func (t *store) transfer(blocks []uint32, at int64, p []byte, do func([]byte, int64) (int, error)) error {
	err := transfer(blocks, at, p, do)
	if err != nil {
		t.failed.Store(true)
	}
	return err
}

// punch gives the disk space of blocks back, where the file system can do that; else it stays the
// file's, and is used again.
func (t *store) punch(blocks []uint32) {
	t.opening.Lock()
	file := t.file
	t.opening.Unlock()
	if file == nil {
		return
	}
	for at := 0; at < len(blocks); {
		n := adjacent(blocks[at:])
		err := unix.Fallocate(int(file.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE,
			int64(blocks[at])*BlockSize, int64(n)*BlockSize)
		if err != nil {
			return
		}
		at += n
	}
}

// adjacent is how many blocks from the first on lie behind one another in the file.
func adjacent(blocks []uint32) int {
	n := 1
	for n < len(blocks) && blocks[n] == blocks[0]+uint32(n) {
		n++
	}
	return n
}
