package proxy

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"tideover/proxy/gate"
)

// begunUpload is a client in the middle of a chunked upload that is streamed to the child.
func (r *rig) begunUpload() *caller {
	r.Helper()
	c := r.dial().say("POST / HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\n\n")
	fmt.Fprintf(c, "%x\r\n%s\r\n", 100000, make([]byte, 100000))
	r.eventually("on its way", func() bool { return r.gate.Snapshot().InFlight == 1 || r.server.Counters().BadGateway == 1 })
	return c
}

// What may go wrong while an upload is being handed on, before and after the app began to answer.
func TestUploadsThatGoWrong(t *testing.T) {
	before := func(k *talk) { io.Copy(io.Discard, k.content()) }
	dies := func(k *talk) { io.CopyN(io.Discard, k.content(), 100000) } // as much as has come: the next piece is the client's affair
	after := func(k *talk) {
		k.request()
		k.say("HTTP/1.1 200 OK\n\nabc")
		io.Copy(io.Discard, k.in)
	}
	nonsense := func(c *caller) { c.say("zz\n") }
	leaves := func(c *caller) { c.Close() }
	stays := func(*caller) {}
	for _, c := range []struct {
		name   string
		app    func(*talk)
		client func(*caller)
		status int // of what the client gets; 0: nothing
		ended  func(Counters) uint64
	}{
		{"nonsense", before, nonsense, 400, func(c Counters) uint64 { return c.BadRequest }},
		{"nonsense, the answer has begun", after, nonsense, 200, func(c Counters) uint64 { return c.BadRequest }},
		{"the client leaves", before, leaves, 0, func(c Counters) uint64 { return c.ClientLeft }},
		{"the client leaves, the answer has begun", after, leaves, 0, func(c Counters) uint64 { return c.ClientLeft }},
		{"the app dies", dies, stays, 502, func(c Counters) uint64 { return c.BadGateway }},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, patient, Settings{})
			r.gate.Swap(r.newChild(gate.TargetOptions{}, c.app).Target)
			caller := r.begunUpload()
			if c.status == 200 {
				caller.in.Peek(1)
			}
			if c.client(caller); c.status > 0 {
				line, err := caller.in.ReadString('\n')
				if err != nil || !strings.HasPrefix(line, fmt.Sprint("HTTP/1.1 ", c.status)) {
					t.Errorf("%q %v", line, err)
				}
			}
			r.counted(c.name, func(n Counters) bool { return c.ended(n) == 1 && n.Requests == 1 })
		})
	}
}

// A large upload is not counted as kept, and not kept.
func TestStreamedBodyIsNotKept(t *testing.T) {
	r := newRig(t, patient, Settings{})
	child := r.newChild(gate.TargetOptions{}, hash)
	r.gate.Swap(child.Target)
	c := r.dial().say(fmt.Sprintf("POST / HTTP/1.1\nHost: a\nContent-Length: %d\n\n", 1<<20))
	c.Write(make([]byte, 1<<19))
	r.eventually("in flight", func() bool { return child.InFlight() == 1 })
	if n := r.server.app.buffered.Load(); n != 0 {
		t.Errorf("%d bytes are counted as kept", n)
	}
	c.Write(make([]byte, 1<<19))
	c.want(200, "1048576 ")
}

// Bodies that are kept are counted, and those for which there is no room are streamed: then they cannot be sent again.
func TestRoomForBodies(t *testing.T) {
	put := "PUT / HTTP/1.1\nHost: a\n"
	for name, request := range map[string]string{
		"length":  put + "Content-Length: 1000\n\n" + strings.Repeat("x", 1000),
		"chunked": put + "Transfer-Encoding: chunked\n\n3e8\n" + strings.Repeat("x", 1000) + "\n0\n\n",
	} {
		for _, total := range []int64{999, 1000} {
			t.Run(fmt.Sprint(name, total), func(t *testing.T) {
				r := newRig(t, patient, Settings{BufferTotal: total})
				kept := make(chan int64, 2)
				child := r.newChild(gate.TargetOptions{}, func(k *talk) {
					io.Copy(io.Discard, k.content())
					kept <- r.server.app.buffered.Load()
				})
				r.gate.Swap(child.Target)
				cause := "too large to be kept"
				if total == 1000 {
					cause = "twice"
				}
				r.dial().say(request).want(502, cause)
				if n := <-kept; n != 1000 && total == 1000 || n != 0 && total == 999 {
					t.Errorf("%d bytes counted as kept of %d", n, total)
				}
			})
		}
	}
}

