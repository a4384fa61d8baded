package http1

import (
	"slices"
	"strconv"
	"strings"
)

// The tests drive the engine as a relay would: octets arrive in pieces, a head is parsed from a growing buffer, a body
// is decoded from what is behind it.

var (
	trustedPolicy   = Policy{Limits: RequestLimits(), Trusted: true, DefaultHost: "127.0.0.1:8000"}
	untrustedPolicy = Policy{Limits: RequestLimits(), DefaultHost: "127.0.0.1:8000"}
	plainForward    = Forward{Peer: "192.0.2.7", Scheme: "http"}
)

// result is all that can be seen of one message.
type result struct {
	verdict string // "", "more", or status and rule: "400 R14"
	out     string // canonical head and body
	content string // decoded body
	rest    string // what is behind the message
	facts   string // flags and framing
}

func verdictOf(err *Error) string { return strconv.Itoa(err.Status) + " " + err.Rule }

// reader feeds pieces of a stream.
type reader struct {
	pieces []string
	buf    []byte
}

// more appends the next piece to the buffer, which moves each time.
func (r *reader) more() bool {
	if len(r.pieces) == 0 {
		return false
	}
	r.buf = append(append(make([]byte, 0, len(r.buf)+len(r.pieces[0])), r.buf...), r.pieces[0]...)
	r.pieces = r.pieces[1:]
	return true
}

// rest is everything that was not used up.
func (r *reader) rest() string { return string(r.buf) + strings.Join(r.pieces, "") }

// parse is what Request.Parse and Response.Parse have in common.
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

// body decodes a body behind the head; eof: the stream ends behind the last piece.
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

// runRequest reads one request from the pieces and writes it as a relay would.
func runRequest(p *Policy, pieces ...string) (res result) {
	var req Request
	in := reader{pieces: pieces}
	n, verdict := in.parse(func(b []byte) (int, *Error) { return req.Parse(b, p) })
	if verdict != "" {
		return result{verdict: verdict}
	}
	head := in.buf[:n]
	in.buf = in.buf[n:]
	forward := plainForward
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
	res.facts = requestFacts(&req)
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

// bodyText is a body as it is written behind a head: chunked bodies in one chunk.
func bodyText(f Framing, content string) string {
	if f == Chunked {
		return string(AppendChunk(nil, []byte(content))) + LastChunk
	}
	return content
}

// exchange is what a response is read for and written to.
type exchange struct {
	asked  Asked
	client Client
	eof    bool // the child closes behind the last piece
}

// runResponse reads one response, with the interim ones before it, and writes it as a relay would.
func runResponse(x exchange, pieces ...string) (res result) {
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
		r.Next()
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
		res.facts = "reusable"
	}
	return res
}
