//go:build !race

package proxy

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"tideover/proxy/gate"
)

// What a request may cost, in things that do not depend on the machine's speed. The race detector
// has a price of its own, so scripts/test runs these tests without it.

// plain reads a request of one piece and answers with one, without a byte of new memory.
func plain(k *appConn) {
	fd := blocking(k.Conn.(*net.UnixConn))
	defer unix.Close(fd)
	buffer, answer := make([]byte, 4096), []byte("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
	for {
		if n, err := unix.Read(fd, buffer); n <= 0 || err != nil {
			return
		}
		unix.Write(fd, answer)
	}
}

// blocking is a connection's descriptor in blocking mode, so that each read is one system call.
func blocking(conn interface{ File() (*os.File, error) }) int {
	file, err := conn.File()
	if err != nil {
		panic(err)
	}
	defer file.Close()
	fd, err := unix.Dup(int(file.Fd()))
	if err != nil {
		panic(err)
	}
	return fd
}

// calls are the system calls of this process that read and that write.
func calls(t *testing.T) (reads, writes int) {
	text, err := os.ReadFile("/proc/self/io")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		fmt.Sscanf(line, "syscr: %d", &reads)
		fmt.Sscanf(line, "syscw: %d", &writes)
	}
	return reads, writes
}

func TestPriceOfARequest(t *testing.T) {
	for name, o := range map[string]gate.TargetOptions{"": {}, "on a connection of its client": withLine, "with one forwarded address": {Peer: gate.PeerOneForwardedFor}} {
		t.Run(name, func(t *testing.T) { priceOfARequest(t, o) })
	}
}

func priceOfARequest(t *testing.T, o gate.TargetOptions) {
	r := newHarness(t, patient, Settings{})
	r.gate.Swap(r.newTestApp(o, plain).Target)
	c := r.dial()
	fd := blocking(c.Conn.(*net.TCPConn))
	defer unix.Close(fd)
	request, buffer := []byte("GET /page HTTP/1.1\r\nHost: shop.test\r\nCookie: a=b\r\nX-Forwarded-For: 192.0.2.7, 127.0.0.1\r\n\r\n"), make([]byte, 4096)
	ask := func(n int) {
		for range n {
			unix.Write(fd, request)
			if got, err := unix.Read(fd, buffer); err != nil || !bytes.HasSuffix(buffer[:max(0, got)], []byte("hello")) {
				t.Fatalf("%q %v", buffer[:max(0, got)], err)
			}
		}
	}
	const n = 5000
	ask(1000)
	var before, after runtime.MemStats
	reads, writes := calls(t)
	runtime.ReadMemStats(&before)
	ask(n)
	runtime.ReadMemStats(&after)
	readsAfter, writesAfter := calls(t)
	allocations, bytes := float64(after.Mallocs-before.Mallocs)/n, float64(after.TotalAlloc-before.TotalAlloc)/n
	// the client and the app read once and write once each
	ours, written := float64(readsAfter-reads)/n-2, float64(writesAfter-writes)/n-2
	t.Logf("a request: %.3f allocations, %.1f bytes, %.3f reads, %.3f writes", allocations, bytes, ours, written)
	most := struct{ allocations, bytes, reads, writes float64 }{0.01, 4 << 20 / 200_000, 2.1, 2.1} // below 4 MiB there is no collection
	if allocations > most.allocations || bytes > most.bytes || ours > most.reads || written > most.writes {
		t.Errorf("more than %+v", most)
	}
}

// A request on a new connection is written together with its PROXY line.
func TestALineAndItsRequestAreOneWrite(t *testing.T) {
	r := newHarness(t, patient, Settings{})
	r.gate.Swap(r.newTestApp(gate.TargetOptions{Peer: gate.PeerProxyLine, OneRequest: true}, plain).Target)
	c := r.dial()
	fd := blocking(c.Conn.(*net.TCPConn))
	defer unix.Close(fd)
	request, buffer := []byte("GET /page HTTP/1.1\r\nHost: shop.test\r\n\r\n"), make([]byte, 4096)
	ask := func(n int) {
		for range n {
			unix.Write(fd, request)
			unix.Read(fd, buffer)
		}
	}
	const n = 500
	ask(n)
	_, before := calls(t)
	ask(n)
	_, after := calls(t)
	if written := float64(after-before)/n - 2; written > 2.1 { // the client and the app write once each
		t.Errorf("%.2f writes for a request", written)
	}
}

