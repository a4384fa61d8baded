package process

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// memoryOf returns the memory of these processes in bytes. One that has exited counts as 0.
func memoryOf(pids []int) (uint64, error) {
	var sum uint64
	for _, pid := range pids {
		n, err := memory(pid)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return 0, fmt.Errorf("memory of pid %d: %w", pid, err)
		}
		sum += n
	}
	return sum, nil
}

// MemoryAbove is Memory, and reports whether it is above limit. Mostly it reads the resident set
// sizes only, of which the sum is never less: the kernel walks through all pages of a process to tell
// its proportional set size.
func (p *Process) MemoryAbove(limit uint64) (n uint64, above bool, err error) {
	members := p.Members()
	if n, err = residentOf(members); err != nil || n <= limit {
		return n, false, err
	}
	n, err = memoryOf(members)
	return n, n > limit, err
}

// residentOf returns the sum of the resident set sizes in bytes. A process that has exited counts as
// 0.
func residentOf(pids []int) (sum uint64, err error) {
	for _, pid := range pids {
		n, err := resident(pid)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return 0, fmt.Errorf("memory of pid %d: %w", pid, err)
		}
		sum += n
	}
	return sum, nil
}

// MemoryOfTrees returns the memory in bytes of these processes and of all that descend from them.
func MemoryOfTrees(roots []int) (uint64, error) {
	members, err := Descendants(roots...)
	if err != nil {
		return 0, err
	}
	return memoryOf(members)
}

// memory returns the proportional set size, or the resident set size if the kernel does not
// provide it.
func memory(pid int) (uint64, error) {
	if pss, ok := readKilobytes(fmt.Sprintf("/proc/%d/smaps_rollup", pid), "Pss:"); ok {
		return pss, nil
	}
	return resident(pid)
}

// resident returns the resident set size.
func resident(pid int) (uint64, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(raw))
	if len(fields) < 2 {
		return 0, fmt.Errorf("/proc/%d/statm: %q", pid, raw)
	}
	pages, err := strconv.ParseUint(fields[1], 10, 64)
	return pages * uint64(os.Getpagesize()), err
}

// readKilobytes finds a line such as "Pss:   1234 kB" and returns bytes.
func readKilobytes(path, key string) (n uint64, ok bool) {
	eachLine(path, func(line string) {
		if f := strings.Fields(line); !ok && len(f) >= 2 && f[0] == key {
			v, err := strconv.ParseUint(f[1], 10, 64)
			n, ok = v<<10, err == nil
		}
	})
	return n, ok
}

// MemoryAvailable returns how many bytes can be used without swapping: the minimum of the
// machine's MemAvailable and what memory.max of the daemon's cgroup and those above it
// leaves. 0: unknown.
func MemoryAvailable() uint64 {
	least, ok := readKilobytes("/proc/meminfo", "MemAvailable:")
	if !ok {
		return 0
	}
	_, mount := cgroupMount()
	for _, dir := range andAbove(ownCgroup(), mount) {
		if room, limited := cgroupRoom(dir); limited {
			least = min(least, room)
		}
	}
	return least
}

// cgroupRoom returns what memory.max of a cgroup leaves. Inactive file cache counts as
// free.
func cgroupRoom(dir string) (room uint64, limited bool) {
	limit, ok := readNumber(filepath.Join(dir, "memory.max"))
	used, known := readNumber(filepath.Join(dir, "memory.current"))
	if !ok || !known {
		return 0, false
	}
	eachLine(filepath.Join(dir, "memory.stat"), func(line string) {
		if cache, ok := strings.CutPrefix(line, "inactive_file "); ok {
			n, _ := strconv.ParseUint(cache, 10, 64)
			used -= min(n, used)
		}
	})
	return limit - min(used, limit), true
}

// readNumber reads a file that contains a number; "max" is none.
func readNumber(path string) (uint64, bool) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(raw)), 10, 64)
	return n, err == nil
}
