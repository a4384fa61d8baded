package safepath

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tideover/supervisor/process"
)

// place is a machine in small: root's secrets, and a directory of the app's user.
type place struct {
	*testing.T
	root    string // only root can change it, all users can search it
	private string // 0700 of root
	secret  string // a file in private, 0600
	app     string // of the app's user
}

func newPlace(t *testing.T) *place {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this test needs root: it has to become other users")
	}
	root, err := os.MkdirTemp("", "safepath")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(root) })
	p := &place{T: t, root: root, private: filepath.Join(root, "private"), app: filepath.Join(root, "app")}
	p.must(os.Chmod(root, 0o755))
	p.mkdir(p.private, 0, 0o700)
	p.mkdir(p.app, int(appUser.UID), 0o755)
	p.secret = filepath.Join(p.private, "secret")
	p.file(p.secret, "root's secret", 0, 0o600)
	return p
}

func (p *place) must(err error) {
	p.Helper()
	if err != nil {
		p.Fatal(err)
	}
}

func (p *place) mkdir(path string, uid int, mode fs.FileMode) string {
	p.Helper()
	p.must(os.MkdirAll(path, 0o755))
	p.must(os.Chown(path, uid, uid))
	p.must(os.Chmod(path, mode)) // after chown, which clears set-id bits; the sticky bit is fs.ModeSticky
	return path
}

func (p *place) file(path, text string, uid int, mode fs.FileMode) string {
	p.Helper()
	p.must(os.WriteFile(path, []byte(text), mode))
	p.must(os.Chown(path, uid, uid))
	p.must(os.Chmod(path, mode))
	return path
}

func (p *place) symlink(target, path string, uid int) string {
	p.Helper()
	p.must(os.Symlink(target, path))
	p.must(os.Lchown(path, uid, uid))
	return path
}

// untouched checks that root's files are as they were.
func (p *place) untouched() {
	p.Helper()
	text, err := os.ReadFile(p.secret)
	if err != nil || string(text) != "root's secret" {
		p.Errorf("root's file is %q, %v", text, err)
	}
	entries, err := os.ReadDir(p.private)
	if err != nil || len(entries) != 1 {
		p.Errorf("root's directory has %v, %v", entries, err)
	}
}

// leaks checks that no file of the app's directory has root's secret.
func (p *place) leaks() {
	p.Helper()
	filepath.WalkDir(p.app, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil
		}
		var st unix.Stat_t
		p.must(unix.Lstat(path, &st))
		if st.Uid == appUser.UID || st.Mode&0o004 != 0 { // the app can read it
			out, _ := exec.Command("sh", "-c", `zcat -f "$0"`, path).Output()
			if bytes.Contains(out, []byte("root's secret")) {
				p.Errorf("%s has root's secret", path)
			}
		}
		return nil
	})
}

