package logs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// copier is a Copier whose pipe does not block, as that of the relay.
type copier struct {
	*Copier
	t    *testing.T
	pipe *os.File

	mu       sync.Mutex
	reported []string
}

func openCopier(t *testing.T, o FileOptions, former ...*os.File) *copier {
	t.Helper()
	c := &copier{t: t}
	var err error
	c.Copier, c.pipe, err = NewCopier("access log of shop", o, func(text string) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.reported = append(c.reported, text)
	}, former...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.pipe.Close()
		c.Close()
	})
	if err := unix.SetNonblock(int(c.pipe.Fd()), true); err != nil {
		t.Fatal(err)
	}
	return c
}

// put writes to the pipe, and returns how much of text it took.
func (c *copier) put(text string) int {
	c.t.Helper()
	n, err := unix.Write(int(c.pipe.Fd()), []byte(text))
	if err != nil && !errors.Is(err, syscall.EAGAIN) {
		c.t.Fatal(err)
	}
	return max(n, 0)
}

// end closes the pipe and the Copier.
func (c *copier) end() {
	c.t.Helper()
	c.pipe.Close()
	if err := c.Close(); err != nil {
		c.t.Error(err)
	}
}

// waitFor waits until a file has a text.
func waitFor(t *testing.T, path, text string) {
	t.Helper()
	ticker, never := time.NewTicker(time.Millisecond), time.After(time.Minute)
	defer ticker.Stop()
	for {
		if got, _ := os.ReadFile(path); strings.Contains(string(got), text) {
			return
		}
		select {
		case <-ticker.C:
		case <-never:
			t.Fatalf("%s does not get %q", path, text)
		}
	}
}

// Writes end in the middle of lines; files do not.
func TestACopierRotatesBetweenLines(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "access.log")
	c := openCopier(t, FileOptions{Path: path, MaxSize: 30_000, Backups: 1000})
	var all strings.Builder
	for i := range 20_000 {
		fmt.Fprintf(&all, "line %d %s\n", i, strings.Repeat("x", i%200))
	}
	for left := all.String(); left != ""; {
		n := c.put(left[:min(len(left), 1000+len(left)%777)])
		left = left[n:]
	}
	c.end()
	var got strings.Builder
	rotated, err := filepath.Glob(path + ".*")
	if err != nil || len(rotated) < 3 {
		t.Fatal(rotated, err)
	}
	for i := len(rotated); i > 0; i-- {
		text := read(t, fmt.Sprintf("%s.%d", path, i))
		if !strings.HasSuffix(text, "\n") {
			t.Errorf("file %d ends in a line", i)
		}
		got.WriteString(text)
	}
	got.WriteString(read(t, path))
	if got.String() != all.String() {
		t.Errorf("%d bytes in %d files, %d were written", got.Len(), len(rotated), all.Len())
	}
}

// notADirectory is a path that cannot be opened: its directory is a file.
func notADirectory(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(dir, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "access.log")
}

func TestACopierWritesWhenItsFileCanBeWrittenAgain(t *testing.T) {
	t.Parallel()
	path := notADirectory(t)
	c := openCopier(t, FileOptions{Path: path})
	taken := 0
	for n := 1; n > 0; taken += n { // the pipe fills up
		n = c.put("line\n")
	}
	if err := os.Remove(filepath.Dir(path)); err != nil {
		t.Fatal(err)
	}
	waitFor(t, path, "line\n")
	c.end()
	if got := read(t, path); len(got) < taken || strings.ReplaceAll(got, "line\n", "") != "" || c.Dropped() != 0 {
		t.Errorf("%d bytes written, %d to the pipe, %d lines dropped", len(got), taken, c.Dropped())
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.reported) == 0 || len(c.reported) > 3 || !strings.Contains(c.reported[0], filepath.Dir(path)) {
		t.Errorf("%d reports: %q", len(c.reported), c.reported)
	}
}

func TestWhatACopierCannotWriteAtTheEndIsCounted(t *testing.T) {
	t.Parallel()
	c := openCopier(t, FileOptions{Path: notADirectory(t)})
	for range 1000 {
		c.put("line\n")
	}
	c.end()
	if c.Dropped() != 1000 {
		t.Errorf("%d lines dropped", c.Dropped())
	}
}

func TestACopierGoesOnInANewFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "access.log")
	c := openCopier(t, FileOptions{Path: path})
	c.put("first\n")
	waitFor(t, path, "first\n")
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	if err := c.Reopen(); err != nil {
		t.Fatal(err)
	}
	c.put("second\n")
	waitFor(t, path, "second\n")
	c.Configure(FileOptions{Path: filepath.Join(dir, "other.log")})
	c.put("third\n")
	c.end()
	for name, want := range map[string]string{"access.log.1": "first\n", "access.log": "second\n", "other.log": "third\n"} {
		if got := read(t, filepath.Join(dir, name)); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// What the pipe of a supervisor that has died gets is copied to its end, beside the own pipe.
func TestACopierGoesOnWithFormerPipes(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "access.log")
	first := openCopier(t, FileOptions{Path: path})
	kept, err := first.KeptPipe()
	if err != nil {
		t.Fatal(err)
	}
	first.put("one\n")
	first.await(path, "one\n")
	first.read.SetReadDeadline(time.Unix(1, 0)) // it reads no more
	<-first.done
	first.put("two\n")
	next := openCopier(t, FileOptions{Path: path}, kept)
	next.await(path, "one\ntwo\n")
	next.put("three\n")
	next.await(path, "one\ntwo\nthree\n")
	first.put("four\n") // the relay does not know of the next pipe yet
	next.await(path, "one\ntwo\nthree\nfour\n")
	first.pipe.Close()
	next.end()
}

// await waits until the file has this text.
func (c *copier) await(path, want string) {
	c.t.Helper()
	var got []byte
	for until := time.Now().Add(10 * time.Second); string(got) != want; got, _ = os.ReadFile(path) {
		if time.Now().After(until) {
			c.t.Fatalf("%q, want %q", got, want)
		}
		<-time.After(time.Millisecond)
	}
}
