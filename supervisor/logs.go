package supervisor

import (
	"cmp"
	"context"
	"math"
	"regexp"
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
	if q.Daemon && len(q.Apps) > 0 {
		apps, err := s.registry.selectApps(q.Apps)
		if err != nil {
			return err
		}
		q.Apps = nil
		for _, a := range apps {
			q.Apps = append(q.Apps, a.name)
		}
	}
	filter, err := newLineFilter(q)
	if err != nil {
		return err
	}
	sources, err := s.sources(q)
	if err != nil {
		return err
	}
	if q.Follow {
		s.follow(ctx, q, filter, sources, yield)
		return nil
	}
	var lines []logs.Line
	for _, l := range sources {
		lines = append(lines, filter.tail(l, q.Lines)...)
	}
	slices.SortStableFunc(lines, func(a, b logs.Line) int { return a.Time.Compare(b.Time) })
	for _, line := range lines[max(0, len(lines)-cmp.Or(q.Lines, len(lines))):] {
		if ctx.Err() != nil || !yield(line) {
			return nil
		}
	}
	return nil
}

// lineFilter selects lines as an api.LogQuery says.
type lineFilter struct {
	api.LogQuery
	grep *regexp.Regexp // nil: any text
}

func newLineFilter(q api.LogQuery) (*lineFilter, error) {
	f := &lineFilter{LogQuery: q}
	if q.Grep != "" {
		var err error
		if f.grep, err = regexp.Compile(q.Grep); err != nil {
			return nil, &api.Error{Exit: api.ExitUsage, Message: err.Error(), Hint: "the syntax is that of RE2: https://github.com/google/re2/wiki/Syntax"}
		}
	}
	return f, nil
}

// selects reports whether a line is selected.
func (f *lineFilter) selects(l logs.Line) bool {
	switch {
	case !f.Since.IsZero() && l.Time.Before(f.Since), !f.Until.IsZero() && l.Time.After(f.Until):
		return false
	case f.Generation != 0 && l.Generation != f.Generation:
		return false
	case f.Stream != "" && l.Stream.String() != f.Stream:
		return false
	case f.Daemon && len(f.Apps) > 0 && !slices.ContainsFunc(f.Apps, func(app string) bool { return logs.IsOf(l.Text, app) }):
		return false
	}
	return f.grep == nil || f.grep.MatchString(l.Text)
}

// selectsAll reports whether every line is selected.
func (f *lineFilter) selectsAll() bool {
	return f.Since.IsZero() && f.Until.IsZero() && f.Generation == 0 && f.Stream == "" && f.grep == nil && !(f.Daemon && len(f.Apps) > 0)
}

// tail returns the last n lines that are selected. Of a generation more are known than are in the
// memory for all when others have written much since.
func (f *lineFilter) tail(l *logs.Log, n int) []logs.Line {
	if f.selectsAll() {
		return l.Tail(0, n)
	}
	unwanted := func(line logs.Line) bool { return !f.selects(line) }
	lines := slices.DeleteFunc(l.Tail(0, math.MaxInt), unwanted)
	if f.Generation != 0 {
		if kept := slices.DeleteFunc(l.Tail(f.Generation, math.MaxInt), unwanted); len(kept) > len(lines) {
			lines = kept
		}
	}
	return lines[max(0, len(lines)-n):]
}

// depth returns how many lines a follower has to read before the new ones, so that the last n that are
// selected are among them.
func (f *lineFilter) depth(l *logs.Log, n int) int {
	if f.selectsAll() || n == math.MaxInt {
		return n
	}
	all := l.Tail(0, math.MaxInt)
	for i := len(all) - 1; i >= 0 && n > 0; i-- {
		if f.selects(all[i]) {
			if n--; n == 0 {
				return len(all) - i
			}
		}
	}
	if n == 0 {
		return 0
	}
	return len(all)
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
func (s *Supervisor) follow(ctx context.Context, q api.LogQuery, filter *lineFilter, sources []*logs.Log, yield func(logs.Line) bool) {
	ctx, stop := context.WithCancel(ctx)
	var followers sync.WaitGroup
	defer followers.Wait()
	defer stop()
	var mu sync.Mutex // one call of yield at a time
	tell := func(line logs.Line) bool {
		if !filter.selects(line) {
			return ctx.Err() == nil
		}
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
				depth := filter.depth(l, lines)
				followers.Go(func() { l.Follow(ctx, depth, tell) })
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
