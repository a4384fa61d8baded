package generation

import (
	"context"

	"tideover/supervisor/config"
)

// memorySamples is how many readings in a row must be above memory.max: a generation may need more
// for one request.
const memorySamples = 3

// A MemoryWatch reads the memory of a generation once in an interval.
type MemoryWatch struct {
	read     func(limit uint64) (n uint64, above bool, err error)
	settings config.Memory
	over     chan uint64 // capacity 1
	stop     context.CancelFunc
}

// WatchMemory begins to watch the generation. The result is nil if its memory has no limit.
func (g *Generation) WatchMemory(settings config.Memory) *MemoryWatch {
	if settings.Max == 0 {
		return nil
	}
	w, ctx := newMemoryWatch(g.Process.MemoryAbove, settings)
	g.watches.Go(func() { w.run(ctx) })
	return w
}

func newMemoryWatch(read func(uint64) (uint64, bool, error), settings config.Memory) (*MemoryWatch, context.Context) {
	ctx, stop := context.WithCancel(context.Background())
	return &MemoryWatch{read: read, settings: settings, over: make(chan uint64, 1), stop: stop}, ctx
}

// Over gets the memory in bytes after memorySamples readings in a row above the limit, and again
// after as many more. It is nil for a nil MemoryWatch.
func (w *MemoryWatch) Over() <-chan uint64 {
	if w == nil {
		return nil
	}
	return w.over
}

// Stop ends the watch. It does not wait for it; the Teardown of the generation does.
func (w *MemoryWatch) Stop() {
	if w != nil {
		w.stop()
	}
}

func (w *MemoryWatch) run(ctx context.Context) {
	for above := 0; ; {
		if pause(ctx, w.settings.Interval); ctx.Err() != nil {
			return
		}
		n, over, err := w.read(uint64(w.settings.Max))
		if err != nil || !over { // an error: a process has just ended
			above = 0
			continue
		}
		if above++; above%memorySamples == 0 {
			select {
			case w.over <- n:
			default:
			}
		}
	}
}
