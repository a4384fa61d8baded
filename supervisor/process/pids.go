package process

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// pidsReserve is how many processes and threads are left to tideover and to the other apps when one app
// has taken all that it may: enough for another supervisor and relay, and for a reload. Of a small limit it
// is a quarter.
const pidsReserve = 128

// EnablePidsLimits has the kernel count the processes of each cgroup that a later Start makes, where the service
// manager has delegated the cgroup of this process. A cgroup of which the children have a controller must
// not have processes of its own (cgroup-v2.rst, "No Internal Process Constraint"): those that are in it, this
// one too, are moved into one below it.
func EnablePidsLimits() error {
	own := ownCgroup()
	if own == "" || !isDelegated(own) {
		return nil
	}
	return enableController("pids", own, filepath.Join(own, ownLeaf()))
}

// ownLeaf is the name of the cgroup into which the processes of tideover itself are moved.
func ownLeaf() string { return fmt.Sprintf("%s%d-daemon", cgroupPrefix, parentPid()) }

// isDelegated reports whether systemd has left what is below a cgroup to the service (Delegate=yes).
func isDelegated(dir string) bool {
	for _, name := range []string{"user.delegate", "trusted.delegate"} { // the former is of systemd 251 and later
		value := make([]byte, 8)
		if n, err := unix.Getxattr(dir, name, value); err == nil && string(value[:n]) == "1" {
			return true
		}
	}
	return false
}

// enableController gives the children of a cgroup a controller, if the cgroup has it. Its processes are moved
// into leaf.
func enableController(name, own, leaf string) error {
	if !listsController(filepath.Join(own, "cgroup.controllers"), name) || listsController(filepath.Join(own, "cgroup.subtree_control"), name) {
		return nil
	}
	if err := os.Mkdir(leaf, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	for range maxRescans {
		if err := moveProcesses(own, leaf); err != nil {
			return err
		}
		err := writeCgroupFile(filepath.Join(own, "cgroup.subtree_control"), "+"+name)
		if !errors.Is(err, unix.EBUSY) { // else a process has forked meanwhile
			return err
		}
	}
	return errUnstable
}

func listsController(path, name string) bool {
	text, err := os.ReadFile(path)
	return err == nil && slices.Contains(strings.Fields(string(text)), name)
}

// moveProcesses moves the processes of a cgroup, without those below it, into another one.
func moveProcesses(from, to string) error {
	text, err := os.ReadFile(filepath.Join(from, "cgroup.procs"))
	if err != nil {
		return err
	}
	for pid := range strings.FieldsSeq(string(text)) {
		if err := writeCgroupFile(filepath.Join(to, "cgroup.procs"), pid); err != nil && !errors.Is(err, unix.ESRCH) {
			return err
		}
	}
	return nil
}

// limitPids sets pids.max of a cgroup below the least of those above it. It does nothing where the kernel
// does not count processes for the cgroup, or where those above have no limit.
func (c *cgroup) limitPids() error {
	_, mount := cgroupMount()
	above, limited := leastPidsMax(filepath.Dir(c.path), mount)
	if !limited {
		return nil
	}
	err := writeCgroupFile(filepath.Join(c.path, "pids.max"), strconv.FormatUint(pidsMax(above), 10))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// pidsMax is the pids.max of one app where those above its cgroup have another one.
func pidsMax(above uint64) uint64 { return above - min(pidsReserve, above/4) }

// leastPidsMax returns the least pids.max of a cgroup and those above it; false: they have none.
func leastPidsMax(dir, mount string) (least uint64, limited bool) {
	for _, dir := range andAbove(dir, mount) {
		if n, ok := readNumber(filepath.Join(dir, "pids.max")); ok && (!limited || n < least) {
			least, limited = n, true
		}
	}
	return least, limited
}

// writeCgroupFile writes to a file of the kernel, which is not created.
func writeCgroupFile(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}