// Nothing that a request needs is left for the garbage collector, not even of requests that are
// sent without waiting for answers.
func TestNoCollectionInManyRequests(t *testing.T) {
	r := newHarness(t, patient, Settings{})
	r.gate.Swap(r.newTestApp(gate.TargetOptions{}, func(k *appConn) {
		buffer, answer := make([]byte, 4096), []byte("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
		for {
			if _, err := k.Conn.Read(buffer); err != nil {
				return
			}
			k.Conn.Write(answer)
		}
	}).Target)
	const n, clients, atOnce = 200_000, 8, 50
	requests := bytes.Repeat([]byte("GET /page HTTP/1.1\r\nHost: shop.test\r\nCookie: a=b\r\n\r\n"), atOnce)
	ask := func(c net.Conn, n int, buffer []byte) {
		for ; n > 0 && !t.Failed(); n -= atOnce {
			c.Write(requests)
			for answers := 0; answers < atOnce; {
				got, err := c.Read(buffer)
				if err != nil {
					t.Error(err)
					return
				}
				answers += bytes.Count(buffer[:got], []byte("\r\n\r\nhello")) // each is written in one piece, and read so
			}
		}
	}
	var warm, all sync.WaitGroup
	warm.Add(clients)
	begin := make(chan struct{})
	for range clients {
		c := r.dial().Conn
		c.SetDeadline(time.Now().Add(5 * time.Minute)) // a busy machine needs more than the usual time of a test
		all.Go(func() {
			buffer := make([]byte, 64<<10)
			ask(c, 1000, buffer)
			warm.Done()
			<-begin
			ask(c, n/clients, buffer)
		})
	}
	warm.Wait()
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	close(begin)
	all.Wait()
	runtime.ReadMemStats(&after)
	t.Logf("%d requests, %d bytes allocated, %d collections", n, after.TotalAlloc-before.TotalAlloc, after.NumGC-before.NumGC)
	if after.NumGC != before.NumGC {
		t.Error("the garbage collector had something to do")
	}
}

func TestPriceOfAHeldRequest(t *testing.T) {
	r := newHarness(t, gate.Settings{Limit: 5000, Timeout: time.Minute}, Settings{})
	request := []byte("GET /page HTTP/1.1\r\nHost: shop.test\r\nCookie: sessionid=0123456789abcdef0123456789abcdef\r\n\r\n")
	memory := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc + m.StackInuse
	}
	before := memory()
	const n = 2000
	to := &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: r.server.listeners[0].Addr().(*net.TCPAddr).Port}
	for range n {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		if err := unix.Connect(fd, to); err != nil {
			t.Fatal(err)
		}
		unix.Write(fd, request)
	}
	r.held(n)
	each := (memory() - before) / n
	t.Logf("%d bytes for a held request", each)
	if each > 560 { // 535; a held request is one clientConn, one loopClient, its head and two registrations
		t.Error("more than 560")
	}
}

// What a new connection costs on either side. With one byte more each would be of the allocator's next
// size class.
func TestSizeOfAConnection(t *testing.T) {
	for _, c := range []struct {
		name       string
		size, most uintptr
	}{{"clientConn", unsafe.Sizeof(clientConn{}), 224}, {"loopClient", unsafe.Sizeof(loopClient{}), 96}, {"loopUpstream", unsafe.Sizeof(loopUpstream{}), 768}} {
		if c.size > c.most {
			t.Errorf("%s: %d bytes, more than %d", c.name, c.size, c.most)
		}
	}
}

// A client that reads slowly costs two goroutines and a small buffer, however long its response is.
func TestPriceOfAStoredResponse(t *testing.T) {
	set := buffering
	set.Buffer = -1
	r := newNarrowHarness(t, set)
	app := &responder{framing: "length", body: randomBytes(600_000)}
	child := r.newTestApp(gate.TargetOptions{}, app.serve)
	r.gate.Swap(child.Target)
	memory := func() uint64 {
		runtime.GC()
		runtime.GC() // what is in a sync.Pool survives the first one
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc + m.StackInuse
	}
	r.dial().get("/quick").want(200, "quick")
	const n = 100
	var slow []*testClient
	for range n {
		slow = append(slow, r.dialNarrow())
	}
	before := memory()
	for i, c := range slow {
		c.get("/")
		r.eventually("written", func() bool { return app.written.Load() == int64(i+1) && child.InFlight() == 0 })
	}
	each := int64(memory()-before) / n
	t.Logf("%d bytes for a response of %d, %d of it on disk", each, len(app.body), r.spool.Used()/n)
	if each > 64<<10 {
		t.Error("more than 64 KiB")
	}
	for _, c := range slow {
		c.wantBody(app.body)
	}
}
