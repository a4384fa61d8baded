package legal

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"strings"
)

// Request is one request as it goes over the wire, and what an app must see of it.
type Request struct {
	Shape   string // whose request it looks like
	Method  string
	Head    []byte // with the empty line
	Body    []byte // as it is sent: with chunks, if it has any
	Content []byte // what the body means
	Expect  bool   // the body waits for 100 Continue
}

// Source makes requests.
type Source struct {
	Seed  uint64
	Host  string // the Host field
	Wire  bool   // nothing tidies up between the sender and the reader: spellings too that a front-end may not know
	Line  int    // octets of the longest line, the request line and field lines alike, without CRLF
	Head  int    // octets of the longest head
	Most  int    // field lines
	Large int    // octets of the largest body
}

// Request makes the request with this number.
func (s Source) Request(number int) Request {
	d := &draft{Rand: rand.New(rand.NewPCG(s.Seed, uint64(number))), source: s, method: "GET", version: "1.1"}
	shape := d.shape()
	shape.write(d)
	if d.target == "" {
		d.target = d.path()
	}
	d.unusual()
	return d.finish(shape.name)
}

// Shapes are the names of all shapes.
func Shapes() []string {
	var names []string
	for _, s := range shapes() {
		names = append(names, s.name)
	}
	return names
}

// draft is a request being written.
type draft struct {
	*rand.Rand
	source    Source
	method    string
	target    string
	version   string
	fields    []string // "Name: value" as sent, without Host, framing and Expect
	content   []byte
	body      bool // there is one, perhaps empty
	chunked   bool
	expect    bool
	hostFirst bool
}

// add adds one field.
func (d *draft) add(name, value string) { d.fields = append(d.fields, name+": "+value) }

// some adds it in half of the requests.
func (d *draft) some(name, value string) {
	if d.one(2) {
		d.add(name, value)
	}
}

// one is true once in n times.
func (d *draft) one(n int) bool { return d.IntN(n) == 0 }

func pick[T any](d *draft, from ...T) T { return from[d.IntN(len(from))] }

// upTo is a number of 1 to n, the small ones far more often.
func (d *draft) upTo(n int) int {
	if n < 2 {
		return 1
	}
	f := d.Float64()
	return 1 + int(f*f*f*float64(n-1))
}

// word is made of n letters of an alphabet.
func (d *draft) word(n int, alphabet string) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = alphabet[d.IntN(len(alphabet))]
	}
	return string(b)
}

const (
	lowers = "abcdefghijklmnopqrstuvwxyz"
	uppers = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	digits = "0123456789"
	hex    = digits + "abcdef"
	base64 = lowers + uppers + digits + "+/"
	urlish = lowers + uppers + digits + "-_"
	tchars = lowers + uppers + digits + "!#$%&'*+-.^`|~" // of names and methods; an underscore is dropped on purpose
)

func (d *draft) small(n int) string { return d.word(1+d.IntN(n), lowers) }

// finish writes the head, with the framing, and the body.
func (d *draft) finish(shape string) Request {
	r := Request{Shape: shape, Method: d.method, Content: d.content, Expect: d.expect && len(d.content) > 0 && d.version == "1.1"}
	if d.body {
		d.frame(&r)
	}
	if r.Expect {
		d.add("Expect", "100-continue")
	}
	host := "Host: " + d.source.Host
	if d.hostFirst || len(d.fields) == 0 {
		d.fields = append([]string{host}, d.fields...)
	} else {
		at := d.IntN(len(d.fields))
		d.fields = append(d.fields[:at], append([]string{host}, d.fields[at:]...)...)
	}
	r.Head = fmt.Appendf(nil, "%s %s HTTP/%s\r\n%s\r\n\r\n", d.method, d.target, d.version, strings.Join(d.fields, "\r\n"))
	if d.source.Wire && d.one(40) {
		r.Head = append([]byte("\r\n"), r.Head...)
	}
	return r
}

// frame says how long the body is, and writes it.
func (d *draft) frame(r *Request) {
	if !d.chunked || d.version == "1.0" {
		length := fmt.Sprint(len(d.content))
		if d.source.Wire && d.one(20) {
			length = "000" + length
		}
		d.add("Content-Length", length)
		r.Body = d.content
		return
	}
	d.add(pick(d, "Transfer-Encoding", "Transfer-Encoding", "transfer-encoding"), pick(d, "chunked", "chunked", "Chunked"))
	var b bytes.Buffer
	for rest := d.content; len(rest) > 0; {
		n := min(len(rest), d.upTo(16<<10))
		fmt.Fprintf(&b, pick(d, "%x", "%X", "0%x", "000%x"), n)
		b.WriteString(d.extensions() + "\r\n")
		b.Write(rest[:n])
		b.WriteString("\r\n")
		rest = rest[n:]
	}
	b.WriteString(pick(d, "0", "0", "0", "000") + d.extensions() + "\r\n" + d.trailers() + "\r\n")
	r.Body = b.Bytes()
}

// extensions of a chunk, as the grammar has them.
func (d *draft) extensions() string {
	var b strings.Builder
	for d.one(4) && b.Len() < 150 {
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
	if !d.one(4) {
		return ""
	}
	return pick(d, "Digest: sha-256=X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=\r\n", "X-Checksum: "+d.word(32, hex)+"\r\n",
		"Expires: Wed, 21 Oct 2026 07:28:00 GMT\r\nServer-Timing: cpu;dur=2.4\r\n", "grpc-status: 0\r\ngrpc-message:\r\n", "X-Empty:\r\n")
}

// Digest is the content's SHA-256.
func (r Request) Digest() [sha256.Size]byte { return sha256.Sum256(r.Content) }
