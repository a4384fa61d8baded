package logs

import (
	"bytes"
	"iter"
	"strings"
)

// A block is lines in a row that differ in their text only, because they were read at once. There may be
// as many lines of an access log as requests: what is done for a block costs each of them little.
type block struct {
	Line         // Text has the lines, with a line feed between two
	count int    // lines; the text of a single one may have line feeds
	first uint64 // sequence number of the first line

	spool      *Spool // that they are from; nil: none
	start, end int64  // where they are in it
}

// block is a line as a block.
func (l Line) block() block { return block{Line: l, count: 1} }

// next is the sequence number of the line behind the block.
func (b *block) next() uint64 { return b.first + uint64(b.count) }

// cut removes the first line and returns it.
func (b *block) cut() Line {
	line := b.Line
	if b.count == 1 {
		b.Text, b.start = "", b.end
	} else {
		line.Text, b.Text, _ = strings.Cut(b.Text, "\n")
		b.start += int64(len(line.Text)) + 1
	}
	b.count--
	b.first++
	return line
}

// lines yields each line.
func (b block) lines() iter.Seq[Line] {
	return func(yield func(Line) bool) {
		for b.count > 0 {
			if !yield(b.cut()) {
				return
			}
		}
	}
}

// between is the part of a block from the line with sequence number seq up to and without end.
func (b block) between(seq, end uint64) block {
	for b.count > 0 && b.first < seq {
		b.cut()
	}
	if b.next() <= end {
		return b
	}
	head := block{Line: b.Line, first: b.first, spool: b.spool, start: b.start}
	for b.count > 0 && b.first < end {
		b.cut()
		head.count++
	}
	head.Text = head.Text[:max(0, len(head.Text)-len(b.Text)-1)] // without the line feed before the rest
	head.end = b.start
	return head
}

// behind is the part of a block behind a position in its spool.
func (b block) behind(written int64) block {
	for b.count > 0 && b.start < written {
		b.cut()
	}
	return b
}

// cutBlock returns the complete lines of text, or the first part of one that is too long, as the text
// of a block; used is how many bytes of text they are. Of the last text it also returns what has no
// line feed. text has up to maxLineLength+1 bytes.
func cutBlock(text []byte, last bool) (lines string, count, used int) {
	end := bytes.LastIndexByte(text, '\n')
	switch {
	case end >= 0:
		return string(text[:end]), bytes.Count(text[:end], []byte{'\n'}) + 1, end + 1
	case len(text) > maxLineLength:
		return string(text[:maxLineLength]), 1, maxLineLength
	case last && len(text) > 0:
		return string(text), 1, len(text)
	}
	return "", 0, 0
}
