package logs

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"sync"
)

// ownRing bounds the lines of the daemon itself that are kept, in bytes.
const ownRing = 1 << 20

// OwnLog is a writer for the daemon's logger that keeps the last lines in memory
// (`tideover logs --daemon`). It is safe for concurrent use.
type OwnLog struct{ lineWriter }

// NewOwnLog returns an empty log of 1 MiB.
func NewOwnLog() *OwnLog {
	return &OwnLog{lineWriter{log: New(Options{App: "tideover", RingBytes: ownRing})}}
}

// Log has the lines.
func (l *OwnLog) Log() *Log { return l.log }

// lineWriter adds the lines that are written to it to a Log. It is safe for concurrent
// use.
type lineWriter struct {
	log  *Log
	mu   sync.Mutex // guards rest
	rest []byte     // a line without its newline yet
}

// Write adds the complete lines of p. It never waits and never fails.
func (w *lineWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rest = append(w.rest, p...)
	for {
		line, rest, whole := bytes.Cut(w.rest, []byte("\n"))
		if !whole {
			return len(p), nil
		}
		w.log.Note(0, "%s", line)
		w.rest = append(w.rest[:0:0], rest...)
	}
}

// endLine adds what was written without a newline.
func (w *lineWriter) endLine() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.rest) > 0 {
		w.log.Note(0, "%s", w.rest)
		w.rest = nil
	}
}

// IsOf reports whether a line of the daemon's own log is about an app: it has the key app with that
// value, as text or as JSON.
func IsOf(line, app string) bool {
	if strings.HasPrefix(line, "{") {
		var keys struct {
			App string `json:"app"`
		}
		return json.Unmarshal([]byte(line), &keys) == nil && keys.App == app
	}
	return slices.Contains(strings.Fields(line), "app="+app)
}
