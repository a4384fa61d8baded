package proxy

import (
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

const (
	// dedupWindow is for how long lines equal to one that was written are only counted.
	dedupWindow = 5 * time.Second
	// droppedDedupWindow is the same for dropped fields: a front-end that sends a wrong one sends it
	// with every request.
	droppedDedupWindow = time.Hour
	// refusedDedupWindow is the same for connections without a valid PROXY header: a balancer that is
	// set up wrongly, or its health check, comes again and again.
	refusedDedupWindow = time.Minute
	// maxDedupLines bounds how many different lines are remembered at once; further ones are
	// written as they come.
	maxDedupLines = 256
	// maxQuoted is how many bytes of what a client sent are shown.
	maxQuoted = 200
	// maxForeign bounds for how many addresses a line says that their forwarding fields do not
	// count. Every client of the Internet can send such fields.
	maxForeign = 32
)

// An errorLog writes a line for every error response, for every request of which a forwarding field
// was dropped, for every connection that was closed for its PROXY header, and for every client that
// was disconnected because the spool was full. Of equal lines the first is written at once and the
// others are counted, so that a thousand held requests that expire together are two lines.
type errorLog struct {
	logger hclog.Logger
	mu     sync.Mutex
	recent map[errorKey]*suppressed
	timer  *time.Timer
	// foreign are the addresses of clients that are not trusted and have sent forwarding fields;
	// the zero address is that of unix sockets.
	foreign map[netip.Addr]struct{}
}

// errorKey is what makes two lines equal.
type errorKey struct {
	status                      int
	app, request, cause, target string
	field                       string // the dropped field; empty: the line is one of another kind
	refused                     bool   // the line is one of a PROXY header
	evicted                     bool   // the line is one of a full spool
}

// suppressed is what was not written of lines with the same key.
type suppressed struct {
	since time.Time
	count int
	held  time.Duration // the longest of them
}

func newErrorLog(l hclog.Logger) *errorLog {
	return &errorLog{logger: l, recent: map[errorKey]*suppressed{}, foreign: map[netip.Addr]struct{}{}}
}

// write logs an error response to client; id is the request's X-Request-Id.
func (l *errorLog) write(key errorKey, client, id string, held time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.countLocked(key, held) {
		return
	}
	fields := append(key.fields(), "client", client, "held_s", held.Round(time.Millisecond).Seconds())
	if id != "" {
		fields = append(fields, "request_id", id)
	}
	l.logger.Warn("error response", fields...)
}

// writeDropped logs that a forwarding field of a front-end was dropped, or a part of it.
func (l *errorLog) writeDropped(app, field, cause string, value []byte, client *clientConn) {
	key := errorKey{app: app, field: field, cause: cause}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.countLocked(key, 0) {
		l.logger.Warn("forwarding field dropped", append(key.fields(), "value", printable(value), "client", client.address())...)
	}
}

// writeForeign logs that forwarding fields of a client were replaced because it is not trusted: once
// for each address, and for maxForeign addresses at most.
func (l *errorLog) writeForeign(app string, client *clientConn) {
	address, name := client.remote.Addr().Unmap(), "unix"
	if address.IsValid() {
		name = address.WithZone("").String()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, known := l.foreign[address]; known || len(l.foreign) == maxForeign {
		return
	}
	l.foreign[address] = struct{}{}
	l.logger.Warn("front-end not trusted", "app", app, "client", name, "cause", "its X-Forwarded-* do not count: the app sees it as the client, and http as the scheme",
		"hint", `if it is a front-end of yours, add "`+name+`" to trusted (run --trusted)`)
}

// writeRefused logs that a connection was closed for its PROXY header.
func (l *errorLog) writeRefused(app string, cause error, client *clientConn) {
	key := errorKey{app: app, cause: cause.Error(), refused: true}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.countLocked(key, 0) {
		return
	}
	hint := "the load balancer must send a PROXY header on every connection, and nothing else may connect"
	if cause == errHeaderUntrusted {
		hint = "if this is the load balancer, add its address to trusted"
	}
	l.logger.Warn("connection without PROXY header", append(key.fields(), "client", client.address(), "hint", hint)...)
}

// writeEvicted logs that a client was disconnected because the spool was full. All such lines of an
// app are equal, whichever request the client has sent.
func (l *errorLog) writeEvicted(app, request, client string) {
	key := errorKey{app: app, cause: errEvicted.Error(), evicted: true}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.countLocked(key, 0) {
		l.logger.Warn("slow reader disconnected", append(key.fields(), "request", request, "client", client,
			"hint", "if clients are slow in good faith, raise daemon.spool")...)
	}
}

// countLocked counts a line with this key. It reports false if the line is the first one, which is
// to be written. l.mu must be held.
func (l *errorLog) countLocked(key errorKey, held time.Duration) bool {
	now := time.Now()
	l.flushLocked(now, false)
	if s := l.recent[key]; s != nil {
		s.count++
		s.held = max(s.held, held)
		return true
	}
	if len(l.recent) < maxDedupLines {
		l.recent[key] = &suppressed{since: now}
		if l.timer == nil {
			l.timer = time.AfterFunc(dedupWindow, l.flushExpired)
		} else if len(l.recent) == 1 {
			l.timer.Reset(dedupWindow)
		}
	}
	return false
}

// window is for how long lines with this key are only counted.
func (k errorKey) window() time.Duration {
	switch {
	case k.field != "":
		return droppedDedupWindow
	case k.refused:
		return refusedDedupWindow
	}
	return dedupWindow
}

func (k errorKey) fields() []any {
	switch {
	case k.field != "":
		return []any{"app", k.app, "field", k.field, "cause", k.cause}
	case k.refused, k.evicted:
		return []any{"app", k.app, "cause", k.cause}
	}
	return []any{"app", k.app, "status", k.status, "request", k.request, "cause", k.cause, "generation", k.target}
}

// flushExpired writes the counts that are older than their window.
func (l *errorLog) flushExpired() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.flushLocked(time.Now(), false)
	if len(l.recent) > 0 {
		l.timer.Reset(dedupWindow)
	}
}

// flush writes the counts that are not written yet.
func (l *errorLog) flush() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.flushLocked(time.Now(), true)
}

// flushLocked writes all counts, or those older than their window. l.mu must be held.
func (l *errorLog) flushLocked(now time.Time, all bool) {
	for key, s := range l.recent {
		if !all && now.Sub(s.since) < key.window() {
			continue
		}
		switch {
		case s.count == 0:
		case key.field != "":
			l.logger.Warn("forwarding field dropped again", append(key.fields(), "count", s.count)...)
		case key.refused:
			l.logger.Warn("connection without PROXY header again", append(key.fields(), "count", s.count)...)
		case key.evicted:
			l.logger.Warn("slow readers disconnected again", append(key.fields(), "count", s.count)...)
		default:
			l.logger.Warn("error response repeated", append(key.fields(),
				"count", s.count, "held_s", s.held.Round(time.Millisecond).Seconds())...)
		}
		delete(l.recent, key)
	}
}

// printable makes bytes of a client's fit for a log line: no control byte, no quote, not too long.
func printable(p []byte) string {
	var b strings.Builder
	for i, c := range p {
		if i == maxQuoted {
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
