package admin

import (
	"context"
	"sync"
	"time"

	"tideover/supervisor/admin/page"
	"tideover/supervisor/api"
	"tideover/supervisor/control"
)

const (
	// freshFor is how long an answer of the supervisor answers further requests.
	freshFor = 250 * time.Millisecond
	// answerTimeout is how long a request waits for the supervisor.
	answerTimeout = 3 * time.Second
)

// asker asks the supervisor: a *control.Client.
type asker interface {
	Status(ctx context.Context, apps ...string) (api.Status, error)
	Metrics(ctx context.Context) ([]byte, error)
}

// source has what the supervisor answers.
type source struct {
	status  *kept[api.Status]
	metrics *kept[[]byte]
	failed  chan error // gets the first error of a question: the process cannot go on
}

func newSource(client asker) *source {
	s := &source{failed: make(chan error, 1)}
	s.status = &kept[api.Status]{failed: s.failed, get: func(ctx context.Context) (api.Status, error) { return client.Status(ctx) }}
	s.metrics = &kept[[]byte]{failed: s.failed, get: client.Metrics}
	return s
}

// kept has an answer of the supervisor. However many requests come, the supervisor is asked once at a
// time, and at most once in freshFor.
type kept[A any] struct {
	get    func(context.Context) (A, error)
	failed chan<- error

	mu      sync.Mutex   // guards the fields below
	last    *question[A] // answered, or under way; nil: none yet
	answers time.Time    // when last was answered
}

// question is one answer of the supervisor.
type question[A any] struct {
	done   chan struct{} // closed when what follows is set
	answer A
	err    error
}

// answer returns the answer, or an error when the supervisor does not answer within answerTimeout.
func (k *kept[A]) answer(ctx context.Context) (A, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	q := k.ask()
	select {
	case <-q.done:
		return q.answer, q.err
	case <-ctx.Done():
		var none A
		return none, ctx.Err()
	}
}

// ask returns the question that is under way or was answered a moment ago, else a new one. It ends
// with the connection to the supervisor only, because a request that is given up breaks that.
func (k *kept[A]) ask() *question[A] {
	k.mu.Lock()
	defer k.mu.Unlock()
	if q := k.last; q != nil {
		select {
		case <-q.done:
			if q.err == nil && time.Since(k.answers) < freshFor {
				return q
			}
		default:
			return q
		}
	}
	q := &question[A]{done: make(chan struct{})}
	k.last = q
	go func() {
		defer close(q.done)
		q.answer, q.err = k.get(context.Background())
		if q.err != nil {
			select {
			case k.failed <- q.err:
			default:
			}
		}
		k.mu.Lock()
		defer k.mu.Unlock()
		k.answers = time.Now()
	}()
	return q
}

// pageSource is the supervisor for the page.
type pageSource struct{ *control.Client }

func (s pageSource) As(token, from string) page.Operator { return s.ForPage(token, from) }
