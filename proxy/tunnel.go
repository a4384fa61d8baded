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
	moved       atomic.Int64  // how often a side has sent or taken bytes
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
	x.recordFields(&u.response)
	x.status, x.appTook = u.response.Status, time.Since(u.startedAt)
	x.app.gate.Done(u.target, true)
	if gone || b.write(head) != nil {
		x.clientGone(time.Now())
		return false, false
	}
	x.end(answered, time.Now())
	x.app.counters.tunnels.Add(1)
	t := &tunnel{idleTimeout: x.settings.TunnelTimeout}
	ahead := x.body.raw // http1.RuleBytesAfterUpgrade
	x.body.raw = nil
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			if cause := recover(); cause != nil {
				x.app.reportPanic(cause)
				u.conn.shutdown()
				b.conn.shutdown()
			}
		}()
		x.panicAt("tunnel")
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
	idle := idleCheck{tunnel: t}
	for {
		if len(ahead) > 0 {
			if t.write(to, ahead) != nil {
				break
			}
		}
		b.start, b.end = 0, 0
		n, err := from.read(b.room(bufferSize), t.idleTimeout/idleChecks)
		ahead = b.data[:n]
		switch {
		case n > 0:
			t.moved.Add(1)
		case err == io.EOF:
			to.closeWrite()
			return
		case errors.Is(err, os.ErrDeadlineExceeded) && !idle.expired():
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
	for idle := (idleCheck{tunnel: t}); ; {
		before := to.unsent()
		n, err := to.write(p, t.idleTimeout/idleChecks)
		if n > 0 || to.unsent() < before {
			t.moved.Add(1)
		}
		if p = p[n:]; !errors.Is(err, os.ErrDeadlineExceeded) || idle.expired() {
			return err
		}
	}
}

// idleChecks is how often a direction looks, in the idle timeout, whether the other one is in use.
const idleChecks = 4

// An idleCheck tells one direction of a tunnel when neither has moved a byte for the idle timeout.
type idleCheck struct {
	tunnel *tunnel
	moved  int64
	quiet  int // checks in a row without a byte
}

// expired is called after each part of the idle timeout in which the direction has moved nothing.
func (c *idleCheck) expired() bool {
	if moved := c.tunnel.moved.Load(); moved != c.moved {
		c.moved, c.quiet = moved, 0
		return false
	}
	c.quiet++
	return c.quiet >= idleChecks
}
