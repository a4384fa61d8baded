//go:build e2e

package e2e

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"testing"
	"time"

	"tideover/scripts/loadgen"
	"tideover/scripts/testenv"
)

// readerProgram answers /big with 8 MiB, and everything else as shop.py.
const readerProgram = `
from shop import app as shop
BIG = bytes(range(256)) * (8 << 12)
def app(environ, start_response):
    if environ["PATH_INFO"] != "/big":
        return shop(environ, start_response)
    start_response("200 OK", [("Content-Length", str(len(BIG)))])
    return [BIG]
`

// Clients that do not read their responses occupy no worker: there are more of them than workers,
// and others are answered as before. A reload and a restart lose none of them, and in the end they
// get every byte.
func TestSlowReaders(t *testing.T) {
	t.Parallel()
	for name, g := range map[string]testenv.Gunicorn{"sync": {}, "gthread": {Class: "gthread", Args: []string{"--threads", "2"}}} {
		t.Run(name, func(t *testing.T) {
			r := begin(t)
			g.Workers, g.App = 2, "reader:app"
			s := newFixture(r, setup{gunicorn: g, files: map[string]string{"reader.py": readerProgram}, release: testenv.Release{Number: 1}})
			before := s.slowestOf(20)
			var readers []net.Conn
			for range 10 {
				readers = append(readers, s.slowReader())
			}
			s.must(testenv.Poll(s.Context(), 20*time.Millisecond, func() error {
				st := s.daemonStatus()
				if open := st.Counters["requests"] - st.Counters["answered"]; st.InFlight > 0 || open < len(readers) {
					return fmt.Errorf("%d in flight, %d not answered", st.InFlight, open)
				}
				return nil
			}))
			beside := s.slowestOf(20)
			for _, verb := range [][]string{{"reload", "--wait-drain"}, {"restart"}} {
				outcome, err := s.daemon.Call(s.timeout(60*time.Second), verb...)
				s.must(err)
				if outcome.Exit != 0 {
					s.Errorf("%s: %v", verb, outcome)
				}
			}
			want := bytes.Repeat(every, 8<<12)
			for _, c := range readers {
				res, err := http.ReadResponse(bufio.NewReader(c), nil)
				s.must(err)
				got, err := io.ReadAll(res.Body)
				if err != nil || !bytes.Equal(got, want) {
					s.Errorf("%d bytes of %d: %v", len(got), len(want), err)
				}
			}
			s.addNumbers("readers=%d slowest=%.1fms slowest_beside=%.1fms", len(readers), ms(before), ms(beside))
			if beside > max(10*before, 2*time.Second) {
				s.Errorf("a request took %v beside slow readers, and %v before", beside, before)
			}
			for _, name := range []string{"cut", "client_left", "blocked"} {
				if n := s.counter(name); n != 0 {
					s.Errorf("%s=%d", name, n)
				}
			}
			s.shutdown()
		})
	}
}

var every = func() []byte {
	p := make([]byte, 256)
	for i := range p {
		p[i] = byte(i)
	}
	return p
}()

// slowReader asks for a long response and does not read it.
func (s *fixture) slowReader() net.Conn {
	s.Helper()
	c, err := net.Dial("tcp", s.client.Address)
	s.must(err)
	s.Cleanup(func() { c.Close() })
	c.(*net.TCPConn).SetReadBuffer(128 << 10)
	fmt.Fprint(c, "GET /big HTTP/1.1\r\nHost: shop\r\n\r\n")
	return c
}

// slowestOf is the longest time that one of n requests takes.
func (s *fixture) slowestOf(n int) time.Duration {
	s.Helper()
	var took []time.Duration
	for range n {
		began := time.Now()
		if a := s.client.Do(s.Context(), loadgen.Kind{}); a.Status != 200 {
			s.Errorf("%d %s %s", a.Status, a.Loss, a.Cause)
		}
		took = append(took, time.Since(began))
	}
	return slices.Max(took)
}
