package listener

import (
	"net"
	"strconv"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// A socket that is opened beside an overlapping one serves, and neither of them shares its port
// with a later one that does not ask for it.
func TestOpenBesideASocketOfAnOverlappingAddress(t *testing.T) {
	for _, c := range []struct {
		former, added string
		covered       bool
	}{
		{"127.0.0.1:", "0.0.0.0:", true},
		{"127.0.0.1:", "[::]:", true},
		{"0.0.0.0:", "[::]:", true},
		{"0.0.0.0:", "127.0.0.1:", false},
		{"[::]:", "0.0.0.0:", false},
		{"[::]:", "127.0.0.1:", false},
	} {
		t.Run(c.former+" "+c.added, func(t *testing.T) {
			former := open(t, Address{"tcp", c.former + "0"}, Options{})
			port := strconv.Itoa(former.Port())
			address := Address{"tcp", c.added + port}
			if _, err := Open(address, Options{}); !IsInUse(err) {
				t.Fatalf("Open: %v", err)
			}
			added, err := OpenBeside(address, []syscall.Conn{former})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { added.Close() })
			if added.Covers(former) != c.covered {
				t.Errorf("covers: %t", !c.covered)
			}
			for _, p := range []*Public{former, added} {
				if option(t, p, unix.SO_REUSEPORT) != 0 {
					t.Errorf("%s: SO_REUSEPORT is set", p.Address())
				}
			}
			if p, err := Open(Address{"tcp", "127.0.0.1:" + port}, Options{}); err == nil {
				p.Close()
				t.Error("the port is shared with a third socket")
			}
			former.Close()
			conn := dial(t, "tcp", net.JoinHostPort("127.0.0.1", port))
			defer conn.Close()
			if _, err := accept(t, added); err != nil {
				t.Error(err)
			}
		})
	}
}

// What another process holds stays refused.
func TestOpenBesideDoesNotShareWithAStranger(t *testing.T) {
	stranger, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	address := Address{"tcp", "0.0.0.0:" + strconv.Itoa(stranger.Addr().(*net.TCPAddr).Port)}
	if _, err := OpenBeside(address, nil); !IsInUse(err) {
		t.Errorf("error %v", err)
	}
}
