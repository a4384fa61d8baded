package proxy

import "time"

// A roster is a list in the order of joining.
type roster struct{ anchor link }

// A link is a place in a roster.
type link struct {
	next, previous *link
	since          time.Time
	client         *client
	upstream       *upstream
}

func (r *roster) init() { r.anchor.next, r.anchor.previous = &r.anchor, &r.anchor }

// first is the one that joined first; nil when there is none.
func (r *roster) first() *link {
	if r.anchor.next == &r.anchor {
		return nil
	}
	return r.anchor.next
}

// last is the one that joined last; nil when there is none.
func (r *roster) last() *link { return r.before(&r.anchor) }

// before is the one that joined before n.
func (r *roster) before(n *link) *link {
	if n.previous == &r.anchor {
		return nil
	}
	return n.previous
}

// after is the one that joined after n.
func (r *roster) after(n *link) *link {
	if n.next == &r.anchor {
		return nil
	}
	return n.next
}

func (r *roster) join(n *link, now time.Time) {
	n.since = now
	n.previous, n.next = r.anchor.previous, &r.anchor
	n.previous.next, r.anchor.previous = n, n
}

// quit leaves whatever roster n is in.
func (n *link) quit() {
	if n.next != nil {
		n.next.previous, n.previous.next = n.previous, n.next
		n.next, n.previous = nil, nil
	}
}