func (p *place) append(o Opener, path string) error {
	p.Helper()
	f, err := o.OpenLog(path, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString("a line of the app\n")
	return err
}

func (p *place) owner(path string) uint32 {
	p.Helper()
	var st unix.Stat_t
	p.must(unix.Lstat(path, &st))
	return st.Uid
}

// Whatever the app's user makes of its directory, root writes to no file of root.
func TestAnAppCannotLeadItsLogToAFileOfRoot(t *testing.T) {
	for name, attack := range map[string]func(p *place) (log string){
		"symlink": func(p *place) string { return p.symlink(p.secret, filepath.Join(p.app, "shop.log"), 33) },
		"symlink to a file that does not exist": func(p *place) string {
			return p.symlink(filepath.Join(p.private, "new"), filepath.Join(p.app, "shop.log"), 33)
		},
		"hard link": func(p *place) string {
			path := filepath.Join(p.app, "shop.log")
			p.must(os.Link(p.secret, path)) // as with fs.protected_hardlinks = 0
			return path
		},
		"directory": func(p *place) string {
			return filepath.Join(p.symlink(p.private, filepath.Join(p.app, "log"), 33), "secret")
		},
		"symlink of symlinks": func(p *place) string {
			p.symlink("b", filepath.Join(p.app, "shop.log"), 33)
			p.symlink("c/../../private/secret", filepath.Join(p.app, "b"), 33)
			p.mkdir(filepath.Join(p.app, "c"), 33, 0o755)
			return filepath.Join(p.app, "shop.log")
		},
		"magic link": func(p *place) string {
			return p.symlink("/proc/1/mem", filepath.Join(p.app, "shop.log"), 33)
		},
		"FIFO": func(p *place) string {
			path := filepath.Join(p.app, "shop.log")
			p.must(unix.Mkfifo(path, 0o666))
			return path
		},
		"sticky directory, symlink": func(p *place) string {
			dir := p.mkdir(filepath.Join(p.root, "tmp"), 0, 0o777|fs.ModeSticky)
			return p.symlink(p.secret, filepath.Join(dir, "shop.log"), 33)
		},
		"sticky directory, hard link": func(p *place) string {
			dir := p.mkdir(filepath.Join(p.root, "tmp"), 0, 0o777|fs.ModeSticky)
			p.must(os.Link(p.secret, filepath.Join(dir, "shop.log")))
			return filepath.Join(dir, "shop.log")
		},
		"sticky directory, directory of another user": func(p *place) string {
			dir := p.mkdir(filepath.Join(p.root, "tmp"), 0, 0o777|fs.ModeSticky)
			return filepath.Join(p.symlink(p.private, filepath.Join(dir, "log"), 1000), "secret")
		},
		"group directory, symlink": func(p *place) string {
			dir := p.mkdir(filepath.Join(p.root, "log"), 0, 0o775)
			p.must(os.Chown(dir, 0, 4))
			return p.symlink(p.secret, filepath.Join(dir, "shop.log"), 4)
		},
		"group directory, hard link": func(p *place) string {
			dir := p.mkdir(filepath.Join(p.root, "log"), 0, 0o775)
			p.must(os.Chown(dir, 0, 4))
			p.must(os.Link(p.secret, filepath.Join(dir, "shop.log")))
			return filepath.Join(dir, "shop.log")
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			log := attack(p)
			if err := p.append(Opener{User: appUser}, log); err == nil {
				t.Errorf("root or its helper has opened %s", log)
			}
			if _, err := (Opener{User: appUser}).ReadFile(log); err == nil {
				t.Errorf("root or its helper has read %s", log)
			}
			p.untouched()
		})
	}
}

// The app's user exchanges its directory and a symlink to root's directory at least 10,000
// times while root opens the log there. Sometimes the log is opened, never is it root's file.
func TestAnAppCannotWinTheRaceForItsLog(t *testing.T) {
	p := newPlace(t)
	log := p.mkdir(filepath.Join(p.app, "log"), 33, 0o755)
	link := p.symlink(p.private, filepath.Join(p.app, "link"), 33)
	opened := 0
	exchanges := whileSwapping(t, appUser, log, link, func() {
		if p.append(Opener{User: appUser}, filepath.Join(log, "secret")) == nil {
			opened++
		}
	})
	p.untouched()
	t.Logf("%s exchanges, %d tries, opened %d times", exchanges, tries, opened)
}

// A member of the group that may write in root's log directory exchanges root's directories
// and its own.
func TestAGroupCannotWinTheRaceForTheLogDirectory(t *testing.T) {
	p := newPlace(t)
	shared := p.mkdir(filepath.Join(p.root, "log"), 0, 0o775)
	p.must(os.Chown(shared, 0, int(otherUser.GID)))
	log := p.mkdir(filepath.Join(shared, "shop"), 0, 0o755)
	link := p.symlink(p.private, filepath.Join(shared, "link"), 1000)
	opened := 0
	exchanges := whileSwapping(t, otherUser, log, link, func() {
		if p.append(Opener{User: appUser}, filepath.Join(log, "secret")) == nil {
			opened++
		}
	})
	p.untouched()
	if opened == 0 {
		t.Error("the log was never opened: the race was not tried")
	}
	t.Logf("%s exchanges, %d tries, opened %d times", exchanges, tries, opened)
}

