package logs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// paper is a writer that can be looked at while it is written to.
type paper struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (p *paper) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.Write(b)
}

func (p *paper) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.String()
}

// stuck is a writer that does not return before it is freed.
type stuck struct {
	paper
	entered chan struct{} // receives once
	free    chan struct{}
	once    sync.Once
}

func newStuck() *stuck {
	return &stuck{entered: make(chan struct{}, 1), free: make(chan struct{})}
}

func (s *stuck) Write(b []byte) (int, error) {
	s.once.Do(func() { s.entered <- struct{}{} })
	<-s.free
	return s.paper.Write(b)
}

func start(t *testing.T, o Options) *Log {
	t.Helper()
	o.App = "shop"
	return New(o)
}

// say writes text as a child of a generation would, and waits until it is read.
func say(t *testing.T, l *Log, generation int, s Stream, text string) {
	t.Helper()
	w, err := l.Pipe(generation, s)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	w.Close()
	l.Settle(t.Context(), generation)
}

func texts(lines []Line) string {
	var all []string
	for _, l := range lines {
		all = append(all, l.Text)
	}
	return strings.Join(all, ",")
}

func TestLinesArriveWithTheirPrefix(t *testing.T) {
	var out paper
	l := start(t, Options{Writer: &out})
	say(t, l, 3, Stdout, "one\n\ntwo")
	say(t, l, 3, Stderr, "three\n")
	l.Note(3, "it said %d lines\n", 4)
	l.Note(0, "of no generation")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	want := "shop.3 | one\nshop.3 | \nshop.3 | two\nshop.3 : three\nshop.3 - it said 4 lines\nshop - of no generation\n"
	if got := out.String(); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestPrefixInColourIsStable(t *testing.T) {
	line := Line{App: "shop", Generation: 3, Stream: Stderr}
	if got := line.Prefix(Style{Unicode: true}); got != "shop.3 ┆ " {
		t.Errorf("got %q", got)
	}
	line.Stream = Stdout
	first := line.Prefix(Style{Color: true})
	line.Generation = 4
	second := line.Prefix(Style{Color: true})
	if strings.Replace(first, "3 |", "4 |", 1) != second || !strings.HasPrefix(first, "\x1b[") {
		t.Errorf("got %q and %q", first, second)
	}
}

func TestChildsEndBlocksAndIsLarge(t *testing.T) {
	l := start(t, Options{})
	defer l.Close()
	w, err := l.Pipe(1, Stdout)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	flags, err := unix.FcntlInt(w.Fd(), unix.F_GETFL, 0)
	if err != nil || flags&unix.O_NONBLOCK != 0 {
		t.Errorf("flags %x, %v: a program expects to block", flags, err)
	}
	fdflags, _ := unix.FcntlInt(w.Fd(), unix.F_GETFD, 0)
	if fdflags&unix.FD_CLOEXEC == 0 {
		t.Error("other children would inherit the pipe")
	}
	if size, _ := unix.FcntlInt(w.Fd(), unix.F_GETPIPE_SZ, 0); size != pipeSize {
		t.Errorf("the pipe holds %d bytes", size)
	}
}

func TestTailIsKeptPerGeneration(t *testing.T) {
	l := start(t, Options{RingBytes: 10_000})
	defer l.Close()
	say(t, l, 1, Stderr, "Traceback:\nImportError: shop")
	say(t, l, 2, Stdout, strings.Repeat("noise\n", 10_000))
	if got := texts(l.Tail(1, 20)); got != "Traceback:,ImportError: shop" {
		t.Errorf("the failed generation's last words are %q", got)
	}
	if got := len(l.Tail(2, 1000)); got != tailLines {
		t.Errorf("%d lines kept, want %d", got, tailLines)
	}
	if got := texts(l.Tail(0, 2)); got != "noise,noise" {
		t.Errorf("last of all: %q", got)
	}
	if got := l.Tail(7, 5); len(got) != 0 {
		t.Errorf("an unknown generation said %q", texts(got))
	}
	for generation := 3; generation <= 12; generation++ {
		say(t, l, generation, Stdout, "here\n")
	}
	if len(l.tails) != tailGenerations || len(l.Tail(1, 1)) != 0 || len(l.Tail(12, 1)) != 1 {
		t.Errorf("%d generations are remembered", len(l.tails))
	}
}

// flood writes size bytes of numbered lines and returns how many there were.
func flood(t *testing.T, l *Log, size int) int {
	t.Helper()
	w, err := l.Pipe(1, Stdout)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	dots, lines := strings.Repeat(".", 400), 0
	var chunk bytes.Buffer
	for written := 0; written < size; written += chunk.Len() {
		chunk.Reset()
		for chunk.Len() < 60_000 {
			lines++
			fmt.Fprintf(&chunk, "line %d of a flood that nobody reads in time %s\n", lines, dots)
		}
		if _, err := w.Write(chunk.Bytes()); err != nil {
			t.Fatal(err)
		}
	}
	return lines
}

// A child that floods while terminal and follower are stuck is not stopped,
// costs bounded memory, and what is missing is counted to the line.
func TestFloodWithStuckWriterAndFollower(t *testing.T) {
	out := newStuck()
	l := start(t, Options{Writer: out, RingBytes: 1 << 20})
	followed := make(chan struct{})
	release := make(chan struct{})
	var got, lost int
	go func() {
		defer close(followed)
		l.Follow(t.Context(), 0, func(line Line) bool {
			<-release
			if n := 0; line.Stream == Note {
				fmt.Sscanf(line.Text, "%d lines dropped: this reader", &n)
				lost += n
			} else {
				got++
			}
			return true
		})
	}()
	l.Note(1, "wake everybody")
	<-out.entered

	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	total := flood(t, l, 100<<20) + 1 // with the note
	l.Settle(t.Context(), 1)
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 6<<20 {
		t.Errorf("the heap grew by %d bytes for a ring of 1 MiB", grown)
	}

	close(out.free)
	close(release)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	<-followed
	written := strings.Count(out.String(), " of a flood") + strings.Count(out.String(), "wake everybody")
	if dropped := int(l.Dropped()); dropped == 0 || written+dropped != total {
		t.Errorf("%d written and %d dropped of %d", written, dropped, total)
	}
	if !strings.Contains(out.String(), fmt.Sprintf("shop - %d lines dropped: the writer was too slow", l.Dropped())) {
		t.Error("the writer was not told")
	}
	// The note that wakes all readers is a Note as well: it counts in neither.
	if got+lost != total-1 && got+lost != total {
		t.Errorf("the follower saw %d and lost %d of %d", got, lost, total)
	}
	t.Logf("100 MiB, %d lines: writer got %d, follower %d", total, written, got)
}

func TestCloseGivesUpAStuckWriter(t *testing.T) {
	out := newStuck()
	l := start(t, Options{Writer: out})
	l.Note(1, "never written")
	<-out.entered
	err := l.Close()
	if err == nil || !strings.Contains(err.Error(), "stuck") {
		t.Errorf("got %v", err)
	}
	close(out.free)
	l.sinks.running.Wait()
}

func TestCloseEndsAPipeThatIsStillOpen(t *testing.T) {
	var out paper
	l := start(t, Options{Writer: &out})
	w, err := l.Pipe(1, Stdout)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	io.WriteString(w, "a grandchild lives on")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); got != "shop.1 | a grandchild lives on\n" {
		t.Errorf("got %q", got)
	}
	if _, err := l.Pipe(2, Stdout); err == nil {
		t.Error("a closed log gave a pipe")
	}
	if err := l.Close(); err != nil {
		t.Errorf("closing twice: %v", err)
	}
}

