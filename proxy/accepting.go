package proxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"
)

// acceptor is one Serve under way.
type acceptor struct {
	listener net.Listener
	loop     *loop         // that accepts; nil: a goroutine does
	turned   chan struct{} // capacity 1: its loop has come round
}

// deadliner is a listener whose Accept can be woken without closing it.
type deadliner interface{ SetDeadline(time.Time) error }

// Accepting asks every Serve under way to come round once, and returns when all have: then they accept, and have not got stuck over
// a connection. It costs no connection and no descriptor, and works when there is none left. The error is that of ctx, with the
// address of the listener that did not answer. One call at a time.
func (s *Server) Accepting(ctx context.Context) error {
	s.mu.Lock()
	asked := slices.Clone(s.acceptors)
	s.mu.Unlock()
	for _, a := range asked {
		if _, can := a.listener.(deadliner); !can {
			continue
		}
		select {
		case <-a.turned: // of a question that nobody waited for
		default:
		}
		if a.loop == nil {
			interruptAccept(a.listener)
		} else if !a.loop.post(note{do: a.turn}) {
			continue // it is over
		}
		if err := s.await(ctx, a); err != nil {
			return fmt.Errorf("nothing is accepted on %s: %w", a.listener.Addr(), err)
		}
	}
	return nil
}

func (s *Server) await(ctx context.Context, a *acceptor) error {
	select {
	case <-a.turned:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// comeRound answers Accepting, where that is why accept was interrupted.
func (a *acceptor) comeRound(ctx context.Context, err error) bool {
	var timeout net.Error
	if ctx.Err() != nil || !errors.As(err, &timeout) || !timeout.Timeout() {
		return false
	}
	resumeAccept(a.listener)
	if ctx.Err() != nil {
		interruptAccept(a.listener) // the end came in between, and has been undone
	}
	a.turn()
	return true
}

func (a *acceptor) turn() {
	select {
	case a.turned <- struct{}{}:
	default:
	}
}

// enter and leave keep the list of acceptors.
func (s *Server) enter(l net.Listener) *acceptor {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := &acceptor{l, s.engine(l), make(chan struct{}, 1)}
	s.acceptors = append(s.acceptors, a)
	return a
}

func (s *Server) leave(a *acceptor) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.acceptors = slices.DeleteFunc(s.acceptors, func(other *acceptor) bool { return other == a })
	a.turn() // whoever asks has its answer: it has not got stuck
}
