package httpgen

import (
	"bytes"
	"fmt"
	"strings"
)

// finish writes the head, with Host and the framing fields, and the body.
func (d *draft) finish(shape string) Request {
	r := Request{Shape: shape, Method: d.method, Content: d.content, Expect: d.expect && (len(d.content) > 0 || d.source.Full) && d.version == "1.1"}
	if d.hasBody {
		d.frame(&r)
	}
	if r.Expect {
		d.add("Expect", "100-continue")
	}
	d.addHost()
	if d.source.Full {
		d.respace()
	}
	r.Head = fmt.Appendf(nil, "%s %s HTTP/%s\r\n%s\r\n", d.method, d.target, d.version, strings.Join(append(d.fields, ""), "\r\n"))
	if d.source.Wire && d.oneIn(d.often(40, 4)) {
		r.Head = append([]byte("\r\n"), r.Head...)
	}
	return r
}

// addHost adds the Host field, which most clients write first. HTTP/1.0 can do
// without.
func (d *draft) addHost() {
	host := "Host: " + d.host
	switch {
	case d.source.Full && d.version == "1.0" && d.target[0] == '/' && d.oneIn(2):
	case d.hostFirst || len(d.fields) == 0:
		d.fields = append([]string{host}, d.fields...)
	default:
		at := d.IntN(len(d.fields))
		d.fields = append(d.fields[:at], append([]string{host}, d.fields[at:]...)...)
	}
}

// often returns usual, or full for a Full source.
func (d *draft) often(usual, full int) int {
	if d.source.Full {
		return full
	}
	return usual
}

// frame adds the framing field and writes the body.
func (d *draft) frame(r *Request) {
	if !d.chunked || d.version == "1.0" {
		length := fmt.Sprint(len(d.content))
		if d.source.Wire && d.oneIn(d.often(20, 4)) {
			length = "000" + length
		}
		d.add("Content-Length", length)
		r.Body = d.content
		return
	}
	d.add(pick(d, "Transfer-Encoding", "Transfer-Encoding", "transfer-encoding"), pick(d, "chunked", "chunked", "Chunked"))
	var b bytes.Buffer
	for rest := d.content; len(rest) > 0; {
		n := min(len(rest), d.upTo(d.often(16<<10, 1+len(rest))))
		fmt.Fprintf(&b, pick(d, "%x", "%X", "0%x", "000%x"), n)
		b.WriteString(d.extensions() + "\r\n")
		b.Write(rest[:n])
		b.WriteString("\r\n")
		rest = rest[n:]
	}
	b.WriteString(pick(d, "0", "0", "0", "000") + d.extensions() + "\r\n" + d.trailers() + "\r\n")
	r.Body = b.Bytes()
}

// extensions returns chunk extensions, mostly none.
func (d *draft) extensions() string {
	var b strings.Builder
	for d.oneIn(4) && b.Len() < 150 {
		b.WriteString(pick(d, ";", ";", "; "))
		b.WriteString(d.word(1+d.IntN(12), tchars))
		switch d.IntN(4) {
		case 0:
			b.WriteString("=" + d.word(1+d.IntN(16), tchars))
		case 1:
			b.WriteString(pick(d, `=""`, `="a b; c=d"`, `="\"quoted\""`, `=" = , : "`, "=\"caf\xc3\xa9\"", `="sha256:00"`))
		case 2:
			b.WriteString(" = " + d.word(4, lowers))
		}
	}
	return b.String()
}

func (d *draft) trailers() string {
	if !d.oneIn(4) {
		return ""
	}
	return pick(d, "Digest: sha-256=X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=\r\n", "X-Checksum: "+d.word(32, hex)+"\r\n",
		"Expires: Wed, 21 Oct 2026 07:28:00 GMT\r\nServer-Timing: cpu;dur=2.4\r\n", "grpc-status: 0\r\ngrpc-message:\r\n", "X-Empty:\r\n")
}