// Rotation reads and replaces no file of root.
func TestRotationTouchesNoFileOfRoot(t *testing.T) {
	for name, attack := range map[string]func(p *place, log string){
		"symlink as backup": func(p *place, log string) { p.symlink(p.secret, log+".1", 33) },
		"symlink as part": func(p *place, log string) {
			p.file(log+".1", "old\n", 33, 0o644)
			p.symlink(p.secret, log+".2.part", 33)
		},
		"symlink as compressed file": func(p *place, log string) {
			p.file(log+".1", "old\n", 33, 0o644)
			p.symlink(p.secret, log+".2.gz", 33)
		},
		"hard link as backup": func(p *place, log string) { p.must(os.Link(p.secret, log+".1")) },
		"FIFO as backup":      func(p *place, log string) { p.must(unix.Mkfifo(log+".1", 0o666)) },
		"symlink as log":      func(p *place, log string) { p.must(os.Remove(log)); p.symlink(p.secret, log, 33) },
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			o, r := Opener{User: appUser}, Rotation{Backups: 3, Compress: true}
			log := filepath.Join(p.app, "shop.log")
			p.must(p.append(o, log))
			attack(p, log)
			for range 2 {
				if f, err := o.RotateLog(log, r); err == nil {
					f.Close()
				}
				o.CleanUpLog(log, r)
			}
			p.untouched()
			p.leaks()
		})
	}
}

// In root's sticky directory others may have made files with the names of rotated ones.
func TestRotationInAStickyDirectoryReadsNoForeignFile(t *testing.T) {
	p := newPlace(t)
	dir := p.mkdir(filepath.Join(p.root, "tmp"), 0, 0o777|fs.ModeSticky)
	log, r := filepath.Join(dir, "shop.log"), Rotation{Backups: 3, Compress: true}
	p.must(p.append(Opener{User: appUser}, log))
	p.symlink(p.secret, log+".1", 33)
	p.must(os.Link(p.secret, log+".2"))
	f, err := Opener{User: appUser}.RotateLog(log, r)
	p.must(err)
	f.Close()
	p.must(Opener{User: appUser}.CleanUpLog(log, r))
	p.untouched()
	out, _ := exec.Command("sh", "-c", "zcat -f "+dir+"/*.gz").Output()
	if bytes.Contains(out, []byte("secret")) {
		t.Errorf("a compressed file has root's secret: %q", out)
	}
}

// A bind mount puts the app's directory at a path of root. The inode counts, not the name.
func TestABindMountOfTheAppsDirectoryIsTheApps(t *testing.T) {
	p := newPlace(t)
	at := p.mkdir(filepath.Join(p.root, "var", "log"), 0, 0o755)
	c := program(t, nil, "open-in", p.app, at)
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	out, err := c.Output()
	if err != nil || strings.TrimSpace(string(out)) != "owner 33" {
		t.Errorf("%q, %v", out, err)
	}
	p.must(os.Remove(filepath.Join(p.app, "shop.log")))
	p.symlink(p.secret, filepath.Join(p.app, "shop.log"), 33)
	c = program(t, nil, "open-in", p.app, at)
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if out, err := c.Output(); err == nil {
		t.Errorf("the symlink behind the mount was followed: %q", out)
	}
	p.untouched()
}

