//go:build e2e

package e2e

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tideover/scripts/loadgen"
	"tideover/scripts/testenv"
)

// slowKinds are the first bytes of clients that go on with 300 bytes a second.
var slowKinds = map[string]string{
	"head":   "GET / HTTP/1.1\r\nHost: shop.test\r\nX-Slow: ",
	"50 kB":  "POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 50000\r\n\r\n",
	"10 MB":  "POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 10000000\r\n\r\n",
	"chunks": "POST / HTTP/1.1\r\nHost: shop.test\r\nTransfer-Encoding: chunked\r\n\r\nf4240\r\n",
}

// Two sync workers answer everyone else while hundreds of clients send a head or a body slowly, and
// each of those costs one descriptor. scripts/slow-clients measures the times.
func TestSlowClientsOccupyNoWorker(t *testing.T) {
	s := newFixture(begin(t), setup{gunicorn: testenv.Gunicorn{Workers: 2}, release: testenv.Release{Number: 1},
		config: "limits.head_timeout = \"600s\"\n"})
	before := s.usageWithoutClients()
	each := fullTimes(50, 400)
	slow := s.beginSlowly(each)
	stop, done := make(chan struct{}), make(chan struct{})
	go goOnSlowly(slow, stop, done)
	defer func() {
		close(stop)
		<-done
		s.checkUsage(before)
		s.shutdown()
	}()
	s.must(testenv.Poll(s.timeout(30*time.Second), 50*time.Millisecond, func() error {
		if begun := s.counter("requests"); begun < len(slow) {
			return fmt.Errorf("%d requests have begun, want %d", begun, len(slow))
		}
		return nil
	}))
	during := s.usage()
	s.addNumbers("slow=%d fds=%d->%d", len(slow), before.descriptors, during.descriptors)
	if grown := during.descriptors - before.descriptors; grown > len(slow)+20 {
		s.Errorf("%d slow clients cost %d descriptors", len(slow), grown)
	}
	s.client.Timeout = 20 * time.Second
	s.startLoad(20, loadgen.Kind{Name: "get"}, loadgen.Kind{Name: "post", Body: 300})
	pause(s.row, time.Duration(fullTimes(6, 40))*time.Second)
	s.finish()
	if n := s.counter("streamed"); n > 0 {
		s.Errorf("%d bodies were streamed", n)
	}
	if n := s.counter("bad_request"); n > 0 {
		s.Errorf("%d slow requests were refused", n)
	}
}

// beginSlowly connects so many clients of each kind, which send their first bytes.
func (s *fixture) beginSlowly(each int) (fds []int) {
	s.Helper()
	address, err := netip.ParseAddrPort(string(s.back))
	s.must(err)
	for name, first := range slowKinds {
		for range each {
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			s.must(err)
			s.must(unix.Connect(fd, &unix.SockaddrInet4{Port: int(address.Port()), Addr: address.Addr().As4()}))
			if _, err := unix.Write(fd, []byte(first)); err != nil {
				s.Errorf("%s: %v", name, err)
			}
			s.must(unix.SetNonblock(fd, true))
			fds = append(fds, fd)
		}
	}
	return fds
}

// goOnSlowly sends a piece a second on each connection until stop is closed, and closes them.
func goOnSlowly(fds []int, stop, done chan struct{}) {
	defer close(done)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for piece := []byte(strings.Repeat("y", 300)); ; {
		select {
		case <-stop:
			for _, fd := range fds {
				unix.Close(fd)
			}
			return
		case <-tick.C:
		}
		for _, fd := range fds {
			unix.Write(fd, piece)
		}
	}
}
