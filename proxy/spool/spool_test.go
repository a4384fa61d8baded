package spool

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func newSpool(t *testing.T, o Options) *Spool {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	if o.Limit == 0 {
		o.Limit = 64 << 20
	}
	s := New(o)
	t.Cleanup(func() {
		s.Wait(10 * time.Second)
		if n := s.Used(); n != 0 {
			t.Errorf("%d bytes are still in use", n)
		}
	})
	return s
}

// readAll reads a file in the pieces in which it comes.
func readAll(f *File) ([]byte, error) {
	r := f.NewReader(100_000)
	var all []byte
	for {
		p, err := r.Next(10 * time.Second)
		if err == io.EOF {
			return all, nil
		} else if err != nil {
			return all, err
		}
		all = append(all, p...)
	}
}

func randomBytes(seed byte, n int) []byte {
	p := make([]byte, n)
	rand.NewChaCha8([32]byte{seed}).Read(p)
	return p
}

func TestFilesKeepTheirBytesApart(t *testing.T) {
	s := newSpool(t, Options{})
	var all sync.WaitGroup
	for i := range byte(20) {
		all.Go(func() {
			for round := range 5 {
				want, f := randomBytes(i, 1+round*100_003), s.NewFile()
				for p, size := want, 1; len(p) > 0; size = size*5 + 3 {
					n := min(size, len(p))
					if m, err := f.Append(p[:n]); m != n || err != nil {
						t.Errorf("%d of %d: %v", m, n, err)
					}
					p = p[n:]
				}
				for range 2 { // it can be read again
					if got, err := readAll(f); err != nil || !bytes.Equal(got, want) {
						t.Errorf("%d bytes, want %d: %v", len(got), len(want), err)
					}
				}
				f.Release()
			}
		})
	}
	all.Wait()
}

func TestALimitHoldsForAllFilesTogether(t *testing.T) {
	s := newSpool(t, Options{Limit: 10 * BlockSize})
	a, b := s.NewFile(), s.NewFile()
	if _, err := a.Append(make([]byte, 7*BlockSize)); err != nil {
		t.Fatal(err)
	}
	if n, err := b.Append(make([]byte, 4*BlockSize)); n != 0 || err != ErrFull {
		t.Errorf("%d, %v", n, err)
	}
	b.Release()
	b = s.NewFile()
	if _, err := b.Append(make([]byte, 3*BlockSize)); err != nil {
		t.Error(err)
	}
	a.Release()
	s.Wait(10 * time.Second)
	a = s.NewFile()
	if _, err := a.Append(make([]byte, 7*BlockSize)); err != nil {
		t.Errorf("what was given back is not free: %v", err)
	}
	a.Release()
	b.Release()
}

// watched opens the spool's file and keeps a second descriptor of it, to look at what it holds.
func watched(t *testing.T, dir string, all *[]*os.File) func() (*os.File, error) {
	return func() (*os.File, error) {
		f, err := OpenIn(dir)
		if err == nil {
			fd, _ := unix.Dup(int(f.Fd()))
			second := os.NewFile(uintptr(fd), "")
			t.Cleanup(func() { second.Close() })
			*all = append(*all, second)
		}
		return f, err
	}
}

func onDisk(t *testing.T, f *os.File) int64 {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	return st.Blocks * 512
}

func TestDiskSpaceIsGivenBackAndNoNameIsLeft(t *testing.T) {
	dir := t.TempDir()
	var opened []*os.File
	s := newSpool(t, Options{Dir: dir, Open: watched(t, dir, &opened)})
	a, b := s.NewFile(), s.NewFile()
	a.Append(make([]byte, 4<<20))
	b.Append(make([]byte, 1<<20))
	if names, _ := os.ReadDir(dir); len(names) > 0 {
		t.Errorf("there is a name: %v", names)
	}
	a.Release()
	s.Wait(10 * time.Second)
	if n := s.Used(); n != 1<<20 {
		t.Errorf("%d bytes are in use", n)
	}
	if n := onDisk(t, opened[0]); n > 2<<20 {
		t.Logf("%d bytes on disk: no holes here", n)
	}
	b.Release()
	s.Wait(10 * time.Second)
	if s.store != nil {
		t.Error("the file is open although nothing is in it")
	}
	c := s.NewFile()
	c.Append([]byte("x"))
	c.Release()
	if len(opened) != 2 {
		t.Errorf("opened %d times", len(opened))
	}
}

