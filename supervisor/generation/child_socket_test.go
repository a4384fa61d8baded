package generation

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"tideover/listener"
	"tideover/proxy/remote"
	"tideover/supervisor/config"
	"tideover/supervisor/process"
)

// rootOnly is a socket to which only the daemon's user can connect.
type rootOnly struct {
	path            string
	accepted, bytes atomic.Int64
}

func openRootOnly(t *testing.T, dir string) *rootOnly {
	t.Helper()
	s := &rootOnly{path: filepath.Join(dir, "control.sock")}
	l, err := net.Listen("unix", s.path)
	if err == nil {
		err = os.Chmod(s.path, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			s.accepted.Add(1)
			n, _ := io.Copy(io.Discard, conn)
			s.bytes.Add(n)
			conn.Close()
		}
	}()
	return s
}

// relayGroup is the group of a relay, which no account has.
const relayGroup = 61001

// access returns the group and the mode of a socket.
func access(t *testing.T, path string) (group int, mode os.FileMode) {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		t.Fatal(err)
	}
	return int(st.Gid), os.FileMode(st.Mode).Perm()
}

// newChildSocket makes a scratch directory and starts a program that listens in it.
func newChildSocket(t *testing.T, user *process.User, program string) (*childSocket, *testProcess) {
	t.Helper()
	parent := os.TempDir() // the user cannot enter another one
	if user == nil {
		parent = shortDir(t)
	}
	dir, err := LaunchSpec{App: &config.App{Name: "shop"}, Number: 1, User: user}.scratch(parent, func(string) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	c := &childSocket{user: user, path: filepath.Join(childDir(dir), "app.sock"), link: filepath.Join(dir, "app.sock")}
	if os.Geteuid() == 0 {
		c.relay = &listener.PrivateDir{Path: parent, Group: relayGroup}
	}
	p, child := startTree(t, user, program, "unix", c.path)
	c.process = p
	child.want("ready")
	return c, child
}

func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "tide")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// The app may set the mode of its socket at any time, and give it to another group of its user.
func TestTheRelaysGroupReachesTheChildsSocket(t *testing.T) {
	app, _ := otherUsers()
	c, _ := newChildSocket(t, app, "listen")
	for _, mode := range []os.FileMode{0o755, 0o600, 0o666, 0o000} {
		if err := os.Chmod(c.path, mode); err != nil {
			t.Fatal(err)
		}
		group, _ := access(t, c.path)
		if _, err := c.prove(); err != nil {
			t.Fatalf("%04o: %v", mode, err)
		}
		if app == nil {
			if _, is := access(t, c.link); is != mode {
				t.Errorf("%04o: the relay has the daemon's user, and the mode is %04o now", mode, is)
			}
			continue
		}
		if group, is := access(t, c.link); group != relayGroup || is != mode|0o060 {
			t.Errorf("%04o: it has group %d and mode %04o", mode, group, is)
		}
		if err := os.Lchown(c.path, -1, group); err != nil {
			t.Fatal(err)
		}
	}
}

func inodeOf(t *testing.T, path string) uint64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return st.Ino
}

func TestTheSocketOfTheTreeIsProven(t *testing.T) {
	app, _ := otherUsers()
	for _, program := range []string{"listen", "inherit"} {
		t.Run(program, func(t *testing.T) {
			c, _ := newChildSocket(t, app, program)
			for range 2 { // the second time the link is there already
				p, err := c.prove()
				if err != nil || !p.holds() {
					t.Fatal(err)
				}
				if inodeOf(t, c.link) != inodeOf(t, c.path) {
					t.Error("the link is another socket")
				}
			}
			if err := os.Remove(c.path); err != nil {
				t.Fatal(err)
			}
			if _, err := c.prove(); err != nil {
				t.Errorf("after the app has removed its name of the socket: %v", err)
			}
			if names, _ := os.ReadDir(filepath.Dir(c.link)); len(names) != 2 { // with the child's directory
				t.Errorf("left behind: %v", names)
			}
		})
	}
}

