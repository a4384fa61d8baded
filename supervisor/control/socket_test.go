package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"tideover/supervisor/api"
)

func TestListenMakesAPrivateSocket(t *testing.T) {
	t.Parallel()
	own := strconv.Itoa(os.Getegid())
	for _, c := range []struct {
		group                   string
		mode, directory, socket fs.FileMode
	}{
		{"", 0, 0o700, 0o600},
		{own, 0, 0o750, 0o660},
		{own, 0o640, 0o750, 0o640},
	} {
		dir := filepath.Join(t.TempDir(), "a", "tideover")
		socket, err := Listen(SocketOptions{Path: filepath.Join(dir, "control.sock"), Group: c.group, Mode: c.mode})
		if err != nil {
			t.Fatal(err)
		}
		if got := modeOf(t, dir); got != c.directory {
			t.Errorf("group %q: directory %04o, want %04o", c.group, got, c.directory)
		}
		if got := modeOf(t, socket.Path()); got != c.socket {
			t.Errorf("group %q: socket %04o, want %04o", c.group, got, c.socket)
		}
		if err := socket.Close(); err != nil {
			t.Error(err)
		}
		if left, _ := os.ReadDir(dir); len(left) != 0 {
			t.Errorf("left behind after Close: %v", left)
		}
	}
}

func TestListenRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		prepare func(t *testing.T, dir string) SocketOptions
		exit    api.Exit
		message string
	}{
		{"a directory others may write in", func(t *testing.T, dir string) SocketOptions {
			must(t, os.Chmod(dir, 0o777))
			return SocketOptions{Path: filepath.Join(dir, "control.sock")}
		}, api.ExitDenied, "others may write"},
		{"a directory that is a symbolic link", func(t *testing.T, dir string) SocketOptions {
			link := filepath.Join(dir, "link")
			must(t, os.Symlink(t.TempDir(), link))
			return SocketOptions{Path: filepath.Join(link, "control.sock")}
		}, api.ExitError, "cannot use the directory"},
		{"a file that is no socket", func(t *testing.T, dir string) SocketOptions {
			path := filepath.Join(dir, "control.sock")
			must(t, os.WriteFile(path, []byte("precious"), 0o600))
			return SocketOptions{Path: path}
		}, api.ExitConfig, "is not a socket"},
		{"a live daemon", func(t *testing.T, dir string) SocketOptions {
			path := filepath.Join(dir, "shop.sock")
			socket, err := Listen(SocketOptions{Path: path})
			must(t, err)
			t.Cleanup(func() { socket.Close() })
			return SocketOptions{Path: path, Name: "shop"}
		}, api.ExitBusy, fmt.Sprintf("a daemon for shop already runs, pid %d", os.Getpid())},
		{"a live socket of another program", func(t *testing.T, dir string) SocketOptions {
			path := filepath.Join(dir, "shop.sock")
			listener, err := net.Listen("unix", path)
			must(t, err)
			t.Cleanup(func() { listener.Close() })
			return SocketOptions{Path: path}
		}, api.ExitBusy, "already runs"},
		{"a path the kernel cannot take", func(t *testing.T, dir string) SocketOptions {
			return SocketOptions{Path: filepath.Join(dir, strings.Repeat("x", 108))}
		}, api.ExitConfig, "the kernel takes 107"},
		{"an unknown group", func(t *testing.T, dir string) SocketOptions {
			return SocketOptions{Path: filepath.Join(dir, "control.sock"), Group: "no-such-group"}
		}, api.ExitConfig, "no group"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			o := c.prepare(t, privateDir(t))
			socket, err := Listen(o)
			if err == nil {
				socket.Close()
				t.Fatal("accepted")
			}
			if exitOf(err) != c.exit || !strings.Contains(err.Error(), c.message) {
				t.Errorf("exit %d, %q; want exit %d and %q", exitOf(err), err, c.exit, c.message)
			}
			if content, err := os.ReadFile(o.Path); err == nil && string(content) != "precious" {
				t.Errorf("the file there was changed to %q", content)
			}
		})
	}
}

