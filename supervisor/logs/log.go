package logs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// defaultRing is the default of Options.RingBytes.
const defaultRing = 4 << 20

const (
	// stuckAfter is how long Close waits for a writer that makes no progress.
	stuckAfter = 2 * time.Second
	// closeTimeout bounds Close in all: a reader may be slow and make progress.
	closeTimeout = 5 * time.Second
)

// Options are the options of a Log.
type Options struct {
	App       string
	RingBytes int // bound of the lines in memory, text and overhead; 0: 4 MiB

	// Writer gets every line with its prefix, whole lines in each call; nil: none.
	// Several Logs may share it if it is safe for concurrent use. If it blocks or
	// fails, lines are dropped.
	Writer  io.Writer
	Color   bool // colour the prefixes
	Unicode bool // │ and ┆ instead of | and :
	JSON    bool // Writer gets each line as a JSON object

	File FileOptions // Path empty: no file

	// Journal is the path of the systemd journal's socket. It gets every line with the
	// fields SYSLOG_IDENTIFIER, PRIORITY, TIDEOVER_APP, TIDEOVER_GENERATION and
	// TIDEOVER_STREAM. Empty: no journal.
	Journal string

	// Spools says that another process goes on when this one is killed: it has what was read of the pipes
	// and is not in the file, if it keeps the pipes and their spools. See KeptPipe and ReadEnds.
	Spools bool

	plain bool // Writer gets the lines without a prefix
}

// Log is the output of one app over all its generations. All methods may be called from
// any goroutine. Only Settle, Follow, Detach, Reopen and Close wait.
type Log struct {
	app           string
	withSpools    bool
	dropped       atomic.Uint64
	formatDropped dropFormat // of the line in the place of dropped ones; nil: plain text

	copiers sync.WaitGroup // counts the goroutines that read pipes
	ended   chan struct{}  // closed after the last line

	mu      sync.Mutex // guards what follows
	ring    ring
	cleared cleared
	tails   generationTails
	readers map[*reader]struct{}
	pipes   map[int]*pipes   // open pipes by generation
	spools  map[int][]*Spool // of pipes that have been opened, by generation; see AwaitWritten
	closed  bool             // no further pipe is opened
	sinks   sinks
}

// reader is a position in the ring. Only its goroutine uses next.
type reader struct {
	next  uint64
	until uint64        // guarded by Log.mu: it gets only the lines before this one
	wake  chan struct{} // capacity 1: there may be new lines
}

// New returns a running Log. The file is opened in the background; see FileOptions.Check.
func New(o Options) *Log {
	if o.RingBytes <= 0 {
		o.RingBytes = defaultRing
	}
	l := &Log{
		app:        o.App,
		withSpools: o.Spools,
		ended:      make(chan struct{}),
		ring:       ring{limit: o.RingBytes},
		tails:      generationTails{},
		readers:    map[*reader]struct{}{},
		pipes:      map[int]*pipes{},
		spools:     map[int][]*Spool{},
	}
	l.sinks = sinks{log: l, options: o}
	if o.File.Path != "" {
		l.sinks.startFile(newFile(o.File))
	}
	l.sinks.startWriter()
	l.sinks.startJournal()
	return l
}

// Note adds a message of tideover itself to the lines of a generation; 0: of none.
func (l *Log) Note(generation int, format string, args ...any) {
	text := strings.TrimRight(fmt.Sprintf(format, args...), "\n")
	l.push(Line{Time: time.Now(), App: l.app, Generation: generation, Stream: Note, Text: text}.block())
}

func (l *Log) push(b block) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ring.push(b)
	if b.spool != nil && l.sinks.active(toFile) == nil {
		b.spool.giveUp(b.end) // no file gets it
	}
	b.spool = nil
	l.tails.push(b)
	for r := range l.readers {
		r.notify()
	}
}

