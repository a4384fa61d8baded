package netpoll

import (
	"bytes"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// A pipe keeps what a full socket does not take, in order, and tells the end from a pause.
func TestAPipePassesBytesOnBetweenSockets(t *testing.T) {
	for _, c := range []struct{ from, to string }{{"tcp", "unix"}, {"tcp", "tcp"}, {"unix", "tcp"}} {
		t.Run(c.from+" to "+c.to, func(t *testing.T) {
			address := func(network string) string {
				return map[string]string{"tcp": "127.0.0.1:0", "unix": filepath.Join(t.TempDir(), "s")}[network]
			}
			sender, from := connected(t, c.from, address(c.from))
			to, receiver := connected(t, c.to, address(c.to))
			p, err := OpenPipe()
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			if n, errno := p.Fill(from, 1000); n != -1 || errno != unix.EAGAIN {
				t.Fatalf("a silent peer: %d %v", n, errno)
			}
			sent, got, piece := 0, []byte{}, make([]byte, 64<<10)
			next := func() []byte { // distinct everywhere
				for i := range piece {
					piece[i] = byte((sent + i) * 7 >> 3)
				}
				return piece
			}
			receive := func() {
				in := make([]byte, 1<<20)
				for n, errno := Receive(receiver, in); errno == 0 && n > 0; n, errno = Receive(receiver, in) {
					got = append(got, in[:n]...)
				}
			}
			inPipe, full := 0, false
			for sent < 32<<20 {
				n, errno := Send(sender, next())
				if errno != 0 && errno != unix.EAGAIN {
					t.Fatal(errno)
				}
				sent += max(0, n)
				if inPipe == 0 {
					inPipe, errno = p.Fill(from, 100_000)
					if inPipe = max(0, inPipe); errno != 0 && errno != unix.EAGAIN || inPipe > 100_000 {
						t.Fatal(inPipe, errno)
					}
				}
				if inPipe > 0 {
					n, errno = p.Drain(to, inPipe)
					inPipe -= max(0, n)
					if full = full || errno == unix.EAGAIN; errno == unix.EAGAIN {
						receive()
					} else if errno != 0 {
						t.Fatal(errno)
					}
				}
			}
			unix.Shutdown(sender, unix.SHUT_WR)
			for ended := false; !ended; receive() {
				if inPipe == 0 {
					n, errno := p.Fill(from, 100_000)
					ended, inPipe = n == 0, max(0, n)
					if errno != 0 && errno != unix.EAGAIN {
						t.Fatal(errno)
					}
				}
				if inPipe > 0 {
					n, _ := p.Drain(to, inPipe)
					inPipe -= max(0, n)
				}
			}
			if !full {
				t.Error("the receiver was never full")
			}
			whole := make([]byte, 0, sent)
			for sentBefore := sent; len(whole) < sentBefore; {
				sent = len(whole)
				whole = append(whole, next()[:min(len(piece), sentBefore-len(whole))]...)
			}
			for receive(); len(got) < len(whole); receive() {
			}
			if !bytes.Equal(got, whole) {
				t.Errorf("%d bytes of %d, or others", len(got), len(whole))
			}
		})
	}
}