// With socket = "/run/x.sock", /run stays what it is.
func TestTheDirectoryOfASocketIsGivenToNoGroupIfItWasThere(t *testing.T) {
	t.Parallel()
	group := os.Getegid()
	if os.Geteuid() == 0 {
		group = 4711
	}
	for _, mode := range []fs.FileMode{0o700, 0o750, 0o755, 0o711} {
		dir := privateDir(t)
		must(t, os.Chmod(dir, mode))
		before, err := os.Stat(dir)
		must(t, err)
		socket, err := Listen(SocketOptions{Path: filepath.Join(dir, "x.sock"), Group: strconv.Itoa(group)})
		must(t, err)
		canEnter, warning := mode&0o001 != 0 || mode&0o010 != 0 && group == os.Getegid(), socket.Warning()
		if canEnter != (warning == nil) || warning != nil && !strings.Contains(warning.Hint, "chmod g+rx "+dir) {
			t.Errorf("%04o: %v", mode, warning)
		}
		must(t, socket.Close())
		after, err := os.Stat(dir)
		must(t, err)
		if b, a := before.Sys().(*syscall.Stat_t), after.Sys().(*syscall.Stat_t); a.Gid != b.Gid || a.Mode != b.Mode {
			t.Errorf("gid %d, mode %o became gid %d, mode %o", b.Gid, b.Mode, a.Gid, a.Mode)
		}
	}
}

func TestListenReplacesADeadSocket(t *testing.T) {
	t.Parallel()
	path := filepath.Join(privateDir(t), "control.sock")
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: path})
	must(t, err)
	dead.SetUnlinkOnClose(false)
	must(t, dead.Close())

	socket, err := Listen(SocketOptions{Path: path})
	must(t, err)
	defer socket.Close()
	if pid, err := listenerPid(path); err != nil || pid != os.Getpid() {
		t.Errorf("listener is pid %d (%v), want %d", pid, err, os.Getpid())
	}
}

func TestOfManyDaemonsAtOnceOneListens(t *testing.T) {
	t.Parallel()
	path := filepath.Join(privateDir(t), "control.sock")
	sockets := make([]*Socket, 20)
	var starts sync.WaitGroup
	for i := range sockets {
		starts.Go(func() { sockets[i], _ = Listen(SocketOptions{Path: path}) })
	}
	starts.Wait()
	winners := 0
	for _, s := range sockets {
		if s != nil {
			winners++
			defer s.Close()
		}
	}
	if winners != 1 {
		t.Errorf("%d daemons listen, want 1", winners)
	}
}

// findable reports whether commands find the daemon of a socket.
func findable(socket *Socket) bool {
	_, err := NewClient(socket.Path()).Status(context.Background())
	paths, listed := socketsIn(filepath.Dir(socket.Path()))
	return err == nil && listed == nil && slices.Contains(paths, socket.Path())
}

// untilFindable waits until it is.
func untilFindable(t *testing.T, socket *Socket) {
	t.Helper()
	deadline := time.After(time.Minute)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !findable(socket) {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("the daemon is not found")
		}
	}
}

func TestAControlSocketWhoseFilesAreRemovedIsFoundAgain(t *testing.T) {
	t.Parallel()
	for name, remove := range map[string]func(path string) error{
		"socket":    os.Remove,
		"lock file": func(path string) error { return os.Remove(path + lockSuffix) },
		"directory": func(path string) (err error) {
			for err = syscall.ENOTEMPTY; errors.Is(err, syscall.ENOTEMPTY); { // the daemon binds again meanwhile
				err = os.RemoveAll(filepath.Dir(path))
			}
			return err
		},
		"moved away": func(path string) error { return os.Rename(path, path+".old") },
		"replaced by a dead socket": func(path string) error {
			dead, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: path + ".dead"})
			if err != nil {
				return err
			}
			dead.SetUnlinkOnClose(false)
			return errors.Join(dead.Close(), os.Rename(path+".dead", path))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			socket := serve(t, newFake("shop"), SocketOptions{Mode: 0o640})
			for range 2 {
				must(t, remove(socket.Path()))
				untilFindable(t, socket)
			}
			if mode := modeOf(t, socket.Path()); mode != 0o640 {
				t.Errorf("mode %o", mode)
			}
			if second, err := Listen(SocketOptions{Path: socket.Path()}); err == nil {
				second.Close()
				t.Error("a second daemon listens there")
			}
		})
	}
}

