package spool

import (
	"bytes"
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// until waits until a condition holds.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(60 * time.Second); !holds(); {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
		<-time.After(time.Millisecond)
	}
}

func newPool(fetch func() (*os.File, error)) *Pool {
	p := NewPool(fetch)
	p.Renew()
	return p
}

func (p *Pool) atHand() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.ready)
}

// A process that may open nothing keeps spooling while the one that opens its files does not answer.
func TestFilesOfAPoolAreUsedAgain(t *testing.T) {
	dir := t.TempDir()
	var fetched atomic.Int32
	answers := make(chan struct{})
	pool := newPool(func() (*os.File, error) {
		if fetched.Add(1) > poolSize {
			<-answers
		}
		return OpenIn(dir)
	})
	t.Cleanup(func() { close(answers) })
	until(t, "filled", func() bool { return pool.atHand() == poolSize })
	s := newSpool(t, Options{Dir: dir, Open: pool.Open, Close: pool.Close})
	for round := range 50 {
		want, f := randomBytes(byte(round), 300_000-round*1000), s.NewFile()
		if _, err := f.Append(want); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		if got, err := readAll(f); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("round %d: %d bytes, want %d: %v", round, len(got), len(want), err)
		}
		f.Release()
		s.Wait(10 * time.Second)
	}
	for _, f := range pool.ready {
		if info, err := f.Stat(); err != nil || info.Size() != 0 {
			t.Errorf("a file at hand has %d bytes, %v", info.Size(), err)
		}
	}
}

func TestFilesOfAPoolKeepTheirBytesApart(t *testing.T) {
	dir := t.TempDir()
	pool := newPool(func() (*os.File, error) { return OpenIn(dir) })
	until(t, "filled", func() bool { return pool.atHand() == poolSize })
	s := newSpool(t, Options{Dir: dir, Open: pool.Open, Close: pool.Close})
	var all sync.WaitGroup
	for i := range byte(20) {
		all.Go(func() {
			for round := range 20 {
				want, f := randomBytes(i, 1+round*10_007), s.NewFile()
				if _, err := f.Append(want); err != nil && err != errNoFile { // the store was just emptied
					t.Error(err)
				} else if got, failed := readAll(f); err == nil && (failed != nil || !bytes.Equal(got, want)) {
					t.Errorf("%d bytes, want %d: %v", len(got), len(want), failed)
				}
				f.Release()
			}
		})
	}
	all.Wait()
	if n := pool.atHand(); n > poolSize {
		t.Errorf("%d files are at hand", n)
	}
}

// What waits for a file is streamed; the disk has not failed, so the next one is not kept from it.
func TestAnEmptyPoolIsNoFailureOfTheDisk(t *testing.T) {
	dir, answer := t.TempDir(), make(chan struct{})
	pool := newPool(func() (*os.File, error) {
		<-answer
		return OpenIn(dir)
	})
	s := newSpool(t, Options{Dir: dir, Open: pool.Open, Close: pool.Close})
	f := s.NewFile()
	for range 3 {
		if n, err := f.Append([]byte("x")); n != 0 || err != errNoFile {
			t.Errorf("%d, %v", n, err)
		}
	}
	close(answer)
	until(t, "filled", func() bool { return pool.atHand() > 0 })
	if _, err := f.Append([]byte("xyz")); err != nil {
		t.Errorf("the same file later: %v", err)
	}
	if got, err := readAll(f); err != nil || string(got) != "xyz" {
		t.Errorf("%q, %v", got, err)
	}
	f.Release()
}

func TestAPoolIsBounded(t *testing.T) {
	dir := t.TempDir()
	pool := newPool(func() (*os.File, error) { return OpenIn(dir) })
	until(t, "filled", func() bool { return pool.atHand() == poolSize })
	before := openDescriptors(t)
	for range 10 * poolSize {
		f, err := OpenIn(dir)
		if err != nil {
			t.Fatal(err)
		}
		pool.Close(f, false)
	}
	if n := openDescriptors(t); n > before || pool.atHand() != poolSize { // fewer: a file of an earlier test was closed
		t.Errorf("%d descriptors, %d before; %d files are at hand", n, before, pool.atHand())
	}
}

func openDescriptors(t *testing.T) int {
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(names)
}

// A file system that was mounted anew is another one: no file of the former is used again.
func TestNoFileOfADiskThatHasFailedIsUsedAgain(t *testing.T) {
	dir := t.TempDir()
	var fetched atomic.Int32
	pool := newPool(func() (*os.File, error) {
		if fetched.Add(1) <= poolSize {
			return os.OpenFile("/dev/full", os.O_RDWR, 0)
		}
		return OpenIn(dir)
	})
	until(t, "filled", func() bool { return pool.atHand() == poolSize })
	s := newSpool(t, Options{Dir: dir, Open: pool.Open, Close: pool.Close})
	f := s.NewFile()
	if _, err := f.Append([]byte("x")); !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
	f.Release()
	s.Wait(10 * time.Second)
	until(t, "filled again", func() bool { return pool.atHand() == poolSize })
	s.mu.Lock()
	s.retryAt = time.Time{}
	s.mu.Unlock()
	f = s.NewFile()
	if _, err := f.Append([]byte("x")); err != nil {
		t.Error(err)
	}
	f.Release()
}

// Why no file can be opened is said once, as for a spool that opens them itself.
func TestAPoolThatCannotBeFilledSaysWhy(t *testing.T) {
	var broken atomic.Bool
	broken.Store(true)
	dir := t.TempDir()
	pool := newPool(func() (*os.File, error) {
		if broken.Load() {
			return nil, unix.EROFS
		}
		return OpenIn(dir)
	})
	until(t, "it has failed", func() bool { _, err := pool.Open(); return err == unix.EROFS })
	broken.Store(false)
	var f *os.File
	until(t, "it works again", func() (opened bool) {
		var err error
		f, err = pool.Open()
		return err == nil
	})
	f.Close()
}
