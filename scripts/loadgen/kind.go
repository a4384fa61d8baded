package loadgen

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"
)

// Kind describes one kind of request.
type Kind struct {
	Name    string        // in reports
	Method  string        // empty: GET without a body, POST with one
	Path    string        // empty: /echo
	Query   string        // added to nonce=..., as "s=0.3"
	Header  []string      // added as they are: "X-Forwarded-For: 192.0.2.1"
	Body    int           // bytes
	Chunked bool          // the body's length is not announced
	Keep    bool          // a keep-alive client; else Connection: close
	Expect  bool          // Expect: 100-continue, and the body waits for the 100
	Over    time.Duration // the body is sent evenly over this long; 0: at once
	Plain   bool          // the answer is not an echo: a complete 200 is right
	Want    string        // what the body of a Plain answer has to contain
	HTTP10  bool
}

// Everyday is what a web app sees in an hour of its life: reading and writing,
// short and long bodies, clients that keep their connection and clients that
// do not.
func Everyday() []Kind {
	get := Kind{Name: "get"}
	keep := Kind{Name: "get, kept", Keep: true}
	post := Kind{Name: "post", Body: 300}
	postKeep := Kind{Name: "post, kept", Body: 300, Keep: true}
	return []Kind{
		get, keep, post, keep, postKeep,
		{Name: "post 64k", Body: 64 << 10},
		get, keep, get, postKeep,
		{Name: "post chunked", Body: 40 << 10, Chunked: true, Keep: true},
		keep, post, get, keep,
		{Name: "get 0.1 s", Query: "s=0.1"},
		{Name: "post chunked, small", Body: 900, Chunked: true},
		keep, get,
		{Name: "post 0.1 s", Body: 300, Query: "s=0.1", Keep: true},
	}
}

func (k Kind) method() string {
	switch {
	case k.Method != "":
		return k.Method
	case k.Body > 0:
		return "POST"
	}
	return "GET"
}

// head is the request's head, written by hand so that nothing is added, sorted
// or left out.
func (k Kind) head(host, nonce string) []byte {
	path := k.Path
	if path == "" {
		path = "/echo"
	}
	version := "1.1"
	if k.HTTP10 {
		version = "1.0"
	}
	var b bytes.Buffer
	query := "nonce=" + nonce
	if k.Query != "" {
		query += "&" + k.Query
	}
	fmt.Fprintf(&b, "%s %s?%s HTTP/%s\r\nHost: %s\r\nX-Request-Id: %s\r\n", k.method(), path, query, version, host, nonce)
	for _, line := range k.Header {
		b.WriteString(line + "\r\n")
	}
	switch {
	case k.Chunked:
		b.WriteString("Transfer-Encoding: chunked\r\n")
	case k.Body > 0 || k.method() == "POST":
		fmt.Fprintf(&b, "Content-Length: %d\r\n", k.Body)
	}
	if k.Expect {
		b.WriteString("Expect: 100-continue\r\n")
	}
	switch {
	case !k.Keep && !strings.Contains(strings.Join(k.Header, "\n"), "Connection:"):
		b.WriteString("Connection: close\r\n")
	case k.HTTP10:
		b.WriteString("Connection: keep-alive\r\n")
	}
	b.WriteString("\r\n")
	return b.Bytes()
}

// body is made from the nonce, so that no two requests have the same one and
// a part of one is never the whole of another.
func (k Kind) body(nonce string) []byte {
	b := make([]byte, 0, k.Body+64)
	for i := 0; len(b) < k.Body; i++ {
		b = fmt.Appendf(b, "%s %08d and some words to fill the line\n", nonce, i)
	}
	return b[:k.Body]
}

// pieces is in how many writes the body goes out.
func (k Kind) pieces() int {
	size := 8 << 10
	if k.Over > 0 {
		return max(10, int(k.Over/(50*time.Millisecond)))
	}
	return max(1, (k.Body+size-1)/size)
}

// send writes the body in pieces, each a chunk when the body is chunked. A body that takes its time
// begins after the head, and each piece of it goes out at once.
func (k Kind) send(w *bufio.Writer, body []byte) error {
	n := k.pieces()
	var ticks <-chan time.Time
	if k.Over > 0 {
		if err := w.Flush(); err != nil {
			return err
		}
		ticker := time.NewTicker(k.Over / time.Duration(n))
		defer ticker.Stop()
		ticks = ticker.C
	}
	for i := range n {
		piece := body[i*len(body)/n : (i+1)*len(body)/n]
		if k.Chunked && len(piece) > 0 {
			piece = fmt.Appendf(nil, "%x\r\n%s\r\n", len(piece), piece)
		}
		if _, err := w.Write(piece); err != nil {
			return err
		}
		if ticks != nil {
			if err := w.Flush(); err != nil {
				return err
			}
			<-ticks
		}
	}
	if k.Chunked {
		_, err := w.WriteString("0\r\n\r\n")
		return err
	}
	return nil
}

// wrong reports what is wrong with an echo of this request, "" when it is the
// complete right answer.
func (k Kind) wrong(nonce string, sent, answer []byte, echo Echo) string {
	sum := sha256.Sum256(sent)
	switch {
	case !bytes.Contains(answer, []byte(k.Want)):
		return fmt.Sprintf("the body has no %q: %.120q", k.Want, answer)
	case k.Plain || k.method() == "HEAD":
		return ""
	case echo["nonce"] != nonce:
		return fmt.Sprintf("the answer to %q", echo["nonce"])
	case echo["sha256"] != hex.EncodeToString(sum[:]):
		return fmt.Sprintf("the app read %s of %d bytes, or others", echo["length"], len(sent))
	}
	return ""
}

// Echo is the app's answer: what it says about the request and itself.
type Echo map[string]string

// ParseEcho reads the "key=value key=value" line of an answer.
func ParseEcho(body []byte) Echo {
	e := Echo{}
	for word := range strings.FieldsSeq(string(body)) {
		if key, value, ok := strings.Cut(word, "="); ok {
			e[key] = value
		}
	}
	return e
}
