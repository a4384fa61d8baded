package logs

// lineCost is the memory of a line beside its text, in bytes.
const lineCost = 96

// ring keeps the newest lines up to a number of bytes. Every line has a sequence number,
// so a slow reader knows how many lines it missed. It is not safe for concurrent use.
type ring struct {
	lines []Line // circular; the oldest line is lines[head]
	head  int
	count int
	first uint64 // sequence number of the oldest
	bytes int
	limit int
	gone  [streamCount]int64 // text of the lines that were dropped, in bytes with line feeds, by stream
}

// next is the sequence number of the next line.
func (r *ring) next() uint64 { return r.first + uint64(r.count) }

// push appends a line and drops the oldest ones to stay below the limit.
func (r *ring) push(l Line) {
	cost := len(l.Text) + lineCost
	for r.count > 0 && r.bytes+cost > r.limit {
		r.drop()
	}
	if r.count == len(r.lines) {
		r.grow()
	}
	r.lines[(r.head+r.count)%len(r.lines)] = l
	r.count++
	r.bytes += cost
}

func (r *ring) drop() {
	oldest := &r.lines[r.head]
	r.bytes -= len(oldest.Text) + lineCost
	r.gone[oldest.Stream] += int64(len(oldest.Text)) + 1
	*oldest = Line{} // release the text
	r.head = (r.head + 1) % len(r.lines)
	r.count--
	r.first++
}

func (r *ring) grow() {
	larger := make([]Line, max(64, 2*len(r.lines)))
	for i := range r.count {
		larger[i] = r.lines[(r.head+i)%len(r.lines)]
	}
	r.lines, r.head = larger, 0
}

// at returns the line with sequence number seq, which must be in the ring.
func (r *ring) at(seq uint64) Line {
	return r.lines[(r.head+int(seq-r.first))%len(r.lines)]
}

// from appends to lines those from seq up to and without end: at least one, and up to
// about bound bytes. It returns how many were dropped before, and the next seq.
func (r *ring) from(seq, end uint64, bound int, lines []Line) (_ []Line, missed, next uint64) {
	if oldest := min(r.first, end); seq < oldest {
		missed = oldest - seq
		seq = oldest
	}
	for size := 0; seq < min(end, r.next()) && size < bound; seq++ {
		l := r.at(seq)
		lines = append(lines, l)
		size += len(l.Text) + lineCost
	}
	return lines, missed, seq
}
