package netpoll

import "time"

// A List is a list of nodes in the order in which they were added, so that the first one is the
// first to time out. Its nodes are part of what they stand for, so that it takes no memory of its
// own. The zero List is empty.
type List[T any] struct {
	root Node[T]
}

// A Node is a place in at most one List.
type Node[T any] struct {
	next, prev *Node[T]
	addedAt    time.Duration
	Value      T
}

// AddedAt is when the node was added to a list for the last time, by the clock of the list's owner.
func (n *Node[T]) AddedAt() time.Duration { return n.addedAt }

// PushBack adds n, which must not be in a list.
func (l *List[T]) PushBack(n *Node[T], now time.Duration) {
	if l.root.next == nil {
		l.root.next, l.root.prev = &l.root, &l.root
	}
	n.addedAt = now
	n.prev, n.next = l.root.prev, &l.root
	n.prev.next, l.root.prev = n, n
}

// Front is the node that was added first; nil when there is none.
func (l *List[T]) Front() *Node[T] { return l.Next(&l.root) }

// Back is the node that was added last; nil when there is none.
func (l *List[T]) Back() *Node[T] { return l.Prev(&l.root) }

// Next is the node that was added after n; nil when there is none.
func (l *List[T]) Next(n *Node[T]) *Node[T] { return l.node(n.next) }

// Prev is the node that was added before n; nil when there is none.
func (l *List[T]) Prev(n *Node[T]) *Node[T] { return l.node(n.prev) }

func (l *List[T]) node(n *Node[T]) *Node[T] {
	if n == &l.root {
		return nil
	}
	return n
}

// Remove takes n out of the list that it is in, if any.
func (n *Node[T]) Remove() {
	if n.next != nil {
		n.next.prev, n.prev.next = n.prev, n.next
		n.next, n.prev = nil, nil
	}
}
