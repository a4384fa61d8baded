package spool

import (
	"cmp"
	"slices"
	"time"
)

const (
	// longStay is for how long a file must presumably be needed to be evicted for a write that has
	// waited for a second or less. For one that has waited for n seconds it is an nth of that, and
	// shortStay at least.
	longStay  = 10 * time.Minute
	shortStay = time.Minute
	// roomTimeout is how long a write waits for a file that can be evicted.
	roomTimeout = 100 * time.Millisecond
	// searchInterval is the time from the end of a search for such files to the next one, at least.
	// A search that takes long is repeated after searchPause times as long, so that searches take a
	// tenth of a processor at most.
	searchInterval = 20 * time.Millisecond
	searchPause    = 9
)

// A Holder is what a file of NewFileFor is kept for. Its methods are called from any goroutine, with
// no lock of the spool held, perhaps also after the file was released, and must not block.
type Holder interface {
	// Remaining is for how long the file will presumably be needed.
	Remaining() time.Duration
	// Evict says that others need the space: the file is to be released at once, or as soon as a call
	// of Append has returned.
	Evict()
}

// A candidate is a file that can be evicted.
type candidate struct {
	file      *File
	remaining time.Duration
	blocks    int
}

// awaitRoom waits until space is given back, for f, which needs n blocks. As long as less is free, or
// about to be, than all waiting calls need, files are evicted, those first that will be needed
// longest; f may be one of them. It reports false when no space will be given back, or not before
// expired.
func (s *Spool) awaitRoom(f *File, n int, expired <-chan time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wanted += n
	defer func() { s.wanted -= n }()
	waited := f.waited + time.Since(f.fullSince)
	stay := max(shortStay, time.Duration(float64(longStay)/max(1, waited.Seconds())))
	for giveUp := time.Now().Add(roomTimeout); ; {
		if s.room == nil {
			s.room = make(chan struct{})
		}
		room := s.room
		s.evictLocked(stay)
		switch {
		case s.held[f] > 0:
			return false
		case n <= s.freeLocked():
			return true
		case !s.isGivingLocked() && !time.Now().Before(giveUp):
			return false
		}
		again := time.NewTimer(max(time.Until(s.searchAt), searchInterval))
		s.mu.Unlock()
		over, given := false, false
		select {
		case <-room:
			over, given = true, true
		case <-expired:
			over = true
		case <-again.C:
		}
		again.Stop()
		s.mu.Lock()
		if over {
			return given
		}
	}
}

// evictLocked evicts files that will be needed for stay or longer, until as much is about to be given
// back as waiting calls need. s.mu must be held; it is released meanwhile.
func (s *Spool) evictLocked(stay time.Duration) {
	for s.wanted > s.freeLocked()+s.leaving+s.returning && !s.searching {
		if !time.Now().Before(s.searchAt) {
			s.searchLocked()
		}
		last := len(s.candidates) - 1
		if last < 0 || s.candidates[last].remaining < stay {
			return
		}
		c := s.candidates[last]
		s.candidates = s.candidates[:last]
		if evicted, is := s.held[c.file]; !is || evicted > 0 {
			continue
		}
		s.held[c.file] = c.blocks
		s.leaving += c.blocks
		s.mu.Unlock()
		c.file.holder.Evict()
		s.mu.Lock()
	}
}

// searchLocked looks for files that can be evicted. s.mu must be held; it is released meanwhile.
func (s *Spool) searchLocked() {
	s.searching = true
	files := make([]*File, 0, len(s.held))
	for f, evicted := range s.held {
		if evicted == 0 {
			files = append(files, f)
		}
	}
	s.mu.Unlock()
	start := time.Now()
	var found []candidate
	for _, f := range files {
		if d := f.holder.Remaining(); d >= shortStay {
			found = append(found, candidate{f, d, f.length()})
		}
	}
	slices.SortFunc(found, func(a, b candidate) int { return cmp.Compare(a.remaining, b.remaining) })
	now := time.Now()
	s.mu.Lock()
	s.searching = false
	s.candidates = found
	s.searchAt = now.Add(max(searchInterval, searchPause*now.Sub(start)))
}

// forget says that the blocks of a file with a holder are among those that are returned.
func (s *Spool) forget(f *File) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leaving -= s.held[f]
	delete(s.held, f)
}

// freeLocked is the number of blocks that are free. s.mu must be held.
func (s *Spool) freeLocked() int { return int(s.options.Limit/BlockSize) - s.blocks }

// isGivingLocked reports whether space is about to be given back, or a search is under way. s.mu must
// be held.
func (s *Spool) isGivingLocked() bool { return s.leaving+s.returning > 0 || s.searching }

// notifyLocked wakes the calls of awaitRoom. s.mu must be held.
func (s *Spool) notifyLocked() {
	if s.room != nil {
		close(s.room)
		s.room = nil
	}
}
