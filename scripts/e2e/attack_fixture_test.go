//go:build e2e

package e2e

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"tideover/scripts/testenv"
)

// The users of the attacks, by their ids in every Debian: www-data is the user of
// the apps; the other one is a local user that has nothing to do with them.
const (
	appUser   = 33
	localUser = 1000
)

// rootSecret stands in every file of root, so that it is recognised elsewhere.
const rootSecret = "of-root-alone-4711"

// attack is the setup of a row in which a user tries to act as root. The daemon
// runs as root and its apps as www-data.
type attack struct {
	*row
	daemon *testenv.Tideover
	srv    string // directory of the apps, www-data's
	root   string // directory of root alone
	files  map[string]string
}

// newAttack makes the directories of a row.
func newAttack(r *row) *attack {
	r.Helper()
	a := &attack{row: r, srv: r.env.Path("srv"), root: r.env.Path("root")}
	a.mkdir(a.srv, appUser, 0o755)
	a.mkdir(a.root, 0, 0o700)
	for _, name := range []string{"secret.env", "shadow", "profile.sh"} {
		a.write(filepath.Join(a.root, name), 0, 0o600, "KEY="+rootSecret+"\n")
	}
	return a
}

func (a *attack) mkdir(path string, owner int, mode os.FileMode) {
	a.Helper()
	a.must(os.MkdirAll(path, 0o755))
	a.must(os.Chmod(path, mode))
	a.must(os.Chown(path, owner, owner))
}

func (a *attack) write(path string, owner int, mode os.FileMode, text string) {
	a.Helper()
	a.must(os.WriteFile(path, []byte(text), mode))
	a.must(os.Chmod(path, mode))
	a.must(os.Chown(path, owner, owner))
}

// start starts the daemon with a configuration, in which {program}, {srv}, {root}
// and {dir} are replaced, and waits until every app of it runs. What root has then
// is what checkRootUntouched compares with.
func (a *attack) start(config string, apps ...string) {
	a.Helper()
	a.startWith(testenv.RunOptions{}, config, apps...)
}

func (a *attack) startWith(o testenv.RunOptions, config string, apps ...string) {
	a.Helper()
	path, err := a.env.Write("tideover.toml", a.fill(config))
	a.must(err)
	o.Flags, o.Name = append(o.Flags, "-c", path), apps[0]
	a.daemon, err = a.env.Tideover(&testenv.App{Dir: a.env.Dir}, o)
	a.must(err)
	for _, app := range apps {
		a.waitRunning(app, 1)
	}
	a.files = a.rootFiles()
}

// startsOrRefuses is start for a configuration that tideover may refuse: it reports
// whether it serves.
func (a *attack) startsOrRefuses(config string, flags ...string) bool {
	a.Helper()
	a.files = a.rootFiles()
	path, err := a.env.Write("tideover.toml", a.fill(config))
	a.must(err)
	a.daemon, err = a.env.Tideover(&testenv.App{Dir: a.env.Dir}, testenv.RunOptions{Flags: append(flags, "-c", path), Name: "shop"})
	a.must(err)
	serves := false
	a.must(testenv.Poll(a.timeout(20*time.Second), 20*time.Millisecond, func() error {
		select {
		case <-a.daemon.Exited():
			a.addNumbers("refused=%d", a.daemon.Code())
			return nil
		default:
		}
		now, err := a.daemon.Status(a.timeout(5 * time.Second))
		if serves = err == nil && now.State == "running"; !serves && err == nil {
			err = fmt.Errorf("shop is %s", now.State)
		}
		return err
	}))
	return serves
}

// fill replaces the words in braces.
func (a *attack) fill(text string) string {
	a.Helper()
	programs, err := shared()
	a.must(err)
	return strings.NewReplacer("{program}", filepath.Join(programs, attackProgram), "{tideover}", filepath.Join(programs, "tideover"),
		"{srv}", a.srv, "{root}", a.root, "{dir}", a.env.Dir).Replace(text)
}

// waitRunning waits until the generation of an app, or a later one, runs.
func (a *attack) waitRunning(app string, generation int) testenv.AppStatus {
	a.Helper()
	var now testenv.AppStatus
	a.must(testenv.Poll(a.timeout(20*time.Second), 20*time.Millisecond, func() (err error) {
		select {
		case <-a.daemon.Exited():
			a.Fatalf("tideover ended with %d: %s", a.daemon.Code(), a.daemon.Tail(20))
		default:
		}
		now, err = a.daemon.StatusOf(a.timeout(10*time.Second), app)
		if err == nil && (now.State != "running" || now.Generation < generation) {
			err = fmt.Errorf("%s is %s in generation %d", app, now.State, now.Generation)
		}
		return err
	}))
	return now
}

// call runs a verb as root, which must end within the limit however the machine is
// loaded.
func (a *attack) call(limit time.Duration, words ...string) testenv.Outcome {
	a.Helper()
	o, err := a.daemon.Call(a.timeout(limit), words...)
	if err != nil {
		a.Errorf("tideover %s: %v", strings.Join(words, " "), err)
	}
	return o
}

// wants is call with the exit code that it must have.
func (a *attack) wants(exit int, limit time.Duration, words ...string) testenv.Outcome {
	a.Helper()
	o := a.call(limit, words...)
	if o.Exit != exit {
		a.Errorf("tideover %s, want exit %d: %v", strings.Join(words, " "), exit, o)
	}
	return o
}

// as runs do on a thread with the rights of a user and its groups, and nothing of
// root's. do must not end the test.
func (a *attack) as(uid int, do func() error, groups ...int) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		if err := becomeUser(uid, groups); err != nil {
			done <- err
			return
		}
		done <- do()
	}()
	return <-done
}

