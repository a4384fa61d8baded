package logs

import (
	"cmp"
	"slices"
	"sync"
)

// Configure changes the options while children write. Lines before the call go to the
// old sinks, later ones to the new sinks. App, Color and Unicode cannot change. It never
// waits and cannot fail. If a new file cannot be opened, a line of stream Note says so
// and the old file stays in use; if there is no old file, opening is tried again while
// there are lines for it.
func (l *Log) Configure(o Options) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	l.ring.limit = cmp.Or(max(o.RingBytes, 0), defaultRing)
	l.sinks.apply(o)
}

// sinks are the destinations of one Log. Log.mu must be held for all methods but remove,
// progress and flush.
type sinks struct {
	log     *Log
	options Options
	live    []*sink        // sinks with a running goroutine
	failed  error          // first error of closing a sink
	running sync.WaitGroup // counts the goroutines of live
}

func (ss *sinks) apply(o Options) {
	before := ss.options
	o.App, o.Color, o.Unicode, o.JSON = before.App, before.Color, before.Unicode, before.JSON
	ss.options = o
	switch {
	case o.File.equal(before.File):
	case o.File.Path == "":
		ss.retire(toFile)
	case before.File.Path == "":
		ss.startFile(newFile(o.File))
	default:
		s := ss.active(toFile)
		s.file.pending.Store(&o.File)
		s.reader.notify()
	}
	if o.Writer != before.Writer {
		ss.retire(toWriter)
		ss.startWriter()
	}
	if o.Journal != before.Journal {
		ss.retire(toJournal)
		ss.startJournal()
	}
}

// sinkKind is the kind of a sink. A Log has at most one active sink of each kind.
type sinkKind int

const (
	toWriter sinkKind = iota
	toFile
	toJournal
)

// active returns the sink of a kind that is not retired, or nil.
func (ss *sinks) active(k sinkKind) *sink {
	for _, s := range ss.live {
		if s.kind == k && s.reader.until == noEnd {
			return s
		}
	}
	return nil
}

func (ss *sinks) retire(k sinkKind) {
	if s := ss.active(k); s != nil {
		s.retire()
	}
}

func (ss *sinks) startFile(f *file) {
	ss.start(&sink{kind: toFile, out: f, format: appendDated, file: f, name: "the log file"})
}

func (ss *sinks) startWriter() {
	if ss.options.Writer == nil {
		return
	}
	format := Style{Color: ss.options.Color, Unicode: ss.options.Unicode}.append
	switch {
	case ss.options.plain:
		format = appendPlain
	case ss.options.JSON:
		format = appendJSON
	}
	ss.start(&sink{kind: toWriter, out: ss.options.Writer, format: format})
}

func (ss *sinks) startJournal() {
	if ss.options.Journal != "" {
		ss.start(&sink{kind: toJournal, out: &journal{path: ss.options.Journal}, format: appendEntry, perLine: true, name: "the journal"})
	}
}

// start starts the goroutine of a sink. It gets the lines from now on.
func (ss *sinks) start(s *sink) {
	s.log, s.reader = ss.log, ss.log.newReader(0)
	s.retired, s.done = make(chan struct{}), make(chan struct{})
	ss.live = append(ss.live, s)
	ss.running.Go(s.run)
}

// remove removes a sink that has ended, and keeps the error of closing it. It locks
// Log.mu.
func (ss *sinks) remove(s *sink, err error) {
	ss.log.mu.Lock()
	defer ss.log.mu.Unlock()
	delete(ss.log.readers, s.reader)
	ss.live = slices.DeleteFunc(ss.live, func(other *sink) bool { return other == s })
	ss.failed = cmp.Or(ss.failed, err)
}

// progress returns the number of writes of all sinks, which shows whether they make
// progress. It locks Log.mu.
func (ss *sinks) progress() (writes uint64) {
	ss.log.mu.Lock()
	defer ss.log.mu.Unlock()
	for _, s := range ss.live {
		writes += s.writes.Load()
	}
	return writes
}
