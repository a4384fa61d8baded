package proxy

import (
	"errors"
	"io"
	"os"
	"sync/atomic"
	"time"

	"tideover/proxy/http1"
)

// A tunnel is a pair of connections behind a 101: bytes both ways, which nothing here interprets
// ([http1.RuleTunnels]).
type tunnel struct {
	idleTimeout time.Duration // without a byte either way; 0: without bound
	active      atomic.Int64  // UnixNano when a side sent or took a byte for the last time
}

// tunnel forwards the 101 and then bytes both ways until both sides have ended, one fails, or the
// target's tunnels are closed. The request counts as answered, and its pass is done, when the
// tunnel begins.
func (u *blockingUpstream) tunnel() (again, busy bool) {
	b, x := u.client, u.x
	x.keepAlive = false
	if !u.target.SetTunnel(u) {
		return u.handleFailure(responseStarted, errTargetGone)
	}
	defer u.end()
	defer u.discard()
	gone, _ := u.stopUpload()
	head, _ := u.response.AppendClient(u.out[:0], &http1.ResponseOptions{Minor: x.request.Minor, Held: x.held, Hold: x.waited})
	u.in.start += u.headLen
	x.app.gate.Done(u.target, true)
	if gone || b.write(head) != nil {
		x.clientGone()
		return false, false
	}
	x.end(answered)
	x.app.counters.tunnels.Add(1)
	t := &tunnel{idleTimeout: x.settings.TunnelTimeout}
	t.touch()
	ahead := x.body.raw // http1.RuleBytesAfterUpgrade
	x.body.raw = nil
	done := make(chan struct{})
	go func() {
		defer close(done)
		t.copy(&u.conn, &b.conn, ahead)
	}()
	t.copy(&b.conn, &u.conn, u.in.bytes())
	<-done
	return false, false
}

// copy sends bytes on from one side to the other, first those that were read already. At the end of
// the one it sends the other a FIN, so that the way back goes on. When anything fails both sides
// are closed.
func (t *tunnel) copy(to, from *conn, ahead []byte) {
	var b buffer
	defer b.release()
	for {
		if len(ahead) > 0 {
			if t.write(to, ahead) != nil {
				break
			}
		}
		b.start, b.end = 0, 0
		n, err := from.read(b.room(bufferSize), t.timeLeft())
		ahead = b.data[:n]
		switch {
		case n > 0:
		case err == io.EOF:
			to.closeWrite()
			return
		case errors.Is(err, os.ErrDeadlineExceeded) && t.timeLeft() > time.Nanosecond:
		default:
			to.close()
			from.close()
			return
		}
	}
	to.close()
	from.close()
}

// write writes all of p. A peer may take its time, as long as it takes anything at all, or the
// other side sends.
func (t *tunnel) write(to *conn, p []byte) error {
	for {
		before := to.unsent()
		n, err := to.write(p, t.idleTimeout/4)
		if n > 0 || to.unsent() < before {
			t.touch()
		}
		if p = p[n:]; !errors.Is(err, os.ErrDeadlineExceeded) || t.timeLeft() == time.Nanosecond {
			return err
		}
	}
}

// touch says that a byte was sent, or taken.
func (t *tunnel) touch() { t.active.Store(time.Now().UnixNano()) }

// timeLeft is how long the tunnel may still be idle; 0: without bound.
func (t *tunnel) timeLeft() time.Duration {
	if t.idleTimeout == 0 {
		return 0
	}
	return max(time.Nanosecond, time.Until(time.Unix(0, t.active.Load()).Add(t.idleTimeout)))
}
