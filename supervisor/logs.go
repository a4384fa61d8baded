package supervisor

import (
	"cmp"
	"context"
	"math"
	"slices"
	"sync"
	"time"

	"tideover/supervisor/api"
	"tideover/supervisor/config"
	"tideover/supervisor/logs"
)

// Logs yields lines of the children's output, oldest first; with Follow also
// those to come, of apps that come later, too, until yield returns false or ctx ends. Calls of yield do not
// overlap.
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

// newcomers is how often somebody who follows is given the apps that have come
// since.
const newcomers = time.Second

// follow yields what is written from now on, also by apps that come later, until
// ctx ends or yield returns false.
func (s *Supervisor) follow(ctx context.Context, q api.LogQuery, sources []*logs.Log, yield func(logs.Line) bool) {
	ctx, stop := context.WithCancel(ctx)
	var followers sync.WaitGroup
	defer followers.Wait()
	defer stop()
	var one sync.Mutex // of the followers speaks at a time
	tell := func(line logs.Line) bool {
		one.Lock()
		defer one.Unlock()
		if ctx.Err() != nil || !yield(line) {
			stop()
			return false
		}
		return true
	}
	ticker := time.NewTicker(newcomers)
	defer ticker.Stop()
	followed := map[*logs.Log]bool{}
	for lines := q.Lines; ; lines = math.MaxInt { // of a newcomer all is new
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
		if now, err := s.sources(q); err == nil { // an error: all of them have gone, and may come back
			sources = now
		}
	}
}

// logs says where the output of an app goes.
func (o Options) logs(cfg *config.App) logs.Options {
	l := logs.Options{
		App: cfg.Name, RingBytes: int(cfg.Log.Buffer), Writer: o.Output, Color: o.Color, Unicode: o.Unicode,
		File: logFile(cfg),
	}
	if cfg.Log.Journal {
		l.Journal = cmp.Or(o.Journal, logs.JournalSocket)
	}
	if !cfg.Log.Stdout || cfg.Log.Journal && o.Journaled {
		l.Writer = nil
	}
	return l
}
