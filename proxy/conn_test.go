package proxy

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// pair returns two ends of a TCP connection, ours for a goroutine.
func pair(t *testing.T) (*conn, *testClient) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	theirs, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { theirs.Close(); accepted.Close() })
	return blockingConn(t, accepted), &testClient{T: t, Conn: theirs, in: bufio.NewReader(theirs)}
}

// blockingConn is a connection as a goroutine has it.
func blockingConn(t *testing.T, c net.Conn) *conn {
	ours := &conn{}
	if err := ours.open(c.(stream)); err != nil {
		t.Error(err)
	}
	return ours
}

// What is there is read, however late we look.
func TestReadTakesWhatIsThere(t *testing.T) {
	w, peer := pair(t)
	p := make([]byte, 10)
	if n, err := w.read(p, time.Nanosecond); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%d %v", n, err)
	}
	peer.say("x")
	for w.quiet() {
		runtime.Gosched()
	}
	if n, err := w.read(p, time.Nanosecond); n != 1 || err != nil {
		t.Errorf("%d %v", n, err)
	}
	w.interrupt()
	if n, err := w.read(p, time.Hour); n != 0 || err != errInterrupted {
		t.Errorf("%d %v", n, err)
	}
	w.clearInterrupt()
	peer.Close()
	if n, err := w.read(p, time.Hour); n != 0 || err != io.EOF {
		t.Errorf("%d %v", n, err)
	}
}

// What a deadline has cut off goes on behind the last byte that the kernel took.
func TestWriteReturnsHowMuchTheKernelTook(t *testing.T) {
	w, peer := pair(t)
	all := randomBytes(16 << 20) // more than both sockets hold
	n, err := w.write(all, time.Millisecond)
	if !errors.Is(err, os.ErrDeadlineExceeded) || n <= 0 || n >= len(all) {
		t.Fatalf("%d %v", n, err)
	}
	got := make(chan []byte)
	go func() {
		p := make([]byte, len(all))
		io.ReadFull(peer.Conn, p)
		got <- p
	}()
	if m, err := w.write(all[n:], 0); n+m != len(all) || err != nil {
		t.Errorf("%d and %d bytes, %v", n, m, err)
	}
	if !bytes.Equal(<-got, all) {
		t.Error("other bytes")
	}
	peer.Close()
	for err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		_, err = w.write(all, time.Millisecond)
	}
	if !errors.Is(err, unix.ECONNRESET) && !errors.Is(err, unix.EPIPE) {
		t.Errorf("a peer that is gone: %v", err)
	}
}
