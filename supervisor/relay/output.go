package relay

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"
)

const (
	pipeSize = 1 << 20 // requested; the kernel may grant less
	// maxLine is how many bytes of a line are read; the rest of it is dropped.
	maxLine = 16 << 10
	// maxPairs is how many attributes of an entry are kept.
	maxPairs = 32
	// maxPlain is how many lines of one process are logged that are no entries: a panic.
	maxPlain = 200
)

// stderr is the relay's end of the pipe for its log. A write never blocks: while the pipe is full,
// lines are dropped and counted.
type stderr struct {
	fd int

	mu      sync.Mutex
	dropped uint64 // since the last line that was written
	broken  bool   // only a part of the last line was written
}

// writeEntry writes one entry.
func (w *stderr) writeEntry(e entry) {
	line := encodeEntry(e)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.broken {
		w.broken = w.write([]byte("\n")) == 0
	}
	if w.dropped > 0 && !w.broken {
		if w.write(encodeEntry(entry{Dropped: w.dropped})) > 0 {
			w.dropped = 0
		}
	}
	if w.broken || w.dropped > 0 || w.write(line) == 0 {
		w.dropped++
	}
}

// encodeEntry returns an entry as a line.
func encodeEntry(e entry) []byte {
	line, err := json.Marshal(e)
	if err != nil {
		line, _ = json.Marshal(entry{Level: e.Level, Message: e.Message})
	}
	return append(line, '\n')
}

// write writes what the pipe has room for, and returns how much that was.
func (w *stderr) write(p []byte) int {
	n, err := unix.Write(w.fd, p)
	for errors.Is(err, unix.EINTR) {
		n, err = unix.Write(w.fd, p)
	}
	if err != nil {
		return 0
	}
	w.broken = n < len(p)
	return n
}

// openPipe returns a pipe for the log of a relay.
func openPipe() (r, w *os.File, err error) {
	r, w, err = os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	if raw, err := w.SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) { unix.FcntlInt(fd, unix.F_SETPIPE_SZ, pipeSize) })
	}
	return r, w, nil
}

// copyLog logs what a relay writes, until every copy of the pipe's other end is closed.
func copyLog(r *os.File, logger hclog.Logger) {
	defer r.Close()
	lines := bufio.NewReaderSize(r, maxLine)
	for plain := 0; ; {
		line, err := lines.ReadSlice('\n')
		for cut := err; errors.Is(cut, bufio.ErrBufferFull); {
			line = bytes.Clone(line)
			_, cut = lines.ReadSlice('\n')
		}
		line = bytes.TrimSuffix(line, []byte("\n"))
		switch {
		case len(line) == 0:
		case !logEntry(line, logger):
			if plain++; plain <= maxPlain {
				logger.Error("relay wrote", "line", string(line))
			}
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return
		}
	}
}

// entry is one entry of the relay's log, as it goes over the pipe.
type entry struct {
	Level   hclog.Level `json:"level"`
	Message string      `json:"message"`
	Pairs   []any       `json:"pairs,omitempty"`   // names and values in turn
	Dropped uint64      `json:"dropped,omitempty"` // lines before this one; then it is nothing else
}

// sink writes entries to the pipe.
type sink struct {
	level atomic.Int32 // hclog.Level
	to    *stderr
}

func newSink(level hclog.Level, to *stderr) *sink {
	s := &sink{to: to}
	s.level.Store(int32(level))
	return s
}

// Accept is that of hclog.SinkAdapter.
func (s *sink) Accept(_ string, level hclog.Level, message string, args ...any) {
	if level >= hclog.Level(s.level.Load()) {
		s.to.writeEntry(entry{Level: level, Message: message, Pairs: plainValues(args)})
	}
}

// plainValues returns values that package encoding/json writes as the logger would.
func plainValues(args []any) []any {
	plain := make([]any, len(args))
	for i, value := range args {
		switch v := value.(type) {
		case string, bool, int, int8, int16, int32, int64, uint, uint8, uint16, uint32, uint64, []string:
			plain[i] = v
		case float64:
			plain[i] = v
			if math.IsNaN(v) || math.IsInf(v, 0) {
				plain[i] = fmt.Sprint(v)
			}
		case error:
			plain[i] = v.Error()
		default:
			plain[i] = fmt.Sprintf("%v", v)
		}
	}
	return plain
}

// logEntry logs an entry of the relay's own logger, and reports whether line is one.
func logEntry(line []byte, logger hclog.Logger) bool {
	var e entry
	d := json.NewDecoder(bytes.NewReader(line))
	d.UseNumber()
	if d.Decode(&e) != nil {
		return false
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return false
	}
	if e.Dropped > 0 {
		logger.Warn("relay log lines dropped", "lines", e.Dropped)
		return true
	}
	if e.Level < hclog.Trace || e.Level > hclog.Error || e.Message == "" {
		return false
	}
	e.Pairs = e.Pairs[:min(len(e.Pairs), 2*maxPairs)]
	for i, value := range e.Pairs {
		e.Pairs[i] = received(value)
	}
	again := logger // each message is listed where the relay logs it
	again.Log(e.Level, e.Message, e.Pairs...)
	return true
}

// received returns a value as the relay's logger has had it.
func received(value any) any {
	switch v := value.(type) {
	case json.Number:
		if i, err := v.Int64(); err == nil {
			return i
		}
		if f, err := v.Float64(); err == nil {
			return f
		}
		return v.String()
	case string, bool:
		return v
	}
	return fmt.Sprint(value)
}
