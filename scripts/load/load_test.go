package load_test

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
	"testing"
	"time"

	"tideover/scripts/load"
)

// echo is the app's side of the contract.
func echo(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	fmt.Fprintf(w, "nonce=%s length=%d sha256=%x", r.URL.Query().Get("nonce"), len(body), sha256.Sum256(body))
}

func clientOf(t *testing.T, address string) *load.Client {
	c := &load.Client{Address: address, Timeout: 5 * time.Second, Prefix: "t"}
	t.Cleanup(c.Close)
	return c
}

func TestEverydayRequestsAreRight(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(echo))
	t.Cleanup(server.Close)
	c := clientOf(t, server.Listener.Addr().String())
	kinds := append(load.Everyday(),
		load.Kind{Name: "expect", Body: 5000, Expect: true},
		load.Kind{Name: "head", Method: "HEAD"},
		load.Kind{Name: "slow upload", Body: 9000, Chunked: true, Over: 100 * time.Millisecond},
		load.Kind{Name: "1.0", HTTP10: true})
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
	a := clientOf(t, server.Listener.Addr().String()).Do(t.Context(), load.Kind{Body: 10, Expect: true})
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
		want   load.Loss
	}{
		{"", load.Reset},
		{"HTTP/1.1 200 OK\r\nCont", load.Truncated},
		{head + "10\r\n\r\nabc", load.Truncated},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", load.Truncated},
		{head + "2\r\n\r\nhi", load.Wrong},
		{head + "7\r\n\r\nnonce=x", load.Wrong},
		{"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", load.Status},
	} {
		if a := clientOf(t, raw(t, c.answer)).Do(t.Context(), load.Kind{}); a.Loss != c.want {
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
	if a := clientOf(t, server.Listener.Addr().String()).Do(t.Context(), load.Kind{Body: 100}); a.Loss != load.Wrong {
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
	if a := c.Do(t.Context(), load.Kind{}); a.Loss != load.TimedOut {
		t.Errorf("silent: %q %s", a.Loss, a.Cause)
	}
	l.Close()
	if a := c.Do(t.Context(), load.Kind{}); a.Loss != load.Refused {
		t.Errorf("refused: %q %s", a.Loss, a.Cause)
	}
}

// A server that answers one request a connection and then closes it without
// saying so must not cost a careful keep-alive client anything.
func TestClosedIdleConnectionIsNotUsed(t *testing.T) {
	address := raw(t, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
	c := clientOf(t, address)
	for range 3 {
		if a := c.Do(t.Context(), load.Kind{Keep: true, Plain: true}); a.Loss != "" {
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
	l := load.Start(load.Plan{Client: clientOf(t, server.Listener.Addr().String()), Rate: 500})
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
