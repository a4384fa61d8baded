package history

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"tideover/supervisor/api"
	"tideover/supervisor/safepath"
)

// writer is the goroutine that writes. It owns its fields.
type writer struct {
	store *Store
	file  *os.File // nil: not open
	size  int64
	torn  bool // the file does not end with a line feed

	loaded  bool   // the ids that were given before are known
	missing uint64 // records that could not be written since the last that was
	failed  error  // why; nil: they are written
	dirty   bool   // written, and not on the disk yet
}

func (w *writer) run() {
	s := w.store
	defer close(s.ended)
	if err := w.load(); err != nil {
		s.logger.Warn("cannot read the history", "error", err)
	}
	close(s.loaded)
	for i := range s.queue {
		if i.flushed != nil {
			w.sync()
			close(i.flushed)
			continue
		}
		w.add(*i)
		if len(s.queue) == 0 {
			w.sync()
		}
	}
	w.sync()
	if w.file != nil {
		w.file.Close()
	}
}

// load takes the newest records of the daemon before into memory.
func (w *writer) load() error {
	s := w.store
	records, err := s.readFiles(0)
	if err != nil {
		return err
	}
	w.loaded = true
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(records); n > 0 {
		s.last = records[n-1].ID
		s.recent = append(s.recent, records[max(0, n-recentRecords):]...)
	}
	return nil
}

// add writes a record, and before it one that says how many were lost.
func (w *writer) add(i item) {
	s := w.store
	if w.known(i) {
		return
	}
	w.missing += s.full.Swap(0)
	if w.missing > 0 {
		cause := "the disk was too slow"
		if w.failed != nil {
			cause = w.failed.Error()
		}
		if w.write(&api.Record{Time: i.record.Time, Kind: api.RecordsLost, Count: w.missing, Cause: cause}) == nil {
			w.missing = 0
		}
	}
	if i.of != nil {
		i.record.Begun = i.of.id
	}
	if err := w.write(&i.record); err != nil {
		w.missing++
		s.lost.Add(1)
		return
	}
	if i.begins != nil {
		i.begins.id = i.record.ID
	}
}

// known reports whether a daemon before has written a record. Then its id is that of the beginning.
func (w *writer) known(i item) bool {
	ref := i.begins
	if ref == nil {
		ref = i.of
	}
	if ref == nil || !ref.once {
		return false
	}
	s := w.store
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.recent {
		switch {
		case r.Kind != i.record.Kind || r.App != i.record.App:
		case i.begins != nil && r.Time.Equal(i.record.Time):
			ref.id = r.ID
			return true
		case i.of != nil && ref.id > 0 && r.Begun == ref.id:
			return true
		}
	}
	return false
}

// write writes a record and shows it to those that read. After an error the file is as before, but
// for a line that may be torn.
func (w *writer) write(r *api.Record) error {
	s := w.store
	err := func() error {
		if !w.loaded {
			if err := w.load(); err != nil {
				return err
			}
		}
		r.ID = s.newest() + 1
		line, err := encode(r)
		if err != nil {
			return err
		}
		s.files.Lock()
		defer s.files.Unlock()
		if err := w.open(int64(len(line))); err != nil {
			return err
		}
		return w.append(line)
	}()
	switch {
	case err != nil && w.failed == nil:
		s.logger.Warn("cannot write the history", "path", s.path, "error", err)
	case err == nil && w.failed != nil:
		s.logger.Info("history written again", "lost", w.missing)
	}
	if w.failed = err; err != nil {
		return err
	}
	w.dirty = true
	s.keep(*r)
	return nil
}

// open opens the file, and rotates it if it has no room for more bytes. store.files must be held.
func (w *writer) open(more int64) error {
	s := w.store
	if w.file != nil && w.moved() {
		w.file.Close()
		w.file = nil
	}
	if w.file == nil {
		f, err := s.opener.OpenLog(s.path, s.rotation.Mode)
		if err != nil {
			return err
		}
		if err := w.use(f); err != nil {
			return err
		}
	}
	if w.size == 0 || w.size+more+1 <= s.maxSize {
		return nil
	}
	w.sync()
	f, err := s.opener.RotateLog(s.path, s.rotation)
	if err != nil {
		return fmt.Errorf("cannot rotate the file: %w", err)
	}
	return w.use(f)
}

// moved reports whether the file was removed.
func (w *writer) moved() bool {
	var st unix.Stat_t
	return unix.Fstat(int(w.file.Fd()), &st) == nil && st.Nlink == 0
}

// use writes to f from now on.
func (w *writer) use(f *os.File) error {
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &safepath.NotRegularError{Kind: "no regular file"}
	}
	if err != nil {
		f.Close()
		return err
	}
	if w.file != nil {
		w.file.Close()
	}
	// A daemon that was killed, or a machine that lost power, may have left a line without its end: an
	// empty line costs nothing.
	w.file, w.size, w.torn = f, info.Size(), info.Size() > 0
	return nil
}

// append writes a line.
func (w *writer) append(line []byte) error {
	if w.torn {
		line = append([]byte{'\n'}, line...)
	}
	n, err := w.file.Write(line)
	w.size += int64(n)
	if n >= len(line)-1 { // a line feed that is missing is written in front of the next line
		w.torn = n < len(line)
		return nil
	}
	if n > 0 {
		w.torn = w.file.Truncate(w.size-int64(n)) != nil
		if !w.torn {
			w.size -= int64(n)
		}
	}
	if err == nil {
		err = errors.New("short write")
	}
	return err
}

// sync forces what was written to the disk: an id must not be given again after a power failure.
func (w *writer) sync() {
	if !w.dirty || w.file == nil {
		return
	}
	w.dirty = false
	w.file.Sync() // what a failed disk loses was shown already
}
