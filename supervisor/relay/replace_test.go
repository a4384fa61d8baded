package relay

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"syscall"
	"testing"
	"time"

	"tideover/proxy/remote"
)

// echo answers a handshake and then echoes bytes.
func echo(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")
	io.Copy(conn, conn)
}

// A client is one connection to the relay.
type client struct {
	net.Conn
	t  *testing.T
	in *bufio.Reader
}

func (r *rig) dial() *client {
	r.t.Helper()
	conn, err := net.Dial("tcp", r.public.Addr().String())
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(60 * time.Second))
	return &client{Conn: conn, t: r.t, in: bufio.NewReader(conn)}
}

// ask sends a request with these fields, and wants this status.
func (c *client) ask(path, fields string, status int) {
	c.t.Helper()
	io.WriteString(c, "GET "+path+" HTTP/1.1\r\nHost: a\r\n"+fields+"\r\n")
	resp, err := http.ReadResponse(c.in, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	if resp.StatusCode != status {
		c.t.Fatalf("%s: %s", path, resp.Status)
	}
	if status != http.StatusSwitchingProtocols {
		io.Copy(io.Discard, resp.Body)
	}
}

// tunnel opens a websocket.
func (r *rig) tunnel() *client {
	r.t.Helper()
	c := r.dial()
	c.ask("/ws", "Upgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", http.StatusSwitchingProtocols)
	return c
}

// echoes wants bytes to come back.
func (c *client) echoes() {
	c.t.Helper()
	io.WriteString(c, "ping")
	got := make([]byte, 4)
	if _, err := io.ReadFull(c.in, got); err != nil || string(got) != "ping" {
		c.t.Errorf("%q came back, %v", got, err)
	}
}

// ended waits for the end of the connection.
func (c *client) ended() {
	c.t.Helper()
	if n, err := io.Copy(io.Discard, c.in); n > 0 || isTimeout(err) {
		c.t.Errorf("%d bytes came instead of the end, %v", n, err)
	}
}

func isTimeout(err error) bool {
	timeout, is := err.(net.Error)
	return is && timeout.Timeout()
}

// panic has the present relay panic once, and returns it when another one has taken its place.
func (r *rig) panic() *relayProcess {
	r.t.Helper()
	former := r.relay()
	if err := r.get("/!head"); err == nil {
		r.t.Fatal("a request was answered that panics")
	}
	waitUntil(r.t, func() bool { p := r.relay(); return p != nil && p != former })
	if err := r.Shut(r.t.Context(), 99); err != nil { // comes after the former one has shut its doors
		r.t.Fatal(err)
	}
	return former
}

func (p *relayProcess) lives() bool {
	select {
	case <-p.process.Exited():
		return false
	default:
		return true
	}
}

func (r *rig) want(requests, answered, cut uint64) {
	r.t.Helper()
	waitUntil(r.t, func() bool { return r.Counters(1).Answered >= answered })
	if c := r.Counters(1); c.Requests != requests || c.Answered != answered || c.Cut != cut {
		r.t.Errorf("%d requests, %d answered, %d cut, want %d, %d, %d", c.Requests, c.Answered, c.Cut, requests, answered, cut)
	}
}

// A relay of another program is replaced at once, but not while the one before it has a websocket, however
// long that lasts.
func TestARelayOfAnotherProgramIsReplacedWhenNoneDrains(t *testing.T) {
	r := newRig(t)
	r.serve()
	outdate := func() *relayProcess {
		p := r.relay()
		p.record.Program = "another"
		r.Renew()
		return p
	}
	websocket := r.tunnel()
	first := outdate()
	waitUntil(t, func() bool { return r.relay() != first })
	second := outdate()
	for range 3 { // the keeper handles one at a time, so it has looked at the one before
		select {
		case r.renewal <- struct{}{}:
		case <-time.After(time.Minute):
			t.Fatal("the keeper does not answer")
		}
		websocket.echoes()
		if err := r.get("/"); err != nil {
			t.Error(err)
		}
	}
	if r.relay() != second || !first.lives() {
		t.Error("the relay was replaced while the one before it has a websocket")
	}
	websocket.Close()
	waitUntil(t, func() bool { return r.relay() != second })
	<-first.counted
	<-second.counted
	r.Renew() // this one is of the own program
	if err := r.get("/"); err != nil {
		t.Error(err)
	}
}

func TestAfterAPanicTheRelayIsReplacedAndLosesNoOtherConnection(t *testing.T) {
	r := newRig(t)
	r.serve()
	websocket, kept := r.tunnel(), r.dial()
	kept.ask("/", "", 200)
	slow := make(chan error)
	go func() { slow <- r.get("/slow") }()
	waitUntil(t, func() bool { return r.started.Load() == 3 })
	former := r.panic()
	for range 5 {
		if err := r.get("/"); err != nil {
			t.Error(err)
		}
	}
	if c := r.relay().Counters(1); c.Requests != 5 {
		t.Errorf("the next relay has got %d requests", c.Requests)
	}
	websocket.echoes()
	kept.ask("/", "", 200) // it was idle, and is the next one's now
	id := remote.ID{App: 1, Generation: 1}
	waitUntil(t, func() bool { // also until the answers that were read are counted
		u := r.Use(id)
		return r.State(1).Connections == 3 && r.Clients().Open == 3 && u.InFlight == 1 && u.Tunnels == 1
	})
	finished := make(chan error)
	go func() { finished <- r.Await(t.Context(), remote.Await{ID: id, What: remote.Finished}) }()
	close(r.blocked)
	if err := <-slow; err != nil {
		t.Error(err)
	}
	if err := <-finished; err != nil {
		t.Error(err)
	}
	if !former.lives() {
		t.Fatal("the former relay has ended with a websocket")
	}
	websocket.echoes()
	websocket.Close()
	<-former.counted
	if former.lives() || r.log.has("replaced relay ended") {
		t.Error("the former relay has not ended by itself")
	}
	kept.ask("/", "", 200)
	kept.Close()
	r.want(11, 10, 1)
	if got := r.Metrics(1).Client.Count(); got != 11 {
		t.Errorf("the histogram has %d requests", got)
	}
	waitUntil(t, func() bool { return r.State(1).Connections == 0 && r.Clients().Open == 0 && r.Use(id) == remote.Use{} })
	r.kill() // the page of the former one is not lost
	before := r.Counters(1)
	if err := r.Shut(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if final, err := r.Remove(t.Context(), 1); err != nil || final != before {
		t.Errorf("%+v is removed, %v, want %+v", final, err, before)
	}
	if c := r.Counters(1); c != (remote.Counters{}) {
		t.Errorf("%+v is left of the app", c)
	}
}

func TestWhatAReplacedRelayHoldsIsAnsweredAfterTheNextSet(t *testing.T) {
	r := newRig(t)
	r.serve()
	if err := r.set(false); err != nil {
		t.Fatal(err)
	}
	held := make(chan error, 2)
	go func() { held <- r.get("/") }()
	waitUntil(t, func() bool { return r.State(1).Held == 1 })
	former := r.panic()
	go func() { held <- r.get("/") }()
	waitUntil(t, func() bool { return r.State(1).Held == 2 })
	if err := r.set(true); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := <-held; err != nil {
			t.Error(err)
		}
	}
	<-former.counted
	r.want(3, 2, 1)
}

// A wait that began before a replacement is about both relays.
func TestAWaitComesTrueInBothRelays(t *testing.T) {
	r := newRig(t)
	r.serve()
	id := remote.ID{App: 1, Generation: 1}
	await := func(what remote.Event) chan error {
		done := make(chan error, 1)
		go func() { done <- r.Await(t.Context(), remote.Await{ID: id, What: what}) }()
		return done
	}
	websocket := r.tunnel()
	tunnels := await(remote.TunnelsClosed)
	former := r.panic()
	next := r.tunnel()
	asked := await(remote.Asked)
	slow := make(chan error)
	go func() { slow <- r.get("/slow") }()
	if err := <-asked; err != nil {
		t.Errorf("Asked: %v", err)
	}
	close(r.blocked)
	if err := <-slow; err != nil {
		t.Error(err)
	}
	websocket.Close()
	<-former.counted
	next.echoes()
	select {
	case <-tunnels:
		t.Error("a tunnel is open still")
	default:
	}
	next.Close()
	if err := <-tunnels; err != nil {
		t.Errorf("TunnelsClosed: %v", err)
	}
}

func TestASecondPanicEndsTheRelayThatDrains(t *testing.T) {
	t.Parallel() // it takes endTimeout
	r := newRig(t)
	r.serve()
	first := r.tunnel()
	former := r.panic()
	second := r.tunnel()
	first.echoes()
	next := r.panic()
	if former.lives() {
		t.Error("two relays drain")
	}
	first.ended()
	second.echoes()
	if err := r.get("/"); err != nil {
		t.Error(err)
	}
	second.Close()
	<-next.counted
	r.want(5, 3, 2)
}

func TestTheDeathOfOneOfTwoRelaysIsNotThatOfTheOther(t *testing.T) {
	r := newRig(t)
	r.serve()
	websocket := r.tunnel()
	former := r.panic()
	r.kill()
	websocket.echoes()
	if err := r.get("/"); err != nil {
		t.Error(err)
	}
	present := r.relay()
	syscall.Kill(former.process.Pid(), syscall.SIGKILL)
	<-former.counted
	websocket.ended()
	waitUntil(t, func() bool { return r.log.has("replaced relay ended") })
	if err := r.get("/"); err != nil || r.relay() != present {
		t.Error("the present relay is another one", err)
	}
	r.want(4, 3, 1)
	waitUntil(t, func() bool { return r.State(1).Connections == 0 })
}

func TestARelayThatDrainsEndsAtTheShutdown(t *testing.T) {
	r := newRig(t)
	r.serve()
	websocket := r.tunnel()
	former := r.panic()
	present := r.relay()
	if err := r.Shut(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if err := r.Cut(t.Context(), remote.Cut{ID: remote.ID{App: 1, Generation: 1}, What: remote.Tunnels}); err != nil {
		t.Fatal(err)
	}
	websocket.ended()
	if c, err := r.Remove(t.Context(), 1); err != nil || c.Requests != 2 || c.Answered != 1 || c.Cut != 1 {
		t.Errorf("%+v, %v", c, err)
	}
	if err := r.End(t.Context()); err != nil {
		t.Error(err)
	}
	k := r.Keeper
	k.Close()
	r.Keeper, _ = New(k.options) // for the cleanup
	if former.lives() || present.lives() {
		t.Error("a process lives")
	}
}

func TestReplacementsBecomeRare(t *testing.T) {
	var p pace
	now := time.Unix(1_800_000_000, 0)
	var times []time.Duration
	for range 9 {
		left := p.left(now)
		times = append(times, left)
		now = now.Add(left)
		p.replaced(now)
	}
	if times[0] != 0 || times[1] != time.Second || times[2] != 2*time.Second || times[8] != time.Minute {
		t.Errorf("%v", times)
	}
	now = now.Add(quietFor)
	p.replaced(now)
	if left := p.left(now); left != time.Second {
		t.Errorf("%v after a long time", left)
	}
}
