package supervisor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"tideover/supervisor/api"
)

// probePause is between two answers that did not count. The first probe is
// sent at once: it waits in the private socket's backlog, so the answer comes
// the moment the app can give it.
const probePause = 250 * time.Millisecond

// probe asks a generation over HTTP whether it may serve. Nothing less than an
// answer counts: not a connection (the backlog takes it), not a timer, not
// sd_notify (gunicorn sends READY before any worker exists).
type probe struct {
	network, address string
	host             string
	path             string
	accept           func(status int) bool
	lenient          bool     // any valid answer counts
	warm             []string // asked once each after the answer that counted; what they answer does not matter
}

// answer is what the probe heard last.
type answer struct {
	status int
	text   string // status line, type and the beginning of the body, or the error
	tries  int

	lenient bool // it counts only because any does
}

// attrs are what the phase "ready" tells of it.
func (a answer) attrs() []api.Attr {
	var facts []api.Attr
	if a.tries > 0 {
		facts = append(facts, api.Int("tries", a.tries))
	}
	if a.status != 0 {
		facts = append(facts, api.Int("status", a.status))
	}
	return facts
}

// wait returns when an answer counted, or with ctx's error and what was heard
// until then.
func (p probe) wait(ctx context.Context) (answer, error) {
	client := p.client()
	last := answer{text: "no answer at all"}
	for {
		tries := last.tries + 1
		heard, err := p.ask(ctx, client, p.path)
		if ctx.Err() != nil {
			return last, ctx.Err()
		}
		last = heard
		last.tries = tries
		if counts := err == nil && p.accept(heard.status); counts || err == nil && p.lenient {
			last.lenient = !counts
			p.warmUp(ctx, client)
			return last, nil
		}
		select {
		case <-ctx.Done():
			return last, ctx.Err()
		case <-time.After(probePause):
		}
	}
}

func (p probe) warmUp(ctx context.Context, client *http.Client) {
	for _, path := range p.warm {
		if _, err := p.ask(ctx, client, path); err != nil {
			return
		}
	}
}

// ask sends one GET on a connection of its own and closes it at once: a silent
// connection would block a sync worker.
func (p probe) ask(ctx context.Context, client *http.Client, path string) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.host+path, nil)
	if err != nil {
		return answer{text: err.Error()}, err
	}
	req.Header.Set("User-Agent", "tideover-ready")
	req.Header.Set("Connection", "close")
	resp, err := client.Do(req)
	if err != nil {
		return answer{text: plainError(err)}, err
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
	return answer{status: resp.StatusCode, text: text}, nil
}

func (p probe) client() *http.Client {
	var d net.Dialer
	return &http.Client{
		Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return d.DialContext(ctx, p.network, p.address)
			},
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// plainError takes Go's wrapping off a failed probe.
func plainError(err error) string {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Op + ": " + op.Err.Error()
	}
	if errors.Is(err, io.EOF) {
		return "the connection was closed without an answer"
	}
	return err.Error()
}
