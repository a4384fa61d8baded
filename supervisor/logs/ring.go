package logs

// lineCost is what a line takes in memory beside its text.
const lineCost = 96

// ring keeps the newest lines within a number of bytes. Every line has a
// sequence number, so that a reader which comes too late knows how many it
// missed. It is not safe for concurrent use.
type ring struct {
	lines []Line // a circle: the oldest is lines[head]
	head  int
	count int
	first uint64 // sequence number of the oldest
	bytes int
	limit int
}

// next is the sequence number the next line will get.
func (r *ring) next() uint64 { return r.first + uint64(r.count) }

// push appends a line; the oldest ones make room for it.
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
	*oldest = Line{} // let the text go
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

// from appends to lines those from seq on and before end, up to bound bytes of
// text but one at least. It returns how many were missed and where to go on.
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
