package logs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// defaultRing is the size of the ring where Options leave it open.
const defaultRing = 4 << 20

// closePatience is how long Close waits for a writer that does not move.
const closePatience = 2 * time.Second

// Options of a Log.
type Options struct {
	App       string
	RingBytes int // bound of what waits in memory, text and overhead; 0: 4 MiB

	// Writer gets every line with its prefix, whole lines in each call; nil:
	// nobody. It may be shared by Logs if it is safe for concurrent use. It may
	// block or fail without harm: lines are dropped then.
	Writer  io.Writer
	Color   bool // colour the prefixes
	Unicode bool // │ and ┆ instead of | and :

	File FileOptions // Path empty: no file

	// Journal is the socket of the systemd journal, which gets every line with
	// the fields SYSLOG_IDENTIFIER, PRIORITY, TIDEOVER_APP, TIDEOVER_GENERATION
	// and TIDEOVER_STREAM; empty: no journal.
	Journal string
}

// Log is the output of one app over all its generations. It lives as long as
// the app. All methods may be called from any goroutine; none but Settle,
// Follow and Close waits for anything.
type Log struct {
	app     string
	dropped atomic.Uint64

	pumps sync.WaitGroup // one for every open pipe
	ended chan struct{}  // closed when no line will come any more

	mu      sync.Mutex // guards what follows
	ring    ring
	tails   tails
	readers map[*reader]struct{}
	pipes   map[int]*pipes // open ones by generation
	closed  bool           // no pipe may be opened any more
	sinks   sinks
}

// reader is one place in the ring. Its fields but wake belong to whoever reads.
type reader struct {
	next  uint64
	until uint64        // guarded by Log.mu: lines from this one on are not for it
	wake  chan struct{} // capacity 1: something was pushed since the last look
}

// New starts a Log. The error is that of opening the file.
func New(o Options) (*Log, error) {
	if o.RingBytes <= 0 {
		o.RingBytes = defaultRing
	}
	l := &Log{
		app:     o.App,
		ended:   make(chan struct{}),
		ring:    ring{limit: o.RingBytes},
		tails:   tails{},
		readers: map[*reader]struct{}{},
		pipes:   map[int]*pipes{},
	}
	l.sinks = sinks{log: l, options: o}
	if o.File.Path != "" {
		f, err := openFile(o.File)
		if err != nil {
			return nil, err
		}
		l.sinks.startFile(f)
	}
	l.sinks.startWriter()
	l.sinks.startJournal()
	return l, nil
}

// Note adds a line of tideover's own among those of a generation (0: of none
// in particular).
func (l *Log) Note(generation int, format string, args ...any) {
	text := strings.TrimRight(fmt.Sprintf(format, args...), "\n")
	l.push(Line{Time: time.Now(), App: l.app, Generation: generation, Stream: Note, Text: text})
}

func (l *Log) push(lines ...Line) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range lines {
		l.ring.push(line)
		l.tails.push(line)
	}
	for r := range l.readers {
		r.rouse()
	}
}

// rouse tells a reader that there is something to read; it never waits.
func (r *reader) rouse() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// subscribe adds a reader that begins with the last n lines.
func (l *Log) subscribe(n int) *reader {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.newReader(n)
}

func (l *Log) newReader(n int) *reader {
	r := &reader{wake: make(chan struct{}, 1), until: unending}
	r.next = l.ring.next() - uint64(min(max(n, 0), l.ring.count))
	r.rouse()
	l.readers[r] = struct{}{}
	return r
}

func (l *Log) unsubscribe(r *reader) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.readers, r)
}

// take returns the next lines for r, about 64 KiB of them, and how many it
// missed before these.
func (l *Log) take(r *reader, lines []Line) (_ []Line, missed uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	lines, missed, r.next = l.ring.from(r.next, r.until, 64<<10, lines)
	return lines, missed
}

// Tail returns the last n lines, oldest first, of one generation, or with
// generation 0 of all. Of each of the last generations at least 200 lines are
// kept, within 256 KiB.
func (l *Log) Tail(generation, n int) []Line {
	l.mu.Lock()
	defer l.mu.Unlock()
	from := &l.ring
	if generation != 0 {
		if from = l.tails[generation]; from == nil {
			return nil
		}
	}
	n = max(0, min(n, from.count))
	lines := make([]Line, n)
	for i := range lines {
		lines[i] = from.at(from.next() - uint64(n-i))
	}
	return lines
}

// Follow yields the last n lines and then every new one, until yield returns
// false, ctx ends or the Log is closed. A yield that is too slow loses lines:
// it gets a line of stream Note that says how many.
func (l *Log) Follow(ctx context.Context, n int, yield func(Line) bool) {
	r := l.subscribe(n)
	defer l.unsubscribe(r)
	for ctx.Err() == nil {
		lines, missed := l.take(r, nil)
		if missed > 0 && !yield(l.missing(missed, "this reader was too slow")) {
			return
		}
		for _, line := range lines {
			if ctx.Err() != nil || !yield(line) {
				return
			}
		}
		if len(lines) > 0 {
			continue
		}
		select {
		case <-r.wake:
		case <-ctx.Done():
		case <-l.ended:
			if l.drained(r) {
				return
			}
		}
	}
}

func (l *Log) drained(r *reader) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return r.next >= min(r.until, l.ring.next())
}

func (l *Log) missing(n uint64, why string) Line {
	return Line{Time: time.Now(), App: l.app, Stream: Note, Text: fmt.Sprintf("%d lines dropped: %s", n, why)}
}

// Dropped counts the lines that the Writer, the file or the journal never got.
func (l *Log) Dropped() uint64 { return l.dropped.Load() }

// Reopen opens the file anew by its name, after something moved it away.
func (l *Log) Reopen() error {
	l.mu.Lock()
	s := l.sinks.of(toFile)
	l.mu.Unlock()
	if s == nil {
		return nil
	}
	return s.file.reopenSoon(s.gone)
}

// Close ends all pipes, writes what is left, and ends every Follow. A writer
// that does not move is given up after two seconds; that is an error.
func (l *Log) Close() error {
	if !l.hangUp() {
		return nil // closed already
	}
	l.pumps.Wait()
	close(l.ended)
	return l.finish()
}

// finish waits for the sinks as long as they get on with it.
func (l *Log) finish() error {
	done := make(chan struct{})
	go func() { // ends with the sinks; a stuck one is the system's to end
		l.sinks.running.Wait()
		close(done)
	}()
	for before := l.sinks.progress(); ; before = l.sinks.progress() {
		select {
		case <-done:
			return l.sinks.failed
		case <-time.After(closePatience):
			if l.sinks.progress() == before {
				return errors.New("the output of " + l.app + " could not be written: its writer is stuck")
			}
		}
	}
}