// What the app puts in the place of its socket is not connected to, and the daemon goes on with
// the socket that was proven.
func TestAFileInThePlaceOfTheSocketIsNotConnectedTo(t *testing.T) {
	app, _ := otherUsers()
	c, _ := newChildSocket(t, app, "listen")
	if _, err := c.prove(); err != nil {
		t.Fatal(err)
	}
	proven := inodeOf(t, c.link)
	target := openRootOnly(t, filepath.Dir(c.link))
	group, mode := access(t, target.path)
	for name, put := range map[string]func() error{
		"symlink":      func() error { return os.Symlink(target.path, c.path) },
		"regular file": func() error { return os.WriteFile(c.path, nil, 0o666) },
		"directory":    func() error { return os.Mkdir(c.path, 0o777) },
		"FIFO":         func() error { return unix.Mkfifo(c.path, 0o666) },
		"hard link": func() error {
			if app == nil { // of the same user: there is nothing to be gained
				return os.Symlink(target.path, c.path)
			}
			return os.Link(target.path, c.path)
		},
		"bind mount": func() error {
			if err := os.WriteFile(c.path, nil, 0o666); err != nil || app == nil {
				return err
			}
			err := unix.Mount(target.path, c.path, "", unix.MS_BIND, "")
			if errors.Is(err, unix.EPERM) { // in a container: what is left is a regular file
				return nil
			}
			t.Cleanup(func() { unix.Unmount(c.path, unix.MNT_DETACH) })
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			if err := errors.Join(os.Rename(c.path, c.path+".old"), put()); err != nil {
				t.Fatal(err)
			}
			if _, err := c.prove(); err != nil || inodeOf(t, c.link) != proven {
				t.Errorf("%v; the link is inode %d, want %d", err, inodeOf(t, c.link), proven)
			}
			if err := os.Remove(c.link); err != nil {
				t.Fatal(err)
			}
			if _, err := c.prove(); err == nil {
				t.Error("proven")
			} else {
				t.Log(err)
			}
			if _, err := os.Lstat(c.link); target.accepted.Load() != 0 || err == nil {
				t.Errorf("%d connections to the socket of root; link: %v", target.accepted.Load(), err)
			}
			if g, m := access(t, target.path); g != group || m != mode {
				t.Errorf("the socket of root has group %d and mode %04o now", g, m)
			}
			unix.Unmount(c.path, unix.MNT_DETACH)
			if err := errors.Join(os.RemoveAll(c.path), os.Rename(c.path+".old", c.path)); err != nil {
				t.Fatal(err)
			}
			if _, err := c.prove(); err != nil || inodeOf(t, c.link) != proven {
				t.Errorf("afterwards: %v", err)
			}
		})
	}
}

// A socket of the app's user that a process outside of the tree listens on gets no byte.
func TestASocketOfAnotherProcessIsNotTheChilds(t *testing.T) {
	app, _ := otherUsers()
	c, _ := newChildSocket(t, app, "listen")
	uid := os.Geteuid()
	if app != nil {
		uid = int(app.UID)
	}
	if err := os.Rename(c.path, c.path+".old"); err != nil {
		t.Fatal(err)
	}
	other := startStranger(t, uid, "listen", "unix", c.path)
	other.want("ready")
	_, err := c.prove()
	var stranger *strangerError
	if !errors.As(err, &stranger) || !strings.Contains(stranger.process, "pid ") {
		t.Errorf("error %v", err)
	}
	if line := other.signal(unix.SIGUSR1).want("accepted"); !strings.HasSuffix(line, "bytes 0") {
		t.Error(line)
	}
	if _, err := os.Lstat(c.link); err == nil {
		t.Error("there is a link to it")
	}
	t.Log(err)
}

