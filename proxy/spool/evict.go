package spool

import "time"

const (
	// longStay is for how long a file must presumably be needed to be evicted when the spool is
	// full.
	longStay = 10 * time.Minute
	// searchInterval is how long to wait after a search that has found no such file.
	searchInterval = 100 * time.Millisecond
)

// A Holder is what a file of NewFileFor is kept for. Its methods are called from any goroutine, with
// no lock of the spool held, perhaps also after the file was released, and must not block.
type Holder interface {
	// Remaining is for how long the file will presumably be needed.
	Remaining() time.Duration
	// Evict says that others need the space: the file is to be released at once.
	Evict()
}

// awaitRoom waits until space is given back. When none is about to be, it evicts the file that will
// be needed longest, if that is long. It reports false when no space will be given back, or not
// before expired.
func (s *Spool) awaitRoom(asking *File, expired <-chan time.Time) bool {
	s.mu.Lock()
	if !s.isGivingLocked() {
		if !s.evictLocked(asking) {
			s.mu.Unlock()
			return false
		}
		if !s.isGivingLocked() { // it was given back meanwhile
			s.mu.Unlock()
			return true
		}
	}
	if s.room == nil {
		s.room = make(chan struct{})
	}
	room := s.room
	s.mu.Unlock()
	select {
	case <-room:
		return true
	case <-expired:
		return false
	}
}

// evictLocked evicts the file that will be needed longest; false: none will be needed for long.
// asking, which needs the space, is not among them. s.mu must be held; it is released meanwhile.
func (s *Spool) evictLocked(asking *File) bool {
	if time.Now().Before(s.searchAt) {
		return false
	}
	s.searching = true
	files := make([]*File, 0, len(s.held))
	for f := range s.held {
		files = append(files, f)
	}
	s.mu.Unlock()
	var victim *File
	longest := longStay
	for _, f := range files {
		if d := f.holder.Remaining(); d >= longest && f != asking {
			victim, longest = f, d
		}
	}
	s.mu.Lock()
	s.searching = false
	if victim == nil {
		s.searchAt = time.Now().Add(searchInterval)
		s.notifyLocked()
		return false
	}
	if evicted, is := s.held[victim]; is && !evicted {
		s.held[victim] = true
		s.evicting++
		s.mu.Unlock()
		victim.holder.Evict()
		s.mu.Lock()
	}
	return true
}

// forget says that the space of a file with a holder was given back.
func (s *Spool) forget(f *File) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held[f] {
		s.evicting--
	}
	delete(s.held, f)
}

// isGivingLocked reports whether space is about to be given back. s.mu must be held.
func (s *Spool) isGivingLocked() bool { return s.giving || s.searching || s.evicting > 0 }

// notifyLocked wakes the calls of awaitRoom. s.mu must be held.
func (s *Spool) notifyLocked() {
	if s.room != nil {
		close(s.room)
		s.room = nil
	}
}