func TestSettleWaitsForTheLastPipeOrForItsContext(t *testing.T) {
	l := start(t, Options{})
	defer l.Close()
	w, err := l.Pipe(1, Stdout)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	l.Settle(ctx, 1)
	if ctx.Err() == nil {
		t.Error("settled while a pipe was open")
	}
	io.WriteString(w, "last words")
	w.Close()
	l.Settle(t.Context(), 1)
	if got := texts(l.Tail(1, 1)); got != "last words" {
		t.Errorf("got %q", got)
	}
	l.Settle(t.Context(), 99)
}

func TestFollowBeginsWithTheLastLines(t *testing.T) {
	l := start(t, Options{})
	say(t, l, 1, Stdout, "a\nb\nc\n")
	var seen []Line
	l.Follow(t.Context(), 2, func(line Line) bool {
		seen = append(seen, line)
		if line.Text == "c" {
			l.Note(1, "live")
		}
		return line.Text != "live"
	})
	if texts(seen) != "b,c,live" {
		t.Errorf("got %q", texts(seen))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	l.Follow(ctx, 5, func(Line) bool { t.Error("followed after its end"); return true })
	if len(l.readers) != 0 {
		t.Errorf("%d readers were left behind", len(l.readers))
	}
	l.Close()
}

// flaky fails a number of times, taking half of what it is given, then works.
type flaky struct {
	paper
	failures int
}

var errNoSpace = errors.New("no space left on device")

func (f *flaky) Write(b []byte) (int, error) {
	if f.failures > 0 {
		f.failures--
		n, _ := f.paper.Write(b[:len(b)/2])
		return n, errNoSpace
	}
	return f.paper.Write(b)
}
