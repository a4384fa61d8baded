package generation

import (
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"tideover/proxy/remote"
)

// newChildPort chooses a port and starts a program that listens there at an address.
func newChildPort(t *testing.T, program, host string, options ...string) (*childPort, *testProcess) {
	t.Helper()
	app, _ := otherUsers()
	port, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	c := &childPort{uid: uint32(os.Geteuid()), port: port}
	if app != nil {
		c.uid = app.UID
	}
	p, child := startTree(t, app, program, append([]string{"tcp", net.JoinHostPort(host, strconv.Itoa(port))}, options...)...)
	c.process = p
	child.want("ready")
	return c, child
}

func TestThePortOfTheTreeIsProven(t *testing.T) {
	for _, program := range []string{"listen", "inherit"} {
		for _, host := range []string{"127.0.0.1", "0.0.0.0", "::"} {
			t.Run(program+" "+host, func(t *testing.T) {
				c, _ := newChildPort(t, program, host)
				p, err := c.prove()
				if err != nil || !p.holds() {
					t.Fatal(err)
				}
			})
		}
	}
}

// wantStranger checks that a proof fails because of another process, and names it.
func (c *childPort) wantStranger(t *testing.T, pid, uid int) {
	t.Helper()
	_, err := c.prove()
	var stranger *strangerError
	if !errors.As(err, &stranger) {
		t.Fatalf("error %v, want another process", err)
	}
	text := stranger.Error()
	for _, part := range []string{"another process listens on " + c.address(), fmt.Sprintf("pid %d ", pid), fmt.Sprintf("uid %d", uid)} {
		if !strings.Contains(text, part) {
			t.Errorf("%q does not have %q", text, part)
		}
	}
	t.Log(text)
}

func TestAPortThatAnotherUserHasTakenIsNotTheChilds(t *testing.T) {
	app, uid := otherUsers()
	port, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	thief := startStranger(t, uid, "listen", "tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	thief.want("ready")
	p, _ := startTree(t, app, "listen", "tcp4", "127.0.0.1:0")
	c := &childPort{process: p, port: port, uid: 33}
	c.wantStranger(t, thief.pid, uid)
	if line := thief.signal(unix.SIGUSR1).want("accepted"); !strings.HasSuffix(line, "bytes 0") {
		t.Error(line)
	}
}

// A socket of a more specific address gets the connections to it, whichever was there first.
func TestASocketBesideTheChildsIsNotAccepted(t *testing.T) {
	app, other := otherUsers()
	own := os.Geteuid()
	if app != nil {
		own = int(app.UID)
	}
	for _, s := range []struct {
		name, child, network string // of the stranger
		uid                  int
		options              []string
	}{
		{"127.0.0.1 beside ::1", "::1", "tcp4", other, nil},
		{"SO_REUSEPORT of the same user", "0.0.0.0", "tcp4", own, []string{"reuseport"}},
	} {
		t.Run(s.name, func(t *testing.T) {
			c, child := newChildPort(t, "listen", s.child, s.options...)
			thief := startStranger(t, s.uid, "listen", append([]string{s.network, c.address()}, s.options...)...)
			thief.want("ready")
			c.wantStranger(t, thief.pid, s.uid)
			if line := thief.signal(unix.SIGUSR1).want("accepted"); !strings.HasSuffix(line, "bytes 0") {
				t.Error(line)
			}
			if s.child == "0.0.0.0" {
				if _, err := c.prove(); err != nil {
					t.Errorf("alone: %v", err)
				}
			}
			child.signal(unix.SIGTERM)
		})
	}
	t.Run("127.0.0.1 beside 0.0.0.0", func(t *testing.T) { // the kernel refuses it
		c, _ := newChildPort(t, "listen", "0.0.0.0", "reuseport")
		if _, err := c.prove(); err != nil {
			t.Fatal(err)
		}
		startStranger(t, other, "listen", "tcp4", c.address()).want("error")
		if other != own {
			startStranger(t, other, "listen", "tcp4", c.address(), "reuseport").want("error")
		}
	})
}

// The child closes its socket, another user takes the port: the proof does not hold from the close
// on, so no connection that reached the other user's socket is used.
func TestAProofDoesNotHoldAfterTheChildHasClosedItsSocket(t *testing.T) {
	_, uid := otherUsers()
	c, child := newChildPort(t, "listen", "127.0.0.1")
	l := &childListener{address: c.address(), network: "tcp", dialed: c.address(), prove: c.prove, lost: make(chan struct{}, 1)}
	askLocal(l, "tcp", c.address())
	if !connects(t, l) {
		t.Fatal("not connected")
	}
	proof := l.present.Load()
	child.signal(unix.SIGUSR1).want("accepted")
	if proof.holds() {
		t.Error("holds after the close")
	}
	thief := startStranger(t, uid, "listen", "tcp4", c.address())
	thief.want("ready")
	if connects(t, l) {
		t.Error("connected to another user's socket")
	}
	if l.present.Load() != nil {
		t.Error("not suspended")
	}
	c.wantStranger(t, thief.pid, uid)
	if line := thief.signal(unix.SIGUSR1).want("accepted"); !strings.HasSuffix(line, "bytes 0") {
		t.Error(line)
	}
	child.signal(unix.SIGUSR2).want("ready")
	if !connects(t, l) {
		t.Error("not connected again")
	}
}

// askLocal has a listener ask a relay of this process.
func askLocal(l *childListener, network, address string) {
	l.target = &Target{relay: remote.NewLocal(remote.LocalOptions{}), id: remote.ID{App: 1, Generation: 1},
		message: remote.Target{Network: network, Address: address}}
	l.target.relay.SetProver(l.target.id, l)
}

// connects reports whether a probe has reached the socket that was proven. The test program closes the
// connection.
func connects(t *testing.T, l *childListener) bool {
	t.Helper()
	answer, err := l.ask(t.Context(), remote.Probe{Host: "shop", Path: "/"})
	if err != nil || answer.Failure != remote.ProbeClosed && answer.Failure != remote.ProbeRefused {
		t.Fatalf("%+v, %v", answer, err)
	}
	return answer.Failure == remote.ProbeClosed
}

// A root without CAP_SYS_PTRACE, as in most containers, sees only the user of a socket of another
// user. Without root there is no other user, and nothing that is not seen.
func TestWithoutPtraceTheUserOfTheSocketDecides(t *testing.T) {
	_, uid := otherUsers()
	withoutPtrace := func(do func()) {
		over := make(chan struct{})
		go func() {
			defer close(over)
			runtime.LockOSThread() // without an unlock: the thread ends with its capabilities
			header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
			var data [2]unix.CapUserData
			if err := unix.Capget(&header, &data[0]); err != nil {
				t.Error(err)
			}
			data[0].Effective &^= 1 << unix.CAP_SYS_PTRACE
			if err := unix.Capset(&header, &data[0]); err != nil {
				t.Error(err)
			}
			do()
		}()
		<-over
	}
	c, child := newChildPort(t, "listen", "127.0.0.1")
	withoutPtrace(func() {
		if p, err := c.prove(); err != nil || !p.holds() {
			t.Errorf("the app's own socket: %v", err)
		}
	})
	child.signal(unix.SIGUSR1).want("accepted")
	thief := startStranger(t, uid, "listen", "tcp4", c.address())
	thief.want("ready")
	withoutPtrace(func() {
		_, err := c.prove()
		var stranger *strangerError
		if !errors.As(err, &stranger) || !strings.Contains(err.Error(), fmt.Sprint("uid ", uid)) {
			t.Errorf("error %v", err)
		}
	})
}
