package netpoll

import (
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestSockaddrSaysWhatItCanExpress(t *testing.T) {
	for _, c := range []struct {
		network, address string
		family           int
		tcp              string
	}{
		{"tcp", "127.0.0.1:80", unix.AF_INET, "127.0.0.1:80"},
		{"tcp", "[::1]:65535", unix.AF_INET6, "[::1]:65535"},
		{"tcp", "[::ffff:10.0.0.1]:1", unix.AF_INET, "10.0.0.1:1"},
		{"unix", "/run/app", unix.AF_UNIX, ""},
		{"unix", strings.Repeat("x", 106), unix.AF_UNIX, ""},
		{"unix", strings.Repeat("x", 108), 0, ""},
		{"unix", "", 0, ""},
		{"unix", "@abstract", 0, ""},
		{"tcp", "localhost:80", 0, ""},
		{"tcp", "[fe80::1%eth0]:80", 0, ""},
		{"tcp", "127.0.0.1", 0, ""},
	} {
		var a Sockaddr
		if ok := a.Set(c.network, c.address); ok != (c.family != 0) || a.Family() != c.family {
			t.Errorf("%s %s: %v, family %d", c.network, c.address, ok, a.Family())
		}
		if at := a.AddrPort(); at.IsValid() != (c.tcp != "") || at.IsValid() && at != netip.MustParseAddrPort(c.tcp) {
			t.Errorf("%s %s: %v, want %q", c.network, c.address, at, c.tcp)
		}
	}
}

// connected is a pair of non-blocking sockets, of a client and of what accepted it, which were made
// by this package alone.
func connected(t *testing.T, network, address string) (client, server int) {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	raw, err := l.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var to, peer Sockaddr
	if !to.Set(network, l.Addr().String()) {
		t.Fatal(l.Addr())
	}
	client, err = unix.Socket(to.Family(), unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { Close(client) })
	if errno := Connect(client, &to); errno != 0 && errno != unix.EINPROGRESS {
		t.Fatal(errno)
	}
	raw.Control(func(fd uintptr) {
		for server = -1; server < 0; {
			got, errno := Accept(int(fd), &peer)
			switch errno {
			case 0:
				server = got
			case unix.EAGAIN, unix.EINTR:
			default:
				t.Fatal(errno)
			}
		}
	})
	t.Cleanup(func() { Close(server) })
	if peer.AddrPort() != LocalAddr(client) || PeerAddr(server) != LocalAddr(client) || PeerAddr(client) != LocalAddr(server) {
		t.Errorf("accepted from %v, which is %v", peer.AddrPort(), LocalAddr(client))
	}
	return client, server
}

func TestSocketsNeverBlockAndTellTheirState(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			address := map[string]string{"tcp": "127.0.0.1:0", "unix": filepath.Join(t.TempDir(), "s")}[network]
			client, server := connected(t, network, address)
			p := make([]byte, 10)
			if n, errno := Receive(server, p); n != -1 || errno != unix.EAGAIN || !Quiet(server) || HungUp(server, true) {
				t.Errorf("a silent peer: %d %v", n, errno)
			}
			if n, errno := Send(client, []byte("hello")); n != 5 || errno != 0 {
				t.Errorf("%d %v", n, errno)
			}
			for Quiet(server) {
			}
			if n, errno := Receive(server, p); n != 5 || errno != 0 || string(p[:n]) != "hello" {
				t.Errorf("%q %v", p[:max(0, n)], errno)
			}
			unix.Shutdown(client, unix.SHUT_WR)
			for !HungUp(server, true) {
			}
			if n, errno := Receive(server, p); n != 0 || errno != 0 || HungUp(server, false) {
				t.Errorf("a peer that has shut its writing side: %d %v", n, errno)
			}
			for piece := make([]byte, 64<<10); ; {
				if _, errno := Send(server, piece); errno == unix.EAGAIN {
					break
				} else if errno != 0 {
					t.Fatal(errno)
				}
			}
			if Unsent(server) == 0 {
				t.Error("a peer that reads nothing has taken all")
			}
			if n, known := Acknowledged(server); known != (network == "tcp") || known != (n > 0) {
				t.Errorf("%d bytes are acknowledged, %v", n, known)
			}
		})
	}
}

// Each further segment costs both ends as much as a small response.
func TestLastBytesAndFINAreOneSegment(t *testing.T) {
	client, server := connected(t, "tcp", "127.0.0.1:0")
	received := func() uint32 {
		info, err := unix.GetsockoptTCPInfo(client, unix.IPPROTO_TCP, unix.TCP_INFO)
		if err != nil {
			t.Fatal(err)
		}
		return info.Segs_in
	}
	before := received()
	if n, errno := SendLast(server, []byte("hello")); n != 5 || errno != 0 {
		t.Fatalf("%d %v", n, errno)
	}
	for !HungUp(client, true) {
	}
	p := make([]byte, 10)
	if n, errno := Receive(client, p); n != 5 || errno != 0 || string(p[:n]) != "hello" {
		t.Errorf("%q %v", p[:max(0, n)], errno)
	}
	if n, errno := Receive(client, p); n != 0 || errno != 0 {
		t.Errorf("%d %v, want the end", n, errno)
	}
	if n := received() - before; n != 1 {
		t.Errorf("%d segments", n)
	}
}

// What does not fit is the caller's to write; nothing is shut until then.
func TestWriteLastOfAPartShutsNothing(t *testing.T) {
	client, server := connected(t, "tcp", "127.0.0.1:0")
	all := make([]byte, 64<<20)
	n, errno := SendLast(server, all)
	if n <= 0 || n >= len(all) || errno != 0 {
		t.Fatalf("%d %v", n, errno)
	}
	if n, errno := SendLast(server, all); n != -1 || errno != unix.EAGAIN {
		t.Errorf("%d %v", n, errno)
	}
	if HungUp(client, true) {
		t.Error("the writing side is shut")
	}
	closeSocket(t, client) // with unread bytes, which resets the connection
	for !HungUp(server, false) {
	}
	if n, errno := SendLast(server, all); n != -1 || errno != unix.ECONNRESET && errno != unix.EPIPE {
		t.Errorf("%d %v", n, errno)
	}
}

// closeSocket closes a socket; its number stays the test's.
func closeSocket(t *testing.T, fd int) {
	t.Helper()
	null, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(null)
	if err := unix.Dup3(null, fd, unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
}

func TestResetOnClose(t *testing.T) {
	client, server := connected(t, "tcp", "127.0.0.1:0")
	SetReset(server, true)
	closeSocket(t, server)
	for !HungUp(client, false) {
	}
	if n, errno := Receive(client, make([]byte, 1)); n != -1 || errno != unix.ECONNRESET {
		t.Errorf("%d %v", n, errno)
	}
}
