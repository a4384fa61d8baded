package proxy

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"tideover/proxy/connlimit"
	"tideover/proxy/gate"
	"tideover/proxy/netpoll"
)

// isOpen reports whether the server has not closed the client's connection.
func (c *testClient) isOpen() bool {
	c.Helper()
	c.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	defer c.SetReadDeadline(time.Now().Add(never))
	_, err := c.in.Peek(1)
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

// dialFrom is dial, from an address of the loopback network.
func (r *harness) dialFrom(address string) *testClient {
	r.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	conn, err := d.Dial("tcp", r.addr)
	if err != nil {
		r.Fatal(err)
	}
	conn.SetDeadline(time.Now().Add(never))
	r.Cleanup(func() { conn.Close() })
	return &testClient{T: r.T, Conn: conn, in: bufio.NewReader(conn)}
}

// accepted waits until n connections were accepted.
func (r *harness) accepted(n uint64) {
	r.Helper()
	r.counted(fmt.Sprint(n, " connections"), func(c Counters) bool { return c.Connections == n })
}

func TestTheLongestIdleConnectionIsClosedForANewOne(t *testing.T) {
	r := newHarness(t, patient, Settings{MaxConnections: 10})
	r.gate.Swap(r.newTestApp(gate.TargetOptions{}, echo).Target)
	var all []*testClient
	for i := range 15 {
		all = append(all, r.dial())
		r.accepted(uint64(i + 1))
		if i == 9 {
			all[0].get("/used").want(200, "GET /used") // not the longest idle one any more
		}
	}
	for i, c := range all {
		if want := i == 0 || i > 5; c.isOpen() != want {
			t.Errorf("connection %d: open is %v", i, !want)
		}
	}
	if n := r.server.Connections(); n != 10 {
		t.Errorf("%d connections", n)
	}
	all[14].get("/new").want(200, "GET /new")
	if n := len(r.logged("connection limit of the app reached")); n != 1 {
		t.Errorf("%d warnings", n)
	}
}

// With a request on each connection new ones wait in the backlog, and none is refused or closed.
func TestARequestKeepsItsConnection(t *testing.T) {
	const limit = 8
	r := newHarness(t, patient, Settings{MaxConnections: limit})
	callers := r.queueUp(limit)
	late := r.dial().get("/late")
	r.eventually("the limit is noticed", func() bool { return len(r.logged("connection limit of the app reached")) == 1 })
	if c := r.server.Counters(); c.Connections != limit || r.gate.Snapshot().Held != limit {
		t.Errorf("%d connections were accepted, %d requests are held", c.Connections, r.gate.Snapshot().Held)
	}
	r.gate.Swap(r.newTestApp(gate.TargetOptions{}, echo).Target)
	late.want(200, "GET /late")
	for i, c := range callers {
		c.want(200, fmt.Sprintf("/%d", i))
	}
}

// A request that lies in the kernel is served, although its connection is the longest idle one.
func TestARequestThatIsOnItsWayIsNotClosed(t *testing.T) {
	r := newHarness(t, patient, Settings{MaxConnections: 2})
	r.gate.Swap(r.newTestApp(gate.TargetOptions{}, echo).Target)
	first, second := r.dial(), r.dial()
	r.accepted(2)
	l := r.server.startedLoop()
	l.call(func() { // the request comes in the turn in which a connection is needed
		first.get("/first")
		for fd := l.idleClients.Front().Value.fd; !netpoll.Readable(int(fd)); {
			runtime.Gosched()
		}
		l.closeForRoom()
	})
	first.want(200, "GET /first")
	if !second.isOpen() {
		t.Error("the other one was closed, although one connection is looked at")
	}
}

func TestAHalfSentHeadIsGivenUpForANewConnection(t *testing.T) {
	r := newHarness(t, patient, Settings{MaxConnections: 3})
	r.gate.Swap(r.newTestApp(gate.TargetOptions{}, echo).Target)
	for range 3 {
		r.dial().say("GET /half HTTP/1.1\nHost: sh")
	}
	r.partial(3)
	start := time.Now()
	r.dial().get("/new").want(200, "GET /new")
	between(t, start, minReclaimedHead-200*time.Millisecond, 10*time.Second)
	r.counted("their heads were given up", func(c Counters) bool { return c.BadRequest == 3 })
}

func TestTheClientOfAHeadThatIsGivenUpLearnsIt(t *testing.T) {
	r := newHarness(t, patient, Settings{MaxConnections: 1})
	r.gate.Swap(r.newTestApp(gate.TargetOptions{}, echo).Target)
	half := r.dial().say("GET /half HTTP/1.1\nHost: sh")
	r.partial(1)
	r.dial().get("/new").want(200, "GET /new")
	half.want(408, "was needed for others")
}

// One address must not push out all others: those of the address with the most connections go first.
func TestAnAddressBeyondItsShareLosesItsConnectionsFirst(t *testing.T) {
	r := newHarness(t, patient, Settings{MaxConnections: 20, Trusted: []netip.Prefix{}})
	var sound, greedy []*testClient
	for i := range 5 {
		sound = append(sound, r.dialFrom(fmt.Sprintf("127.0.0.%d", 10+i)))
	}
	r.accepted(5)
	for i := range 60 {
		greedy = append(greedy, r.dialFrom("127.0.0.99"))
		r.accepted(uint64(5 + i + 1))
	}
	for i, c := range sound {
		if !c.isOpen() {
			t.Errorf("the connection of address %d was closed", i)
		}
	}
	if greedy[0].isOpen() || !greedy[59].isOpen() {
		t.Error("the greedy address did not lose its oldest connections")
	}
}

// A front-end may send a request on an idle connection at any moment: it loses its own last.
func TestAFrontEndLosesItsConnectionsLast(t *testing.T) {
	r := newHarness(t, patient, Settings{MaxConnections: 4, Trusted: []netip.Prefix{netip.MustParsePrefix("127.0.0.2/32")}})
	front := []*testClient{r.dialFrom("127.0.0.2"), r.dialFrom("127.0.0.2")}
	r.accepted(2)
	for i := range 10 {
		r.dialFrom(fmt.Sprintf("127.0.0.%d", 10+i))
		r.accepted(uint64(3 + i))
	}
	for i, c := range front {
		if !c.isOpen() {
			t.Errorf("connection %d of the front-end was closed", i)
		}
	}
}

// Two servers share one limit. The one with the most connections closes idle ones for the other.
func TestAServerClosesIdleConnectionsForAnother(t *testing.T) {
	limiter := connlimit.New(connlimit.Options{Max: 10})
	servers := make([]*harness, 2)
	for i := range servers {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		servers[i] = newHarnessWithin(t, l, patient, Settings{}, limiter)
		servers[i].gate.Swap(servers[i].newTestApp(gate.TargetOptions{}, echo).Target)
		first := servers[i].dial().get("/first")
		first.want(200, "GET /first")
		first.Close()
		servers[i].eventually("it is closed", func() bool { return servers[i].server.Connections() == 0 })
	}
	large, small := servers[0], servers[1]
	kept := small.dial().get("/kept")
	kept.want(200, "GET /kept")
	var many []*testClient
	for i := range 9 {
		many = append(many, large.dial())
		large.accepted(uint64(i + 2))
	}
	small.dial().get("/new").want(200, "GET /new")
	if !kept.isOpen() || many[0].isOpen() {
		t.Error("the server with few connections closed one for its own")
	}
	if n := limiter.Open(); n != 10 || n != large.server.Connections()+small.server.Connections() {
		t.Errorf("%d connections, %d and %d", n, large.server.Connections(), small.server.Connections())
	}
	for _, c := range append(many, kept) {
		c.Close()
	}
	large.eventually("they are closed", func() bool { return large.server.Connections() == 0 })
	small.eventually("they are counted", func() bool { return limiter.Open() == small.server.Connections() })
}
