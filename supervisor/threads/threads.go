// Package threads makes the threads of a process ahead. At the pids limit (a cgroup's pids.max,
// RLIMIT_NPROC) Go's runtime ends a process that needs one more thread.
package threads

import (
	"runtime"
	"sync"
)

// Make makes n threads. Idle threads are kept.
func Make(n int) {
	var running, ended sync.WaitGroup
	running.Add(n)
	for range n {
		ended.Go(func() {
			runtime.LockOSThread()
			running.Done()
			running.Wait() // all of them at the same time
			runtime.UnlockOSThread()
		})
	}
	ended.Wait()
}
