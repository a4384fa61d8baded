package proxy

import (
	"context"
	"fmt"
	"slices"

	"tideover/proxy/netpoll"
)

// Accepting returns nil when the event loop has gone round once: then it accepts, and is not stuck over a connection. It costs no
// connection and no descriptor, and works when there is none left. Without a Serve under way it returns nil at once. The error is
// that of ctx, with the address of a listener from which nothing is accepted.
func (s *Server) Accepting(ctx context.Context) error {
	s.mu.Lock()
	l, served := s.loop, slices.Clone(s.listeners)
	s.mu.Unlock()
	if len(served) == 0 {
		return nil
	}
	turned := make(chan struct{})
	if !l.tasks.Post(netpoll.TaskFunc(func() { close(turned) })) {
		return nil // it is over: every Serve has returned since
	}
	select {
	case <-turned:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("nothing is accepted on %s: %w", served[0].Addr(), ctx.Err())
	}
}
