package logs

import "slices"

// cleared is where the text of a Log begins: see Clear.
type cleared struct {
	seq  uint64             // of the first line
	text [streamCount]int64 // bytes before it, by stream
}

// Clear makes Text begin with the next line. Files, and readers, are not changed.
func (l *Log) Clear() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cleared = cleared{seq: l.ring.next(), text: l.ring.written()}
}

// written is the text of all lines so far, by stream.
func (r *ring) written() [streamCount]int64 {
	all := r.gone
	for b := range r.since(r.first) {
		all[b.Stream] += int64(len(b.Text)) + 1
	}
	return all
}

// Text returns bytes of the lines of some streams, each with a line feed, as of a file that has them
// all, and the size of that file. What is no longer in memory is left out. A negative offset counts
// from the end. It is bound bytes at most.
func (l *Log) Text(streams []Stream, offset int64, bound int) (text []byte, size int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	written := l.ring.written()
	for _, s := range streams {
		size += written[s] - l.cleared.text[s]
	}
	if offset < 0 {
		offset = max(0, size+offset)
	}
	at := int64(0) // where the next line begins
	for _, s := range streams {
		at += max(0, l.ring.gone[s]-l.cleared.text[s])
	}
	for b := range l.ring.since(max(l.ring.first, l.cleared.seq)) {
		if len(text) >= bound {
			break
		}
		if !slices.Contains(streams, b.Stream) {
			continue
		}
		end := at + int64(len(b.Text)) + 1
		if end > offset {
			text = append(text, (b.Text + "\n")[max(0, offset-at):]...)
		}
		at = end
	}
	return text[:min(len(text), bound)], size
}
