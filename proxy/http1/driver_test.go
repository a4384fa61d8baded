package http1

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// The tests use the package as the relay does: bytes arrive in pieces, a head is parsed from a
// growing buffer, and the body after it is decoded.

var (
	trustedPolicy       = Policy{Limits: RequestLimits(), Trusted: true, DefaultHost: "127.0.0.1:8000"}
	untrustedPolicy     = Policy{Limits: RequestLimits(), DefaultHost: "127.0.0.1:8000"}
	testUpstreamOptions = UpstreamOptions{Peer: netip.MustParseAddr("192.0.2.7"), Scheme: "http"}
)

// outcome is everything that is observable for one message.
type outcome struct {
	verdict string // status and code: "400 R14"; "": valid; "more": incomplete
	out     string // canonical head and body
	content string // decoded body
	rest    string // the bytes after the message
	flags   string // flags of the Request, or "reusable"
}

func verdictOf(err *Error) string { return verdict(err.Status, err.Rule) }

// verdict returns how outcome and ruleCase spell a refusal: "400 R14".
func verdict(status int, rule Rule) string { return strconv.Itoa(status) + " " + string(rule) }

// reader is a stream that arrives in pieces.
type reader struct {
	pieces []string
	buf    []byte
}

// more appends the next piece to the buffer. The buffer moves each time.
func (r *reader) more() bool {
	if len(r.pieces) == 0 {
		return false
	}
	r.buf = append(append(make([]byte, 0, len(r.buf)+len(r.pieces[0])), r.buf...), r.pieces[0]...)
	r.pieces = r.pieces[1:]
	return true
}

// rest returns the bytes that were not used.
func (r *reader) rest() string { return string(r.buf) + strings.Join(r.pieces, "") }

// parse calls parse with more bytes until the head is complete or refused.
func (r *reader) parse(parse func([]byte) (int, *Error)) (n int, verdict string) {
	for r.more() {
		n, err := parse(r.buf)
		if err != nil {
			return 0, verdictOf(err)
		}
		if n > 0 {
			return n, ""
		}
	}
	return 0, "more"
}

// body decodes a body. eof: the stream ends after the last piece.
func (r *reader) body(b *BodyReader, eof bool) (content, verdict string) {
	var c strings.Builder
	for {
		for len(r.buf) > 0 && !b.Done() {
			data, n, err := b.Next(r.buf)
			if err != nil {
				return c.String(), verdictOf(err)
			}
			c.Write(data)
			r.buf = r.buf[n:]
		}
		if b.Done() {
			return c.String(), ""
		}
		if !r.more() {
			break
		}
	}
	if !eof {
		return c.String(), "more"
	}
	if err := b.End(); err != nil {
		return c.String(), verdictOf(err)
	}
	return c.String(), ""
}

// runRequest parses one request from the pieces and writes it as the relay would.
func runRequest(p *Policy, pieces ...string) (res outcome) {
	var req Request
	in := reader{pieces: pieces}
	n, verdict := in.parse(func(b []byte) (int, *Error) { return req.Parse(b, p) })
	if verdict != "" {
		return outcome{verdict: verdict}
	}
	head := in.buf[:n]
	in.buf = in.buf[n:]
	forward := testUpstreamOptions
	forward.Body = req.Body
	req.Rebase(append([]byte(nil), head...))
	res.out = string(req.AppendUpstream(nil, &forward))
	var body BodyReader
	body.StartRequest(req.Body, &p.Limits)
	res.content, res.verdict = in.body(&body, false)
	if res.verdict == "" {
		res.out += bodyText(req.Body.Framing, res.content)
		res.rest = in.rest()
	}
	res.flags = requestFacts(&req)
	return res
}

func requestFacts(r *Request) string {
	var f []string
	for name, on := range map[string]bool{"keep": r.KeepAlive, "expect": r.Expect100, "upgrade": r.Upgrade, "key": r.IdempotencyKey} {
		if on {
			f = append(f, name)
		}
	}
	return strings.Join(slices.Sorted(slices.Values(f)), " ")
}

// bodyText returns a body as it is written after the head. A chunked body has one chunk.
func bodyText(f Framing, content string) string {
	if f == Chunked {
		return string(AppendChunk(nil, []byte(content))) + LastChunk
	}
	return content
}

// responseCase is the context in which a response is parsed and written.
type responseCase struct {
	asked  RequestInfo
	client ResponseOptions
	eof    bool // the app closes the connection after the last piece
}

// runResponse parses one response, with interim responses before it, and writes it as the relay
// would.
func runResponse(x responseCase, pieces ...string) (res outcome) {
	var r Response
	limits := ResponseLimits()
	r.Reset(x.asked)
	in := reader{pieces: pieces}
	for {
		n, verdict := in.parse(func(b []byte) (int, *Error) { return r.Parse(b, &limits) })
		if verdict != "" {
			res.verdict = verdict
			return res
		}
		head := append([]byte(nil), in.buf[:n]...)
		in.buf = in.buf[n:]
		r.buf = head
		if !r.Interim() {
			break
		}
		if r.PassesInterim(x.client.Minor) {
			res.out += string(r.AppendInterim(nil))
		}
		r.NextHead()
		in.pieces = append([]string{string(in.buf)}, in.pieces...)
		in.buf = nil
	}
	out, framing := r.AppendClient(nil, &x.client)
	res.out += string(out)
	var body BodyReader
	body.StartResponse(r.Body, &limits)
	res.content, res.verdict = in.body(&body, x.eof)
	if res.verdict == "" {
		res.out += bodyText(framing, res.content)
		res.rest = in.rest()
	}
	if r.Reusable {
		res.flags = "reusable"
	}
	return res
}