// The layouts that deployments use work, each with the owner that it had before.
func TestLegitimateLayouts(t *testing.T) {
	const deploy = 1000
	for name, c := range map[string]struct {
		log   func(p *place) string
		owner uint32
	}{
		"root's own directory":          {func(p *place) string { return filepath.Join(p.mkdir(filepath.Join(p.root, "l"), 0, 0o755), "shop.log") }, 0},
		"directories that do not exist": {func(p *place) string { return filepath.Join(p.root, "a", "b", "shop.log") }, 0},
		"Ubuntu's /var/log (root:syslog 0775)": {func(p *place) string {
			dir := p.mkdir(filepath.Join(p.root, "l"), 0, 0o775)
			p.must(os.Chown(dir, 0, 104))
			return filepath.Join(dir, "shop.log")
		}, 0},
		"a directory in Ubuntu's /var/log": {func(p *place) string {
			dir := p.mkdir(filepath.Join(p.root, "l"), 0, 0o775)
			p.must(os.Chown(dir, 0, 104))
			return filepath.Join(dir, "tideover", "shop.log")
		}, 0},
		"the app's directory in Ubuntu's /var/log": {func(p *place) string {
			dir := p.mkdir(filepath.Join(p.root, "l"), 0, 0o775)
			p.must(os.Chown(dir, 0, 104))
			return filepath.Join(p.mkdir(filepath.Join(dir, "shop"), 33, 0o750), "shop.log")
		}, 33},
		"root's symlink to the app's directory": {func(p *place) string {
			return filepath.Join(p.symlink(p.app, filepath.Join(p.root, "log"), 0), "shop.log")
		}, 33},
		"root's symlink in root's directory": {func(p *place) string {
			dir := p.mkdir(filepath.Join(p.root, "l"), 0, 0o755)
			return p.symlink("other.log", filepath.Join(dir, "shop.log"), 0)
		}, 0},
		"Capistrano: current -> releases/1, log -> shared/log": {func(p *place) string {
			base := p.mkdir(filepath.Join(p.root, "shop"), deploy, 0o755)
			release := p.mkdir(filepath.Join(base, "releases", "1"), deploy, 0o755)
			p.mkdir(filepath.Join(base, "shared", "log"), 33, 0o755)
			p.symlink("../../shared/log", filepath.Join(release, "log"), deploy)
			return filepath.Join(p.symlink("releases/1", filepath.Join(base, "current"), deploy), "log", "shop.log")
		}, 33},
		"the app's own directory, and a directory in it": {func(p *place) string { return filepath.Join(p.app, "log", "shop.log") }, 33},
		"sticky /tmp": {func(p *place) string {
			return filepath.Join(p.mkdir(filepath.Join(p.root, "t"), 0, 0o777|fs.ModeSticky), "shop.log")
		}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			o, log := Opener{User: appUser}, c.log(p)
			p.must(p.append(o, log))
			for range 3 {
				f, err := o.RotateLog(log, Rotation{Backups: 2, Compress: true})
				p.must(err)
				f.Close()
				p.must(p.append(o, log))
				p.must(o.CleanUpLog(log, Rotation{Backups: 2, Compress: true}))
			}
			var names []string
			entries, err := os.ReadDir(filepath.Dir(log))
			p.must(err)
			for _, e := range entries {
				if e.Type().IsRegular() {
					names = append(names, e.Name())
				}
			}
			if got := strings.ReplaceAll(strings.Join(names, " "), "other.log", "shop.log"); got != "shop.log shop.log.1 shop.log.2.gz" {
				t.Errorf("after three rotations there are %s", got)
			}
			if got := p.owner(log); got != c.owner {
				t.Errorf("the log belongs to uid %d, want %d", got, c.owner)
			}
		})
	}
}

