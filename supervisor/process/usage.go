package process

import (
	"time"

	"golang.org/x/sys/unix"
)

// Usage is what a process and all that descend from it use.
type Usage struct {
	Processes int
	Memory    uint64        // proportional set size in bytes
	CPU       time.Duration // of those that live, and of those that have ended and were waited for by one of them
	Age       time.Duration // since the start of the process
}

// UsageOf returns the usage of each of these processes. It is one walk over /proc for all of them,
// however many there are: unlike [Process.Members] it does not find what has left its tree by a double
// fork. A process of roots that descends from another one has a usage of its own.
func UsageOf(roots []int) (map[int]Usage, error) {
	all, err := listProcesses()
	if err != nil {
		return nil, err
	}
	now, err := sinceBoot()
	if err != nil {
		return nil, err
	}
	parents := make(map[int]int, len(all))
	for _, s := range all {
		parents[s.pid] = s.parent
	}
	used := make(map[int]Usage, len(roots))
	for _, pid := range roots {
		used[pid] = Usage{}
	}
	for _, s := range all {
		root, known := rootOf(s.pid, parents, used)
		if !known || !s.alive() {
			continue
		}
		u := used[root]
		if s.pid == root {
			u.Age = now - time.Duration(s.start)*ClockTick
		}
		u.Processes++
		u.CPU += time.Duration(s.ticks+s.reaped) * ClockTick
		if n, err := memory(s.pid); err == nil { // else it has ended
			u.Memory += n
		}
		used[root] = u
	}
	return used, nil
}

// sinceBoot is the time since the boot, as the start of a process is counted.
func sinceBoot() (time.Duration, error) {
	var t unix.Timespec
	err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t)
	return time.Duration(t.Nano()), err
}

// rootOf returns the nearest ancestor of a process, or itself, that is in roots.
func rootOf(pid int, parents map[int]int, roots map[int]Usage) (root int, known bool) {
	for range len(parents) { // pids that are used again meanwhile can make a cycle
		if _, known := roots[pid]; known {
			return pid, true
		}
		if pid = parents[pid]; pid <= 1 {
			return 0, false
		}
	}
	return 0, false
}