// The disk is a small tmpfs; without the right to mount one it is /dev/full, on which no byte has
// room.
func TestAFullDiskIsAnErrorOfTheWriteOnly(t *testing.T) {
	dir, kept := t.TempDir(), randomBytes(1, 512<<10)
	o := Options{Dir: dir}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err == nil {
		t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	} else {
		kept = nil
		o.Open = func() (*os.File, error) { return os.OpenFile("/dev/full", os.O_RDWR, 0) }
	}
	s := newSpool(t, o)
	f := s.NewFile()
	if _, err := f.Append(kept); err != nil {
		t.Fatal(err)
	}
	n, err := f.Append(make([]byte, 4<<20))
	if !errors.Is(err, unix.ENOSPC) {
		t.Errorf("%d bytes, then %v", n, err)
	}
	if got, err := readAll(f); err != nil || !bytes.HasPrefix(got, kept) || len(got) != len(kept)+n {
		t.Errorf("%d bytes are left, %v", len(got), err)
	}
	f.Release()
	fresh := s.NewFile()
	if _, err := fresh.Append([]byte("x")); err != errSuspended {
		t.Errorf("the next file: %v", err)
	}
	fresh.Release()
}

func TestADiskThatHangsDelaysAWriterForASecondAndTheNextOneNotAtAll(t *testing.T) {
	answer := make(chan struct{})
	s := newSpool(t, Options{Open: func() (*os.File, error) {
		<-answer
		return nil, unix.EIO
	}})
	start := time.Now()
	var all sync.WaitGroup
	for range 3 * maxOperations {
		all.Go(func() {
			f := s.NewFile()
			defer f.Release()
			if n, err := f.Append([]byte("x")); n != 0 || err == nil {
				t.Errorf("%d, %v", n, err)
			}
		})
	}
	all.Wait()
	if took := time.Since(start); took > 5*writeTimeout {
		t.Errorf("it took %v", took)
	}
	start = time.Now()
	f := s.NewFile()
	if _, err := f.Append([]byte("x")); err != errSuspended || time.Since(start) > writeTimeout/2 {
		t.Errorf("after %v: %v", time.Since(start), err)
	}
	f.Release()
	close(answer)
}

// A write that comes to its end late must not change what a later file has in the same place.
func TestALateWriteChangesNoOtherFile(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	s := newSpool(t, Options{Open: func() (*os.File, error) {
		io.ReadFull(r, make([]byte, 1))
		return OpenIn(t.TempDir())
	}})
	late := s.NewFile()
	if _, err := late.Append(bytes.Repeat([]byte("late"), BlockSize)); err != ErrSlow {
		t.Fatal(err)
	}
	late.Release()
	if s.Used() == 0 {
		t.Error("the blocks of a write that runs are free")
	}
	w.Write([]byte("x"))
	s.Wait(10 * time.Second)
	s.mu.Lock()
	s.retryAt = time.Time{}
	s.mu.Unlock()
	next, want := s.NewFile(), bytes.Repeat([]byte("next"), BlockSize)
	go w.Write([]byte("x"))
	if _, err := next.Append(want); err != nil {
		t.Fatal(err)
	}
	if got, err := readAll(next); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	next.Release()
}

// A file whose write has come to its end late can be written on: a hiccup of the disk takes the spool
// from a response for as long as it lasts.
func TestAFileCanBeWrittenOnAfterALateWrite(t *testing.T) {
	answer := make(chan struct{})
	s := newSpool(t, Options{Open: func() (*os.File, error) {
		<-answer
		return OpenIn(t.TempDir())
	}})
	f := s.NewFile()
	for range 2 {
		if n, err := f.Append([]byte("late")); n != 0 || err != ErrSlow {
			t.Fatal(n, err)
		}
	}
	close(answer)
	want := bytes.Repeat([]byte("next"), 100) // in the same block: for another one it has to wait for retryInterval
	s.Wait(time.Minute)
	if n, err := f.Append(want); n != len(want) || err != nil {
		t.Fatal(n, err)
	}
	if got, err := readAll(f); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	f.Release()
}

func TestADirectoryThatCannotBeUsedIsAnError(t *testing.T) {
	for _, dir := range []string{filepath.Join(t.TempDir(), "missing"), "/proc"} {
		t.Run(dir, func(t *testing.T) {
			f := newSpool(t, Options{Dir: dir}).NewFile()
			defer f.Release()
			if _, err := f.Append([]byte("x")); err == nil {
				t.Error("no error")
			}
		})
	}
}

// A stay is a holder that remains for a time and releases its file when it is evicted.
type stay struct {
	file      *File
	remaining time.Duration
	evicted   chan struct{}
	releasing sync.WaitGroup
	appending bool // the test releases the file itself, after Append
}

func newStay(s *Spool, remaining time.Duration) *stay {
	h := &stay{remaining: remaining, evicted: make(chan struct{})}
	h.file = s.NewFileFor(h)
	return h
}

