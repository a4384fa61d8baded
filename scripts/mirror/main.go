// Command mirror is a quick server that tells what it saw of a request:
//
//	mirror fd:3              the socket that tideover hands down as {fd}
//	mirror 127.0.0.1:8000    one of its own
//
// It reads HTTP/1.1 by hand and refuses nothing, so that what it is asked
// through a front-end with tideover behind it can be held against what it is
// asked through the front-end alone. The answer's body is the request's method,
// target and fields in a form in which both must be the same; the field Saw is
// method, length and digest of the request's body, and the digest of the answer's body.
package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"log"
	"net"
	"net/http/httputil"
	"os"
	"slices"
	"strconv"
	"strings"
)

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: mirror fd:N | mirror ADDRESS")
	}
	listener, err := listen(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	for {
		conn, err := listener.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go serve(conn)
	}
}

func listen(where string) (net.Listener, error) {
	number, passed := strings.CutPrefix(where, "fd:")
	if !passed {
		return net.Listen("tcp", where)
	}
	fd, err := strconv.Atoi(number)
	if err != nil {
		return nil, err
	}
	return net.FileListener(os.NewFile(uintptr(fd), "socket"))
}

// serve answers one request after the other until either side closes.
func serve(conn net.Conn) {
	defer conn.Close()
	in := bufio.NewReaderSize(conn, 16<<10)
	for {
		r, err := read(in, conn)
		if err != nil {
			return
		}
		if _, err := conn.Write(r.answer()); err != nil || r.closes {
			return
		}
	}
}

// request is what was read of one.
type request struct {
	method, target, version string
	fields                  []string // "Name: value"
	closes                  bool
	length                  int
	digest                  [sha256.Size]byte
}

func read(in *bufio.Reader, out io.Writer) (request, error) {
	var r request
	line, err := readLine(in)
	for err == nil && line == "" {
		line, err = readLine(in)
	}
	if err != nil {
		return r, err
	}
	r.method, line, _ = strings.Cut(line, " ")
	r.target, r.version, _ = strings.Cut(line, " ")
	r.closes = r.version == "HTTP/1.0"
	length, chunked := 0, false
	for {
		if line, err = readLine(in); err != nil || line == "" {
			break
		}
		name, value, _ := strings.Cut(line, ":")
		value = strings.Trim(value, " \t")
		r.fields = append(r.fields, name+": "+value)
		switch strings.ToLower(name) {
		case "content-length":
			length, _ = strconv.Atoi(value)
		case "transfer-encoding":
			chunked = true
		case "connection":
			r.connection(strings.ToLower(value))
		case "expect":
			if _, err := io.WriteString(out, "HTTP/1.1 100 Continue\r\n\r\n"); err != nil {
				return r, err
			}
		}
	}
	if err != nil {
		return r, err
	}
	return r, r.readBody(in, length, chunked)
}

func (r *request) connection(value string) {
	switch {
	case strings.Contains(value, "close"):
		r.closes = true
	case strings.Contains(value, "keep-alive"):
		r.closes = false
	}
}

func (r *request) readBody(in *bufio.Reader, length int, chunked bool) error {
	body, wanted := io.Reader(io.LimitReader(in, int64(length))), length
	if chunked {
		body, wanted = httputil.NewChunkedReader(in), -1
	}
	digest := sha256.New()
	n, err := io.Copy(digest, body)
	if err == nil && wanted >= 0 && int(n) < wanted {
		err = io.ErrUnexpectedEOF
	}
	for line := "-"; chunked && err == nil && line != ""; { // trailers
		line, err = readLine(in)
	}
	r.length = int(n)
	digest.Sum(r.digest[:0])
	return err
}

func readLine(in *bufio.Reader) (string, error) {
	line, err := in.ReadString('\n')
	return strings.TrimRight(line, "\r\n"), err
}

// answer is the whole response.
func (r *request) answer() []byte {
	seen := r.seen()
	var b bytes.Buffer
	fmt.Fprintf(&b, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\nSaw: %s %d %x %x\r\n",
		len(seen), r.method, r.length, r.digest, sha256.Sum256(seen))
	if r.closes {
		b.WriteString("Connection: close\r\n")
	} else if r.version == "HTTP/1.0" {
		b.WriteString("Connection: keep-alive\r\n")
	}
	b.WriteString("\r\n")
	if r.method != "HEAD" {
		b.Write(seen)
	}
	return b.Bytes()
}

// differs are the fields that belong to one hop, or frame the body, or are made
// by tideover.
var differs = []string{
	"connection", "keep-alive", "proxy-connection", "te", "trailer", "upgrade", "http2-settings", "proxy-authorization",
	"proxy", "content-length", "transfer-encoding", "expect", "x-request-start",
}

// seen is all of the request's head that must be the same with tideover and
// without it: the target in the form in which servers are asked, names and
// values as they came, in their order. A name with an underscore could be taken
// for another one and is dropped by tideover.
func (r *request) seen() []byte {
	var b bytes.Buffer
	authority, target := split(r.target, r.method)
	fmt.Fprintf(&b, "%s %s\n", r.method, target)
	if authority != "" {
		b.WriteString("Host: " + authority + "\n")
	}
	for _, f := range r.fields {
		name, _, _ := strings.Cut(f, ":")
		if name = strings.ToLower(name); authority != "" && name == "host" {
			continue
		}
		if !strings.Contains(name, "_") && !slices.Contains(differs, name) {
			b.WriteString(f + "\n")
		}
	}
	return b.Bytes()
}

// split is the authority of an absolute target, which counts instead of Host, and
// the target without it (RFC 9112 section 3.2).
func split(target, method string) (authority, origin string) {
	_, rest, absolute := strings.Cut(target, "://")
	if strings.HasPrefix(target, "/") || !absolute {
		return "", target
	}
	at := strings.IndexAny(rest, "/?")
	switch {
	case at < 0 && method == "OPTIONS":
		return rest, "*"
	case at < 0:
		return rest, "/"
	case rest[at] == '?':
		return rest[:at], "/" + rest[at:]
	}
	return rest[:at], rest[at:]
}