// An env file is read with the rights of the app's user, unless only root can change it.
func TestReadFile(t *testing.T) {
	p := newPlace(t)
	o := Opener{User: appUser}
	shared := p.mkdir(filepath.Join(p.root, "shared"), 1000, 0o755)
	readable := p.file(filepath.Join(shared, ".env"), "A=1\n", 1000, 0o640)
	p.must(os.Chown(readable, 1000, 33))
	denied := p.file(filepath.Join(shared, ".env2"), "A=1\n", 1000, 0o600)
	own := p.file(filepath.Join(p.private, "shop.env"), "A=2\n", 0, 0o600)
	defer os.Remove(own)
	large := p.file(filepath.Join(p.app, "large"), strings.Repeat("x", maxFileSize+1), 33, 0o644)
	var files []File
	var errs []error
	var as []string
	for _, r := range o.ReadFiles([]string{readable, own, denied, filepath.Join(p.app, "none"), p.app, large}) {
		files, errs, as = append(files, r.File), append(errs, r.Err), append(as, r.As)
	}
	if want := []string{"www-data", "", "www-data", "www-data", "", "www-data"}; !slices.Equal(as, want) {
		t.Errorf("opened as %q, want %q", as, want)
	}
	for i, want := range []string{"A=1\n", "A=2\n"} {
		if string(files[i].Text) != want || errs[i] != nil {
			t.Errorf("%d: %q, %v", i, files[i].Text, errs[i])
		}
	}
	if files[0].Mode != 0o640 || files[0].UID != 1000 || files[0].GID != 33 {
		t.Errorf("mode and owner: %+v", files[0])
	}
	if !errors.Is(errs[2], fs.ErrPermission) || !strings.Contains(errs[2].Error(), "opened as www-data, because others than root") {
		t.Errorf("a file that the app's user may not read: %v", errs[2])
	}
	if !errors.Is(errs[3], fs.ErrNotExist) {
		t.Errorf("a file that does not exist: %v", errs[3])
	}
	if errs[4] == nil || !strings.Contains(errs[4].Error(), "it is a directory") {
		t.Errorf("a directory: %v", errs[4])
	}
	if errs[5] == nil || !strings.Contains(errs[5].Error(), "larger than 1MiB") {
		t.Errorf("a large file: %v", errs[5])
	}
}

// An app that runs as root cannot be helped by a helper: what others can change is refused.
func TestRootOpensNothingThatOthersCanChange(t *testing.T) {
	p := newPlace(t)
	log := filepath.Join(p.app, "shop.log")
	for _, o := range []Opener{{}, {User: rootUser()}} {
		err := p.append(o, log)
		if err == nil || !strings.Contains(err.Error(), "www-data can change "+p.app) {
			t.Errorf("%v", err)
		}
		if _, err := o.ReadFile(p.file(filepath.Join(p.app, ".env"), "A=1", 33, 0o644)); err == nil {
			t.Error("an env file in another user's directory was read for an app that runs as root")
		}
		if err := o.WriteFile(filepath.Join(p.app, "pid"), []byte("1\n"), 0o644); err == nil {
			t.Error("a pidfile was written to another user's directory")
		}
	}
	sticky := p.mkdir(filepath.Join(p.root, "tmp"), 0, 0o777|fs.ModeSticky)
	p.symlink(p.secret, filepath.Join(sticky, "pid.new"), 1000)
	p.must(Opener{}.WriteFile(filepath.Join(sticky, "pid"), []byte("1\n"), 0o644))
	p.untouched()
}

