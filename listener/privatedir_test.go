package listener

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// relayGroup is the group of another process of tideover: one that no account has. A daemon that is
// not root has none.
func relayGroup() int {
	if os.Geteuid() == 0 {
		return 61001
	}
	return 0
}

// shortDir is a directory whose sockets have short paths.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "tide")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func newPrivateDir(t *testing.T) *PrivateDir {
	t.Helper()
	d := &PrivateDir{Path: filepath.Join(shortDir(t), "x.relay"), Group: relayGroup()}
	if err := d.Prepare(); err != nil {
		t.Fatal(err)
	}
	return d
}

// accessOf returns the mode, the owner and the group of a file.
func accessOf(t *testing.T, path string) (mode os.FileMode, uid, gid int) {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	st := info.Sys().(*syscall.Stat_t)
	return info.Mode().Perm(), int(st.Uid), int(st.Gid)
}

func TestOnlyTheGroupOfTheRelayEntersTheDirectoryOfPrivateSockets(t *testing.T) {
	d := newPrivateDir(t)
	want := os.FileMode(0o700)
	if d.Group != 0 {
		want = 0o750
	}
	check := func() {
		t.Helper()
		if mode, uid, gid := accessOf(t, d.Path); mode != want || uid != os.Geteuid() || d.Group != 0 && gid != d.Group {
			t.Errorf("mode %04o, uid %d, gid %d", mode, uid, gid)
		}
	}
	check()
	if err := os.Chmod(d.Path, 0o777); err != nil { // what others may do is taken back
		t.Fatal(err)
	}
	want |= 0o001
	if err := d.Prepare(); err != nil {
		t.Fatal(err)
	}
	check()
	if err := os.Remove(d.Path); err != nil {
		t.Fatal(err)
	}
	want &^= 0o001
	if err := d.Prepare(); err != nil {
		t.Fatal(err)
	}
	check()
}

func TestADirectoryOfPrivateSocketsThatAnotherHasMadeIsRefused(t *testing.T) {
	target := t.TempDir()
	for name, put := range map[string]func(path string) error{
		"symlink": func(path string) error { return os.Symlink(target, path) },
		"file":    func(path string) error { return os.WriteFile(path, nil, 0o600) },
		"of another user": func(path string) error {
			if os.Geteuid() != 0 {
				return os.Symlink(target, path)
			}
			return errors.Join(os.Mkdir(path, 0o700), os.Chown(path, 33, 33))
		},
	} {
		mode, _, gid := accessOf(t, target)
		d := &PrivateDir{Path: filepath.Join(shortDir(t), "x.relay"), Group: relayGroup()}
		if err := put(d.Path); err != nil {
			t.Fatal(err)
		}
		if err := d.Prepare(); err == nil {
			t.Errorf("%s: it is used", name)
		}
		if m, _, g := accessOf(t, target); m != mode || g != gid {
			t.Errorf("%s: the directory behind it was changed", name)
		}
	}
}

func TestASocketIsReachedByItsNameInTheDirectory(t *testing.T) {
	d := newPrivateDir(t)
	for path, want := range map[string]string{
		filepath.Join(d.Path, "shop.1.sock"): "shop.1.sock", filepath.Join(d.Path, "shop.1-x/app.sock"): "shop.1-x/app.sock",
		filepath.Join(filepath.Dir(d.Path), "shop.1.sock"): "", d.Path + "/../y.sock": "", "/y.sock": "",
	} {
		name, err := d.Name(path)
		if (err == nil) != (want != "") || err == nil && name != want {
			t.Errorf("%s: %q, %v", path, name, err)
		}
	}
}

// A cleaner of sockets removes the first name, an earlier daemon has left another socket at the
// second one, and an upgrade offers the socket anew.
func TestAPrivateSocketIsReachedByItsSecondName(t *testing.T) {
	d := newPrivateDir(t)
	first, second := filepath.Join(filepath.Dir(d.Path), "shop.12.sock"), filepath.Join(d.Path, "shop.12.sock")
	left, err := net.Listen("unix", second)
	if err != nil {
		t.Fatal(err)
	}
	left.(*net.UnixListener).SetUnlinkOnClose(false)
	left.Close()
	p, err := OpenPrivate(PrivateOptions{Family: "unix", Dir: filepath.Dir(d.Path), Name: "shop", Generation: 12})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if name, err := p.Offer(d); err != nil || name != "shop.12.sock" {
			t.Fatalf("%q, %v", name, err)
		}
		if mode, _, gid := accessOf(t, second); d.Group != 0 && (mode != 0o660 || gid != d.Group) || d.Group == 0 && mode != 0o600 {
			t.Errorf("mode %04o, gid %d", mode, gid)
		}
		conn, err := net.Dial("unix", second)
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
		os.Remove(first)
	}
	if !p.Pending() {
		t.Error("another socket was reached")
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(second); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is left: %v", second, err)
	}
}

func TestOthersPassThroughTheDirectoryWhereTheyMust(t *testing.T) {
	d := newPrivateDir(t)
	above := filepath.Dir(d.Path)
	if err := d.OpenForOthers(); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{d.Path, above} {
		if mode, _, _ := accessOf(t, dir); mode&0o007 != 0o001 {
			t.Errorf("%s has mode %04o", dir, mode)
		}
	}
	closed := filepath.Join(above, "closed")
	inner := &PrivateDir{Path: filepath.Join(closed, "run", "x.relay"), Group: d.Group}
	if err := errors.Join(os.MkdirAll(filepath.Dir(inner.Path), 0o700), inner.Prepare()); err != nil {
		t.Fatal(err)
	}
	if err := inner.OpenForOthers(); err == nil {
		t.Error("a directory that is not the daemon's to open was passed over")
	}
	if mode, _, _ := accessOf(t, closed); mode != 0o700 {
		t.Errorf("its mode is %04o now", mode)
	}
}
