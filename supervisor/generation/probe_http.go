package generation

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"tideover/proxy/remote"
	"tideover/supervisor/api"
)

// probeInterval is the time between two answers that do not count. The first probe
// is sent at once: it waits in the private socket's backlog, so the answer comes
// as soon as the app can give it.
const probeInterval = 250 * time.Millisecond

// httpProbe asks a generation over HTTP whether it is ready. Only an answer
// counts: not a connection (the backlog accepts it), not a timer, not sd_notify
// (gunicorn sends READY before any worker exists).
type httpProbe struct {
	ask     func(context.Context, remote.Probe) (remote.ProbeAnswer, error) // of the relay, which gets the address here
	line    string                                                          // of the PROXY protocol, before the request; empty: none
	tls     bool                                                            // it speaks TLS; any certificate will do
	host    string
	path    string
	accept  func(status int) bool
	lenient bool     // any valid answer counts
	before  baseline // for an answer that may only mean that Host is wrong
	warm    []string // paths that are requested once each after the answer that counted; any answer will do
}

// ProbeResult is the last result of a probe.
type ProbeResult struct {
	Status int
	Text   string // status line, type and the beginning of the body, or the error
	Tries  int

	Lenient bool // it counts only because any answer does
	NoLine  bool // the server takes no PROXY line; see refusesLine
	TLSOnly bool // the answer is a TLS alert: the server wants a client's certificate, perhaps
}

// hostRejected reports whether an answer may say nothing of the code, because the app does
// not accept the Host of the probe: 400 (Django's ALLOWED_HOSTS), 421 (RFC 9110, 15.5.20).
func hostRejected(status int) bool {
	return status == http.StatusBadRequest || status == http.StatusMisdirectedRequest
}

// HostRejected reports whether a generation is ready with an answer that may only mean that
// the app does not accept the Host of the probe.
func (r ProbeResult) HostRejected() bool { return hostRejected(r.Status) }

// FirstLine is the first line of Text.
func (r ProbeResult) FirstLine() string {
	line, _, _ := strings.Cut(r.Text, "\n")
	return line
}

// attrs are the attributes of the phase "ready".
func (r ProbeResult) attrs() []api.Attr {
	var attrs []api.Attr
	if r.Tries > 0 {
		attrs = append(attrs, api.Int("tries", r.Tries))
	}
	if r.Status != 0 {
		attrs = append(attrs, api.Int("status", r.Status))
	}
	if r.HostRejected() {
		attrs = append(attrs, api.String("host", "rejected"))
	}
	return attrs
}

// wait returns when an answer counts, or when another process listens in the place of the
// app (*strangerError). When ctx ends, it returns its error and the last answer.
func (p httpProbe) wait(ctx context.Context) (ProbeResult, error) {
	last := ProbeResult{Text: "no answer at all"}
	noLine := false
	for {
		tries := last.Tries + 1
		result, err := p.request(ctx, p.path)
		if ctx.Err() != nil {
			return last, ctx.Err()
		}
		if without, refuses := p.refusesLine(ctx, result); refuses {
			p.line, noLine, result = "", true, without
		}
		last = result
		last.Tries, last.NoLine = tries, noLine
		var stranger *strangerError
		if errors.As(err, &stranger) {
			return last, stranger
		}
		counts := err == nil && (result.TLSOnly || p.accept(result.Status))
		if counts && hostRejected(result.Status) {
			var text string
			counts, text = p.before.gives(ctx, p, result.Status)
			last.Text = text + last.Text
		}
		if counts || err == nil && p.lenient {
			last.Lenient = !counts
			p.warmUp(ctx)
			return last, nil
		}
		select {
		case <-ctx.Done():
			return last, ctx.Err()
		case <-time.After(probeInterval):
		}
	}
}

// Answers sends the readiness probe once to a generation that serves. Its answer counts as at
// the start; so does the one with which it was ready. text is the answer, or the error.
func (g *Generation) Answers(ctx context.Context) (ok bool, text string) {
	began := time.Now()
	result, err := g.probe.request(ctx, g.probe.path)
	text = result.FirstLine()
	if err != nil {
		return false, text
	}
	text += " after " + api.FormatDuration(time.Since(began))
	return result.TLSOnly || g.probe.accept(result.Status) || result.Status == g.Status, text
}

func (p httpProbe) warmUp(ctx context.Context) {
	for _, path := range p.warm {
		if _, err := p.request(ctx, path); err != nil {
			return
		}
	}
}

// request sends one GET. The error says why there is no answer.
func (p httpProbe) request(ctx context.Context, path string) (ProbeResult, error) {
	answer, err := p.ask(ctx, remote.Probe{Line: p.line, TLS: p.tls, Host: p.host, Path: path, UserAgent: "tideover-ready"})
	switch {
	case err != nil:
		return ProbeResult{Text: err.Error()}, err
	case answer.Failure == remote.ProbeTLSAlert:
		// With gunicorn it is a worker that has ended the handshake. It has loaded the app by then.
		return ProbeResult{Text: answer.Error, TLSOnly: true}, nil
	case answer.Status == 0:
		return ProbeResult{Text: answer.Error}, &noAnswerError{answer.Failure, answer.Error}
	}
	text := fmt.Sprintf("GET %s -> %s", path, answer.Line)
	if answer.ContentType != "" {
		text += "  " + answer.ContentType
	}
	if b := strings.TrimSpace(string(answer.Body)); b != "" {
		text += "\n" + b
	}
	return ProbeResult{Status: answer.Status, Text: text}, nil
}

// noAnswerError is why a generation has not answered a request.
type noAnswerError struct {
	failure remote.ProbeFailure
	text    string
}

func (e *noAnswerError) Error() string { return e.text }
