package proxy

import (
	"context"
	"fmt"
	"slices"
)

// CheckAlive returns nil when the event loop has run a task: then it accepts connections, and is
// not stuck over one of them. It costs no connection and no descriptor, and works when there is
// none left. Without a Serve under way it returns nil at once. The error is that of ctx, with the
// address of a listener from which nothing is accepted.
func (s *Server) CheckAlive(ctx context.Context) error {
	s.mu.Lock()
	l, listeners := s.loop, slices.Clone(s.listeners)
	s.mu.Unlock()
	if len(listeners) == 0 {
		return nil
	}
	alive := make(chan struct{})
	if !l.post(func() { close(alive) }) {
		return nil // it has ended: every Serve has returned since
	}
	select {
	case <-alive:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("nothing is accepted on %s: %w", listeners[0].Addr(), ctx.Err())
	}
}