// A request that was held gives its pass back when its body is slow, and ends where it stands.
func TestHeldBodyThatNeverComes(t *testing.T) {
	r := newRig(t, patient, Settings{BodyTimeout: shortly})
	c := r.dial().say("POST / HTTP/1.1\nHost: a\nContent-Length: 10\n\nhalf")
	r.held(1)
	child := r.newChild(gate.TargetOptions{}, echo)
	r.gate.Swap(child.Target)
	c.want(408, "too slowly")
	r.counted("408", func(n Counters) bool { return n.BadRequest == 1 && child.InFlight() == 0 && child.accepted.Load() == 0 })
}

// What was read behind the head before a request was held is there when it is released, whoever used the buffers meanwhile.
func TestHeldBodyKeepsWhatWasReadAhead(t *testing.T) {
	r := newRig(t, patient, Settings{})
	var all []*caller
	for i := range 20 {
		all = append(all, r.dial().say(fmt.Sprintf("POST /%d HTTP/1.1\nHost: a\nContent-Length: 10\n\nbody%d", i, i%10)))
		r.held(i + 1)
	}
	r.gate.Swap(r.newChild(gate.TargetOptions{Concurrency: 20}, echo).Target)
	for i, c := range all {
		c.say("-tail").want(200, fmt.Sprintf("POST /%d body%d-tail", i, i%10))
	}
}

func TestAliveIsOnePathOnly(t *testing.T) {
	r := newRig(t, patient, Settings{HealthPath: "/-/alive"})
	r.gate.Swap(r.newChild(gate.TargetOptions{}, echo).Target)
	c := r.dial()
	c.get("/-/alive").want(200, "alive")
	c.get("/-/alive?x=y").want(200, "alive")
	c.get("/-/alive/").want(200, "GET /-/alive/")
	c.say("POST /-/alive HTTP/1.1\nHost: a\nContent-Length: 1\n\nx").want(200, "POST /-/alive x")
	c.say("GET /-/alive HTTP/1.1\nHost: a\nConnection: close\n\n").want(200, "alive")
	c.ended()
	head := r.dial().say("HEAD /-/alive HTTP/1.1\nHost: a\n\nGET /next HTTP/1.1\nHost: a\nConnection: close\n\n")
	if text, err := io.ReadAll(head.in); err != nil || strings.Contains(string(text), "\r\n\r\n200 OK") || !strings.HasSuffix(string(text), "GET /next ") {
		t.Errorf("%q %v", text, err)
	}
}

// An empty line is no request: who sent one has as long as who sent nothing.
func TestEmptyLineIsNoRequestYet(t *testing.T) {
	r := newRig(t, patient, Settings{HeadTimeout: shortly})
	r.gate.Swap(r.newChild(gate.TargetOptions{}, echo).Target)
	c := r.dial().say("\n")
	wait := time.NewTimer(3 * shortly)
	<-wait.C
	c.get("/").want(200, "GET /")
}

// The end is near for those who were held before it was known, too.
func TestLameServerClosesBehindTheHeld(t *testing.T) {
	r := newRig(t, patient, Settings{})
	c := r.dial().get("/")
	r.held(1)
	r.server.CloseAfterNextResponse()
	r.gate.Refuse(&gate.Refusal{Cause: "shutting down"})
	if res := c.want(503, "shutting down"); !res.Close {
		t.Error("no Connection: close")
	}
	c.ended()
}

// A client that does not take our own answer gets no other one behind a part of it.
func TestOwnAnswerThatIsNotTaken(t *testing.T) {
	r := newRig(t, gate.Settings{}, Settings{WriteTimeout: shortly, ErrorPage: make([]byte, 4*megabytes)})
	c := r.dial()
	c.Conn.(*net.TCPConn).SetReadBuffer(4096)
	c.get("/1").get("/2")
	r.counted("one", func(n Counters) bool { return n.Overflowed == 1 })
	r.eventually("closed", func() bool { return r.connected() == 0 })
	if n := r.server.Counters().Requests; n != 1 {
		t.Errorf("%d requests", n)
	}
}

