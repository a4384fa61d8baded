package generation

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"testing"
	"time"

	"tideover/proxy/remote"
)

// serveLines serves HTTP. answer gets the PROXY line of a connection, or "".
func serveLines(t *testing.T, answer func(line string) (status int, body string)) func(context.Context, remote.Probe) (remote.ProbeAnswer, error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			in, line := bufio.NewReader(conn), ""
			if first, _ := in.Peek(6); string(first) == "PROXY " {
				line, _ = in.ReadString('\n')
			}
			if _, err := http.ReadRequest(in); err == nil {
				status, body := answer(line)
				fmt.Fprintf(conn, "HTTP/1.1 %d X\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", status, len(body), body)
			}
			conn.Close()
		}
	}()
	relay := remote.NewLocal(remote.LocalOptions{})
	return func(ctx context.Context, q remote.Probe) (remote.ProbeAnswer, error) {
		q.Network, q.Address = "tcp", l.Addr().String()
		return relay.Probe(ctx, q)
	}
}

// The probe goes without its PROXY line where the server does not understand it, and only there: the
// app may answer 400 for another reason.
func TestTheProbeGoesWithoutAPROXYLineThatIsNotUnderstood(t *testing.T) {
	const (
		old     = "<h1><p>Bad Request</p></h1>\nInvalid HTTP Version &#x27;127.0.0.1 127.0.0.1 9 9&#x27;"
		newer   = "Invalid Request Line &#x27;Invalid HTTP request line: &#x27;PROXY TCP4"
		asgi    = "Invalid request line"
		django  = "<h1>Bad Request (400)</h1>"
		another = "<h1>Bad Request</h1> request 4711"
	)
	for _, c := range []struct {
		name                 string
		with, without        int
		textWith, textAround string
		noLine               bool
		status               int
	}{
		{"understood", 200, 200, "ok", "ok", false, 200},
		{"not by an old gunicorn", 400, 200, old, "ok", true, 200},
		{"not by a new one", 400, 404, newer, "none", true, 404},
		{"not by asgi workers", 400, 200, asgi, "ok", true, 200},
		{"an unknown Host", 400, 400, django, django, false, 400},
		{"an unknown Host, with a text that changes", 400, 400, django, another, false, 400},
		{"an unknown Host, and it is not understood", 400, 400, old, django, true, 400},
		{"an app that fails", 500, 200, "no", "ok", false, 500},
	} {
		p := httpProbe{line: probeLine, host: "shop", path: "/", accept: func(int) bool { return true }}
		lines := 0
		p.ask = serveLines(t, func(line string) (int, string) {
			if line == "" {
				return c.without, c.textAround
			}
			if lines++; line != probeLine {
				t.Errorf("%s: the line is %q", c.name, line)
			}
			return c.with, c.textWith
		})
		ctx, stop := context.WithTimeout(t.Context(), time.Minute)
		result, err := p.wait(ctx)
		stop()
		if err != nil || result.NoLine != c.noLine || result.Status != c.status || lines != 1 {
			t.Errorf("%s: %+v, %v, %d lines", c.name, result, err, lines)
		}
	}
}
