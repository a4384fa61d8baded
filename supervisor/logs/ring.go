package logs

import (
	"iter"
	"sort"
)

// lineCost is the memory of a block beside its text, in bytes.
const lineCost = 96

// ring keeps the newest lines up to a number of bytes, in the blocks in which they have come. Every
// line has a sequence number, so a slow reader knows how many lines it missed. It is not safe for
// concurrent use.
type ring struct {
	blocks []block // circular; the oldest block is blocks[head]
	head   int
	used   int    // blocks
	count  int    // lines
	first  uint64 // sequence number of the oldest line
	bytes  int
	limit  int
	gone   [streamCount]int64 // text of the lines that were dropped, in bytes with line feeds, by stream
}

// next is the sequence number of the next line.
func (r *ring) next() uint64 { return r.first + uint64(r.count) }

// push appends a block and drops the oldest lines to stay below the limit. The last line stays.
func (r *ring) push(b block) {
	if r.used == len(r.blocks) {
		r.grow()
	}
	b.first = r.next()
	*r.at(r.used) = b
	r.used++
	r.count += b.count
	r.bytes += len(b.Text) + lineCost
	for r.bytes > r.limit && r.count > 1 {
		r.drop()
	}
}

// drop drops the oldest line.
func (r *ring) drop() {
	oldest := r.at(0)
	before := len(oldest.Text)
	line := oldest.cut()
	r.bytes -= before - len(oldest.Text)
	r.gone[line.Stream] += int64(len(line.Text)) + 1
	r.count--
	r.first++
	if oldest.count == 0 {
		if oldest.spool != nil {
			oldest.spool.giveUp(oldest.end)
		}
		*oldest = block{} // release the text
		r.bytes -= lineCost
		r.head = (r.head + 1) % len(r.blocks)
		r.used--
	}
}

func (r *ring) grow() {
	larger := make([]block, max(64, 2*len(r.blocks)))
	for i := range r.used {
		larger[i] = *r.at(i)
	}
	r.blocks, r.head = larger, 0
}

// at returns the place of a block; 0 is that of the oldest one.
func (r *ring) at(i int) *block { return &r.blocks[(r.head+i)%len(r.blocks)] }

// since yields the lines from seq on, in blocks.
func (r *ring) since(seq uint64) iter.Seq[block] {
	return func(yield func(block) bool) {
		for i := sort.Search(r.used, func(i int) bool { return r.at(i).next() > seq }); i < r.used; i++ {
			if b := *r.at(i); !yield(b.between(seq, noEnd)) {
				return
			}
		}
	}
}

// from appends to blocks the lines from seq up to and without end: at least one, and about bound
// bytes. It returns how many lines were dropped before, and the next seq.
func (r *ring) from(seq, end uint64, bound int, blocks []block) (_ []block, missed, next uint64) {
	if oldest := min(r.first, end); seq < oldest {
		missed = oldest - seq
		seq = oldest
	}
	size := 0
	for b := range r.since(seq) {
		if b = b.between(seq, end); b.count == 0 || size >= bound {
			break
		}
		blocks = append(blocks, b)
		seq = b.next()
		size += len(b.Text) + lineCost
	}
	return blocks, missed, seq
}
