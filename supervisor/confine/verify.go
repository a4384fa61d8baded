package confine

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/elastic/go-seccomp-bpf"
	"golang.org/x/sys/unix"
)

// maxLooks is how often Verify looks at the threads of a process that starts more of them.
const maxLooks = 100

// Verify checks, from outside, that a process is confined as Confine does it: every thread has
// its user and no other, no capability and no_new_privs, and seccomp filters where this kernel
// has them; its root is o.Root, and it has no descriptor of a directory. The supervisor calls it
// before it sends the process the first listening socket. The process must be a child that was
// not waited for, so that its pid is still its own. Where /proc is mounted with hidepid=2 and the
// user stays, a process that is not dumpable cannot be seen, and is not checked.
func Verify(pid int, o Options) error {
	want := wanted(o)
	err := verifyThreads(pid, want)
	if o.User == nil && errors.Is(err, fs.ErrNotExist) && unix.Kill(pid, 0) == nil {
		return nil
	}
	if err != nil {
		return err
	}
	if o.User == nil {
		return nil // what else is in /proc of a process that is not dumpable belongs to root
	}
	return errors.Join(verifyRoot(pid, o.Root), verifyDescriptors(pid))
}

// wanted returns what each line of /proc/PID/task/TID/status has to be.
func wanted(o Options) map[string]string {
	want := map[string]string{"NoNewPrivs": "1"}
	if seccomp.Supported() {
		want["Seccomp"] = "2"
		// One more than this process, which may have those of a container. Since Linux 5.9.
		if own := readStatus("/proc/self/status", make([]byte, statusSize), "Seccomp_filters")["Seccomp_filters"]; len(own) == 1 {
			if n, err := strconv.Atoi(own[0]); err == nil {
				want["Seccomp_filters"] = strconv.Itoa(n + 1)
			}
		}
	}
	const none = "0000000000000000"
	for _, set := range []string{"CapInh", "CapPrm", "CapEff", "CapAmb"} {
		want[set] = none
	}
	if u := o.User; u != nil {
		four := func(id int) string { return strings.Join(slices.Repeat([]string{strconv.Itoa(id)}, 4), " ") }
		want["Uid"], want["Gid"], want["Groups"] = four(u.UID), four(u.GID), ""
	}
	return want
}

// verifyThreads looks until no thread is new. A new thread has what the one has that has made it,
// so the process is confined once all that were there at one time are.
func verifyThreads(pid int, want map[string]string) error {
	seen, buffer := map[string]bool{}, make([]byte, statusSize)
	for range maxLooks {
		threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
		if err != nil {
			return fmt.Errorf("cannot look at the threads: %w", err)
		}
		fresh, alive := false, false
		for _, t := range threads {
			status := filepath.Join("/proc", strconv.Itoa(pid), "task", t.Name(), "status")
			lives, err := verifyThread(status, buffer, want)
			if err != nil {
				return fmt.Errorf("thread %s: %w", t.Name(), err)
			}
			fresh, alive = fresh || !seen[t.Name()], alive || lives
			seen[t.Name()] = true
		}
		if !alive {
			return fmt.Errorf("process %d has exited", pid)
		}
		if !fresh {
			return nil
		}
	}
	return fmt.Errorf("process %d starts threads without end", pid)
}

// verifyThread checks one thread, unless it has ended.
func verifyThread(status string, buffer []byte, want map[string]string) (lives bool, err error) {
	fields := readStatus(status, buffer, slices.AppendSeq([]string{"State"}, maps.Keys(want))...)
	if len(fields) == 0 {
		if _, err := os.Stat(status); errors.Is(err, fs.ErrNotExist) {
			return false, nil
		}
		return false, errors.New("its state cannot be read")
	}
	if state := fields["State"]; len(state) > 0 && (state[0] == "Z" || state[0] == "X") {
		return false, nil
	}
	for name, value := range want {
		if is := strings.Join(fields[name], " "); is != value {
			return false, fmt.Errorf("%s is %q, not %q", name, is, value)
		}
	}
	return true, nil
}

// verifyRoot checks the root directory, unless this process may not use chroot(2) itself.
func verifyRoot(pid int, root string) error {
	var is, want unix.Stat_t
	err := unix.Stat(fmt.Sprintf("/proc/%d/root", pid), &is)
	if errors.Is(err, fs.ErrPermission) {
		return nil // without CAP_SYS_PTRACE, as in a container; Confine has changed it
	}
	if err != nil {
		return fmt.Errorf("cannot look at the root directory: %w", err)
	}
	if err := unix.Stat(root, &want); err != nil {
		return fmt.Errorf("%s: %w", root, err)
	}
	if is.Dev == want.Dev && is.Ino == want.Ino || !hasCapability(unix.CAP_SYS_CHROOT) {
		return nil
	}
	return fmt.Errorf("its root directory is not %s", root)
}

func verifyDescriptors(pid int) error {
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrPermission) {
		return nil // without CAP_SYS_PTRACE; Confine has looked
	}
	if err != nil {
		return fmt.Errorf("cannot look at the descriptors: %w", err)
	}
	for _, e := range entries {
		if info, err := os.Stat(filepath.Join(dir, e.Name())); err == nil && info.IsDir() {
			return fmt.Errorf("descriptor %s: %w", e.Name(), errDirectory)
		}
	}
	return nil
}
