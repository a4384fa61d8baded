package proxy

import (
	"bytes"
	"net"
	"time"

	"tideover/proxy/gate"
	"tideover/proxy/http1"
	"tideover/proxy/netpoll"
)

const (
	// idleUpstream is how long a connection to the app is kept for the next request: well inside the 2 s after which gunicorn
	// closes it, perhaps at the very moment at which a request is on its way.
	idleUpstream = time.Second
	// dialTimeout bounds a connect that neither succeeds nor fails: TCP with a full backlog, where the kernel asks again after 1 s.
	dialTimeout = time.Second
)

// An upstream is a connection to the app and the reader of what comes from it. One request is out on it at a time.
type upstream struct {
	*wire    // nil while a loop reads it
	berth    // of the loop
	target   *gate.Target
	in       buffer
	out      []byte // what is being written, to either side
	response http1.Response
	headEnd  int // length of the response's head, at the front of in
	trip     trip
	failed   error // how reading ended, when a loop found out
}

// embark begins a trip on this connection.
func (u *upstream) embark(x *exchange) *trip {
	u.trip = trip{x: x, u: u}
	return &u.trip
}

// marking is whether the target's marker came instead of a response.
type marking int

const (
	unmarked marking = iota
	perhaps          // so far, it might
	marker
)

// marked looks for the marker at the beginning of what came.
func (u *upstream) marked(in []byte) marking {
	mark := u.target.Options().Marker
	switch {
	case len(mark) == 0 || len(in) == 0:
		return unmarked
	case bytes.HasPrefix(in, mark):
		return marker
	case bytes.HasPrefix(mark, in):
		return perhaps
	}
	return unmarked
}

// connect returns a connection to the target: the one that became idle last, if it is fit, else a new one. What must not be sent
// twice gets a fresh one: a server may be closing an idle one at this moment, and then nobody could tell whether it read it.
func (x *exchange) connect(t *gate.Target) (*upstream, error) {
	for x.fed == 0 && x.set.idempotent(&x.request) {
		u := x.client.loop.lend(t)
		if u == nil {
			break
		}
		if u.silent() {
			return u, nil
		}
		u.Close()
	}
	return dial(t)
}

// dial makes a new connection. Every error means "not now": a full backlog (EAGAIN on a unix socket), nobody listening
// (ECONNREFUSED, ENOENT), no free port or descriptor.
func dial(t *gate.Target) (*upstream, error) {
	d := net.Dialer{Timeout: dialTimeout, KeepAlive: -1}
	conn, err := d.Dial(t.Options().Network, t.Options().Address)
	if err != nil {
		return nil, err
	}
	w, err := newWire(conn.(stream))
	if err != nil {
		conn.Close()
		return nil, err
	}
	u := &upstream{wire: w, target: t}
	if !t.Add(u) {
		conn.Close()
		return nil, net.ErrClosed
	}
	return u, nil
}

// Close closes the connection, whatever it is doing; a read under way ends with an error.
func (u *upstream) Close() {
	u.target.Remove(u)
	if !u.sever() {
		u.wire.close()
	}
}

// end closes the connection. Only who reads it may call this.
func (u *upstream) end() {
	switch {
	case u.closed: // as soon as nothing more was to be read
		u.in.release()
	case u.loop != nil:
		u.sink()
	default:
		u.Close()
	}
}

// mayReuse reports whether the connection is fit for another request after its response. A response whose length its head does
// not tell may be followed by more at any time, and some servers send a body where there must be none.
func (u *upstream) mayReuse() bool {
	f := u.response.Body.Framing
	return u.response.Reusable && (f == http1.Fixed || f == http1.Chunked) && u.in.empty() && u.still()
}

// still reports whether nothing has come behind the response.
func (u *upstream) still() bool {
	if u.loop != nil {
		return !u.ended && !u.brimming
	}
	return u.silent()
}

// settle keeps the connection for the next request, for a short while.
func (u *upstream) settle() {
	l, t := u.trip.x.client.loop, u.target
	u.in.release()
	u.trip = trip{}
	if u.loop != nil {
		u.moor()
		return
	}
	fd, err := u.dup()
	u.Close()
	if err == nil && !l.tasks.Post(netpoll.TaskFunc(func() { l.adopt(t, fd) })) {
		netpoll.Close(fd)
	}
}

// more reads more bytes behind those that are in the buffer.
func (u *upstream) more(limit int, timeout time.Duration) error {
	if u.failed != nil {
		return u.failed
	}
	n, err := u.read(u.in.room(limit), timeout)
	u.in.end += n
	return err
}
