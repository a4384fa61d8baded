package logs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// bare is what a dated file says, without the dates.
func bare(t *testing.T, path string) string {
	t.Helper()
	var lines []string
	for line := range strings.Lines(read(t, path)) {
		_, text, _ := strings.Cut(line, " ")
		lines = append(lines, text)
	}
	return strings.Join(lines, "")
}

func TestConfigureMovesTheOutput(t *testing.T) {
	dir := t.TempDir()
	one, two := filepath.Join(dir, "one"), filepath.Join(dir, "two")
	var out paper
	o := Options{Writer: &out}
	l := start(t, o)
	configure := func(change func()) { change(); l.Configure(o) }

	l.Note(1, "terminal")
	configure(func() { o.File.Path = one })
	l.Note(1, "both")
	configure(func() { o.Writer = nil })
	l.Note(1, "file")
	follow(t, one, "- file")
	configure(func() { o.File.Path = two })
	l.Note(1, "other file")
	follow(t, two, "- other file")
	configure(func() { o.Writer, o.File.Path = &out, "" })
	l.Note(1, "terminal again")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for what, got := range map[string][2]string{
		"terminal": {out.String(), "shop.1 - terminal\nshop.1 - both\nshop.1 - terminal again\n"},
		"one":      {bare(t, one), "shop.1 - both\nshop.1 - file\n"},
		"two":      {bare(t, two), "shop.1 - other file\n"},
	} {
		if got[0] != got[1] {
			t.Errorf("%s got\n%swant\n%s", what, got[0], got[1])
		}
	}
	if l.Dropped() != 0 || len(l.readers) != 0 || len(l.sinks.live) != 0 {
		t.Errorf("%d dropped, %d readers and %d sinks left", l.Dropped(), len(l.readers), len(l.sinks.live))
	}
	l.Configure(Options{Writer: &out}) // after the end: nothing
}

// Every line goes to exactly one of two files while the path changes under a
// child that writes.
func TestConfigureUnderWayLosesAndDoublesNothing(t *testing.T) {
	dir := t.TempDir()
	path := func(i int) string { return filepath.Join(dir, string(rune('a'+i%2))) }
	l := start(t, Options{File: FileOptions{Path: path(0)}})
	flooded := make(chan int)
	go func() { flooded <- flood(t, l, 4<<20) }()
	total := 0
	for i := 1; total == 0; i++ {
		l.Configure(Options{File: FileOptions{Path: path(i)}, RingBytes: 64 << 20})
		select {
		case total = <-flooded:
		case <-time.After(time.Millisecond):
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(read(t, path(0)), " of a flood") + strings.Count(read(t, path(1)), " of a flood"); got+int(l.Dropped()) != total {
		t.Errorf("%d lines in the files and %d dropped, of %d", got, l.Dropped(), total)
	}
}

func TestConfigureChangesRotation(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "shop.log")
	o := Options{File: FileOptions{Path: path}}
	l := start(t, o)
	say(t, l, 1, Stdout, "first\n")
	follow(t, path, "first")
	o.File.MaxSize, o.File.Backups = 10, 1
	l.Configure(o)
	say(t, l, 1, Stdout, "second\n")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if bare(t, path+".1") != "shop.1 | first\n" || bare(t, path) != "shop.1 | second\n" {
		t.Errorf("there are %s", names(t, dir))
	}
}

// The old file goes on where the new one cannot be opened, and people hear of it.
func TestConfigureWithAPathThatCannotBeOpened(t *testing.T) {
	path := filepath.Join(t.TempDir(), "shop.log")
	l := start(t, Options{File: FileOptions{Path: path}})
	l.Configure(Options{File: FileOptions{Path: t.TempDir()}})
	l.Note(1, "where am I")
	follow(t, path, "where am I")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if got := read(t, path); !strings.Contains(got, "is a directory; the output goes on to "+path) {
		t.Errorf("got\n%s", got)
	}
}

// Where there was no file, opening one is tried until it works, and what was
// said meanwhile is in it.
func TestConfigureWaitsForItsFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "shop.log")
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		l := start(t, Options{})
		l.Configure(Options{File: FileOptions{Path: path}})
		l.Note(1, "patience")
		synctest.Wait()
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * retryInterval)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if l.Dropped() != 0 || !strings.Contains(texts(l.Tail(0, 10)), "is a directory") {
			t.Errorf("%d dropped, said: %s", l.Dropped(), texts(l.Tail(0, 10)))
		}
	})
	if got := bare(t, path); !strings.Contains(got, "shop.1 - patience\n") {
		t.Errorf("got %q", got)
	}
}

// A writer that is stuck is let go without waiting for it.
func TestConfigureDoesNotWaitForAStuckWriter(t *testing.T) {
	out := newStuck()
	l := start(t, Options{Writer: out})
	l.Note(1, "stuck")
	<-out.entered
	l.Note(1, "behind it")
	path := filepath.Join(t.TempDir(), "shop.log")
	l.Configure(Options{File: FileOptions{Path: path}})
	l.Note(1, "free")
	follow(t, path, "free")
	close(out.free)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); got != "shop.1 - stuck\nshop.1 - behind it\n" {
		t.Errorf("the stuck writer got %q", got)
	}
	if got := bare(t, path); got != "shop.1 - free\n" {
		t.Errorf("the file got %q", got)
	}
}
