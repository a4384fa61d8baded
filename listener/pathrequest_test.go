package listener

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// asOther has the helper process act as otherUser.
func asOther(string) (*User, error) {
	uid := otherUser()
	gid := uid
	if os.Geteuid() != 0 {
		gid = uint32(os.Getegid())
	}
	return &User{UID: uid, GID: gid}, nil
}

// othersDir returns a directory of otherUser with a short path.
func othersDir(t *testing.T, name string) string {
	t.Helper()
	parent, err := os.MkdirTemp("/tmp", "path-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(parent) })
	dir := filepath.Join(parent, name)
	err = os.Mkdir(dir, 0o755)
	for _, path := range []string{parent, dir} { // the user exchanges entries of the parent
		err = errors.Join(err, os.Chmod(path, 0o755))
		if os.Geteuid() == 0 {
			err = errors.Join(err, os.Chown(path, int(otherUser()), int(otherUser())))
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// peerPid is the process that a client of a unix socket sees (SO_PEERCRED).
func peerPid(t *testing.T, path string) int {
	t.Helper()
	raw, err := dial(t, "unix", path).(*net.UnixConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	pid := 0
	raw.Control(func(fd uintptr) {
		if peer, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			pid = int(peer.Pid)
		}
	})
	return pid
}

func TestASocketInADirectoryOfTheAppsUserIsMadeAndRemovedAsThatUser(t *testing.T) {
	path := filepath.Join(othersDir(t, "run"), "shop.sock")
	options := Options{Mode: 0o660, As: asOther}
	first := open(t, Address{"unix", path}, options)
	check := func(what string) {
		t.Helper()
		st := statOf(t, path)
		if st.Uid != otherUser() || os.FileMode(st.Mode).Perm() != 0o660 {
			t.Errorf("%s: uid %d, mode %v", what, st.Uid, os.FileMode(st.Mode).Perm())
		}
		if pid := peerPid(t, path); pid != os.Getpid() {
			t.Errorf("%s: pid %d serves, want %d", what, pid, os.Getpid())
		}
	}
	check("opened")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	again := rebind(t, first)
	check("bound again")
	replaced, err := again.Replace()
	if err != nil {
		t.Fatal(err)
	}
	defer replaced.Close()
	check("replaced")
	taken := make(chan *Public, 1)
	armed := make(chan struct{})
	go func() {
		fresh, err := replaced.TakePath(t.Context(), func() { close(armed) })
		if err != nil {
			t.Error(err)
		}
		taken <- fresh
	}()
	<-armed
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	fresh := <-taken
	if fresh == nil {
		t.Fatal("the path was not taken")
	}
	check("taken")
	if err := fresh.Close(); err != nil {
		t.Error(err)
	}
	if left, _ := os.ReadDir(filepath.Dir(path)); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
	// A socket that a process has left is replaced, one that serves is not.
	stale := open(t, Address{"unix", path}, options)
	stale.file.pin.Close()
	stale.file = nil
	stale.Close()
	live := open(t, Address{"unix", path}, options)
	defer live.Close()
	var failed *OpenError
	if p, err := Open(Address{"unix", path}, options); !errors.As(err, &failed) || !errors.Is(err, errInUse) || failed.Holder == "" {
		t.Errorf("%v, %v; want an *OpenError with the holder", p, err)
	}
}

// rootsDir makes a directory that otherUser cannot write in, with sockets of every name that a Public
// uses. What it has must never change.
func rootsDir(t *testing.T) (dir string, check func()) {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "root-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		os.Chmod(dir, 0o700)
		os.RemoveAll(dir)
	})
	for _, name := range []string{"shop.sock", "shop.sock.new"} { // no process listens on them
		l, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: filepath.Join(dir, name)})
		if err != nil {
			t.Fatal(err)
		}
		l.SetUnlinkOnClose(false)
		l.Close()
		if err := os.Chmod(filepath.Join(dir, name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(dir, 0o555); err != nil {
		t.Fatal(err)
	}
	list := func() map[string]string {
		all := map[string]string{}
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			st := statOf(t, filepath.Join(dir, e.Name()))
			all[e.Name()] = fmt.Sprintf("inode %d %v %d:%d", st.Ino, os.FileMode(st.Mode), st.Uid, st.Gid)
		}
		return all
	}
	before := list()
	return dir, func() {
		t.Helper()
		if now := list(); len(before) != 2 || !maps.Equal(before, now) {
			t.Errorf("root's directory has %v, want %v", now, before)
		}
	}
}

// swapPaths exchanges two names until its standard input ends, at least 10,000 times.
func swapPaths() {
	fmt.Println("begun")
	ended := make(chan struct{})
	go func() {
		io.Copy(io.Discard, os.Stdin)
		close(ended)
	}()
	for n := 0; ; n++ {
		if err := unix.Renameat2(unix.AT_FDCWD, os.Getenv("ONE"), unix.AT_FDCWD, os.Getenv("OTHER"), unix.RENAME_EXCHANGE); err != nil {
			panic(err)
		}
		select {
		case <-ended:
			if n >= 10_000 {
				fmt.Println(n)
				return
			}
		default:
		}
	}
}

// The app's user makes each step on the path of its public socket lead to root's directory, once and
// in a race. Root's sockets stay as they are.
func TestNoSocketOfRootIsTouchedThroughADirectoryOfTheAppsUser(t *testing.T) {
	attacks := map[string]func(t *testing.T, run, roots string){
		"directory-is-a-symlink": func(t *testing.T, run, roots string) {
			if err := errors.Join(os.Rename(run, run+".own"), os.Symlink(roots, run)); err != nil {
				t.Fatal(err)
			}
		},
		"socket-is-a-symlink": func(t *testing.T, run, roots string) {
			for _, name := range []string{"shop.sock", "shop.sock.new"} {
				os.Remove(filepath.Join(run, name))
				if err := os.Symlink(filepath.Join(roots, name), filepath.Join(run, name)); err != nil {
					t.Fatal(err)
				}
			}
		},
		"socket-is-a-hard-link": func(t *testing.T, run, roots string) { // as root: fs.protected_hardlinks forbids it to others
			os.Remove(filepath.Join(run, "shop.sock"))
			if err := os.Link(filepath.Join(roots, "shop.sock"), filepath.Join(run, "shop.sock")); err != nil {
				t.Fatal(err)
			}
		},
		"bind-mount": func(t *testing.T, run, roots string) {
			err := unix.Mount(roots, run, "", unix.MS_BIND, "")
			if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) { // no CAP_SYS_ADMIN: the same by a symlink
				err = errors.Join(os.Rename(run, run+".own"), os.Symlink(roots, run))
			} else {
				t.Cleanup(func() { unix.Unmount(run, unix.MNT_DETACH) })
			}
			if err != nil {
				t.Fatal(err)
			}
		},
		"race": func(t *testing.T, run, roots string) {
			if err := os.Symlink(roots, run+".evil"); err != nil {
				t.Fatal(err)
			}
			usedPrograms.Store("swap paths", true)
			cmd := exec.Command("/proc/self/exe", "testprogram", "swap paths")
			cmd.Env, cmd.Stderr = []string{"ONE=" + run, "OTHER=" + run + ".evil"}, os.Stderr
			if os.Geteuid() == 0 {
				cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: otherUser(), Gid: otherUser()}}
			}
			c := startChild(t, cmd)
			c.line(t)
			t.Cleanup(func() {
				c.stdin.Close()
				t.Log("exchanges:", c.line(t))
			})
		},
	}
	for name, attack := range attacks {
		t.Run(name, func(t *testing.T) {
			run := othersDir(t, "run")
			roots, check := rootsDir(t)
			t.Cleanup(check) // after the last exchange
			path := filepath.Join(run, "shop.sock")
			p := open(t, Address{"unix", path}, Options{As: asOther})
			attack(t, run, roots)
			made := []*Public{p}
			turns := 1
			if name == "race" {
				turns = 15
			}
			for range turns {
				current := made[len(made)-1]
				current.probeRivalNow()
				for _, make := range []func() (*Public, error){
					current.Rebind,
					current.Replace,
					func() (*Public, error) { return Open(Address{"unix", path}, Options{As: asOther}) },
					func() (*Public, error) {
						ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
						defer cancel()
						return current.TakePath(ctx, func() {})
					},
				} {
					if fresh, err := make(); err == nil && fresh != nil { // an error is the defence
						made = append(made, fresh)
					}
				}
			}
			for _, p := range made {
				p.Close()
			}
			check()
		})
	}
}

func TestAnErrorOfTheUserSaysAsWhom(t *testing.T) {
	roots, check := rootsDir(t)
	_, err := Open(Address{"unix", filepath.Join(roots, "new.sock")}, Options{As: asOther})
	if err == nil || !errors.Is(err, unix.EACCES) || !strings.Contains(err.Error(), fmt.Sprintf("uid %d may not", otherUser())) {
		t.Errorf("%v", err)
	}
	check()
	refused := errors.New("www-data can change it")
	if _, err := Open(Address{"unix", "/tmp/x.sock"}, Options{As: func(string) (*User, error) { return nil, refused }}); !errors.Is(err, refused) {
		t.Errorf("%v, want %v", err, refused)
	}
}
