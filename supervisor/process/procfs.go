package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// stat is /proc/PID/stat of one process. Pid and start time together identify it.
type stat struct {
	pid, parent, session int
	state                byte
	threads              int
	start                uint64 // clock ticks after boot (field 22)
	ticks                uint64 // of CPU time, user and system, of all threads
	reaped               uint64 // of CPU time, of its children that have ended and that it has waited for
}

// alive is false for zombies, which hold only their pid. The state is that of the first
// thread: when this has called pthread_exit, the process is a zombie only after the other
// threads have ended.
func (s stat) alive() bool { return s.state != 'Z' && s.state != 'X' || s.threads > 1 }

// maxStat is more than the kernel writes into /proc/PID/stat: 52 numbers and a name of 16
// bytes at most, or 64 for a kernel thread.
const maxStat = 2048

func readStat(pid int) (stat, error) {
	var buffer [maxStat]byte
	raw, err := readProc(pid, "stat", buffer[:])
	if err != nil {
		return stat{}, err
	}
	return parseStat(pid, raw)
}

// readProc reads a file of /proc/PID, up to the length of buffer, and returns the part of
// buffer that it has filled. It uses three system calls; os.ReadFile uses six.
func readProc(pid int, name string, buffer []byte) ([]byte, error) {
	fd, err := unix.Open("/proc/"+strconv.Itoa(pid)+"/"+name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: fmt.Sprintf("/proc/%d/%s", pid, name), Err: err}
	}
	defer unix.Close(fd)
	n, err := unix.Read(fd, buffer)
	if err != nil {
		return nil, &os.PathError{Op: "read", Path: fmt.Sprintf("/proc/%d/%s", pid, name), Err: err}
	}
	return buffer[:n], nil
}

// parseStat begins behind the last ")", because the name of the process may contain any
// character.
func parseStat(pid int, raw []byte) (stat, error) {
	fields := strings.Fields(string(raw[bytes.LastIndexByte(raw, ')')+1:]))
	if len(fields) < 20 {
		return stat{}, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(fields))
	}
	s := stat{pid: pid, state: fields[0][0]}
	var errs [8]error
	s.parent, errs[0] = strconv.Atoi(fields[1])
	s.session, errs[1] = strconv.Atoi(fields[3])
	s.threads, errs[2] = strconv.Atoi(fields[17])
	s.start, errs[3] = strconv.ParseUint(fields[19], 10, 64)
	user, err := strconv.ParseUint(fields[11], 10, 64)
	system, serr := strconv.ParseUint(fields[12], 10, 64)
	s.ticks, errs[4], errs[5] = user+system, err, serr
	reapedUser, err := strconv.ParseInt(fields[13], 10, 64) // the kernel prints them as signed
	reapedSystem, serr := strconv.ParseInt(fields[14], 10, 64)
	s.reaped, errs[6], errs[7] = uint64(max(0, reapedUser+reapedSystem)), err, serr
	return s, errors.Join(errs[:]...)
}

// listProcesses returns all visible processes, zombies too. After an error some may be
// missing.
func listProcesses() ([]stat, error) {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	var all []stat
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		s, err := readStat(pid)
		if err == nil {
			all = append(all, s)
		} else if !isNoProcess(err) && !errors.Is(err, os.ErrPermission) { // hidepid hides those of other users
			return nil, err
		}
	}
	return all, nil
}

// Descendants returns the processes roots and all that descend from them, each once: a root first,
// the parents before their children.
func Descendants(roots ...int) ([]int, error) {
	all, err := listProcesses()
	if err != nil {
		return nil, err
	}
	children := map[int][]int{}
	for _, s := range all {
		children[s.parent] = append(children[s.parent], s.pid)
	}
	var found []int
	seen := map[int]bool{} // pids that are used again meanwhile can make a cycle
	for next := slices.Clone(roots); len(next) > 0; {
		pid := next[0]
		next = next[1:]
		if seen[pid] {
			continue
		}
		seen[pid] = true
		found = append(found, pid)
		next = append(next, children[pid]...)
	}
	return found, nil
}

