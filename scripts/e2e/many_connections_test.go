//go:build e2e

package e2e

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tideover/scripts/loadgen"
	"tideover/scripts/testenv"
)

const (
	// idleConnections are three to four times as many as the daemon may have descriptors. On a
	// machine whose own limit is lower both are smaller.
	idleConnections   = 14_000
	daemonDescriptors = 4096
	// connectRate is how many of them come in a second: so slowly that a client which has just
	// connected can send its request before it is the longest idle one.
	connectRate = 2000
)

// Idle connections of 8 addresses take every place that there is, and come back when they are
// closed. New clients are served, and a status, a reload, a crash and an upgrade have the descriptors
// that they need.
func TestManyIdleConnectionsLeaveDescriptors(t *testing.T) {
	r := begin(t)
	n, descriptors := affordableConnections(r)
	installed := r.env.Path("tideover")
	r.must(install(r, installed))
	limited, err := r.env.Write("tideover-limited", fmt.Sprintf("#!/bin/sh\nulimit -n %d\nexec %s \"$@\"\n", descriptors, installed))
	r.must(err)
	r.must(os.Chmod(limited, 0o755))
	s := newFixture(r, setup{binary: limited, gunicorn: testenv.Gunicorn{Workers: 2}, release: testenv.Release{Number: 1}, flags: loadFlags()})
	s.startLoad(20, loadgen.Kind{Name: "get"}, loadgen.Kind{Name: "post", Body: 300}, loadgen.Kind{Name: "100 KB", Body: 100_000})
	idle := keepIdle(s, n)
	defer idle.close()
	s.must(testenv.Poll(s.timeout(60*time.Second), 100*time.Millisecond, func() error {
		if opened := idle.opened(); opened < n+descriptors {
			return fmt.Errorf("%d connections of %d were opened", opened, n+descriptors)
		}
		return nil
	}))
	s.checkDescriptors(descriptors)
	s.reload()
	s.killMaster()
	s.resetBackoff()
	s.restart()
	s.upgrade(installed)
	s.reload()
	s.checkDescriptors(descriptors)
	s.checkLogged(s.daemon, "connection limit reached")
	if lines := strings.Count(s.daemon.Tail(100_000), "connection limit reached"); lines > 20 {
		s.Errorf("%d lines of the log say that the limit is reached", lines)
	}
	s.finish()
	s.shutdown()
}

// affordableConnections returns how many connections this process can have, and how many descriptors
// the daemon is to have then.
func affordableConnections(r *row) (n, descriptors int) {
	r.Helper()
	var limit unix.Rlimit
	r.must(unix.Getrlimit(unix.RLIMIT_NOFILE, &limit)) // the hard one: Go's runtime has raised it
	n = min(idleConnections, int(min(limit.Cur, 1<<20))*7/10)
	descriptors = max(256, daemonDescriptors*n/idleConnections)
	r.addNumbers("connections=%d nofile=%d", n, descriptors)
	return n, descriptors
}

// checkDescriptors fails the row unless clients have what they may, and the reserve is left.
func (s *fixture) checkDescriptors(limit int) {
	s.Helper()
	used := s.descriptors(s.daemon.RelayPid())
	s.addNumbers("fds=%d", used)
	if most, least := limit-min(64, limit/4)/2, limit/2; used > most || used < least {
		s.Errorf("the daemon uses %d of %d descriptors, want %d to %d", used, limit, least, most)
	}
}

// idleClients keep connections open without a byte, and open those again that are closed.
type idleClients struct {
	count chan int
	stop  chan struct{}
	done  chan struct{}
}

func keepIdle(s *fixture, n int) *idleClients {
	s.Helper()
	address, err := netip.ParseAddrPort(string(s.back))
	s.must(err)
	c := &idleClients{count: make(chan int), stop: make(chan struct{}), done: make(chan struct{})}
	go c.run(address, n)
	return c
}

// opened is how many connections were opened so far.
func (c *idleClients) opened() int { return <-c.count }

func (c *idleClients) close() {
	close(c.stop)
	<-c.done
}

func (c *idleClients) run(to netip.AddrPort, n int) {
	defer close(c.done)
	const ticks = 20 // in a second
	tick := time.NewTicker(time.Second / ticks)
	defer tick.Stop()
	fds, opened, next := make([]int, n), 0, 0
	for i := range fds {
		fds[i] = -1
	}
	defer func() {
		for _, fd := range fds {
			closeIdle(fd)
		}
	}()
	for {
		select {
		case <-c.stop:
			return
		case c.count <- opened:
			continue
		case <-tick.C:
		}
		for again, looked := 0, 0; again < connectRate/ticks && looked < n; looked++ {
			i := next % n
			next++
			if isOpen(fds[i]) {
				continue
			}
			closeIdle(fds[i])
			fds[i] = dialIdle(to, byte(10+i%8))
			again++
			opened++
		}
	}
}

// dialIdle begins to connect from an address of the loopback network; -1: it cannot.
func dialIdle(to netip.AddrPort, last byte) int {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1
	}
	unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
	unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, last}})
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}); err != nil && err != unix.EINPROGRESS {
		unix.Close(fd)
		return -1
	}
	return fd
}

// isOpen reports whether the other end has not closed the connection.
func isOpen(fd int) bool {
	if fd < 0 {
		return false
	}
	_, _, err := unix.Recvfrom(fd, make([]byte, 1), unix.MSG_PEEK|unix.MSG_DONTWAIT)
	return err == unix.EAGAIN
}

func closeIdle(fd int) {
	if fd >= 0 {
		unix.Close(fd)
	}
}
