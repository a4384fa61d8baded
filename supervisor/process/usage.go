package process

import "time"

// Usage is what a process and all that descend from it use.
type Usage struct {
	Processes int
	Memory    uint64        // proportional set size in bytes
	CPU       time.Duration // of those that live, and of those that have ended and were waited for by one of them
}

// UsageOf returns the usage of each of these processes. It is one walk over /proc for all of them,
// however many there are: unlike [Process.Members] it does not find what has left its tree by a double
// fork. A process of roots that descends from another one has a usage of its own.
func UsageOf(roots []int) (map[int]Usage, error) {
	all, err := listProcesses()
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
		u.Processes++
		u.CPU += time.Duration(s.ticks+s.reaped) * ClockTick
		if n, err := memory(s.pid); err == nil { // else it has ended
			u.Memory += n
		}
		used[root] = u
	}
	return used, nil
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
