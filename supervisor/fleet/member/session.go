package member

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

const (
	// leaseTime is how long the keys of a host outlive it.
	leaseTime = 15 * time.Second
	// renewInterval is the time between two renewals.
	renewInterval = leaseTime / 5
	// endTimeout bounds the end of a lease when the process ends.
	endTimeout = time.Second
)

// lease is a lease of this process.
type lease struct {
	id    string        // of the session: the process, and a number
	lease int64         // 0: there is none
	ended chan struct{} // closed when it has ended before its deadline; nil: there is none
}

// session keeps a lease. Its deadline is counted from before a request was sent, by the clock of this
// machine alone, so that it is never later than etcd's.
type session struct {
	store   Store
	process string
	changed chan struct{} // capacity 1: there is another lease, or none

	mu      sync.Mutex // guards the fields below
	number  int
	current lease
	until   time.Time
	failed  error // why there is none, or no view
}

func newSession(store Store, process string) *session {
	return &session{store: store, process: process, changed: make(chan struct{}, 1)}
}

// now is the lease; it is the zero value when there is none, or when it may have ended.
func (s *session) now() lease {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !time.Now().Before(s.until) {
		return lease{}
	}
	return s.current
}

// holds reports whether the session still has its lease.
func (s *session) holds(id string) bool { return id != "" && s.now().id == id }

// await returns when the session has no longer its lease, or ctx ends.
func (s *session) await(ctx context.Context, id string) {
	for {
		s.mu.Lock()
		current, left := s.current, time.Until(s.until)
		s.mu.Unlock()
		if current.id != id || left <= 0 {
			return
		}
		select {
		case <-time.After(left): // it may have been renewed meanwhile
		case <-current.ended:
		case <-ctx.Done():
			return
		}
	}
}

func (s *session) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed
}

// fail notes why the keys cannot be followed.
func (s *session) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed = err
	s.wake()
}

// keep keeps a lease until ctx ends.
func (s *session) keep(ctx context.Context) {
	for ctx.Err() == nil {
		if lost := s.step(ctx); lost {
			continue // another one is needed
		}
		select {
		case <-time.After(renewInterval):
		case <-ctx.Done():
		}
	}
}

// step renews the lease, or gets one. lost reports that etcd has ended it.
func (s *session) step(ctx context.Context) (lost bool) {
	s.mu.Lock()
	current := s.current
	s.mu.Unlock()
	asked := time.Now()
	if current.lease == 0 {
		granted, err := s.store.Grant(ctx, leaseTime)
		s.set(granted, asked.Add(leaseTime), err)
		return false
	}
	left, err := s.store.KeepAlive(ctx, current.lease)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err == nil && left > 0:
		s.until, s.failed = asked.Add(left), nil
		return false
	case err == nil:
		lost, err = true, errors.New("the lease has ended")
	case asked.Before(s.until):
		s.failed = err
		return false // it is tried again
	}
	close(s.current.ended)
	s.current, s.failed = lease{}, err
	s.wake()
	return lost
}

func (s *session) set(granted int64, until time.Time, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed = err; err == nil {
		s.number++
		s.current, s.until = lease{fmt.Sprintf("%s.%d", s.process, s.number), granted, make(chan struct{})}, until
	}
	s.wake()
}

func (s *session) wake() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// end gives the lease back, so that the next process of the host need not wait for its end.
func (s *session) end() {
	if l := s.now(); l.lease != 0 {
		ctx, cancel := context.WithTimeout(context.Background(), endTimeout)
		defer cancel()
		s.store.Revoke(ctx, l.lease) // else it ends by itself
	}
}
