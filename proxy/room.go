package proxy

import (
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"tideover/proxy/http1"
	"tideover/proxy/netpoll"
)

const (
	// reclaimFraction is the part of the idle connections that is closed at once, when one is
	// needed: to choose them costs a look at all.
	reclaimFraction = 64
	// maxReclaimedHeads is how many half-sent heads are given up at once, and minReclaimedHead is how
	// old each of them is at least. A sound client sends its head in a few packets.
	maxReclaimedHeads = 16
	minReclaimedHead  = time.Second
	// shareFraction is the part of the idle connections beyond which those of one address are the
	// first to be closed.
	shareFraction = 4
	// limitWarnInterval is the shortest time between two warnings.
	limitWarnInterval = time.Minute
)

// hasRoom reports whether another client may be accepted. Where a limit is reached and a client is
// waiting, idle connections are closed, and it is tried again.
func (a *acceptor) hasRoom() bool {
	l := a.loop
	max := l.app.settings.Load().MaxConnections
	full := max > 0 && l.clients.Load() >= int64(max)
	if !full && l.app.limiter.HasRoom(a.fd) {
		return true
	}
	if !netpoll.Readable(a.fd) { // the next one is another edge
		return false
	}
	l.schedule(retryInterval)
	if !full {
		l.reclaim()
		return false
	}
	closed := l.closeForRoom()
	l.warnAtLimit(max)
	return closed > 0 && l.app.limiter.HasRoom(a.fd)
}

// reclaim has idle connections of any server closed, and accepts again when some are.
func (l *eventLoop) reclaim() {
	l.app.limiter.Reclaim(func() { l.post(l.retryAccepts) })
}

// warnAtLimit logs that the app has as many connections as it may have.
func (l *eventLoop) warnAtLimit(max int) {
	if l.now.Before(l.nextLimitWarn) {
		return
	}
	l.nextLimitWarn = l.now.Add(limitWarnInterval)
	l.app.logger.Warn("connection limit of the app reached", "app", l.app.name, "connections", l.Connections(), "limit", max,
		"hint", "idle connections are closed, the oldest first; without one new connections wait in the backlog; raise limits.max_connections")
}

// Connections is the number of clients.
func (l *eventLoop) Connections() int { return int(l.clients.Load()) }

// Reclaim has the loop close some idle connections and then call done with their number.
func (l *eventLoop) Reclaim(done func(closed int)) {
	if !l.post(func() { done(l.closeForRoom()) }) {
		done(0)
	}
}

// closeForRoom closes idle connections or, where there are none, those with a half-sent PROXY header
// or head. A client with a request, on its way or held, keeps its connection.
func (l *eventLoop) closeForRoom() (closed int) {
	idle := l.idleByRank()
	for _, c := range idle[:(len(idle)+reclaimFraction-1)/reclaimFraction] {
		if c.onReadable(); c.idle() { // else a request was on its way
			c.leave()
		}
		if c.state == stateClosed {
			closed++
		}
	}
	if len(idle) > 0 {
		return closed
	}
	for _, list := range []*netpoll.List[*loopClient]{&l.partialHeaders, &l.partialHeads} {
		for n := list.Front(); n != nil && l.ran-n.AddedAt() >= minReclaimedHead && closed < maxReclaimedHeads; n = list.Front() {
			n.Value.giveUpHead()
			closed++
		}
	}
	return closed
}

// idle reports whether no byte of a request has come.
func (c *loopClient) idle() bool {
	return c.state == stateIdle || c.state == statePartial && !c.exchange.counted
}

// idleByRank returns the idle clients, the first to be closed first: those of an address that has
// more than its share, then those of other addresses, then those of front-ends, which may send a
// request at this moment. Within each of these the longest idle one comes first.
func (l *eventLoop) idleByRank() []*loopClient {
	set := l.app.settings.Load()
	var direct, frontEnds []*loopClient
	addresses := map[netip.Addr]int{}
	most := netip.Addr{}
	for n := l.idleClients.Front(); n != nil; n = l.idleClients.Next(n) {
		c := n.Value
		if c.trusted(set) {
			frontEnds = append(frontEnds, c)
			continue
		}
		direct = append(direct, c)
		a := shareOf(c.remote)
		if addresses[a]++; addresses[a] > addresses[most] {
			most = a
		}
	}
	all := make([]*loopClient, 0, len(direct)+len(frontEnds))
	if addresses[most]*shareFraction > cap(all) && len(addresses) > 1 {
		var others []*loopClient
		for _, c := range direct {
			if shareOf(c.remote) == most {
				all = append(all, c)
			} else {
				others = append(others, c)
			}
		}
		direct = others
	}
	return append(append(all, direct...), frontEnds...)
}

// shareOf is what counts as one address: of IPv6 a /64, which one client may have for itself.
func shareOf(remote netip.AddrPort) netip.Addr {
	a := remote.Addr().Unmap()
	if a.Is6() {
		p, _ := a.Prefix(64)
		return p.Addr()
	}
	return a
}

// giveUpHead closes a connection with a half-sent head because it is needed for others. The client of
// a request learns it if it still reads.
func (c *loopClient) giveUpHead() {
	x := c.exchange
	if c.state != statePartial {
		c.disconnect()
		return
	}
	answer := http1.AppendError(nil, errHeadGivenUp, &x.request)
	x.logError(errHeadGivenUp.Status, errHeadGivenUp.Error())
	x.status = errHeadGivenUp.Status
	c.endPartial(badRequest)
	if n, errno := netpoll.Send(int(c.fd), answer); errno == 0 && n == len(answer) {
		unix.Shutdown(int(c.fd), unix.SHUT_WR)
	}
	c.disconnect()
}
