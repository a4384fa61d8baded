package logs

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func TestTheRingDropsLinesOfEachStream(t *testing.T) {
	for s := range Stream(streamCount) {
		r := ring{limit: 1000}
		for range 20 {
			r.push(Line{Stream: s, Text: strings.Repeat("x", 99)}.block())
		}
		if gone := r.gone[s]; gone == 0 || gone != int64(100*(20-r.count)) {
			t.Errorf("%v: %d bytes gone, %d lines left", s, gone, r.count)
		}
	}
}

// textsOf are the lines of blocks.
func textsOf(blocks []block) (all []string) {
	for _, b := range blocks {
		for line := range b.lines() {
			all = append(all, line.Text)
		}
	}
	return all
}

// Whatever the blocks in which lines come, the ring has the last ones with their numbers, and counts the
// bytes of the others.
func TestTheRingHasTheLastLinesOfBlocksOfAnySize(t *testing.T) {
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		r := ring{limit: 200 + rnd.IntN(3000)}
		var all []string
		var size int64
		for range 50 {
			lines := make([]string, 1+rnd.IntN(12))
			for i := range lines {
				lines[i] = strings.Repeat("x", rnd.IntN(40)) // some are empty
				size += int64(len(lines[i])) + 1
			}
			all = append(all, lines...)
			r.push(block{Line: Line{Stream: Access, Text: strings.Join(lines, "\n")}, count: len(lines)})
			if r.next() != uint64(len(all)) || r.written()[Access] != size || r.count > 1 && r.bytes > r.limit {
				t.Fatalf("seed %d: %d lines of %d bytes, want %d of %d; %d bytes kept, limit %d", seed, r.next(), r.written()[Access], len(all), size, r.bytes, r.limit)
			}
			seq := uint64(rnd.IntN(len(all) + 1))
			end := seq + uint64(rnd.IntN(len(all)+1-int(seq)))
			first := max(seq, min(r.first, end))
			got, missed, next := r.from(seq, end, 1<<30, nil)
			if missed != first-seq || next != end || !slices.Equal(textsOf(got), all[first:end]) {
				t.Fatalf("seed %d: from %d to %d, kept from %d on: %q, %d missed, next %d, want %q", seed, seq, end, r.first, textsOf(got), missed, next, all[first:end])
			}
			if got := textsOf(slices.Collect(r.since(r.first))); !slices.Equal(got, all[r.first:]) {
				t.Fatalf("seed %d: kept are %q, want %q", seed, got, all[r.first:])
			}
		}
	}
}

// A reader that wakes for each block, and a bound of one byte, get all lines.
func TestAReaderGetsAtLeastABlock(t *testing.T) {
	r := ring{limit: 1 << 20}
	for i := range 10 {
		r.push(block{Line: Line{Text: fmt.Sprintf("%d\n%d", i, i)}, count: 2})
	}
	seq, lines := uint64(3), 0
	for seq < r.next() {
		blocks, _, next := r.from(seq, noEnd, 1, nil)
		lines += len(textsOf(blocks))
		if len(blocks) != 1 {
			t.Fatalf("%d blocks", len(blocks))
		}
		seq = next
	}
	if lines != 17 {
		t.Errorf("%d lines", lines)
	}
}
