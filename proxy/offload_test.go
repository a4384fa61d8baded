package proxy

import (
	"testing"

	"tideover/proxy/gate"
)

// owned counts the clients that the event loop has whole, and those of which it has only the
// descriptor.
func (r *harness) owned() (loop, goroutine int) {
	r.everyClient(func(c *loopClient) {
		switch {
		case c.clientConn != nil && c.state != stateOffloaded:
			loop++
		case c.clientConn == nil && c.exchange == nil && c.upstream == nil && c.state == stateOffloaded:
			goroutine++
		default:
			r.Errorf("a client in state %d has two owners, or none", c.state)
		}
	})
	return loop, goroutine
}

// A connection belongs to the event loop or to a goroutine. The passage takes from the one what the
// other gets.
func TestConnectionHasOneOwner(t *testing.T) {
	r := newHarness(t, patient, Settings{})
	r.gate.Swap(r.newTestApp(gate.TargetOptions{}, echo).Target)
	held := r.dial()
	c := r.dial().get("/loop")
	c.want(200, "GET /loop")
	if loop, goroutine := r.owned(); loop != 2 || goroutine != 0 {
		t.Errorf("%d clients in the loop and %d on goroutines, want 2 and 0", loop, goroutine)
	}
	c.say("POST /goroutine HTTP/1.1\nHost: a\nContent-Length: 5\n\nhel")
	r.eventually("offloaded", func() bool { _, goroutine := r.owned(); return goroutine == 1 })
	r.eventually("it reads the body", func() bool { return r.server.app.buffered.Load() > 0 })
	r.gate.Hold("test")
	held.get("/held") // has no body, and stays in the loop
	r.held(1)
	if loop, goroutine := r.owned(); loop != 1 || goroutine != 1 {
		t.Errorf("%d clients in the loop and %d on goroutines, want 1 and 1", loop, goroutine)
	}
	c.say("lo")
	r.held(2)
	r.gate.Release("test")
	c.want(200, "POST /goroutine hello")
	held.want(200, "GET /held")
	r.eventually("back in the loop", func() bool { loop, _ := r.owned(); return loop == 2 })
	c.get("/loop").want(200, "GET /loop")
}

func TestAClientOnAGoroutineCostsOneDescriptor(t *testing.T) {
	const n = 100
	r := newHarness(t, patient, Settings{Buffering: true})
	r.gate.Swap(r.newTestApp(gate.TargetOptions{}, echo).Target)
	r.dial().get("/first").want(200, "GET /first")
	var callers []*testClient
	for range n {
		callers = append(callers, r.dial())
	}
	r.eventually("accepted", func() bool { return r.server.Counters().Connections == n+1 })
	before := descriptors(t)
	for _, c := range callers {
		c.say("POST /slow HTTP/1.1\nHost: a\nContent-Length: 5\n\nhel")
	}
	r.eventually("offloaded", func() bool { _, goroutine := r.owned(); return goroutine == n })
	if now := descriptors(t); now > before {
		t.Errorf("%d descriptors, before the bodies began %d", now, before)
	}
	for _, c := range callers {
		c.say("lo").want(200, "POST /slow hello")
		c.get("/next").want(200, "GET /next")
	}
}

// The way back to the event loop needs a number for a descriptor. Without one the connection waits
// for it, and no request on it is lost.
func TestAClientComesBackWhenThereIsADescriptorAgain(t *testing.T) {
	r := newHarness(t, patient, Settings{})
	r.gate.Swap(r.newTestApp(gate.TargetOptions{}, echo).Target)
	c := r.dial().get("/first")
	c.want(200, "GET /first")
	var away *loopClient
	r.everyClient(func(c *loopClient) { away = c })
	r.server.startedLoop().call(func() { // as if the duplicate had failed
		away.node.Remove()
		b := away.detach()
		away.state = stateOffloaded
		b.keep, b.fd = true, -1
		away.loop.deferredReturns = append(away.loop.deferredReturns, b)
		away.loop.schedule(retryInterval)
	})
	c.get("/second").want(200, "GET /second")
}
