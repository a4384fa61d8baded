package proxy

import (
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

const (
	// foldTime is how long lines equal to one that was written are only counted.
	foldTime = 5 * time.Second
	// foldedLines bounds how many different lines are remembered at once; more are written as they come.
	foldedLines = 256
	// quotedBytes is how much of anything a client sent is shown.
	quotedBytes = 200
)

// A journal writes a line for every answer of our own. Of equal lines the first is written at once and the others are counted, so
// that a thousand held requests that expire together are two lines.
type journal struct {
	logger hclog.Logger
	mu     sync.Mutex
	recent map[entry]*folded
	timer  *time.Timer
}

// entry is what makes two lines equal.
type entry struct {
	status                      int
	app, request, cause, target string
}

type folded struct {
	since time.Time
	count int
	held  time.Duration // the longest among the counted ones
}

func newJournal(l hclog.Logger) *journal {
	return &journal{logger: l, recent: map[entry]*folded{}}
}

// write notes an answer.
func (j *journal) write(l entry, client, id string, held time.Duration) {
	j.mu.Lock()
	defer j.mu.Unlock()
	now := time.Now()
	j.settle(now, false)
	if f := j.recent[l]; f != nil {
		f.count++
		f.held = max(f.held, held)
		return
	}
	if len(j.recent) < foldedLines {
		j.recent[l] = &folded{since: now}
		if j.timer == nil {
			j.timer = time.AfterFunc(foldTime, j.expire)
		} else if len(j.recent) == 1 {
			j.timer.Reset(foldTime)
		}
	}
	fields := append(l.fields(), "client", client, "held", held.Round(time.Millisecond))
	if id != "" {
		fields = append(fields, "request_id", id)
	}
	j.logger.Warn("answered", fields...)
}

func (l entry) fields() []any {
	return []any{"app", l.app, "status", l.status, "request", l.request, "cause", l.cause, "generation", l.target}
}

func (j *journal) expire() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.settle(time.Now(), false)
	if len(j.recent) > 0 {
		j.timer.Reset(foldTime)
	}
}

// flush writes the counts that are not written yet.
func (j *journal) flush() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.settle(time.Now(), true)
}

// settle writes the counts of lines that are old enough. The lock is held.
func (j *journal) settle(now time.Time, all bool) {
	for l, f := range j.recent {
		if !all && now.Sub(f.since) < foldTime {
			continue
		}
		if f.count > 0 {
			j.logger.Warn("answered alike", append(l.fields(), "count", f.count, "held", f.held.Round(time.Millisecond))...)
		}
		delete(j.recent, l)
	}
}

// log notes an answer of our own to this request.
func (x *exchange) log(status int, cause string) {
	request := printable(x.request.MethodName()) + " " + printable(x.request.Target())
	l := entry{status: status, app: x.server.app, request: request, cause: cause, target: x.target}
	x.server.journal.write(l, x.client.address(), printable(x.request.Value("X-Request-Id")), x.waited)
}

// logCut notes a response that broke off: no status of ours, but somebody will ask.
func (d *trip) logCut(err error) {
	x, u := d.x, d.u
	x.log(u.response.Status, "the response broke off: "+err.Error())
}

// printable makes bytes of a client's fit for a log line: no control byte, no quote, not too long.
func printable(p []byte) string {
	var b strings.Builder
	for i, c := range p {
		if i == quotedBytes {
			b.WriteString("...")
			break
		}
		if c < 0x20 || c >= 0x7f || c == '"' || c == '\\' {
			const digits = "0123456789abcdef"
			b.WriteString(`\x`)
			b.WriteByte(digits[c>>4])
			b.WriteByte(digits[c&15])
			continue
		}
		b.WriteByte(c)
	}
	return b.String()
}
