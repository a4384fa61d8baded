package process

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// cgroupPrefix begins the names of all cgroups that newCgroup creates.
const cgroupPrefix = "tideover-"

// cgroup is a cgroup of version 2 below the daemon's own one. It serves to list its members and
// to kill them, for which it needs no controller; with that of the pids it also limits them (see
// limitPids). A nil cgroup, which could not be created, has no members.
type cgroup struct{ path string }

// newCgroup creates a cgroup, or returns nil if there is no version 2 hierarchy or the
// daemon may not write to it.
func newCgroup(name string) *cgroup {
	parent := ownCgroup()
	if parent == "" {
		return nil
	}
	base := fmt.Sprintf("%s%d-%s", cgroupPrefix, parentPid(), strings.Map(plainRune, name))
	for n := 1; n < 1000; n++ {
		path := filepath.Join(parent, base)
		if n > 1 {
			path += "-" + strconv.Itoa(n)
		}
		err := os.Mkdir(path, 0o755)
		if err == nil {
			return &cgroup{path}
		}
		if !errors.Is(err, fs.ErrExist) {
			return nil
		}
	}
	return nil
}

func plainRune(r rune) rune {
	if r <= ' ' || r == '/' || r == 0x7f {
		return '_'
	}
	return r
}

// ownCgroup returns the directory of the cgroup in which the daemon was started; empty: there is none.
func ownCgroup() string {
	root, mount := cgroupMount()
	group := ""
	eachLine("/proc/self/cgroup", func(line string) {
		if path, ok := strings.CutPrefix(line, "0::"); ok {
			group = path
		}
	})
	if mount == "" || group == "" {
		return ""
	}
	rest, ok := strings.CutPrefix(group, strings.TrimSuffix(root, "/"))
	if !ok {
		return ""
	}
	if filepath.Base(rest) == ownLeaf() {
		rest = filepath.Dir(rest)
	}
	return filepath.Join(mount, rest)
}

// cgroupMount returns where version 2 is mounted, and which part of it: fields 4 and 5 of
// the line of type cgroup2 in mountinfo.
func cgroupMount() (root, mount string) {
	eachLine("/proc/self/mountinfo", func(line string) {
		before, after, ok := strings.Cut(line, " - ")
		f := strings.Fields(before)
		if ok && strings.HasPrefix(after, "cgroup2 ") && len(f) >= 5 && mount == "" {
			root, mount = unescapeMount(f[3]), unescapeMount(f[4])
		}
	})
	return root, mount
}

// andAbove returns the directory of a cgroup and of those above it, up to the mount; none without a mount.
func andAbove(dir, mount string) (all []string) {
	for ; mount != "" && strings.HasPrefix(dir, mount); dir = filepath.Dir(dir) {
		all = append(all, dir)
	}
	return all
}

// unescapeMount replaces the octal escapes of mountinfo.
func unescapeMount(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// openCgroup returns a cgroup that an earlier daemon has created, or nil if it is gone or
// path is not below the mount with a name of newCgroup.
func openCgroup(path string) *cgroup {
	_, mount := cgroupMount()
	below, err := filepath.Rel(mount, path)
	if mount == "" || err != nil || below == ".." || strings.HasPrefix(below, "../") {
		return nil
	}
	info, err := os.Lstat(path)
	if err != nil || !info.IsDir() || !strings.HasPrefix(filepath.Base(path), cgroupPrefix) {
		return nil
	}
	return &cgroup{path}
}

// removeStaleCgroups removes the empty cgroups of daemons that have ended.
func removeStaleCgroups() {
	leaves, _ := filepath.Glob(filepath.Join(ownCgroup(), cgroupPrefix+"*"))
	for _, path := range leaves {
		daemon, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(path), cgroupPrefix), "-")
		pid, err := strconv.Atoi(daemon)
		if err != nil {
			continue
		}
		if _, err := readStat(pid); err != nil && isNoProcess(err) {
			(&cgroup{path}).remove()
		}
	}
}

// RemoveFormerCgroups removes the empty cgroups of the former supervisors of the same Parent: one that died during a
// hook could not remove that of the hook. It is called before the first Start.
func RemoveFormerCgroups() {
	own, _ := filepath.Glob(filepath.Join(ownCgroup(), fmt.Sprintf("%s%d-*", cgroupPrefix, parentPid())))
	for _, path := range own {
		_ = unix.Rmdir(path) // EBUSY: its processes live
	}
}

