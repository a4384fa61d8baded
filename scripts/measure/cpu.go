package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// tree lists the process and its descendants; with an executable, only those that run it.
func tree(root int, exe string) []int {
	children := map[int][]int{}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
		parent, _ := strconv.Atoi(fields[1])
		children[parent] = append(children[parent], pid)
	}
	var pids []int
	for all := []int{root}; len(all) > 0; all = all[1:] {
		pid := all[0]
		all = append(all, children[pid]...)
		if link, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid)); exe == "" || link == exe {
			pids = append(pids, pid)
		}
	}
	return pids
}

// busy is how long the threads of processes have been on a processor, by the scheduler's own books.
func busy(pids []int) time.Duration {
	var sum int64
	for _, pid := range pids {
		books, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
		for _, path := range books {
			text, _ := os.ReadFile(path)
			first, _, _ := strings.Cut(string(text), " ")
			ns, _ := strconv.ParseInt(first, 10, 64)
			sum += ns
		}
	}
	return time.Duration(sum)
}

// resident is the memory of processes that nobody else has, and their share of what they have in common.
func resident(pids []int) int64 {
	var sum int64
	for _, pid := range pids {
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		for line := range strings.Lines(string(text)) {
			if rest, ok := strings.CutPrefix(line, "Pss:"); ok {
				var kb int64
				fmt.Sscan(rest, &kb)
				sum += kb << 10
			}
		}
	}
	return sum
}

// A theft is how much of the processors' time there was, and how much of it the host had taken for other machines.
type theft struct{ all, stolen float64 }

func robbed() (t theft) {
	text, _ := os.ReadFile("/proc/stat")
	first, _, _ := strings.Cut(string(text), "\n")
	for i, field := range strings.Fields(first) {
		n, _ := strconv.ParseFloat(field, 64)
		if t.all += n; i == 8 {
			t.stolen = n
		}
	}
	return t
}

// share is the part that was stolen since then, in per cent.
func (t theft) share() float64 {
	now := robbed()
	return 100 * (now.stolen - t.stolen) / max(1, now.all-t.all)
}
