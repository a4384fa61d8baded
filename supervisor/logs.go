package supervisor

import (
	"cmp"
	"context"
	"math"
	"slices"
	"sync"
	"time"

	"tideover/supervisor/api"
	"tideover/supervisor/logs"
)

// Logs yields lines of the children's output, oldest first. With Follow it also
// yields later lines, including those of apps that are added later, until yield
// returns false or ctx ends. Calls of yield do not overlap.
func (s *Supervisor) Logs(ctx context.Context, q api.LogQuery, yield func(logs.Line) bool) error {
	sources, err := s.sources(q)
	if err != nil {
		return err
	}
	if q.Follow {
		s.follow(ctx, q, sources, yield)
		return nil
	}
	var lines []logs.Line
	for _, l := range sources {
		lines = append(lines, l.Tail(0, q.Lines)...)
	}
	slices.SortStableFunc(lines, func(a, b logs.Line) int { return a.Time.Compare(b.Time) })
	for _, line := range lines[max(0, len(lines)-cmp.Or(q.Lines, len(lines))):] {
		if ctx.Err() != nil || !yield(line) {
			return nil
		}
	}
	return nil
}

func (s *Supervisor) sources(q api.LogQuery) ([]*logs.Log, error) {
	if q.Daemon {
		if s.options.OwnLog == nil {
			return nil, api.Errorf(api.ExitError, "this daemon does not keep its own log in memory")
		}
		return []*logs.Log{s.options.OwnLog.Log()}, nil
	}
	apps, err := s.registry.selectApps(q.Apps)
	if err != nil {
		return nil, err
	}
	sources := make([]*logs.Log, len(apps))
	for i, a := range apps {
		sources[i] = a.log
	}
	return sources, nil
}

// newAppsInterval is how often a follower looks for apps that were added.
const newAppsInterval = time.Second

// follow yields what is written from now on until ctx ends or yield returns false.
func (s *Supervisor) follow(ctx context.Context, q api.LogQuery, sources []*logs.Log, yield func(logs.Line) bool) {
	ctx, stop := context.WithCancel(ctx)
	var followers sync.WaitGroup
	defer followers.Wait()
	defer stop()
	var mu sync.Mutex // one call of yield at a time
	tell := func(line logs.Line) bool {
		mu.Lock()
		defer mu.Unlock()
		if ctx.Err() != nil || !yield(line) {
			stop()
			return false
		}
		return true
	}
	ticker := time.NewTicker(newAppsInterval)
	defer ticker.Stop()
	followed := map[*logs.Log]bool{}
	for lines := q.Lines; ; lines = math.MaxInt { // of an app that was added, every line
		for _, l := range sources {
			if !followed[l] {
				followed[l] = true
				followers.Go(func() { l.Follow(ctx, lines, tell) })
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if now, err := s.sources(q); err == nil { // an error: every app was removed; one may be added again
			sources = now
		}
	}
}
