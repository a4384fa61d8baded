package history

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"tideover/supervisor/api"
	"tideover/supervisor/safepath"
)

const (
	// defaultSize is the size at which the file is rotated. safepath reads files up to 1 MiB.
	defaultSize = 1 << 20
	backups     = 3
	// recentRecords is how many records are kept in memory.
	recentRecords = 256
	// queued is how many records wait for a slow disk.
	queued = 1024
	// closeTimeout bounds Close and Flush: a disk may not answer.
	closeTimeout = 2 * time.Second
)

// Options are the options of a Store.
type Options struct {
	// Path is the file; only the daemon's user may be able to change it, else nothing is written.
	Path    string
	Logger  hclog.Logger
	MaxSize int64 // bytes at which the file is rotated, up to 1 MiB; 0: 1 MiB
}

// Store is the history of a daemon. Its methods may be called from any goroutine.
type Store struct {
	path     string
	maxSize  int64
	logger   hclog.Logger
	rotation safepath.Rotation
	opener   safepath.Opener

	queue  chan *item
	full   atomic.Uint64 // records that found the queue full, until that is recorded
	lost   atomic.Uint64 // records that were never written
	loaded chan struct{} // closed when the files of the daemon before were read, as far as that is possible
	ended  chan struct{} // closed when the writer has ended

	sending sync.RWMutex // held shared to send to queue, exclusively to close it
	closed  bool         // guarded by sending

	files sync.Mutex // held while the files are read, renamed or written

	mu     sync.Mutex // guards what follows
	last   uint64     // id of the newest record
	recent []api.Record
	wake   chan struct{} // closed, and made anew, when there is a new record
}

// Ref is the record of a beginning, for those that refer to it.
type Ref struct {
	id   uint64 // 0: not written; the writer's goroutine owns it
	once bool   // what refers to it may be written already
}

// item is a record on its way to the file.
type item struct {
	record  api.Record
	begins  *Ref          // gets the id
	of      *Ref          // Record.Begun is its id
	flushed chan struct{} // closed when all before it are written or lost; there is no record then
}

// Open returns a running Store. It does not wait for the disk.
func Open(o Options) *Store {
	s := &Store{path: o.Path, maxSize: o.MaxSize, logger: o.Logger, rotation: safepath.Rotation{Backups: backups, Mode: 0o600},
		queue: make(chan *item, queued), loaded: make(chan struct{}), ended: make(chan struct{}), wake: make(chan struct{})}
	if s.maxSize <= 0 || s.maxSize > defaultSize {
		s.maxSize = defaultSize
	}
	go (&writer{store: s}).run()
	return s
}

// Add adds a record. It never waits. Its time is now, unless it has one.
func (s *Store) Add(r api.Record) { s.send(item{record: r}) }

// Begin is Add of a record to which others will refer.
func (s *Store) Begin(r api.Record) *Ref {
	ref := &Ref{}
	s.send(item{record: r, begins: ref})
	return ref
}

// BeginOnce is Begin, unless a daemon before has written the record: that of the same kind, app and time. What
// is added to it then is not added if it was already.
func (s *Store) BeginOnce(r api.Record) *Ref {
	ref := &Ref{once: true}
	s.send(item{record: r, begins: ref})
	return ref
}

// AddTo is Add of a record that refers to one of Begin.
func (s *Store) AddTo(ref *Ref, r api.Record) { s.send(item{record: r, of: ref}) }

func (s *Store) send(i item) {
	if i.record.Time.IsZero() {
		i.record.Time = time.Now()
	}
	s.sending.RLock()
	defer s.sending.RUnlock()
	if s.closed {
		return
	}
	select {
	case s.queue <- &i:
	default:
		s.full.Add(1)
		s.lost.Add(1)
	}
}

// Lost returns how many records were not written since the store was opened.
func (s *Store) Lost() uint64 { return s.lost.Load() }

// Flush waits until what was added is written or lost, for 2 s at most.
func (s *Store) Flush() error { return s.flush(context.Background()) }

// flush is Flush until ctx ends.
func (s *Store) flush(ctx context.Context) error {
	late := time.NewTimer(closeTimeout)
	defer late.Stop()
	done := make(chan struct{})
	s.sending.RLock()
	if s.closed {
		s.sending.RUnlock()
		return nil
	}
	select {
	case s.queue <- &item{flushed: done}:
		s.sending.RUnlock()
	case <-late.C:
		s.sending.RUnlock()
		return errStuck
	case <-ctx.Done():
		s.sending.RUnlock()
		return ctx.Err()
	}
	select {
	case <-done:
		return nil
	case <-late.C:
		return errStuck
	case <-ctx.Done():
		return ctx.Err()
	}
}

var errStuck = errors.New("the history is not written: its disk does not answer")

// Close writes what was added, for 2 s at most. What is added later is ignored.
func (s *Store) Close() error {
	s.sending.Lock()
	if !s.closed {
		s.closed = true
		close(s.queue)
	}
	s.sending.Unlock()
	select {
	case <-s.ended:
		return nil
	case <-time.After(closeTimeout):
		return errStuck
	}
}

// keep adds a record that is written to those in memory, and wakes those that follow.
func (s *Store) keep(r api.Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = r.ID
	if len(s.recent) >= recentRecords {
		s.recent = append(s.recent[:0:0], s.recent[recentRecords/4:]...)
	}
	s.recent = append(s.recent, r)
	close(s.wake)
	s.wake = make(chan struct{})
}

const (
	maxText   = 1000     // characters of one text in a record
	maxRecord = 64 << 10 // bytes of a record
)

// encode returns the line of a record. Texts are shortened, and the details of a record that is too
// long are left out.
func encode(r *api.Record) ([]byte, error) {
	for _, text := range []*string{&r.Cause, &r.Error, &r.Hint, &r.Probe, &r.By.Command} {
		*text = shorten(*text)
	}
	r.Output, r.Warnings = shortenAll(r.Output), shortenAll(r.Warnings)
	line, err := json.Marshal(r)
	if err == nil && len(line) > maxRecord {
		r.Output, r.Warnings, r.Changes, r.Settings = nil, nil, nil, nil
		line, err = json.Marshal(r)
	}
	return append(line, '\n'), err
}

func shortenAll(texts []string) []string {
	var all []string
	for _, text := range texts {
		all = append(all, shorten(text))
	}
	return all
}

func shorten(text string) string {
	if runes := []rune(text); len(runes) > maxText {
		return string(runes[:maxText-1]) + "…"
	}
	return text
}
