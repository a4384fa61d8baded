package logs

// spooledLines are the lines of spools within a text that a sink writes to a file. Those of nil are none.
type spooledLines struct {
	spools []spooledBlocks
	used   int // of spools
	done   int // bytes of the text that former writes have written
}

// spooledBlocks are those of one spool.
type spooledBlocks struct {
	spool  *Spool
	blocks []pendingBlock
}

// add adds a block that stands in the text from one byte to another.
func (l *spooledLines) add(b block, from, to int) {
	p := pendingBlock{from: int64(from), to: int64(to), start: b.start, end: b.end, time: b.Time.UnixNano()}
	for i := range l.spools[:l.used] {
		if s := &l.spools[i]; s.spool == b.spool {
			s.blocks = append(s.blocks, p)
			return
		}
	}
	if l.used == len(l.spools) {
		l.spools = append(l.spools, spooledBlocks{})
	}
	s := &l.spools[l.used]
	s.spool, s.blocks = b.spool, append(s.blocks[:0], p)
	l.used++
}

// full reports whether a spool can have no further block of this text.
func (l *spooledLines) full() bool {
	for _, s := range l.spools[:l.used] {
		if len(s.blocks) == spoolPending {
			return true
		}
	}
	return false
}

// begin is called before the text is written.
func (l *spooledLines) begin(length int) {
	l.done = 0
	for _, s := range l.spools[:l.used] {
		s.spool.begin(length, s.blocks)
	}
}

// aim is called before a write of the text behind the first bytes, which are written, to the end of a file.
func (l *spooledLines) aim(id fileID, size int64, written int) {
	if l == nil {
		return
	}
	done := int64(l.done + written)
	for _, s := range l.spools[:l.used] {
		s.spool.aim(id, size-done, done)
	}
}

// wrote is called after that write, unless it has written the rest.
func (l *spooledLines) wrote(written int) {
	if l == nil {
		return
	}
	for _, s := range l.spools[:l.used] {
		s.spool.wrote(int64(l.done + written))
	}
}

// conclude is called when the text is written, or given up.
func (l *spooledLines) conclude() {
	for i := range l.spools[:l.used] {
		s := &l.spools[i]
		s.spool.conclude(s.blocks[len(s.blocks)-1].end)
		s.spool = nil
	}
	l.used = 0
}
