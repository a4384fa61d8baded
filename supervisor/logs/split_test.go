package logs

import (
	"io"
	"slices"
	"strings"
	"testing"
)

// pieces is how text must be cut: at line feeds, and every 64 KiB of a longer
// line. It is the plain statement of what pump does piece by piece.
func pieces(text string) []string {
	if text == "" {
		return nil
	}
	var all []string
	for _, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		for len(line) > maxLineLength {
			all = append(all, line[:maxLineLength])
			line = line[maxLineLength:]
		}
		all = append(all, line)
	}
	return all
}

// crumbs reads text a few bytes at a time.
type crumbs struct {
	text string
	size int
}

func (c *crumbs) Read(b []byte) (int, error) {
	if c.text == "" {
		return 0, io.EOF
	}
	n := copy(b[:min(len(b), c.size)], c.text)
	c.text = c.text[n:]
	return n, nil
}

func checkPump(t *testing.T, text string, size int) {
	t.Helper()
	l := &Log{ring: ring{limit: 64 << 20}, tails: generationTails{}}
	l.copyLines(&crumbs{text, size}, nil, Line{Generation: 1})
	var lines []Line
	for b := range l.ring.since(0) {
		lines = slices.AppendSeq(lines, b.lines())
	}
	want := pieces(text)
	if len(lines) != len(want) {
		t.Fatalf("%d lines, want %d", len(lines), len(want))
	}
	for i := range want {
		if lines[i].Text != want[i] {
			t.Fatalf("line %d is %.40q (%d bytes), want %.40q (%d bytes)", i, lines[i].Text, len(lines[i].Text), want[i], len(want[i]))
		}
	}
}

func TestPumpSplitsAnyChunking(t *testing.T) {
	long := strings.Repeat("x", maxLineLength)
	for _, text := range []string{"", "\n", "a", "a\n", "a\n\nb", "\r\n", long, long + "\n", long + "y", long + "y\nz", long + long + "\n" + long, "a\n" + long} {
		for _, size := range []int{1000, 4096, maxLineLength - 1, maxLineLength, maxLineLength + 1} {
			checkPump(t, text, size)
		}
	}
}

func FuzzPump(f *testing.F) {
	f.Add("one\ntwo\n\nthree", 3, uint16(0))
	f.Add("long", 70, uint16(3))
	f.Fuzz(func(t *testing.T, text string, size int, repeat uint16) {
		checkPump(t, strings.Repeat(text, 1+int(repeat)%5000), 1+abs(size)%(2*maxLineLength))
	})
}

func abs(n int) int {
	if n < 0 {
		return -(n + 1)
	}
	return n
}