// A process of the app's user exchanges its socket for others as fast as it can while the socket
// is proven and dialled.
func TestNoRaceOfSwapsReachesASocketOfRoot(t *testing.T) {
	const swaps = 10_000
	app, _ := otherUsers()
	c, _ := newChildSocket(t, app, "listen")
	own := inodeOf(t, c.path)
	target := openRootOnly(t, filepath.Dir(c.link))
	symlink, hard, uid := c.path+".symlink", c.path+".hard", os.Geteuid()
	err := os.Symlink(target.path, symlink)
	if app != nil {
		uid = int(app.UID)
		err = errors.Join(err, os.Lchown(symlink, uid, uid), os.Link(target.path, hard))
	} else { // a socket of the same user may be connected to, though no byte is sent
		err = errors.Join(err, os.Symlink(target.path, hard))
	}
	if err != nil {
		t.Fatal(err)
	}
	swapper := startStranger(t, uid, "swap", c.path, strconv.Itoa(swaps), symlink, hard)
	swapper.want("ready")
	over := make(chan string, 1)
	go func() { over <- swapper.want("swapped") }()
	proven, refused, dialled, swapped := 0, 0, 0, false
	for !swapped || proven < 50 || refused < 50 {
		select {
		case <-over:
			swapped = true
		default:
		}
		os.Remove(c.link)
		if _, err := c.prove(); err != nil {
			refused++
			continue
		}
		proven++
		if inode := inodeOf(t, c.link); inode != own {
			t.Fatalf("the link is inode %d, want %d", inode, own)
		}
		if conn, err := net.Dial("unix", c.link); err == nil {
			dialled++
			conn.Close()
		}
	}
	t.Logf("%d swaps; %d times proven, %d times refused, %d connections; %d to the socket of root", swaps, proven, refused, dialled, target.accepted.Load())
	if target.accepted.Load() != 0 {
		t.Errorf("%d connections to the socket of root", target.accepted.Load())
	}
	if group, mode := access(t, target.path); group != os.Getegid() || mode != 0o600 {
		t.Errorf("the socket of root has group %d and mode %04o now", group, mode)
	}
}

// The app's user cannot move away the directory that was made for it, nor anything beside it.
func TestTheDirectoryOfTheSocketCannotBeReplaced(t *testing.T) {
	app, other := otherUsers()
	c, _ := newChildSocket(t, app, "listen")
	if _, err := c.prove(); err != nil {
		t.Fatal(err)
	}
	scratch := filepath.Dir(c.link)
	if app == nil { // every process of the user can; other users cannot even enter it
		if info, err := os.Stat(scratch); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%v, %v", info.Mode(), err)
		}
		return
	}
	for _, uid := range []int{int(app.UID), other} {
		for _, path := range []string{scratch, childDir(scratch), c.link} {
			startStranger(t, uid, "rename", path, filepath.Join(os.TempDir(), "aside")).want("error")
			startStranger(t, uid, "rename", path, filepath.Join(childDir(scratch), "aside")).want("error")
			if _, err := os.Lstat(path); err != nil {
				t.Errorf("uid %d: %v", uid, err)
			}
		}
	}
}

func TestASharedTemporaryDirectoryIsRefused(t *testing.T) {
	dir := t.TempDir()
	if err := checkOwnership(dir); err != nil {
		t.Fatal(err)
	}
	shared := filepath.Join(dir, "shared")
	if err := errors.Join(os.Mkdir(shared, 0o777), os.Chmod(shared, 0o777)); err != nil {
		t.Fatal(err)
	}
	if err := checkOwnership(filepath.Join(shared)); err == nil {
		t.Error("a directory in which every user can replace files")
	}
	if err := os.Chmod(shared, 0o777|os.ModeSticky); err != nil {
		t.Fatal(err)
	}
	if err := checkOwnership(shared); err != nil {
		t.Errorf("sticky: %v", err)
	}
	if app, _ := otherUsers(); app != nil {
		if err := os.Chown(dir, int(app.UID), int(app.GID)); err != nil {
			t.Fatal(err)
		}
		if err := checkOwnership(shared); err == nil {
			t.Error("a directory in one of the app's user")
		}
	}
}

// The child may close its socket and open another one: that is proven, too.
func TestANewSocketOfTheTreeIsProvenAgain(t *testing.T) {
	app, _ := otherUsers()
	c, child := newChildSocket(t, app, "listen")
	l := &childListener{address: c.path, network: "unix", dialed: c.link, prove: c.prove, lost: make(chan struct{}, 1)}
	askLocal(l, "unix", c.link)
	if !connects(t, l) {
		t.Fatal("not connected")
	}
	child.signal(unix.SIGUSR1).want("accepted")
	if connects(t, l) {
		t.Fatal("connected to a closed socket")
	}
	if l.present.Load() != nil {
		t.Error("not suspended")
	}
	if _, err := l.ask(t.Context(), remote.Probe{}); !errors.Is(err, errNotListening) || !strings.Contains(l.Problem(), "nothing listens") {
		t.Errorf("error %v, problem %q", err, l.Problem())
	}
	child.signal(unix.SIGUSR2).want("ready")
	if !connects(t, l) {
		t.Fatal("not connected again")
	}
	if l.Problem() != "" {
		t.Error(l.Problem())
	}
}