// notify wakes the goroutine of a reader. It never waits.
func (r *reader) notify() {
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

// newReader is subscribe; l.mu must be held.
func (l *Log) newReader(n int) *reader {
	r := &reader{wake: make(chan struct{}, 1), until: noEnd}
	r.next = l.ring.next() - uint64(min(max(n, 0), l.ring.count))
	r.notify()
	l.readers[r] = struct{}{}
	return r
}

func (l *Log) unsubscribe(r *reader) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.readers, r)
}

// next returns the next lines for r, up to about 64 KiB, and the number of lines that were
// dropped before them.
func (l *Log) next(r *reader, blocks []block) (_ []block, missed uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	blocks, missed, r.next = l.ring.from(r.next, r.until, 64<<10, blocks)
	return blocks, missed
}

// Tail returns the last n lines of one generation, or of all if generation is 0, oldest
// first. 200 lines, but at most 256 KiB, are kept of each of the last 8 generations.
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
	lines := make([]Line, 0, n)
	for b := range from.since(from.next() - uint64(n)) {
		lines = slices.AppendSeq(lines, b.lines())
	}
	return lines
}

// Follow yields the last n lines and then every new one, until yield returns false, ctx
// ends or the Log is closed. If yield is too slow, lines are dropped; a line of stream
// Note says how many.
func (l *Log) Follow(ctx context.Context, n int, yield func(Line) bool) {
	r := l.subscribe(n)
	defer l.unsubscribe(r)
	for ctx.Err() == nil {
		blocks, missed := l.next(r, nil)
		if missed > 0 && !yield(l.droppedNote(missed, "this reader was too slow")) {
			return
		}
		for _, b := range blocks {
			for line := range b.lines() {
				if ctx.Err() != nil || !yield(line) {
					return
				}
			}
		}
		if len(blocks) > 0 {
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

// drained reports whether r has got all its lines.
func (l *Log) drained(r *reader) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return r.next >= min(r.until, l.ring.next())
}

func (l *Log) droppedNote(n uint64, why string) Line {
	text := fmt.Sprintf("%d lines dropped: %s", n, why)
	if format := l.formatDropped.Load(); format != nil {
		text = strings.TrimRight((*format)(n, why), "\n")
	}
	return Line{Time: time.Now(), App: l.app, Stream: Note, Text: text}
}

// Dropped returns the number of lines that were not written to the Writer, the file or
// the journal.
func (l *Log) Dropped() uint64 { return l.dropped.Load() }

// Reopen reopens the file at its path, after another program has moved it.
func (l *Log) Reopen() error {
	l.mu.Lock()
	s := l.sinks.active(toFile)
	l.mu.Unlock()
	if s == nil {
		return nil
	}
	return s.file.requestReopen(s.done)
}

// Close closes all pipes, writes the remaining lines, and ends every Follow. It is an
// error if a writer makes no progress for two seconds, or is not done after five.
func (l *Log) Close() error { return l.end(stuckAfter, closeTimeout) }

// end is Close with other bounds.
func (l *Log) end(stuckAfter, timeout time.Duration) error {
	if !l.closePipes() {
		return nil // closed already
	}
	l.copiers.Wait()
	close(l.ended)
	return l.finish(stuckAfter, timeout)
}

// finish waits for the sinks while they make progress, up to timeout.
func (l *Log) finish(stuckAfter, timeout time.Duration) error {
	done := make(chan struct{})
	go func() { // ends with the sinks; a stuck one ends with the process
		l.sinks.running.Wait()
		close(done)
	}()
	late := time.NewTimer(timeout)
	defer late.Stop()
	for before := l.sinks.progress(); ; before = l.sinks.progress() {
		select {
		case <-done:
			return l.sinks.failed
		case <-late.C:
			return errors.New("the output of " + l.app + " could not be written: its writer is too slow")
		case <-time.After(stuckAfter):
			if l.sinks.progress() == before {
				return errors.New("the output of " + l.app + " could not be written: its writer is stuck")
			}
		}
	}
}
