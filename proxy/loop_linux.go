package proxy

import (
	"time"

	"tideover/proxy/netpoll"
)

// A loop is an event loop: an epoll set of our own inside the set that Go's runtime polls, and one goroutine that does the short
// things, never waits and never blocks. A client that is idle or held costs a slot and no goroutine; a request without a body whose
// answer comes in one piece is carried from end to end without leaving the loop. Whatever takes longer (a body, a long response, a
// tunnel, a fault and its answer) goes away: to straight-line code on a goroutine, and back.
//
// Everything in a loop belongs to its goroutine but the letters, by which others reach it.
type loop struct {
	poller    *netpoll.Poller
	tasks     netpoll.TaskQueue
	server    *Server
	now       time.Time   // of this turn
	out       []byte      // what is being written; memory only
	exchanges []*exchange // memory for requests
	ending    bool
	suspended bool          // see Server.Suspend
	still     chan struct{} // closed once every client is silent then
	open      int           // clients

	silent   netpoll.List[*client]   // idle clients, since when
	dialing  netpoll.List[*client]   // requests whose connections are being made
	flying   netpoll.List[*client]   // requests out, whose answer is due by a certain time
	alone    netpoll.List[*client]   // requests out that have the head of their response, and nothing of its body
	leaving  netpoll.List[*client]   // requests out whose clients have left
	moored   netpoll.List[*upstream] // idle connections to the app
	stranded []traveller
	doors    []*door

	timer *time.Timer
	alarm time.Time // when it rings; zero: not set
}

// newLoop starts a loop; it ends after end when the last client is gone.
func newLoop(s *Server) (*loop, error) {
	l := &loop{server: s, now: time.Now()}
	var err error
	if l.poller, err = netpoll.Open(); err != nil {
		return nil, err
	}
	if err := l.tasks.Open(l.poller); err != nil {
		l.poller.Close()
		return nil, err
	}
	l.timer = time.AfterFunc(time.Hour, func() { l.tasks.Post(netpoll.TaskFunc(l.tick)) })
	l.timer.Stop()
	s.running.Go(func() {
		l.poller.Run(l.turn)
		l.close()
	})
	return l, nil
}

// turn does everything there is to do; over: and there never will be more. When it returns, whatever comes next wakes the poller,
// because everything in the set is edge-triggered and a batch that is not full has emptied it.
func (l *loop) turn() (over bool) {
	for {
		n, more := l.poller.Poll()
		l.now = time.Now()
		for i := range n { // the app first: a connection that it has just closed must not be used below
			if h, events := l.poller.Event(i); isUpstream(h) {
				h.OnEvents(events)
			}
		}
		for i := range n {
			if h, events := l.poller.Event(i); h != nil && !isUpstream(h) {
				h.OnEvents(events)
			}
		}
		noted := l.tasks.RunAll()
		if l.still != nil && l.settled() {
			close(l.still)
			l.still = nil
		}
		if l.ending && l.open == 0 {
			return true
		}
		if !more && !noted && l.tasks.PrepareWait() {
			return false
		}
	}
}

func isUpstream(h netpoll.Handler) bool {
	_, is := h.(*upstream)
	return is
}

// clients yields every client of the loop.
func (l *loop) clients(yield func(*client) bool) {
	for h := range l.poller.Handlers() {
		if c, is := h.(*client); is && !yield(c) {
			return
		}
	}
}

// close gives the loop's own descriptors back. No client is left.
func (l *loop) close() {
	for l.moored.Front() != nil {
		l.moored.Front().Value.sink()
	}
	l.tasks.Close()
	l.timer.Stop()
	l.poller.Close()
}

// wakeAt makes sure that tick is called at that moment, or earlier.
func (l *loop) wakeAt(t time.Time) {
	if l.alarm.IsZero() || t.Before(l.alarm) {
		l.alarm = t
		l.timer.Reset(t.Sub(l.now))
	}
}

// tick does what is due by the clock.
func (l *loop) tick() {
	l.alarm = time.Time{}
	l.now = time.Now()
	if l.suspended {
		return
	}
	l.closeSilent()
	l.sendOff()
	for b := l.moored.Front(); b != nil && l.due(b.AddedAt().Add(idleUpstream)); b = l.moored.Front() {
		b.Value.sink()
	}
	stranded := l.stranded
	l.stranded = nil
	for _, t := range stranded {
		l.away(t.client, t.errand)
	}
	for _, d := range l.doors {
		if !d.trouble.IsZero() {
			d.accept(l)
		}
	}
}

// due reports whether a moment has come; else it will be asked again then.
func (l *loop) due(t time.Time) bool {
	if l.now.Before(t) {
		l.wakeAt(t)
		return false
	}
	return true
}
