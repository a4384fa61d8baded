package proxy

import (
	"errors"
	"io"
	"os"
	"sync/atomic"
	"time"

	"tideover/proxy/http1"
)

// A tunnel is a connection after its 101: bytes both ways, which nobody reads here.
type tunnel struct {
	idle time.Duration // without a byte either way; 0: for ever
	last atomic.Int64  // when one side sent or took a byte for the last time, in ns
}

// tunnel hands the 101 on and then bytes both ways until both sides have ended, one fails, or the target's tunnels are closed. The
// request counts as answered, and its pass is done, when the tunnel begins.
func (d *trip) tunnel() {
	x, u := d.x, d.u
	c := x.client
	x.keepAlive = false
	if !u.target.SetTunnel(u) {
		d.lost(begun, errTargetGone)
		return
	}
	left, _ := x.attendant.join(x)
	head, _ := u.response.AppendClient(u.out[:0], &http1.Client{Minor: x.request.Minor, Held: x.held, Hold: x.waited})
	u.in.start += u.headEnd
	x.server.gate.Done(u.target, true)
	if left || c.hand(head) != nil {
		u.Close()
		x.leave()
		return
	}
	x.end(answered)
	x.server.totals.tunnels.Add(1)
	t := &tunnel{idle: x.set.TunnelTimeout}
	t.passed()
	ahead := x.body.raw
	x.body.raw = nil
	done := make(chan struct{})
	go func() {
		defer close(done)
		t.copy(u.wire, c.wire, ahead)
	}()
	t.copy(c.wire, u.wire, u.in.bytes())
	<-done
	u.in.release()
	u.Close()
}

// copy hands bytes on from one side to the other, first those that were read already; at the end of the one it ends the other's
// reading, so that the way back goes on. When anything fails both sides are closed.
func (t *tunnel) copy(to, from *wire, ahead []byte) {
	var b buffer
	defer b.release()
	for {
		if len(ahead) > 0 {
			if t.hand(to, ahead) != nil {
				break
			}
		}
		b.start, b.end = 0, 0
		n, err := from.read(b.room(bufferSize), t.left())
		ahead = b.data[:n]
		switch {
		case n > 0:
		case err == io.EOF:
			to.closeWrite()
			return
		case errors.Is(err, os.ErrDeadlineExceeded) && t.left() > time.Nanosecond:
		default:
			to.close()
			from.close()
			return
		}
	}
	to.close()
	from.close()
}

// hand writes all of p. A peer may take its time, as long as it takes anything at all, or the other side has something to say.
func (t *tunnel) hand(to *wire, p []byte) error {
	for {
		before := to.untaken()
		n, err := to.write(p, t.idle/4)
		if n > 0 || to.untaken() < before {
			t.passed()
		}
		if p = p[n:]; !errors.Is(err, os.ErrDeadlineExceeded) || t.left() == time.Nanosecond {
			return err
		}
	}
}

// passed notes that a byte was sent, or taken.
func (t *tunnel) passed() { t.last.Store(time.Now().UnixNano()) }

// left is how long the tunnel may still be silent.
func (t *tunnel) left() time.Duration {
	if t.idle == 0 {
		return 0
	}
	return max(time.Nanosecond, time.Until(time.Unix(0, t.last.Load()).Add(t.idle)))
}
