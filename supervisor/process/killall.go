package process

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
)

// ending is set by KillAll. It is a variable of the package like ownTrees, because it says
// something about this whole process.
var ending atomic.Bool

// errEnding is the error of Start after KillAll.
var errEnding = errors.New("tideover is ending")

// KillAll sends SIGKILL to every tree that this process has started, until all are empty or
// ctx ends. It returns the pids that live in spite of it. It is the last resort of a
// shutdown that has not ended in time: Start fails from now on, and goroutines that hang are
// not waited for.
func KillAll(ctx context.Context) (left []int) {
	ending.Store(true)
	killed := make(chan []int, 1)
	go func() { // a scan of /proc may hang: then it ends with the process
		killed <- killTrees(ctx)
	}()
	select {
	case left = <-killed:
	case <-ctx.Done():
	}
	return left
}

// killTrees kills until there is no tree: one may have been started at the same time.
func killTrees(ctx context.Context) (left []int) {
	for trees := ownTrees.all(); len(trees) > 0 && ctx.Err() == nil; trees = ownTrees.all() {
		left = nil
		var mu sync.Mutex // guards left
		var kills sync.WaitGroup
		for _, t := range trees {
			kills.Go(func() {
				_, pids := t.kill(ctx)
				mu.Lock()
				defer mu.Unlock()
				left = append(left, pids...)
			})
		}
		kills.Wait()
		if len(left) > 0 {
			break
		}
	}
	slices.Sort(left)
	return left
}

// all returns the trees that were not found empty yet.
func (o *treeTable) all() []*tree {
	o.mu.Lock()
	defer o.mu.Unlock()
	trees := make([]*tree, 0, len(o.live))
	for t := range o.live {
		trees = append(trees, t)
	}
	return trees
}