// A directory that is removed again while the socket is bound is one of the reasons.
func TestASocketThatCannotBeBoundAgainIsKeptUntilOneCan(t *testing.T) {
	t.Parallel()
	path := filepath.Join(privateDir(t), "control.sock")
	failure := error(nil)
	socket, err := Listen(SocketOptions{Path: path, Listens: func(syscall.Conn) error { return failure }})
	must(t, err)
	t.Cleanup(func() { socket.Close() })
	first := socket.listener
	must(t, os.Remove(path))
	failure = errors.New("no descriptor is left")
	if made, err := socket.Rebind(); !errors.Is(err, failure) || made.fresh != nil || socket.listener != first {
		t.Errorf("%+v, %v", made, err)
	}
	failure = nil
	if made, err := socket.Rebind(); err != nil || made.former != first || made.fresh == nil {
		t.Errorf("%+v, %v", made, err)
	}
	must(t, first.Close())
}

// A second daemon that has started meanwhile, or another process, keeps what it has.
func TestAControlSocketIsNotTakenFromAnotherProcess(t *testing.T) {
	t.Parallel()
	for name, put := range map[string]func(path string) (check func() error){
		"a second daemon": func(path string) func() error {
			second, err := Listen(SocketOptions{Path: path})
			must(t, err)
			return func() error {
				if !second.isThereLocked() || !isCurrentFile(second.lock, path+lockSuffix) {
					return errors.New("its files were replaced")
				}
				return second.Close()
			}
		},
		"a socket": func(path string) func() error {
			l, err := net.Listen("unix", path)
			must(t, err)
			return l.Close
		},
		"a file": func(path string) func() error {
			must(t, os.WriteFile(path, []byte("precious"), 0o600))
			return func() error {
				_, err := os.ReadFile(path)
				return err
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(privateDir(t), "control.sock")
			socket, err := Listen(SocketOptions{Path: path})
			must(t, err)
			must(t, os.Remove(path), os.Remove(path+lockSuffix))
			check := put(path)
			if made, err := socket.Rebind(); err == nil || made.fresh != nil {
				t.Errorf("%+v, %v", made, err)
			}
			must(t, socket.Close(), check())
		})
	}
}

// A command that connected before the removal gets its answer.
func TestWhatWaitsOnARemovedControlSocketIsAnswered(t *testing.T) {
	t.Parallel()
	d := newFake("shop")
	socket := serve(t, d, SocketOptions{})
	conn, err := net.Dial("unix", socket.Path())
	must(t, err, os.Remove(socket.Path()))
	defer conn.Close()
	untilFindable(t, socket)
	_, err = io.WriteString(conn, "GET /v1/status HTTP/1.1\r\nHost: tideover\r\n\r\n")
	must(t, err)
	answer := make([]byte, 12)
	if _, err := io.ReadFull(conn, answer); err != nil || string(answer) != "HTTP/1.1 200" {
		t.Errorf("%q, %v", answer, err)
	}
}

// privateDir is a directory of 0700 with a name short enough for a socket in it.
func privateDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "tc")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func modeOf(t *testing.T, path string) fs.FileMode {
	t.Helper()
	info, err := os.Stat(path)
	must(t, err)
	return info.Mode().Perm()
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}
