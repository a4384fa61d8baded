package logs

import (
	"cmp"
	"slices"
	"sync"
)

// Configure puts other options into force while the children go on writing:
// every line before it goes where the old options say, every later one where
// the new ones do. App, Color and Unicode cannot change. It never waits and
// cannot fail: a file that cannot be opened is said in a line of stream Note,
// and the file that was open goes on; where there was none, opening is tried
// again for as long as there are lines for it.
func (l *Log) Configure(o Options) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	l.ring.limit = cmp.Or(max(o.RingBytes, 0), defaultRing)
	l.sinks.change(o)
}

// sinks are where the lines of one Log go. The Log's lock guards them.
type sinks struct {
	log     *Log
	options Options
	live    []*sink        // that have not ended
	failed  error          // what their files met at their end
	running sync.WaitGroup // one for every sink
}

func (ss *sinks) change(o Options) {
	before := ss.options
	o.App, o.Color, o.Unicode = before.App, before.Color, before.Unicode
	ss.options = o
	switch {
	case o.File == before.File:
	case o.File.Path == "":
		ss.retire(toFile)
	case before.File.Path == "":
		ss.startFile(newFile(o.File))
	default:
		s := ss.of(toFile)
		s.file.wanted.Store(&o.File)
		s.reader.rouse()
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

// kind of a sink; a Log has one of each at most that is not retired.
type kind int

const (
	toWriter kind = iota
	toFile
	toJournal
)

// of is the one of this kind; nil: there is none.
func (ss *sinks) of(k kind) *sink {
	for _, s := range ss.live {
		if s.kind == k && s.reader.until == unending {
			return s
		}
	}
	return nil
}

func (ss *sinks) retire(k kind) {
	if s := ss.of(k); s != nil {
		s.retire()
	}
}

func (ss *sinks) startFile(f *file) {
	ss.start(&sink{kind: toFile, out: f, format: appendDated, file: f, name: "the log file"})
}

func (ss *sinks) startWriter() {
	if ss.options.Writer != nil {
		style := Style{Color: ss.options.Color, Unicode: ss.options.Unicode}
		ss.start(&sink{kind: toWriter, out: ss.options.Writer, format: style.append})
	}
}

func (ss *sinks) startJournal() {
	if ss.options.Journal != "" {
		ss.start(&sink{kind: toJournal, out: &journal{path: ss.options.Journal}, format: appendEntry, single: true, name: "the journal"})
	}
}

// start lets a sink have the lines from now on.
func (ss *sinks) start(s *sink) {
	s.log, s.reader = ss.log, ss.log.newReader(0)
	s.retired, s.gone = make(chan struct{}), make(chan struct{})
	ss.live = append(ss.live, s)
	ss.running.Go(s.run)
}

// forget strikes a sink that has ended off the list, and keeps what became of
// its file.
func (ss *sinks) forget(s *sink, err error) {
	ss.log.mu.Lock()
	defer ss.log.mu.Unlock()
	delete(ss.log.readers, s.reader)
	ss.live = slices.DeleteFunc(ss.live, func(other *sink) bool { return other == s })
	ss.failed = cmp.Or(ss.failed, err)
}

// progress counts the writes of all: a sign of life.
func (ss *sinks) progress() (writes uint64) {
	ss.log.mu.Lock()
	defer ss.log.mu.Unlock()
	for _, s := range ss.live {
		writes += s.writes.Load()
	}
	return writes
}
