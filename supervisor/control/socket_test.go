package control

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

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