// members returns the members that live, those of child cgroups included. It is certain that
// there are none only if cgroup.events says so: a member can fork and exit while the lists are
// read. The error is fs.ErrNotExist if the cgroup does not exist any more.
func (c *cgroup) members() ([]stat, error) {
	for range maxRescans {
		found, err := c.list()
		if len(found) > 0 || err != nil {
			return found, err
		}
		if awaitUnpopulated(c.path) {
			return nil, nil
		}
	}
	return nil, errUnstable
}

func (c *cgroup) list() ([]stat, error) {
	pids, err := c.procs()
	if err != nil {
		return nil, err
	}
	var found []stat
	for _, pid := range pids {
		s, err := readStat(pid)
		if err == nil && s.alive() {
			found = append(found, s)
		} else if err != nil && !isNoProcess(err) {
			return nil, err
		}
	}
	return found, nil
}

// procs returns the pids in the cgroup and in those below it.
func (c *cgroup) procs() ([]int, error) {
	if _, err := os.Stat(c.path); err != nil {
		return nil, err
	}
	var found []int
	for _, dir := range c.directories() {
		text, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
		if err != nil && !isRemoved(err) {
			return nil, err
		}
		for line := range strings.Lines(string(text)) {
			if pid, err := strconv.Atoi(strings.TrimSpace(line)); err == nil && pid > 0 {
				found = append(found, pid)
			}
		}
	}
	return found, nil
}

// isRemoved reports whether an error means that the cgroup does not exist any more.
func isRemoved(err error) bool { return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) }

// contains reports whether a process is in the cgroup or in one below it.
func (c *cgroup) contains(pid int) bool {
	if c == nil {
		return false
	}
	pids, err := c.procs()
	return err == nil && slices.Contains(pids, pid)
}

// directories returns the cgroup and those below it, parents first.
func (c *cgroup) directories() []string {
	var dirs []string
	filepath.WalkDir(c.path, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			dirs = append(dirs, path)
		}
		return nil
	})
	return dirs
}

// kill writes cgroup.kill, which kills all members at once, also while they fork. Kernels
// before 5.14 do not have it; then the scan finds the members.
func (c *cgroup) kill() {
	if c == nil {
		return
	}
	_ = writeCgroupFile(filepath.Join(c.path, "cgroup.kill"), "1")
}

// remove removes the cgroup if it is empty.
func (c *cgroup) remove() {
	if c == nil {
		return
	}
	dirs := c.directories()
	for i := len(dirs) - 1; i >= 0; i-- {
		if errors.Is(os.Remove(dirs[i]), unix.EBUSY) && awaitUnpopulated(dirs[i]) {
			os.Remove(dirs[i])
		}
	}
}

// cgroupExitGrace bounds the wait until the kernel has removed a dead process from its
// cgroup. A zombie may stay there.
const cgroupExitGrace = 50 * time.Millisecond

// awaitUnpopulated waits until cgroup.events says that a cgroup has no member.
func awaitUnpopulated(dir string) bool {
	f, err := os.Open(filepath.Join(dir, "cgroup.events"))
	if err != nil {
		return false
	}
	defer f.Close()
	for until := time.Now().Add(cgroupExitGrace); ; {
		text, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<12))
		left := time.Until(until)
		if err != nil || left <= 0 || !strings.Contains(string(text), "populated 1") {
			return err == nil && left > 0
		}
		unix.Poll([]unix.PollFd{{Fd: int32(f.Fd()), Events: unix.POLLPRI}}, int(left.Milliseconds())+1) // POLLPRI: the file has changed
	}
}

// join moves the calling process into the cgroup.
func (c *cgroup) join() error { return writeCgroupFile(filepath.Join(c.path, "cgroup.procs"), "0") }

// eachLine calls f with every line of a file. It does nothing if the file cannot be read.
func eachLine(path string, f func(line string)) {
	file, err := os.Open(path)
	if err != nil {
		return
	}
	defer file.Close()
	for s := bufio.NewScanner(file); s.Scan(); {
		f(s.Text())
	}
}
