package proxy

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"tideover/proxy/awake"
	"tideover/proxy/netpoll"
)

// timerSlack is how far apart two moments are at which one wake-up is enough.
const timerSlack = 20 * time.Millisecond

// An eventLoop serves the connections of one server on one goroutine, which never blocks. An idle
// client or a held request costs a registration in the epoll set and no goroutine. A request
// without a body is served from its first byte to its last without leaving the loop if its response
// arrives in one read. Everything that takes longer, a body, a long response, a tunnel, an error
// response, is offloaded to a goroutine and comes back.
//
// All of it belongs to the loop's goroutine but tasks, by which others reach it, clients and
// clientClosed.
type eventLoop struct {
	app       *app
	poller    *netpoll.Poller
	tasks     netpoll.TaskQueue
	now       time.Time     // of this turn
	ran       time.Duration // of this turn too, as a time that stands while the process is stopped: timeouts count by it
	timer     *time.Timer
	nextTimer time.Duration // when it fires, as ran; 0: it is not set
	acceptors []*acceptor

	roundTrips int // requests that are out on a loopUpstream
	brief      briefPoll

	idleClients      netpoll.List[*loopClient]
	partialHeaders   netpoll.List[*loopClient] // clients that have sent a part of a PROXY header
	partialHeads     netpoll.List[*loopClient] // clients that have sent a part of a head
	connecting       netpoll.List[*loopClient] // requests that wait for connect() to the app
	awaitingResponse netpoll.List[*loopClient] // requests that wait for a response until a deadline
	headOnly         netpoll.List[*loopClient] // requests with a response head and no byte of its body yet
	clientGone       netpoll.List[*loopClient] // requests of disconnected clients, before they are cancelled
	offloadedClients netpoll.List[*loopClient]
	burst            burst                       // of them
	idleUpstreams    netpoll.List[*loopUpstream] // that any client's request may use
	idleOwnUpstreams netpoll.List[*loopUpstream] // each for the requests of one client
	ownUpstreams     int                         // length of that list
	deferredReturns  []*blockingClient           // clients for which there is no descriptor at present

	serving *loopClient // the client whose event, task or request is being handled; nil: none

	out            []byte          // scratch memory for what is being written
	spareExchanges []*exchange     // memory for requests
	accepted       []*loopClient   // scratch memory for clients from which nothing was read yet
	latestLocal    *netip.AddrPort // see sharedAddress

	closing bool // connections are closed once they are idle

	nextLimitWarn time.Time // no warning of limits.max_connections before

	clients      *atomic.Int64  // of the app's totals
	clientClosed chan struct{}  // capacity 1: a client has been disconnected
	yielding     bool           // Server.Yield was called
	yieldable    chan struct{}  // capacity 1: a client is idle, or was disconnected
	offloaded    sync.WaitGroup // goroutines that serve a client
	ended        chan struct{}  // closed behind all of them
}

// startEventLoop starts a loop. It ends after beginClose, when the last client is disconnected.
func startEventLoop(a *app) (*eventLoop, error) {
	l := &eventLoop{app: a, clients: &a.counters.clients, now: time.Now(), clientClosed: make(chan struct{}, 1), yieldable: make(chan struct{}, 1), ended: make(chan struct{})}
	var err error
	if l.poller, err = netpoll.Open(); err != nil {
		return nil, err
	}
	if err := l.tasks.Open(l.poller); err != nil {
		l.poller.Close()
		return nil, err
	}
	l.timer = time.AfterFunc(time.Hour, func() { l.post(l.onTimer) })
	l.timer.Stop()
	a.limiter.Join(l)
	go l.run()
	return l, nil
}

func (l *eventLoop) run() {
	defer close(l.ended)
	l.poller.Run(l.turn)
	l.app.limiter.Leave(l)
	for n := l.idleUpstreams.Front(); n != nil; n = l.idleUpstreams.Front() { // own ones end with their client
		n.Value.discard()
	}
	l.tasks.Close()
	l.timer.Stop()
	l.burst.close()
	l.poller.Close()
	l.offloaded.Wait()
}