// connected is how many clients there are.
func (r *rig) connected() (n int) {
	r.everyClient(func(*loopClient) { n++ })
	return n
}

// A response of unknown length ends an HTTP/1.0 connection, whatever was asked for.
func TestEndOfAKeptHTTP10Connection(t *testing.T) {
	r := newRig(t, patient, Settings{})
	r.gate.Swap(r.newChild(gate.TargetOptions{}, func(k *talk) { k.request(); k.say("HTTP/1.1 200 OK\n\nabc") }).Target)
	c := r.dial().say("GET / HTTP/1.0\nConnection: keep-alive\n\n")
	if text, err := io.ReadAll(c.in); err != nil || !strings.HasSuffix(string(text), "\r\n\r\nabc") {
		t.Errorf("%q %v", text, err)
	}
}

// A response whose first bytes of content are at fault is a 502, as nothing of it was handed on.
func TestFaultInTheFirstPieceIsA502(t *testing.T) {
	r := newRig(t, patient, Settings{})
	r.gate.Swap(r.newChild(gate.TargetOptions{}, func(k *talk) {
		k.request()
		k.say("HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\nzz\n")
	}).Target)
	c := r.dial()
	c.get("/").want(502, "not valid")
	c.get("/").want(502, "not valid")
	r.counted("502", func(n Counters) bool { return n.BadGateway == 2 && n.Cut == 0 })
}

// A hint is shown once, though the request is sent twice.
func TestHintOfTheFirstTryOnly(t *testing.T) {
	r := newRig(t, patient, Settings{})
	hint := "HTTP/1.1 103 Early Hints\nLink: </a>\n\n"
	r.gate.Swap(r.newChild(gate.TargetOptions{}, inTurn(
		func(k *talk) { k.request(); k.say(hint) },
		func(k *talk) { k.request(); k.say(hint + ok + "Connection: close\n\nabc") },
	)).Target)
	c := r.dial().say("GET / HTTP/1.1\nHost: a\nConnection: close\n\n")
	if text, err := io.ReadAll(c.in); err != nil || strings.Count(string(text), " 103 ") != 1 || strings.Count(string(text), " 200 ") != 1 {
		t.Errorf("%q %v", text, err)
	}
}

// inTurn runs one script after the other, each on a connection of its own, and the last one on all that follow.
func inTurn(scripts ...func(*talk)) func(*talk) {
	turn := make(chan int, 1)
	turn <- 0
	return func(k *talk) {
		i := <-turn
		turn <- min(i+1, len(scripts)-1)
		scripts[i](k)
	}
}

// Half a marker proves nothing; a whole one does not count as a try.
func TestMarkersThatAreHalfAndWhole(t *testing.T) {
	half := func(k *talk) { k.request(); io.WriteString(k, "mar") }
	whole := func(k *talk) { k.request(); io.WriteString(k, "marker") }
	for _, c := range []struct {
		name, method string
		scripts      []func(*talk)
		want         int
	}{
		{"half, may be sent again", "GET", []func(*talk){half, echo}, 200},
		{"half, may not", "POST", []func(*talk){half, echo}, 502},
		{"whole, then it dies", "GET", []func(*talk){whole, readAndDie, echo}, 200},
		{"it dies, then whole", "GET", []func(*talk){readAndDie, whole, echo}, 200},
		{"it dies twice", "GET", []func(*talk){readAndDie, whole, readAndDie, echo}, 502},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, patient, Settings{})
			r.gate.Swap(r.newChild(gate.TargetOptions{Marker: []byte("marker")}, inTurn(c.scripts...)).Target)
			r.dial().say(c.method+" / HTTP/1.1\nHost: a\n\n").want(c.want, "")
		})
	}
}

// What was not held for a moment does not count as held, though it was lost and sent again.
func TestResentIsNotHeld(t *testing.T) {
	r := newRig(t, patient, Settings{})
	r.gate.Swap(r.newChild(gate.TargetOptions{}, onceThenEcho(readAndDie)).Target)
	if res := r.dial().get("/").want(200, "GET /"); res.Header.Get("Server-Timing") != "" {
		t.Errorf("%v", res.Header)
	}
	r.counted("resent", func(c Counters) bool { return c.Resent == 1 && c.Answered == 1 })
	if n := r.server.Counters().Held; n != 0 {
		t.Errorf("%d held", n)
	}
}
