package doctor

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"tideover/supervisor/config"
)

const (
	// fewDescriptors is the limit below which a web server soon has too few.
	fewDescriptors = 4096
	// shortQueue is the default of Linux before 5.4.
	shortQueue = 1024
)

func (x *examination) read(path string) string {
	text, err := os.ReadFile(filepath.Join(x.Root, path))
	if err != nil {
		return ""
	}
	return string(text)
}

// addresses checks that the public address of each app can be opened, if no daemon has it.
func (x *examination) addresses() {
	if x.Status != nil {
		return
	}
	for _, a := range x.File.Apps {
		if a.QueryGunicorn {
			continue // only gunicorn knows its address
		}
		for _, address := range a.Listen {
			if strings.HasPrefix(address, "systemd:") {
				continue
			}
			if err := canListen(address); err != nil {
				remedy := "stop the process that has it (ss -ltnp shows it), or choose another address"
				if errors.Is(err, syscall.EACCES) {
					remedy = "ports below 1024 are root's: run tideover as root, or setcap cap_net_bind_service=+ep on its binary"
				}
				x.add(Finding{Check: "address", App: a.Name, Message: fmt.Sprintf("%s cannot be opened: %v", address, errors.Unwrap(err)), Remedy: remedy})
			}
		}
	}
}

// canListen binds an address and closes it at once. A unix socket is only asked whether a process
// accepts there.
func canListen(address string) error {
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		c, err := net.DialTimeout("unix", path, time.Second)
		if err == nil {
			c.Close()
			return fmt.Errorf("%w", syscall.EADDRINUSE)
		}
		return nil
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	return l.Close()
}

// descriptors checks the limit of the daemon, or of a daemon that this shell would start.
func (x *examination) descriptors() {
	limit, whose := uint64(0), "the daemon's"
	if x.Status != nil {
		for line := range strings.Lines(x.read(fmt.Sprintf("/proc/%d/limits", x.Status.Pid))) {
			if rest, ok := strings.CutPrefix(line, "Max open files"); ok {
				limit, _ = strconv.ParseUint(strings.Fields(rest)[0], 10, 64)
			}
		}
	} else {
		var own syscall.Rlimit
		if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &own) == nil {
			limit, whose = own.Max, "this shell's hard" // a Go program raises the soft limit itself
		}
	}
	if limit > 0 && limit < fewDescriptors {
		x.add(Finding{Check: "descriptors", Message: fmt.Sprintf("%s limit of open files is %d: each client takes one, and each request another one", whose, limit),
			Remedy: "LimitNOFILE=65536 in the unit, or ulimit -n 65536"})
	}
}

// queues checks the listen queue of the kernel, in which connections wait.
func (x *examination) queues() {
	limit, err := strconv.Atoi(strings.TrimSpace(x.read("/proc/sys/net/core/somaxconn")))
	if err == nil && limit < shortQueue {
		x.add(Finding{Check: "queue", Message: fmt.Sprintf("net.core.somaxconn is %d: so many connections can wait to be accepted, further ones are dropped", limit),
			Remedy: "sysctl -w net.core.somaxconn=4096, and the same in /etc/sysctl.d"})
	}
}

// memory checks that a second copy of each app has room during a reload.
func (x *examination) memory() {
	available := x.availableMemory()
	if x.Status == nil || available == 0 {
		return
	}
	for _, a := range x.Status.Apps {
		configured, ok := x.File.App(a.Name)
		if !ok || configured.ReloadMode() != config.Overlap || a.Memory == 0 || a.Memory < available {
			continue
		}
		x.add(Finding{Check: "memory", App: a.Name,
			Message: fmt.Sprintf("it uses %d MiB, and %d MiB are available: a reload runs two copies for a short time", a.Memory>>20, available>>20),
			Remedy:  `reload = "replace" runs one copy at a time, and holds requests meanwhile`})
	}
}

func (x *examination) availableMemory() uint64 {
	for line := range strings.Lines(x.read("/proc/meminfo")) {
		if rest, ok := strings.CutPrefix(line, "MemAvailable:"); ok {
			n, _ := strconv.ParseUint(strings.Fields(rest)[0], 10, 64)
			return n << 10
		}
	}
	return 0
}

// pids checks that each app has got every process and thread that it wanted.
func (x *examination) pids() {
	if x.Status == nil {
		return
	}
	for _, a := range x.Status.Apps {
		group := x.cgroupOf(a.Pid)
		if group == "" {
			continue
		}
		for line := range strings.Lines(x.read(filepath.Join(group, "pids.events"))) {
			refused, ok := strings.CutPrefix(strings.TrimSpace(line), "max ")
			if !ok || refused == "0" {
				continue
			}
			x.add(Finding{Check: "pids", App: a.Name,
				Message: fmt.Sprintf("the kernel has refused it a process or a thread %s times: its cgroup may have %s", refused, strings.TrimSpace(x.read(filepath.Join(group, "pids.max")))),
				Remedy:  "fewer workers or threads, or a larger TasksMax= in the unit"})
		}
	}
}

// cgroupOf returns the directory of the cgroup of version 2 of a process; empty: it is not known.
func (x *examination) cgroupOf(pid int) string {
	for line := range strings.Lines(x.read(fmt.Sprintf("/proc/%d/cgroup", pid))) {
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			return filepath.Join("/sys/fs/cgroup", path)
		}
	}
	return ""
}

// disk checks that the spool fits on its disk.
func (x *examination) disk() {
	d := x.File.Daemon
	var stat unix.Statfs_t
	if d.Spool == 0 || unix.Statfs(d.SpoolDir, &stat) != nil {
		return
	}
	if free := int64(stat.Bavail) * stat.Bsize; free < d.Spool {
		x.add(Finding{Check: "disk", Message: fmt.Sprintf("daemon.spool is %s, and %s has %d MiB free: bodies of slow clients will be streamed, and occupy workers",
			config.FormatSize(d.Spool), d.SpoolDir, free>>20), Remedy: "a smaller daemon.spool, or daemon.spool_dir on another disk"})
	}
}

// cgroup notes a machine on which a process of an app can get away.
func (x *examination) cgroup() {
	if x.read("/sys/fs/cgroup/cgroup.controllers") == "" {
		x.add(Finding{Check: "cgroup", Note: true, Message: "there is no cgroup of version 2: processes that leave an app's session are found by their descent and user only",
			Remedy: "boot with systemd.unified_cgroup_hierarchy=1"})
	}
}