// post has the loop call f, from any goroutine.
func (l *eventLoop) post(f func()) bool { return l.tasks.Post(netpoll.TaskFunc(f)) }

// call has the loop call f and waits until it has, from any other goroutine.
func (l *eventLoop) call(f func()) bool { return l.tasks.Call(f) }

// turn does everything there is to do; done: and there will never be more.
func (l *eventLoop) turn() (done bool) {
	for {
		n, more := l.poller.Poll()
		l.brief.polled(n)
		l.readClock()
		// The app first: a connection that it has just closed must not be used below.
		for i := range n {
			if h, events := l.poller.Event(i); isUpstream(h) {
				l.deliver(h, events)
			}
		}
		for i := range n {
			if h, events := l.poller.Event(i); h != nil && !isUpstream(h) {
				l.deliver(h, events)
			}
		}
		ran := l.tasks.RunAll()
		if l.closing && l.clients.Load() == 0 {
			return true
		}
		if more || ran || l.brief.again(l.roundTrips) {
			continue
		}
		if l.tasks.PrepareWait() {
			return false
		}
	}
}

func isUpstream(h netpoll.Handler) bool {
	_, is := h.(*loopUpstream)
	return is
}

// readClock reads the clock.
func (l *eventLoop) readClock() {
	now := time.Now()
	step := now.Sub(l.now)
	if l.awaitsApp() {
		step = awake.Elapsed(step)
	}
	l.now, l.ran = now, l.ran+step
}

// awaitsApp reports whether requests wait for the app. Meanwhile the clock is read at least every
// awake.Interval, so that no request has to answer for a stall of this process.
func (l *eventLoop) awaitsApp() bool {
	return l.awaitingResponse.Front() != nil || l.connecting.Front() != nil
}

// schedule makes sure that onTimer is called d from now, or earlier.
func (l *eventLoop) schedule(d time.Duration) {
	if l.awaitsApp() {
		d = min(d, awake.Interval)
	}
	if at := l.ran + d; l.nextTimer == 0 || at < l.nextTimer {
		l.nextTimer = at
		l.timer.Reset(d)
	}
}

// expired reports whether something that began at since has lasted for d; else onTimer will be
// called then.
func (l *eventLoop) expired(since, d time.Duration) bool {
	left := since + d - l.ran
	if left > 0 {
		l.schedule(left)
	}
	return left <= 0
}

// expiredWithin is expired for the first of many: those that follow within timerSlack are looked at
// together.
func (l *eventLoop) expiredWithin(since, d time.Duration) bool {
	left := since + d - l.ran
	if left > 0 {
		l.schedule(max(left, timerSlack))
	}
	return left <= 0
}

// onTimer does what is due by the clock.
func (l *eventLoop) onTimer() {
	l.nextTimer = 0
	l.readClock()
	l.closeIdleClients()
	l.expireHeaders()
	l.expireHeads()
	l.expireRoundTrips()
	l.closeIdleUpstreams()
	l.retryReturns()
	l.retryAccepts()
}

// eachClient iterates over all clients, in no particular order.
func (l *eventLoop) eachClient(yield func(*loopClient) bool) {
	for h := range l.poller.Handlers() {
		if c, is := h.(*loopClient); is && !yield(c) {
			return
		}
	}
	for n := l.offloadedClients.Front(); n != nil; n = l.offloadedClients.Next(n) {
		if !yield(n.Value) {
			return
		}
	}
}

// beginClose disconnects idle clients, after a look at what has arrived from them, and from now on
// each one that becomes idle.
func (l *eventLoop) beginClose() {
	l.closing = true
	for n := l.idleClients.Front(); n != nil; n = l.idleClients.Front() {
		n.Value.onReadable()
	}
	for n := l.partialHeaders.Front(); n != nil; n = l.partialHeaders.Front() {
		n.Value.disconnect()
	}
}

// cut ends what is still there.
func (l *eventLoop) cut() {
	for c := range l.eachClient {
		c.cut()
	}
}

// retryInterval is how long to wait when the process is out of descriptors or memory.
const retryInterval = 20 * time.Millisecond
