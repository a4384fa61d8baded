package page

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"tideover/supervisor/api"
	"tideover/supervisor/logs"
)

const (
	// maxTails bounds the requests for output that are answered at once.
	maxTails = 16
	// firstLines is how many lines the page gets that are there already.
	firstLines = 200
	// maxLine bounds a line in bytes, and maxBatch the lines that are sent together.
	maxLine, maxBatch = 4 << 10, 100
	// batchInterval is the least time between two batches: the browser draws each.
	batchInterval = 100 * time.Millisecond
)

// line is a line of output for the browser.
type line struct {
	Time       int64  `json:"time"` // in ms since 1970
	Generation int    `json:"gen,omitempty"`
	Stream     string `json:"stream"` // stdout, stderr, access, or tideover: a note of its own
	Text       string `json:"text"`
}

// output answers a request with the token with what an app has written and writes, a JSON object for
// each line.
func (p *Page) output(w http.ResponseWriter, r *http.Request) {
	o, app, failed := p.operator(w, r)
	if failed != nil {
		refuse(w, failed)
		return
	}
	select {
	case p.tails <- struct{}{}:
		defer func() { <-p.tails }()
	default:
		http.Error(w, "too many are reading output", http.StatusServiceUnavailable)
		return
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	lines, ended := make(chan line, maxBatch), make(chan error, 1)
	go func() {
		defer close(lines)
		ended <- o.Logs(ctx, api.LogQuery{Apps: []string{app}, Lines: firstLines, Follow: true}, func(l logs.Line) bool {
			select {
			case lines <- newLine(l):
				return true
			case <-ctx.Done():
				return false
			}
		})
	}()
	sent := sendLines(w, lines)
	cancel()
	for range lines { // until the goroutine has ended
	}
	if err := <-ended; err != nil && !sent {
		refuse(w, err)
	}
}

func newLine(l logs.Line) line {
	return line{l.Time.UnixMilli(), l.Generation, l.Stream.String(), cut(l.Text, maxLine)}
}

// sendLines sends lines, those that are there together in one part, until there are no more or the
// browser takes none. It reports whether there was one.
func sendLines(w http.ResponseWriter, lines <-chan line) (sent bool) {
	var s *stream
	for first := range lines {
		if s == nil {
			s = newStream(w, "application/jsonl")
		}
		part := appendLine(nil, first)
		for n := 1; n < maxBatch; n++ {
			next, more := waiting(lines)
			if !more {
				break
			}
			part = appendLine(part, next)
		}
		if s.send(part); s.failed != nil {
			return true
		}
		<-time.After(batchInterval)
	}
	return s != nil
}

// waiting returns a line if there is one.
func waiting(lines <-chan line) (line, bool) {
	select {
	case l, ok := <-lines:
		return l, ok
	default:
		return line{}, false
	}
}

func appendLine(part []byte, l line) []byte {
	text, _ := json.Marshal(l) // of types that can be encoded
	return append(append(part, text...), '\n')
}