// Access says for `check` how a path is opened.
func TestAccess(t *testing.T) {
	p := newPlace(t)
	o := Opener{User: appUser}
	byRoot, err := o.Access(filepath.Join(p.private, "shop.log"))
	if err != nil || byRoot.As != "" {
		t.Errorf("%+v, %v", byRoot, err)
	}
	byApp, err := o.Access(filepath.Join(p.app, "log", "shop.log"))
	if err != nil || byApp.As != "www-data" || byApp.Cause.Error() != "www-data can change "+p.app {
		t.Errorf("%+v, %v", byApp, err)
	}
	ofGroup := p.mkdir(filepath.Join(p.root, "group"), 0, 0o775)
	member := Opener{User: &process.User{UID: 33, GID: 33, Groups: []uint32{0}}}
	if a, err := member.Access(filepath.Join(ofGroup, "x")); err != nil || a.As != "www-data" || a.Cause.Error() != "group root can change "+ofGroup {
		t.Errorf("%+v, %v", a, err)
	}
	if a, err := o.Access(filepath.Join(ofGroup, "x")); err != nil || a.As != "" {
		t.Errorf("%+v, %v", a, err)
	}
	open := p.mkdir(filepath.Join(p.root, "open"), 0, 0o777)
	if a, err := o.Access(filepath.Join(open, "x")); err != nil || a.As != "www-data" || a.Cause.Error() != "every user can change "+open {
		t.Errorf("%+v, %v", a, err)
	}
	for _, log := range []string{filepath.Join(p.root, "new", "dir", "shop.log"), filepath.Join(p.app, "new", "shop.log")} {
		if err := o.ProbeLog(log); err != nil {
			t.Errorf("%s could not be made: %v", log, err)
		}
	}
	if err := o.ProbeLog(filepath.Join(p.mkdir(filepath.Join(p.root, "deploy"), 1000, 0o755), "new", "shop.log")); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("the app's user can make a log where it may not write: %v", err)
	}
	if _, err := (Opener{}).Access(filepath.Join(p.app, "shop.log")); err == nil {
		t.Error("an app that runs as root may use a path that www-data can change")
	}
}

// A POSIX access list gives rights that the owner and the mode do not show.
func TestAnACLCounts(t *testing.T) {
	p := newPlace(t)
	dir := p.mkdir(filepath.Join(p.root, "acl"), 0, 0o755)
	// Version 2; user:: rwx, user:1000: rwx, group:: r-x, mask:: rwx, other:: r-x.
	acl := []byte{2, 0, 0, 0,
		1, 0, 7, 0, 255, 255, 255, 255, 2, 0, 7, 0, 232, 3, 0, 0, 4, 0, 5, 0, 255, 255, 255, 255,
		16, 0, 7, 0, 255, 255, 255, 255, 32, 0, 5, 0, 255, 255, 255, 255}
	if err := unix.Setxattr(dir, "system.posix_acl_access", acl, 0); errors.Is(err, unix.ENOTSUP) {
		p.must(os.Chmod(dir, 0o777)) // the file system has no access lists
	} else if err != nil {
		t.Fatal(err)
	}
	if a, err := (Opener{User: appUser}).Access(filepath.Join(dir, "x")); err != nil || a.As != "www-data" {
		t.Errorf("%+v, %v", a, err)
	}
}

// A helper that does not answer is killed, and nothing of it is left.
func TestAHelperThatDoesNotAnswerIsKilled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	helper := exec.CommandContext(ctx, "sleep", "1000")
	time.AfterFunc(50*time.Millisecond, cancel)
	if _, _, err := run(ctx, helper, request{User: *appUser, Action: readAction, Paths: []string{"/x"}}); err == nil {
		t.Error("sleep has answered")
	}
	fd, err := unix.PidfdOpen(helper.Process.Pid, 0)
	if err == nil { // it is not reaped yet
		defer unix.Close(fd)
		_, err = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 10_000)
	}
	if err != nil && !errors.Is(err, unix.ESRCH) {
		t.Errorf("the helper lives: %v", err)
	}
}

// The app's user can end the helper, not make root write to what is no log.
func TestOnlyALogIsAccepted(t *testing.T) {
	p := newPlace(t)
	for path, flags := range map[string]int{
		p.file(filepath.Join(p.app, "not-appending"), "", 33, 0o644): os.O_WRONLY,
		p.file(filepath.Join(p.app, "reading"), "", 33, 0o644):       os.O_RDONLY,
		"/dev/null":                os.O_WRONLY | os.O_APPEND,
		"/proc/self/oom_score_adj": os.O_WRONLY | os.O_APPEND,
		p.app:                      os.O_RDONLY,
	} {
		f, err := os.OpenFile(path, flags, 0)
		p.must(err)
		if checkLog(f) == nil {
			t.Errorf("%s was accepted", path)
		}
		f.Close()
	}
}

