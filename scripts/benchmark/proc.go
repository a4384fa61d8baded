package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// descendants lists a process and its descendants; with an executable, only those that run it.
func descendants(root int, exe string) []int {
	children := map[int][]int{}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it has exited
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

// cpuTime is the CPU time of processes, of their ended threads as well, without that of their
// children. It is read from each process's CPU-time clock (clock_getcpuclockid(3)), which counts
// nanoseconds. A thread that runs at the moment is counted up to the last timer tick.
func cpuTime(pids []int) time.Duration {
	const schedulerClock = 2 // CPUCLOCK_SCHED of the kernel's posix-timers.h
	var sum int64
	for _, pid := range pids {
		var used unix.Timespec
		if err := unix.ClockGettime(int32(^pid<<3|schedulerClock), &used); err == nil {
			sum += used.Nano()
		}
	}
	return time.Duration(sum)
}

// waitIdle waits until processes have used no CPU for the time d, for 5 s at most.
func waitIdle(pids []int, d time.Duration) {
	ticker := time.NewTicker(d)
	defer ticker.Stop()
	for last, n := cpuTime(pids), 0; n < int(5*time.Second/d); n++ {
		<-ticker.C
		now := cpuTime(pids)
		if now == last {
			return
		}
		last = now
	}
}

// memory is the proportional set size of processes: their own pages, and their share of those they
// have in common with others.
func memory(pids []int) int64 {
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

// realtime gives this process and all that it starts from now on the scheduling policy SCHED_RR, so
// that other work on the machine does not interrupt them: an interrupted server finds more requests
// at once when it goes on, which makes each cheaper. It needs CAP_SYS_NICE.
func realtime() error {
	threads, err := filepath.Glob("/proc/self/task/*")
	if err != nil {
		return err
	}
	for _, thread := range threads {
		tid, _ := strconv.Atoi(filepath.Base(thread))
		if err := unix.SchedSetAttr(tid, &unix.SchedAttr{Policy: unix.SCHED_RR, Priority: 1}, 0); err != nil {
			return err
		}
	}
	return nil
}

// processorTime is the time of all processors since the machine started, and how much of it the
// host gave to other machines (steal), in ticks.
type processorTime struct{ all, stolen float64 }

func readProcessorTime() (t processorTime) {
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

// stolenSince is the part that was stolen since then, in per cent.
func (t processorTime) stolenSince() float64 {
	now := readProcessorTime()
	return 100 * (now.stolen - t.stolen) / max(1, now.all-t.all)
}
