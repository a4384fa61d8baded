package process

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// leafPrefix begins the name of every cgroup of ours.
const leafPrefix = "tideover-"

// cgroup is one leaf of the version 2 hierarchy, below the daemon's own group. No controllers are needed: it is there to know
// its members and to kill them all. A nil cgroup is one that could not be made: it has no members.
type cgroup struct{ path string }

// newCgroup makes a leaf that nobody has used before, or returns nil: no cgroup version 2, or no right to make one.
func newCgroup(name string) *cgroup {
	parent := ownCgroup()
	if parent == "" {
		return nil
	}
	base := fmt.Sprintf("%s%d-%s", leafPrefix, os.Getpid(), strings.Map(plainRune, name))
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

// ownCgroup is the directory of the daemon's own version 2 group; empty: there is none to be seen.
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
	return filepath.Join(mount, rest)
}

// cgroupMount finds where version 2 is mounted, and which part of it: field 4 and 5 of a line whose type is cgroup2.
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

// unescapeMount undoes mountinfo's octal escapes.
func unescapeMount(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// recordedCgroup is the leaf that a daemon of before has made, if it is still there. Nothing but a leaf of ours is ever accepted.
func recordedCgroup(path string) *cgroup {
	_, mount := cgroupMount()
	below, err := filepath.Rel(mount, path)
	if mount == "" || err != nil || below == ".." || strings.HasPrefix(below, "../") {
		return nil
	}
	info, err := os.Lstat(path)
	if err != nil || !info.IsDir() || !strings.HasPrefix(filepath.Base(path), leafPrefix) {
		return nil
	}
	return &cgroup{path}
}

// removeLitter removes empty leaves of daemons that are dead.
func removeLitter() {
	leaves, _ := filepath.Glob(filepath.Join(ownCgroup(), leafPrefix+"*"))
	for _, path := range leaves {
		daemon, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(path), leafPrefix), "-")
		pid, err := strconv.Atoi(daemon)
		if err != nil {
			continue
		}
		if _, err := readStat(pid); err != nil && isGone(err) {
			(&cgroup{path}).remove()
		}
	}
}

// procs are the members, those of groups that they have made themselves included.
func (c *cgroup) procs() []int {
	if c == nil {
		return nil
	}
	var found []int
	for _, dir := range c.directories() {
		eachLine(filepath.Join(dir, "cgroup.procs"), func(line string) {
			if pid, err := strconv.Atoi(line); err == nil && pid > 0 {
				found = append(found, pid)
			}
		})
	}
	return found
}

// directories are the group's and those below it, each before its own children.
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

// kill kills all members at once, also while they fork (kernel 5.14 and later; the sweep does it for the others).
func (c *cgroup) kill() {
	if c == nil {
		return
	}
	if f, err := os.OpenFile(filepath.Join(c.path, "cgroup.kill"), os.O_WRONLY, 0); err == nil {
		f.WriteString("1")
		f.Close()
	}
}

// remove gives an empty group back. One that is not empty stays.
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

// lastSteps is what the kernel gets to take a process out of its group that has just died. A zombie that nobody collects may stay there.
const lastSteps = 50 * time.Millisecond

// awaitUnpopulated waits until the kernel, too, says that nobody is in a group.
func awaitUnpopulated(dir string) bool {
	f, err := os.Open(filepath.Join(dir, "cgroup.events"))
	if err != nil {
		return false
	}
	defer f.Close()
	for until := time.Now().Add(lastSteps); ; {
		text, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<12))
		left := time.Until(until)
		if err != nil || left <= 0 || !strings.Contains(string(text), "populated 1") {
			return err == nil && left > 0
		}
		unix.Poll([]unix.PollFd{{Fd: int32(f.Fd()), Events: unix.POLLPRI}}, int(left.Milliseconds())+1) // a change is an exceptional condition
	}
}

// join puts the calling process into the group.
func (c *cgroup) join() error {
	f, err := os.OpenFile(filepath.Join(c.path, "cgroup.procs"), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString("0")
	return err
}

// eachLine calls f with every line of a file, of none if it cannot be read.
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
