package admin

import (
	"context"
	"sync"
	"time"

	"tideover/supervisor/api"
)

const (
	// freshFor is how long a status answers further requests.
	freshFor = 250 * time.Millisecond
	// answerTimeout is how long a request waits for the supervisor.
	answerTimeout = 3 * time.Second
)

// asker asks the supervisor: a *control.Client.
type asker interface {
	Status(ctx context.Context, apps ...string) (api.Status, error)
}

// source has the state of the apps. However many requests come, the supervisor is asked once at a
// time, and at most once in freshFor.
type source struct {
	client asker
	failed chan error // gets the first error of a question: the process cannot go on

	mu      sync.Mutex // guards the fields below
	last    *question  // answered, or under way; nil: none yet
	answers time.Time  // when last was answered
}

// question is one answer of the supervisor.
type question struct {
	done   chan struct{} // closed when what follows is set
	status api.Status
	err    error
}

func newSource(client asker) *source { return &source{client: client, failed: make(chan error, 1)} }

// status returns the state of the apps, or an error when the supervisor does not answer within
// answerTimeout.
func (s *source) status(ctx context.Context) (api.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	q := s.ask()
	select {
	case <-q.done:
		return q.status, q.err
	case <-ctx.Done():
		return api.Status{}, ctx.Err()
	}
}

// ask returns the question that is under way or was answered a moment ago, else a new one. It ends
// with the connection to the supervisor only, because a request that is given up breaks that.
func (s *source) ask() *question {
	s.mu.Lock()
	defer s.mu.Unlock()
	if q := s.last; q != nil {
		select {
		case <-q.done:
			if q.err == nil && time.Since(s.answers) < freshFor {
				return q
			}
		default:
			return q
		}
	}
	q := &question{done: make(chan struct{})}
	s.last = q
	go func() {
		defer close(q.done)
		q.status, q.err = s.client.Status(context.Background())
		if q.err != nil {
			select {
			case s.failed <- q.err:
			default:
			}
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.answers = time.Now()
	}()
	return q
}
