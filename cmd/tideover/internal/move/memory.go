package move

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// fits reports whether the machine has memory for another copy of what runs of the units.
func (m *mover) fits(units []*unit) bool {
	free := available()
	if free == 0 {
		return true // it is not known
	}
	parents, resident := processTable()
	for _, u := range units {
		for _, p := range u.processes {
			for pid, size := range resident {
				if isIn(parents, pid, p.pid) {
					free -= min(free, size)
				}
			}
		}
	}
	return free > 0
}

// available returns MemAvailable in bytes; 0: unknown.
func available() uint64 {
	text, _ := os.ReadFile("/proc/meminfo")
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "MemAvailable:"); ok {
			n, _ := strconv.ParseUint(strings.Fields(rest)[0], 10, 64)
			return n << 10
		}
	}
	return 0
}

// processTable returns the parent and the resident size in bytes of every process. What forked
// processes share counts once for each.
func processTable() (parents map[int]int, resident map[int]uint64) {
	parents, resident = map[int]int{}, map[int]uint64{}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
		if len(fields) < 22 {
			continue
		}
		pid, _ := strconv.Atoi(strings.Split(path, "/")[2])
		parents[pid], _ = strconv.Atoi(fields[1])
		pages, _ := strconv.ParseUint(fields[21], 10, 64)
		resident[pid] = pages * uint64(os.Getpagesize())
	}
	return parents, resident
}

// isIn reports whether a process is root or a descendant of it.
func isIn(parents map[int]int, pid, root int) bool {
	for ; pid > 1; pid = parents[pid] {
		if pid == root {
			return true
		}
	}
	return false
}
