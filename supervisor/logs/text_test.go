package logs

import (
	"fmt"
	"strings"
	"testing"
)

func TestTextIsThatOfAFile(t *testing.T) {
	l := New(Options{App: "shop", RingBytes: 3000})
	defer l.Close()
	both := []Stream{Stdout, Stderr}
	var file, out strings.Builder
	for i := range 100 {
		line := Line{App: "shop", Stream: Stream(i % 3), Text: fmt.Sprintf("line %d %s", i, strings.Repeat("x", i))}
		l.push(line.block())
		if line.Stream != Note {
			file.WriteString(line.Text + "\n")
		}
		if line.Stream == Stdout {
			out.WriteString(line.Text + "\n")
		}
	}
	for _, want := range []struct {
		streams []Stream
		text    string
	}{{both, file.String()}, {[]Stream{Stdout}, out.String()}} {
		size := int64(len(want.text))
		for _, n := range []int64{1, 7, 300} {
			if text, all := l.Text(want.streams, -n, 10_000); string(text) != want.text[size-n:] || all != size {
				t.Errorf("the last %d of %d are %q, of %d", n, size, text, all)
			}
			if text, _ := l.Text(want.streams, size-n, 5); string(text) != want.text[size-n:min(size, size-n+5)] {
				t.Errorf("5 from %d are %q", size-n, text)
			}
		}
		if text, _ := l.Text(want.streams, 0, 1<<20); len(text) == 0 || !strings.HasSuffix(want.text, string(text)) {
			t.Errorf("what is kept is %q", text)
		}
		if text, _ := l.Text(want.streams, size, 10); len(text) != 0 {
			t.Errorf("after the end is %q", text)
		}
	}
	l.Clear()
	if text, size := l.Text(both, 0, 100); len(text) != 0 || size != 0 {
		t.Errorf("cleared: %q, %d", text, size)
	}
	for i := range 200 { // also what was cleared is dropped
		l.push(Line{Stream: Stdout, Text: fmt.Sprint("new ", i)}.block())
		if text, size := l.Text(both, -6, 100); !strings.HasSuffix(fmt.Sprint("new ", i, "\n"), string(text)) || size == 0 {
			t.Fatalf("%q %d", text, size)
		}
	}
}
