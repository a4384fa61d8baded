package generation

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
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
	dial    func(context.Context) (net.Conn, error)
	line    string // of the PROXY protocol, before the request; empty: none
	tls     bool   // it speaks TLS; any certificate will do
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
	client := p.client()
	last := ProbeResult{Text: "no answer at all"}
	noLine := false
	for {
		tries := last.Tries + 1
		result, err := p.request(ctx, client, p.path)
		if ctx.Err() != nil {
			return last, ctx.Err()
		}
		if without, refuses := p.refusesLine(ctx, result); refuses {
			p.line, noLine, result = "", true, without
			client = p.client()
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
			p.warmUp(ctx, client)
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
	result, err := g.probe.request(ctx, g.probe.client(), g.probe.path)
	text = result.FirstLine()
	if err != nil {
		return false, text
	}
	text += " after " + api.FormatDuration(time.Since(began))
	return result.TLSOnly || g.probe.accept(result.Status) || result.Status == g.Status, text
}

func (p httpProbe) warmUp(ctx context.Context, client *http.Client) {
	for _, path := range p.warm {
		if _, err := p.request(ctx, client, path); err != nil {
			return
		}
	}
}

// request sends one GET on a connection of its own and closes it at once: an idle
// connection would block a sync worker.
func (p httpProbe) request(ctx context.Context, client *http.Client, path string) (ProbeResult, error) {
	scheme := "http://"
	if p.tls {
		scheme = "https://"
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+p.host+path, nil)
	if err != nil {
		return ProbeResult{Text: err.Error()}, err
	}
	req.Header.Set("User-Agent", "tideover-ready")
	req.Header.Set("Connection", "close")
	resp, err := client.Do(req)
	if p.tls && isTLSAlert(err) {
		return ProbeResult{Text: plainError(err), TLSOnly: true}, nil
	}
	if err != nil {
		return ProbeResult{Text: plainError(err)}, err
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 512))
	text := fmt.Sprintf("GET %s -> %s", path, resp.Status)
	if kind := resp.Header.Get("Content-Type"); kind != "" {
		text += "  " + kind
	}
	if b := strings.TrimSpace(string(body)); b != "" {
		text += "\n" + b
	}
	return ProbeResult{Status: resp.StatusCode, Text: text}, nil
}

func (p httpProbe) client() *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			DisableKeepAlives: true,
			TLSClientConfig:   &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10},
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				conn, err := p.dial(ctx)
				if err == nil && p.line != "" {
					conn = remote.WithLine(conn, p.line)
				}
				return conn, err
			},
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// isTLSAlert reports whether the server has ended the handshake. With gunicorn that is a worker, which
// has loaded the app by then.
func isTLSAlert(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error" // as package tls marks it
}

// plainError removes Go's wrapping from the error of a probe.
func plainError(err error) string {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Op + ": " + op.Err.Error()
	}
	if errors.Is(err, io.EOF) {
		return "the connection was closed without an answer"
	}
	var request *url.Error
	if errors.As(err, &request) {
		return request.Err.Error()
	}
	return err.Error()
}
