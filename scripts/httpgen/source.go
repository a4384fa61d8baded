package httpgen

import (
	"crypto/sha256"
	"math/rand/v2"
)

// Source generates requests and responses within its bounds.
type Source struct {
	Seed   uint64
	Host   string // the Host field, unless Full
	Wire   bool   // no front-end rewrites the request: also spellings that a front-end may refuse or change
	Full   bool   // for parsers: any host, field and target that the grammar allows; to be set with Wire
	Line   int    // octets of the longest line, without CRLF; request line and field lines alike
	Head   int    // octets of the longest head
	Fields int    // field lines
	Body   int    // octets of the largest body
}

// Request is one request on the wire, and what an app must read of it.
type Request struct {
	Shape   string // the kind of client that sends such requests
	Method  string
	Head    []byte // with the empty line
	Body    []byte // as sent, with chunks if it has any
	Content []byte // the decoded body
	Expect  bool   // the body is sent after 100 Continue
}

// Text returns the whole request as sent.
func (r Request) Text() string { return string(r.Head) + string(r.Body) }

// Digest returns the SHA-256 of the decoded body.
func (r Request) Digest() [sha256.Size]byte { return sha256.Sum256(r.Content) }

// Request generates the request with this number.
func (s Source) Request(number int) Request {
	d := s.draft(number)
	shape := d.shape()
	shape.write(d)
	if s.Full {
		d.vary()
	}
	if d.target == "" {
		d.target = d.path()
	}
	d.respell()
	return d.finish(shape.name)
}

func (s Source) draft(number int) *draft {
	return &draft{Rand: rand.New(rand.NewPCG(s.Seed, uint64(number))), source: s, host: s.Host, method: "GET", version: "1.1"}
}

// Shapes returns the names of all shapes.
func Shapes() []string {
	var names []string
	for _, s := range shapes() {
		names = append(names, s.name)
	}
	return names
}

// shape is a kind of client, with the function that writes its request.
type shape struct {
	name   string
	weight int // relative frequency
	write  func(*draft)
}

func shapes() []shape {
	return []shape{
		{"chrome page", 10, chromePage},
		{"chrome fetch", 8, chromeFetch},
		{"chrome form", 4, chromeForm},
		{"chrome upload", 3, chromeUpload},
		{"chrome preflight", 3, preflight},
		{"chrome image", 3, chromeImage},
		{"firefox page", 5, firefoxPage},
		{"safari page", 4, safariPage},
		{"event source", 1, eventSource},
		{"curl", 6, curl},
		{"curl upload", 3, curlUpload},
		{"curl http2", 1, curlUpgrade},
		{"wget", 1, wget},
		{"ab", 1, apacheBench},
		{"python-requests", 4, pythonRequests},
		{"go", 2, goClient},
		{"okhttp", 2, okHTTP},
		{"java", 1, javaClient},
		{"node fetch", 2, nodeFetch},
		{"webhook", 3, webhook},
		{"sigv4", 2, sigV4},
		{"webdav", 3, webdav},
		{"soap", 1, soap},
		{"grpc-web", 1, grpcWeb},
		{"crawler", 2, crawler},
		{"probe", 2, probe},
		{"behind a cdn", 4, behindCDN},
		{"long", 4, long},
		{"odd fields", 5, oddFields},
		{"odd method", 2, oddMethod},
		{"bare", 2, bare},
	}
}

// shape draws a shape by weight.
func (d *draft) shape() shape {
	all, sum := shapes(), 0
	for _, s := range all {
		sum += s.weight
	}
	at := d.IntN(sum)
	for _, s := range all {
		if at -= s.weight; at < 0 {
			return s
		}
	}
	return all[0]
}