// The helper has no right of root and no descriptor of the daemon.
func TestTheHelperHasNothingOfRoot(t *testing.T) {
	p := newPlace(t)
	status := p.symlink("/proc/self/status", filepath.Join(p.app, ".env"), 33)
	f, err := Opener{User: appUser}.ReadFile(status)
	p.must(err)
	for _, want := range []string{"Uid:\t33\t33\t33\t33", "Gid:\t33\t33\t33\t33", "CapPrm:\t0000000000000000", "CapEff:\t0000000000000000"} {
		if !strings.Contains(string(f.Text), want) {
			t.Errorf("the helper has not %q:\n%s", want, f.Text)
		}
	}
	secret, err := os.Open(p.secret) // as the daemon has files of its own
	p.must(err)
	defer secret.Close()
	for fd := 3; fd < 24; fd++ {
		link := p.symlink("/proc/self/fd/"+strconv.Itoa(fd), filepath.Join(p.app, "fd"+strconv.Itoa(fd)), 33)
		if f, err := (Opener{User: appUser}).ReadFile(link); err == nil && strings.Contains(string(f.Text), "secret") {
			t.Errorf("descriptor %d of the helper can be read: %.100q", fd, f.Text)
		}
	}
}

// Watched files are resolved with the rights of the app's user.
func TestWatchesShowNothingThatTheAppCannotReach(t *testing.T) {
	p := newPlace(t)
	own := p.file(filepath.Join(p.app, "restart.txt"), "", 33, 0o644)
	foreign := p.symlink(p.secret, filepath.Join(p.app, "link"), 33)
	watches, err := Opener{User: appUser}.Watches([]string{own, foreign, p.secret})
	p.must(err)
	if len(watches[0].Files) != 1 || len(watches[1].Files) != 0 || len(watches[2].Files) != 1 {
		t.Errorf("%+v", watches)
	}
}

// A pattern or a directory shows an app only what its user can list, and an app of root only
// what others cannot exchange.
func TestPatternsShowNothingThatTheAppCannotReach(t *testing.T) {
	p := newPlace(t)
	p.file(filepath.Join(p.app, "a.py"), "", 33, 0o644)
	secrets := filepath.Join(p.root, "secrets")
	p.must(errors.Join(os.Mkdir(secrets, 0o700), os.WriteFile(filepath.Join(secrets, "key.py"), nil, 0o600)))
	p.symlink(secrets, filepath.Join(p.app, "link"), 33)
	for pattern, want := range map[string]int{
		filepath.Join(p.app, "*.py"):          1,
		filepath.Join(p.app, "link", "*.py"):  0, // root could read it
		filepath.Join(p.app, "*", "*.py"):     0,
		secrets:                               0,
		filepath.Join(secrets, "*.py"):        0,
		filepath.Join(secrets, "**", "*.py"):  0,
		filepath.Join(p.app, "**", "a.[p]?"):  1,
		filepath.Join(p.app, "nothing", "**"): 0,
	} {
		watches, err := Opener{User: appUser}.Watches([]string{pattern})
		p.must(err)
		if got := len(watches[0].Files); got != want {
			t.Errorf("%s: %d files, want %d: %v", pattern, got, want, watches[0].Files)
		}
	}
	watches, err := Opener{}.Watches([]string{secrets, p.app, filepath.Join(p.app, "*.py")})
	p.must(err)
	if len(watches[0].Files) != 1 || len(watches[1].Files) != 0 || len(watches[2].Files) != 0 {
		t.Errorf("an app of root: %+v", watches)
	}
}
