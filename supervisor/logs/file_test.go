package logs

import (
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

func read(t *testing.T, path string) string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var r io.Reader = f
	if strings.HasSuffix(path, ".gz") {
		if r, err = gzip.NewReader(f); err != nil {
			t.Fatal(err)
		}
	}
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func write(t *testing.T, f *file, text string) {
	t.Helper()
	if n, err := f.Write([]byte(text)); n != len(text) || err != nil {
		t.Fatalf("wrote %d of %d: %v", n, len(text), err)
	}
}

func open(t *testing.T, o FileOptions) *file {
	t.Helper()
	f := newFile(o)
	if err := f.applyOptions(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.close() })
	return f
}

func names(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return strings.Join(all, " ")
}

func TestFileLinesAreDated(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "shop.log")
	l := start(t, Options{File: FileOptions{Path: path}})
	say(t, l, 3, Stderr, "oops\n")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	got := read(t, path)
	if !regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}(Z|[+-]\d\d:\d\d) shop\.3 : oops\n$`).MatchString(got) {
		t.Errorf("got %q", got)
	}
	info, _ := os.Stat(path)
	if info.Mode().Perm() != 0o640 {
		t.Errorf("mode %v", info.Mode())
	}
}

func TestRotationBySize(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "shop.log")
	f := open(t, FileOptions{Path: path, MaxSize: 10, Backups: 3, Compress: true})
	for _, text := range []string{"one.....\n", "two.....\n", "three...\n", "four....\n", "five....\n"} {
		write(t, f, text)
		f.cleaning.Wait()
	}
	if got := names(t, dir); got != "shop.log shop.log.1 shop.log.2.gz shop.log.3.gz" {
		t.Fatalf("there are %s", got)
	}
	for name, want := range map[string]string{"": "five....\n", ".1": "four....\n", ".2.gz": "three...\n", ".3.gz": "two.....\n"} {
		if got := read(t, path+name); got != want {
			t.Errorf("shop.log%s holds %q, want %q", name, got, want)
		}
	}
}

// What is written at once, as a burst of lines is, is divided: no file is larger than it may be.
func TestRotationWithinOneWrite(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "shop.log")
	f := open(t, FileOptions{Path: path, MaxSize: 20, Backups: 9})
	write(t, f, "one.....\ntwo.....\n")
	write(t, f, "3\nfour....\nfive....\nsix.....\na line that is longer than a file may be\neight...\nnine....\n")
	f.cleaning.Wait()
	for name, want := range map[string]string{"": "eight...\nnine....\n", ".1": "a line that is longer than a file may be\n", ".2": "six.....\n", ".3": "four....\nfive....\n", ".4": "one.....\ntwo.....\n3\n"} {
		if got := read(t, path+name); got != want {
			t.Errorf("shop.log%s holds %q, want %q", name, got, want)
		}
	}
}

func TestRotationWithoutBackupsAndOfOneLargeLine(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "shop.log")
	f := open(t, FileOptions{Path: path, MaxSize: 10})
	write(t, f, "a line longer than a file may be\n")
	write(t, f, "two\n")
	if got := names(t, dir); got != "shop.log" || read(t, path) != "two\n" {
		t.Errorf("there are %s, with %q", got, read(t, path))
	}
}

func TestRotationByAge(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "shop.log")
	old := filepath.Join(dir, "shop.log.1")
	stranger := filepath.Join(dir, "shop.log.keep")
	f := open(t, FileOptions{Path: path, Every: time.Hour, Backups: 5, MaxAge: 24 * time.Hour})
	write(t, f, "today\n")
	for _, name := range []string{old, stranger} {
		if err := os.WriteFile(name, []byte("past\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		os.Chtimes(name, time.Time{}, time.Now().Add(-48*time.Hour))
	}
	write(t, f, "still\n")
	if got := names(t, dir); got != "shop.log shop.log.1 shop.log.keep" {
		t.Fatalf("rotated too early: %s", got)
	}
	f.created = f.created.Add(-2 * time.Hour)
	write(t, f, "later\n")
	f.cleaning.Wait()
	if got := names(t, dir); got != "shop.log shop.log.1 shop.log.keep" {
		t.Errorf("there are %s", got)
	}
	if read(t, old) != "today\nstill\n" || read(t, path) != "later\n" {
		t.Errorf("got %q, %q", read(t, old), read(t, path))
	}
}

func TestReopen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "shop.log")
	l := start(t, Options{File: FileOptions{Path: path}})
	say(t, l, 1, Stdout, "before\n")
	follow(t, path, "before")
	if err := os.Rename(path, path+".moved"); err != nil {
		t.Fatal(err)
	}
	if err := l.Reopen(); err != nil {
		t.Fatal(err)
	}
	say(t, l, 1, Stdout, "after\n")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(read(t, path+".moved"), "before\n") || !strings.HasSuffix(read(t, path), "after\n") {
		t.Errorf("got %q and %q", read(t, path+".moved"), read(t, path))
	}
	if err := l.Reopen(); err != nil {
		t.Errorf("after the end: %v", err)
	}
}

// follow waits until the file holds text.
func follow(t *testing.T, path, text string) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if got, err := os.ReadFile(path); err == nil && strings.Contains(string(got), text) {
			return
		}
		select {
		case <-tick.C:
		case <-t.Context().Done():
			t.Fatalf("%s never held %q", path, text)
		}
	}
}

func TestAMovedFileIsNoticed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "shop.log")
	f := open(t, FileOptions{Path: path})
	write(t, f, "one\n")
	if err := os.Rename(path, path+".moved"); err != nil {
		t.Fatal(err)
	}
	write(t, f, "two\n")
	f.checked = f.checked.Add(-moveCheckInterval)
	write(t, f, "three\n")
	if read(t, path+".moved") != "one\ntwo\n" || read(t, path) != "three\n" {
		t.Errorf("got %q and %q", read(t, path+".moved"), read(t, path))
	}
}

// /dev/full is a full disk: every write fails.
func TestFullDiskDoesNotStopTheChild(t *testing.T) {
	var out paper
	l := start(t, Options{Writer: &out, File: FileOptions{Path: "/dev/full", MaxSize: 1}})
	flood(t, l, 10<<20)
	l.Settle(t.Context(), 1)
	if got := texts(l.Tail(1, 1)); !strings.Contains(got, "of a flood") {
		t.Errorf("the last line is %q", got)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if l.Dropped() == 0 {
		t.Error("nothing was counted")
	}
	if !strings.Contains(out.String(), "line 1 of a flood") {
		t.Error("the other writer suffered")
	}
}

func TestAFileThatCannotBeOpened(t *testing.T) {
	if err := (FileOptions{Path: t.TempDir()}).Check(); err == nil {
		t.Error("a directory was opened as a log")
	}
}