// becomeUser changes the ids of this thread alone.
func becomeUser(uid int, groups []int) error {
	list := make([]uint32, len(groups)+1)
	for i, g := range groups {
		list[i] = uint32(g)
	}
	_, _, groupsErr := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(groups)), uintptr(unsafe.Pointer(unsafe.SliceData(list))), 0)
	_, _, gidErr := unix.RawSyscall(unix.SYS_SETRESGID, uintptr(uid), uintptr(uid), uintptr(uid))
	_, _, uidErr := unix.RawSyscall(unix.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid))
	for _, errno := range []syscall.Errno{groupsErr, gidErr, uidErr} {
		if errno != 0 {
			return errno
		}
	}
	return nil
}

// race runs do as a user again and again until the test says stop, and at least so many
// times.
func (a *attack) race(uid, least int, do func()) (stop func() (turns int)) {
	end, done := make(chan struct{}), make(chan int, 1)
	go func() {
		turns := 0
		a.as(uid, func() error {
			for ; ; turns++ {
				select {
				case <-end:
					if turns >= least {
						return nil
					}
				default:
				}
				do()
			}
		})
		done <- turns
	}()
	return func() int { close(end); return <-done }
}

// exchange exchanges what is at two paths, in one step.
func exchange(one, other string) error {
	return unix.Renameat2(unix.AT_FDCWD, one, unix.AT_FDCWD, other, unix.RENAME_EXCHANGE)
}

// replaceByLink replaces what is at path by a symlink, in one step.
func replaceByLink(target, path string) error {
	os.Remove(path + ".link")
	return errors.Join(os.Symlink(target, path+".link"), os.Rename(path+".link", path))
}

// bind mounts a directory or a file onto another one, as an administrator may, and
// reports whether this machine allows it.
func (a *attack) bind(from, to string) bool {
	a.Helper()
	err := unix.Mount(from, to, "", unix.MS_BIND, "")
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		return false // a container without CAP_SYS_ADMIN
	}
	a.must(err)
	a.Cleanup(func() { unix.Unmount(to, unix.MNT_DETACH) })
	return true
}

// rootFiles describes every file of root.
func (a *attack) rootFiles() map[string]string {
	a.Helper()
	all := map[string]string{}
	a.must(filepath.WalkDir(a.root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		stat := info.Sys().(*syscall.Stat_t)
		what := fmt.Sprintf("%v %d:%d", info.Mode(), stat.Uid, stat.Gid)
		if info.Mode().Type() == fs.ModeSocket {
			what += fmt.Sprintf(" inode %d", stat.Ino)
		}
		if info.Mode().IsRegular() {
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			what += fmt.Sprintf(" %d bytes %x", len(content), sha256.Sum256(content))
		}
		all[path] = what
		return nil
	}))
	return all
}

// checkRootUntouched fails the row unless root's files are what they were at the
// start, and the daemon answers.
func (a *attack) checkRootUntouched() {
	a.Helper()
	a.checkFilesOfRoot()
	a.wants(0, 10*time.Second, "status")
}

func (a *attack) checkFilesOfRoot() {
	a.Helper()
	now := a.rootFiles()
	for _, path := range slices.Sorted(maps.Keys(merged(a.files, now))) {
		if a.files[path] != now[path] {
			a.Errorf("%s was %q and is %q", path, a.files[path], now[path])
		}
	}
	a.addNumbers("root_files=%d", len(now))
}

// readable returns the text of all files that a user can read below a directory.
func (a *attack) readable(uid int, dir string) string {
	a.Helper()
	var text strings.Builder
	a.must(a.as(uid, func() error {
		return filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
			if err == nil && entry.Type().IsRegular() {
				content, _ := os.ReadFile(path)
				text.Write(unzipped(content))
			}
			return nil
		})
	}))
	return text.String()
}

// get sends a request on a connection of its own; on a failure the text is the error.
func (a *attack) get(address, path string, header ...string) (status int, text string) {
	client := http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: (&net.Dialer{Timeout: 5 * time.Second}).DialContext}}
	request, err := http.NewRequestWithContext(a.Context(), "GET", "http://"+address+path, nil)
	a.must(err)
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		request.Header.Set(name, value)
	}
	response, err := client.Do(request)
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err.Error()
	}
	return response.StatusCode, string(body)
}

// checkNoSecret fails the row when a text has something of root's files.
func (a *attack) checkNoSecret(where, text string) {
	a.Helper()
	if i := strings.Index(text, rootSecret); i >= 0 {
		a.Errorf("%s has what root's files say: %.200q", where, text[max(0, i-50):])
	}
}

// unzipped returns a text as it is, or what can be read of it if it is compressed.
func unzipped(content []byte) []byte {
	z, err := gzip.NewReader(bytes.NewReader(content))
	if err != nil {
		return content
	}
	text, _ := io.ReadAll(z) // what was read before an error counts, too
	return text
}

// helpersOf returns the children of a process whose first argument is name.
func helpersOf(parent int, name string) (all []int) {
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		line, err := os.ReadFile("/proc/" + e.Name() + "/cmdline")
		stat, gone := os.ReadFile("/proc/" + e.Name() + "/stat")
		first, _, _ := strings.Cut(string(line), "\x00")
		_, after, _ := strings.Cut(string(stat), ") ")
		fields := strings.Fields(after)
		if err == nil && gone == nil && first == name && len(fields) > 1 && fields[1] == strconv.Itoa(parent) {
			all = append(all, pid)
		}
	}
	return all
}
