package logs

import (
	"bytes"
	"sync"
)

// OwnLog is a writer for the daemon's logger that keeps the last lines in memory
// (`tideover logs --daemon`). It is safe for concurrent use.
type OwnLog struct {
	mu   sync.Mutex // guards rest
	rest []byte     // a line without its newline yet
	log  *Log
}

// NewOwnLog returns an empty log of 1 MiB.
func NewOwnLog() *OwnLog { return &OwnLog{log: New(Options{App: "tideover", RingBytes: 1 << 20})} }

// Log has the lines.
func (l *OwnLog) Log() *Log { return l.log }

// Write adds the complete lines of p. It never fails.
func (l *OwnLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rest = append(l.rest, p...)
	for {
		line, rest, whole := bytes.Cut(l.rest, []byte("\n"))
		if !whole {
			return len(p), nil
		}
		l.log.Note(0, "%s", line)
		l.rest = append(l.rest[:0:0], rest...)
	}
}
