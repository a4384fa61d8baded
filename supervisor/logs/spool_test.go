package logs

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What a process that was killed has written of a text is told by the size of the file: whole lines are not
// written again, and a line that was cut is completed. Where the file has grown by more than the text others write to
// it, and the lines are written again rather than lost.
func TestASpoolTellsWhatWasWritten(t *testing.T) {
	const base = 100
	id := fileID{1, 2}
	for _, c := range []struct {
		name    string
		size    int64
		written int64 // bytes of the pipe
		rest    string
	}{
		{"nothing", base, 0, ""},
		{"part of the first line", base + 1, 4, "ne\n"},
		{"the first line", base + 4, 4, ""},
		{"part of the second line", base + 6, 8, "o\n"},
		{"all", base + 8, 8, ""},
		{"and others have", base + 9, 0, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			killed, err := NewSpool("test")
			if err != nil {
				t.Fatal(err)
			}
			defer killed.close()
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			defer w.Close()
			killed.pipe = r
			if _, err := w.WriteString("one\ntwo\n"); err != nil {
				t.Fatal(err)
			}
			if n, err := killed.Read(make([]byte, 100)); n != 8 || err != nil {
				t.Fatal(n, err)
			}
			killed.begin(8, []pendingBlock{{from: 0, to: 4, start: spoolStart, end: spoolStart + 4}, {from: 4, to: 8, start: spoolStart + 4, end: spoolStart + 8}})
			killed.aim(id, base, 0)
			file, err := killed.duplicate()
			if err != nil {
				t.Fatal(err)
			}
			next, err := OpenSpool(file)
			if err != nil {
				t.Fatal(err)
			}
			defer next.close()
			plain := func(to []byte, b block) []byte { return append(append(to, b.Text...), '\n') }
			written, rest := next.recover(firstFile{true, id, c.size}, Line{}, plain)
			if written-spoolStart != c.written || string(rest) != c.rest {
				t.Errorf("%d bytes are written, and of a line %q is missing; want %d, %q", written-spoolStart, rest, c.written, c.rest)
			}
		})
	}
}

// When AwaitWritten returns the file has what a generation has written, unless a process keeps its pipe open.
func TestTheLastLinesAreWrittenBeforeTheirPipeIsGivenUp(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	l := New(Options{App: "shop", Spools: true, File: FileOptions{Path: path}})
	defer l.Close()
	for generation := 1; generation <= 20; generation++ {
		w, err := l.Pipe(generation, Stdout)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(w, strings.Repeat("line\n", 1000)+"the last")
		w.Close()
		l.AwaitWritten(generation)
		text, err := os.ReadFile(path)
		if n := bytes.Count(text, []byte("\n")); err != nil || n != 1001*generation {
			t.Fatalf("%d lines of %d, %v", n, 1001*generation, err)
		}
	}
	w, err := l.Pipe(21, Stdout)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	l.AwaitWritten(21)
	if len(l.spools) > 0 {
		t.Errorf("%d generations are waited for", len(l.spools))
	}
}