func (h *stay) Remaining() time.Duration { return h.remaining }

func (h *stay) Evict() {
	close(h.evicted)
	if !h.appending {
		h.releasing.Go(h.file.Release)
	}
}

// release releases the file, or waits until it is, if it was evicted.
func (h *stay) release() {
	if !h.wasEvicted() {
		h.file.Release()
	}
	h.releasing.Wait()
}

func (h *stay) wasEvicted() bool {
	select {
	case <-h.evicted:
		return true
	default:
		return false
	}
}

func TestAFullSpoolEvictsTheFileThatIsNeededLongest(t *testing.T) {
	s := newSpool(t, Options{Limit: 16 * BlockSize})
	var all []*stay
	for _, remaining := range []time.Duration{0, 2 * longStay, 3 * longStay, longStay - 1} {
		h := newStay(s, remaining)
		if _, err := h.file.Append(make([]byte, 4*BlockSize)); err != nil {
			t.Fatal(err)
		}
		all = append(all, h)
	}
	for round, want := range [][]bool{{false, false, true, false}, {false, true, true, false}} {
		f := s.NewFile()
		if n, err := f.Append(randomBytes(byte(round), 4*BlockSize)); err != nil {
			t.Errorf("%d bytes, %v", n, err)
		}
		defer f.Release()
		for i, h := range all {
			if h.wasEvicted() != want[i] {
				t.Errorf("round %d: %v of file %d", round, h.wasEvicted(), i)
			}
		}
	}
	f := s.NewFile() // none is left that will be needed for long
	if n, err := f.Append([]byte("x")); n != 0 || err != ErrFull {
		t.Errorf("%d bytes, %v", n, err)
	}
	f.Release()
	for _, h := range all {
		h.release()
	}
}

// One that is evicted at once by many, who all need its space, is evicted once, and one at a time.
func TestManyThatNeedRoomEvictNoMoreThanIsNeeded(t *testing.T) {
	s := newSpool(t, Options{Limit: 64 * BlockSize})
	var all []*stay
	for range 4 {
		h := newStay(s, 2*longStay)
		if _, err := h.file.Append(make([]byte, 16*BlockSize)); err != nil {
			t.Fatal(err)
		}
		all = append(all, h)
	}
	var asking sync.WaitGroup
	for range 16 {
		asking.Go(func() {
			f := s.NewFile()
			defer f.Release()
			if _, err := f.Append(make([]byte, BlockSize)); err != nil {
				t.Error(err)
			}
		})
	}
	asking.Wait()
	evicted := 0
	for _, h := range all {
		if h.wasEvicted() {
			evicted++
		}
		h.release()
	}
	if evicted != 1 {
		t.Errorf("%d were evicted, want 1", evicted)
	}
}

// A file that is evicted for a write may be too small for it: then more are, at once.
func TestAsManyAreEvictedAsAWriteNeeds(t *testing.T) {
	s := newSpool(t, Options{Limit: 32 * BlockSize})
	var all []*stay
	for i := range 32 {
		h := newStay(s, time.Duration(i)*longStay)
		if _, err := h.file.Append(make([]byte, BlockSize)); err != nil {
			t.Fatal(err)
		}
		all = append(all, h)
	}
	f := s.NewFile()
	if n, err := f.Append(make([]byte, pieceSize)); err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
	f.Release()
	for i, h := range all {
		if want := i >= len(all)-pieceSize/BlockSize; h.wasEvicted() != want {
			t.Errorf("evicted: %v of file %d", h.wasEvicted(), i)
		}
		h.release()
	}
}

// The longer a worker has waited for room, the less long a client may keep it.
func TestAWriteThatHasWaitedEvictsWhatIsNeededForLess(t *testing.T) {
	for _, c := range []struct {
		waited, remaining time.Duration
		evicts            bool
	}{
		{0, longStay, true},
		{0, longStay - 1, false},
		{4 * time.Second, longStay/4 - 1, true},
		{4 * time.Second, longStay / 5, false},
		{time.Hour, shortStay, true},
		{time.Hour, shortStay - 1, false},
	} {
		s := newSpool(t, Options{Limit: 4 * BlockSize})
		h := newStay(s, c.remaining)
		if _, err := h.file.Append(make([]byte, BlockSize)); err != nil {
			t.Fatal(err)
		}
		f := s.NewFile()
		f.waited = c.waited
		if _, err := f.Append(make([]byte, 4*BlockSize)); (err == nil) != c.evicts || h.wasEvicted() != c.evicts {
			t.Errorf("%+v: %v, evicted: %v", c, err, h.wasEvicted())
		}
		f.Release()
		h.release()
	}
}

