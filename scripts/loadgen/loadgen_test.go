package loadgen_test

import (
	"bufio"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tideover/scripts/loadgen"
)

// echo is the app's side of the contract.
func echo(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	fmt.Fprintf(w, "nonce=%s length=%d sha256=%x", r.URL.Query().Get("nonce"), len(body), sha256.Sum256(body))
}

func clientOf(t *testing.T, address string) *loadgen.Client {
	c := &loadgen.Client{Address: address, Timeout: 5 * time.Second, Prefix: "t"}
	t.Cleanup(c.Close)
	return c
}

func TestEverydayRequestsAreRight(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(echo))
	t.Cleanup(server.Close)
	c := clientOf(t, server.Listener.Addr().String())
	kinds := append(loadgen.Everyday(),
		loadgen.Kind{Name: "expect", Body: 5000, Expect: true},
		loadgen.Kind{Name: "head", Method: "HEAD"},
		loadgen.Kind{Name: "slow upload", Body: 9000, Chunked: true, Over: 100 * time.Millisecond},
		loadgen.Kind{Name: "1.0", HTTP10: true})
	for range 2 {
		for _, k := range kinds {
			if a := c.Do(t.Context(), k); a.Loss != "" {
				t.Errorf("%s: %s %s", k.Name, a.Loss, a.Cause)
			}
		}
	}
}

func TestContinueIsTimed(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(echo))
	t.Cleanup(server.Close)
	a := clientOf(t, server.Listener.Addr().String()).Do(t.Context(), loadgen.Kind{Body: 10, Expect: true})
	if a.Continued <= 0 || a.Continued > a.Waited {
		t.Errorf("100 after %v of %v", a.Continued, a.Waited)
	}
}

// raw answers every connection, after the request's head, with the same bytes
// and closes it.
func raw(t *testing.T, answer string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
				io.WriteString(conn, answer)
			}
			conn.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-served })
	return l.Addr().String()
}

func TestEveryLossIsSeen(t *testing.T) {
	head := "HTTP/1.1 200 OK\r\nContent-Length: "
	for _, c := range []struct {
		answer string
		want   loadgen.Loss
	}{
		{"", loadgen.Reset},
		{"HTTP/1.1 200 OK\r\nCont", loadgen.Truncated},
		{head + "10\r\n\r\nabc", loadgen.Truncated},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", loadgen.Truncated},
		{head + "2\r\n\r\nhi", loadgen.Wrong},
		{head + "7\r\n\r\nnonce=x", loadgen.Wrong},
		{"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", loadgen.Status},
	} {
		if a := clientOf(t, raw(t, c.answer)).Do(t.Context(), loadgen.Kind{}); a.Loss != c.want {
			t.Errorf("%q: %q (%s), want %q", c.answer, a.Loss, a.Cause, c.want)
		}
	}
}

func TestCutBodyIsWrong(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = io.NopCloser(io.LimitReader(r.Body, 99))
		echo(w, r)
	}))
	t.Cleanup(server.Close)
	if a := clientOf(t, server.Listener.Addr().String()).Do(t.Context(), loadgen.Kind{Body: 100}); a.Loss != loadgen.Wrong {
		t.Errorf("%q %s", a.Loss, a.Cause)
	}
}

func TestRefusedAndSilent(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := clientOf(t, l.Addr().String())
	c.Timeout = 50 * time.Millisecond
	if a := c.Do(t.Context(), loadgen.Kind{}); a.Loss != loadgen.TimedOut {
		t.Errorf("silent: %q %s", a.Loss, a.Cause)
	}
	l.Close()
	if a := c.Do(t.Context(), loadgen.Kind{}); a.Loss != loadgen.Refused {
		t.Errorf("refused: %q %s", a.Loss, a.Cause)
	}
}

// A server that answers one request a connection and then closes it without
// saying so must not cost a careful keep-alive client anything.
func TestClosedIdleConnectionIsNotUsed(t *testing.T) {
	address := raw(t, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
	c := clientOf(t, address)
	for range 3 {
		if a := c.Do(t.Context(), loadgen.Kind{Keep: true, Plain: true}); a.Loss != "" {
			t.Fatalf("%s %s", a.Loss, a.Cause)
		}
		waitClosed(t)
	}
}

// waitClosed gives the server's FIN the moment it needs on loopback.
func waitClosed(t *testing.T) {
	t.Helper()
	select {
	case <-time.After(20 * time.Millisecond):
	case <-t.Context().Done():
	}
}

func TestLoadCountsAllIt(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Query().Get("nonce"), "7") {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		echo(w, r)
	}))
	t.Cleanup(server.Close)
	l := loadgen.Start(loadgen.Plan{Client: clientOf(t, server.Listener.Addr().String()), Rate: 500})
	window := l.Open()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	for l.Tally().Ended < 200 && ctx.Err() == nil {
		waitClosed(t)
	}
	all := l.Stop()
	if all.Ended < 200 || all.InFlight != 0 {
		t.Fatalf("%v, %d in flight", all, all.InFlight)
	}
	sevens := (all.Ended + 3) / 10
	if all.Lost() != sevens || all.Statuses[502] != sevens {
		t.Errorf("%v; want %d lost", all, sevens)
	}
	if part := window.Close(); part.Ended != all.Ended || part.Lost() != sevens {
		t.Errorf("window: %v, all: %v", part, all)
	}
}

func closedLoop(t *testing.T, address string, reconnect bool) *loadgen.ClosedLoop {
	t.Helper()
	l := &loadgen.ClosedLoop{Address: address, Clients: 4, Reconnect: reconnect, Head: "GET / HTTP/1.1\r\nHost: a", Body: "hello"}
	t.Cleanup(l.Close)
	if err := l.Open(); err != nil {
		t.Fatal(err)
	}
	return l
}

func TestClosedLoopCountsAllOfIt(t *testing.T) {
	for _, reconnect := range []bool{false, true} {
		var asked, connections atomic.Int64
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if asked.Add(1)%10 == 0 {
				w.WriteHeader(http.StatusBadGateway)
			}
			io.WriteString(w, "hello")
		}))
		server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
			if state == http.StateNew {
				connections.Add(1)
			}
		}
		server.Start()
		l := closedLoop(t, server.Listener.Addr().String(), reconnect)
		for range 2 {
			before := asked.Load()
			r, err := l.Run(50 * time.Millisecond)
			if sent := int(asked.Load() - before); err != nil || r.Answered+r.Failed != sent || r.Failed == 0 || r.Answered == 0 {
				t.Errorf("%v, %+v of %d", err, r, sent)
			}
		}
		if n := connections.Load(); (n == 4) == reconnect {
			t.Errorf("%d connections for %d requests", n, asked.Load())
		}
		server.Close()
	}
}

// A server may close a kept connection after a number of requests; a body that is not the right one
// is a failure.
func TestClosedLoopJudges(t *testing.T) {
	head := "HTTP/1.1 200 OK\r\nContent-Length: "
	for _, c := range []struct {
		answer           string
		answered, failed bool
	}{
		{head + "5\r\n\r\nhello", true, false},
		{head + "5\r\n\r\nhullo", false, true},
		{head + "9\r\n\r\nhello", false, true},
		{"", false, true},
	} {
		r, err := closedLoop(t, raw(t, c.answer), false).Run(20 * time.Millisecond)
		if err != nil || (r.Answered > 0) != c.answered || (r.Failed > 0) != c.failed {
			t.Errorf("%q: %v, %+v", c.answer, err, r)
		}
	}
}