// readUser returns the uid of a process, if its real, effective and saved uid are the same.
func readUser(pid int) (uid uint32, same bool, err error) {
	var buffer [4096]byte
	raw, err := readProc(pid, "status", buffer[:])
	if err != nil {
		return 0, false, err
	}
	uid, same = parseUser(raw)
	return uid, same, nil
}

// parseUser finds the line "Uid:" of /proc/PID/status. The name of the process, which comes
// before, contains no newline there: the kernel escapes it.
func parseUser(status []byte) (uid uint32, same bool) {
	for len(status) > 0 { // bytes.Lines has status escape to the heap
		line, rest, _ := bytes.Cut(status, []byte("\n"))
		status = rest
		ids, ok := bytes.CutPrefix(line, []byte("Uid:"))
		if !ok {
			continue
		}
		f := strings.Fields(string(ids)) // real, effective, saved, file system
		if len(f) < 3 || f[0] != f[1] || f[0] != f[2] {
			return 0, false
		}
		n, err := strconv.ParseUint(f[0], 10, 32)
		return uint32(n), err == nil
	}
	return 0, false
}

// isNoProcess reports whether an error means that the process does not exist.
func isNoProcess(err error) bool { return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH) }

// openPidfd returns a pidfd of this process. It returns ESRCH if the process is gone, also
// if another one has its pid.
func openPidfd(s stat) (*os.File, error) {
	fd, err := unix.PidfdOpen(s.pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "pidfd")
	now, err := readStat(s.pid)
	if err == nil && now.start == s.start {
		return f, nil
	}
	f.Close()
	if err == nil || isNoProcess(err) {
		err = unix.ESRCH
	}
	return nil, err
}

// signalPidfd signals this process, and never another one with its pid.
func signalPidfd(s stat, sig unix.Signal) error {
	f, err := openPidfd(s)
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EINVAL) {
		if now, err := readStat(s.pid); err != nil || now.start != s.start {
			return unix.ESRCH
		}
		return unix.Kill(s.pid, sig) // kernels before 5.10 have no PIDFD_NONBLOCK; this leaves a short race
	}
	if err != nil {
		return err
	}
	defer f.Close()
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var serr error
	if err := raw.Control(func(fd uintptr) { serr = unix.PidfdSendSignal(int(fd), sig, nil, 0) }); err != nil {
		return err
	}
	return serr
}

// awaitExit waits until the process is gone or a zombie; the error is that of ctx. It uses
// the runtime's poller, and so neither a thread nor a ticker.
func awaitExit(ctx context.Context, s stat) error {
	f, err := openPidfd(s)
	switch {
	case errors.Is(err, unix.ESRCH):
		return nil
	case err != nil:
		return pollExit(ctx, s)
	}
	defer f.Close()
	raw, err := f.SyscallConn()
	if err != nil {
		return pollExit(ctx, s)
	}
	defer context.AfterFunc(ctx, func() { f.SetReadDeadline(time.Unix(1, 0)) })()
	err = raw.Read(func(fd uintptr) bool {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, _ := unix.Poll(fds, 0)
		return n > 0
	})
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return pollExit(ctx, s)
}

// pollExit is awaitExit with a ticker, for kernels before 5.10 and for EMFILE.
func pollExit(ctx context.Context, s stat) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if hasEnded(s) {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// hasEnded reports whether the process is gone or a zombie. It is false if /proc cannot
// be read.
func hasEnded(s stat) bool {
	now, err := readStat(s.pid)
	return err != nil && isNoProcess(err) || err == nil && (now.start != s.start || !now.alive())
}

// awaitAll waits until all of them have ended.
func awaitAll(ctx context.Context, all []stat) error {
	for _, s := range all {
		if err := awaitExit(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// bootID identifies this boot of the machine; empty: unknown.
func bootID() string {
	raw, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(raw))
}