// The client for which a worker waits may itself be the slowest.
func TestTheFileThatNeedsRoomMayBeEvictedItself(t *testing.T) {
	s := newSpool(t, Options{Limit: 16 * BlockSize})
	slow, others := newStay(s, 3*longStay), s.NewFile()
	slow.appending = true
	other := newStay(s, 2*longStay)
	for f, n := range map[*File]int{slow.file: 1, other.file: 3, others: 12} {
		if _, err := f.Append(make([]byte, n*BlockSize)); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := slow.file.Append(make([]byte, BlockSize)); n != 0 || err != ErrFull {
		t.Errorf("%d bytes, %v", n, err)
	}
	if !slow.wasEvicted() || other.wasEvicted() {
		t.Errorf("evicted: %v, %v", slow.wasEvicted(), other.wasEvicted())
	}
	slow.file.Release()
	other.release()
	others.Release()
}

// Space that is passed on to a waiting write stays on disk; it is given back with the next space for
// which none waits.
func TestDiskSpaceThatWasPassedOnIsGivenBack(t *testing.T) {
	dir := t.TempDir()
	var opened []*os.File
	s := newSpool(t, Options{Dir: dir, Open: watched(t, dir, &opened), Limit: 16 << 20})
	kept, last := s.NewFile(), s.NewFile()
	for _, f := range []*File{kept, last} {
		if _, err := f.Append(randomBytes(1, 1<<20)); err != nil {
			t.Fatal(err)
		}
	}
	for round := range byte(20) {
		var all []*stay
		for range 3 {
			h := newStay(s, longStay)
			if _, err := h.file.Append(make([]byte, 4<<20)); err != nil {
				t.Fatal(err)
			}
			all = append(all, h)
		}
		var asking sync.WaitGroup
		for range 3 {
			asking.Go(func() {
				f, want := s.NewFile(), randomBytes(round, 3<<20)
				defer f.Release()
				if n, err := f.Append(want); err != nil {
					t.Errorf("%d bytes, %v", n, err)
				} else if got, err := readAll(f); err != nil || !bytes.Equal(got, want) {
					t.Errorf("%d bytes, want %d: %v", len(got), len(want), err)
				}
				if used, disk := s.Used(), onDisk(t, opened[0]); used > 16<<20 || disk > 17<<20 {
					t.Errorf("%d bytes are in use, %d on disk", used, disk)
				}
			})
		}
		asking.Wait()
		for _, h := range all {
			h.release()
		}
		s.Wait(10 * time.Second)
	}
	last.Release()
	s.Wait(10 * time.Second)
	if n := onDisk(t, opened[0]); len(opened) != 1 || n > 2<<20 {
		t.Errorf("%d bytes on disk of %d files", n, len(opened))
	}
	kept.Release()
}

func TestAFileWithAHolderTakesAQuarter(t *testing.T) {
	s := newSpool(t, Options{Limit: 16 * BlockSize})
	h := newStay(s, 2*longStay)
	if n, err := h.file.Append(make([]byte, 4*BlockSize)); err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
	if n, err := h.file.Append([]byte("x")); n != 0 || err != errShare {
		t.Errorf("%d bytes, %v", n, err)
	}
	h.file.Release()
}

// A file that is read while it is written gives the space of what was read back, and every byte
// comes as it was written.
func TestAFileIsReadAndTrimmedWhileItIsWritten(t *testing.T) {
	dir := t.TempDir()
	var opened []*os.File
	s := newSpool(t, Options{Dir: dir, Open: watched(t, dir, &opened), Limit: 16 << 20})
	f, want := s.NewFile(), randomBytes(3, 12<<20)
	written := make(chan struct{})
	go func() {
		defer close(written)
		for round := range 5 { // five times as much as there is room for at once
			for p := want; len(p) > 0; {
				n := min(len(p), 1+(round*77_777+len(p))%300_000)
				m, err := f.Append(p[:n])
				if p = p[m:]; err != nil && err != ErrFull {
					t.Error(err)
					return
				}
			}
		}
	}()
	r, most := f.NewReader(50_000), int64(0)
	for at := 0; at < 5*len(want); {
		r.Trim()
		p, err := r.Next(10 * time.Second)
		if err == io.EOF {
			select {
			case <-written:
				if r.AtEnd() {
					t.Fatalf("the end at %d", at)
				}
			default:
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		for len(p) > 0 {
			n := min(len(p), len(want)-at%len(want))
			if !bytes.Equal(p[:n], want[at%len(want):][:n]) {
				t.Fatalf("another byte at %d", at)
			}
			at, p = at+n, p[n:]
		}
		most = max(most, s.Used())
	}
	<-written
	if most > 16<<20 {
		t.Errorf("%d bytes were in use", most)
	}
	f.Release()
}
