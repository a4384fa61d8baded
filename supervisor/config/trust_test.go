package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
)

const otherUser = 1000

// trustedDir is a directory that only the user of the test can change.
func trustedDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	must(t, os.Chmod(dir, 0o755), os.Chmod(filepath.Dir(dir), 0o755))
	return dir
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// write makes a file with a mode, whatever the umask is.
func write(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	must(t, os.WriteFile(path, []byte(text), 0o600), os.Chmod(path, mode))
}

func TestRootTakesNoConfigurationThatOthersCanChange(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("not root; TestAnUntrustedFileIsAnErrorOfTheConfiguration has the rule for other users")
	}
	t.Parallel()
	for _, c := range []struct {
		name    string
		prepare func(t *testing.T, dir string) (path string)
		want    string // in the error; empty: it is opened
	}{
		{"a file of its own", func(t *testing.T, dir string) string {
			write(t, dir+"/f", "", 0o644)
			return dir + "/f"
		}, ""},
		{"a file of another user", func(t *testing.T, dir string) string {
			write(t, dir+"/f", "", 0o644)
			must(t, os.Chown(dir+"/f", otherUser, 0))
			return dir + "/f"
		}, " can change it"},
		{"a hard link to a file of another user", func(t *testing.T, dir string) string {
			write(t, dir+"/theirs", "", 0o644)
			must(t, os.Chown(dir+"/theirs", otherUser, 0), os.Link(dir+"/theirs", dir+"/f"))
			return dir + "/f"
		}, " can change it"},
		{"a file that its group may write", func(t *testing.T, dir string) string {
			write(t, dir+"/f", "", 0o664)
			must(t, os.Chown(dir+"/f", -1, 33))
			return dir + "/f"
		}, " can change it"},
		{"a file that the group of gid 0 may write", func(t *testing.T, dir string) string {
			write(t, dir+"/f", "", 0o664)
			must(t, os.Chown(dir+"/f", -1, 0))
			return dir + "/f"
		}, ""},
		{"a file that everybody may write", func(t *testing.T, dir string) string {
			write(t, dir+"/f", "", 0o646)
			return dir + "/f"
		}, "every user can change it"},
		{"a directory where everybody may write", func(t *testing.T, dir string) string {
			write(t, dir+"/f", "", 0o600)
			must(t, os.Chmod(dir, 0o777))
			return dir + "/f"
		}, "every user can change "},
		{"a directory above it where everybody may write", func(t *testing.T, dir string) string {
			must(t, os.Mkdir(dir+"/d", 0o700))
			write(t, dir+"/d/f", "", 0o600)
			must(t, os.Chmod(dir, 0o777))
			return dir + "/d/f"
		}, "every user can change "},
		{"a directory where a group may write", func(t *testing.T, dir string) string {
			write(t, dir+"/f", "", 0o600)
			must(t, os.Chown(dir, -1, 33), os.Chmod(dir, 0o775))
			return dir + "/f"
		}, " can change "},
		{"a directory with the sticky bit", func(t *testing.T, dir string) string {
			write(t, dir+"/f", "", 0o600)
			must(t, os.Chmod(dir, 0o777|os.ModeSticky))
			return dir + "/f"
		}, ""},
		{"a file of another user in a directory with the sticky bit", func(t *testing.T, dir string) string {
			write(t, dir+"/f", "", 0o600)
			must(t, os.Chown(dir+"/f", otherUser, 0), os.Chmod(dir, 0o777|os.ModeSticky))
			return dir + "/f"
		}, " can change it"},
		{"a directory of another user", func(t *testing.T, dir string) string {
			write(t, dir+"/f", "", 0o600)
			must(t, os.Chown(dir, otherUser, 0))
			return dir + "/f"
		}, " can change "},
		{"a directory of another user above it", func(t *testing.T, dir string) string {
			must(t, os.Mkdir(dir+"/d", 0o700))
			write(t, dir+"/d/f", "", 0o600)
			must(t, os.Chown(dir, otherUser, 0))
			return dir + "/d/f"
		}, " can change "},
		{"its own symbolic link to its own file", func(t *testing.T, dir string) string {
			must(t, os.Mkdir(dir+"/d", 0o700), os.Symlink("d/../d/g", dir+"/f"))
			write(t, dir+"/d/g", "", 0o600)
			return dir + "/f"
		}, ""},
		{"an absolute symbolic link to a directory", func(t *testing.T, dir string) string {
			must(t, os.Mkdir(dir+"/d", 0o700), os.Symlink(dir+"/d", dir+"/current"))
			write(t, dir+"/d/f", "", 0o600)
			return dir + "/current/f"
		}, ""},
		{"its own symbolic link to a file of another user", func(t *testing.T, dir string) string {
			write(t, dir+"/g", "", 0o600)
			must(t, os.Chown(dir+"/g", otherUser, 0), os.Symlink("g", dir+"/f"))
			return dir + "/f"
		}, " can change "},
		{"its own symbolic link into a directory of another user", func(t *testing.T, dir string) string {
			must(t, os.Mkdir(dir+"/d", 0o755), os.Symlink("d/g", dir+"/f"))
			write(t, dir+"/d/g", "", 0o600)
			must(t, os.Chown(dir+"/d", otherUser, 0))
			return dir + "/f"
		}, " can change "},
		{"a symbolic link of another user in a directory with the sticky bit", func(t *testing.T, dir string) string {
			write(t, dir+"/g", "", 0o600)
			must(t, os.Symlink("g", dir+"/f"), os.Lchown(dir+"/f", otherUser, 0), os.Chmod(dir, 0o777|os.ModeSticky))
			return dir + "/f"
		}, " can change it"},
		{"a missing file", func(t *testing.T, dir string) string { return dir + "/f" }, "no such file"},
		{"a loop of symbolic links", func(t *testing.T, dir string) string {
			must(t, os.Symlink("f", dir+"/f"))
			return dir + "/f"
		}, "too many levels"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f, err := openAsRoot(c.prepare(t, trustedDir(t)))
			if err == nil {
				defer f.Close()
			}
			var untrusted *untrustedError
			switch {
			case c.want == "" && err != nil:
				t.Error(err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("%v, want %q", err, c.want)
			case errors.As(err, &untrusted) && untrusted.hint == "":
				t.Error("no hint")
			}
		})
	}
}

// A directory is exchanged in a loop while its file is opened: by another one, and by a
// symbolic link. What is opened is always the trusted file, or nothing.
func TestADirectoryThatIsExchangedLeadsToNoOtherFile(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	t.Parallel()
	dir := trustedDir(t)
	theirs := t.TempDir()
	must(t, os.Chmod(theirs, 0o755), os.Mkdir(dir+"/d", 0o755), os.Mkdir(theirs+"/d", 0o755))
	write(t, dir+"/d/f", "root's", 0o644)
	write(t, theirs+"/d/f", "theirs", 0o644)
	must(t, os.Chown(theirs+"/d", otherUser, 0), os.Chown(theirs+"/d/f", otherUser, 0))
	var stop atomic.Bool
	exchanged := make(chan struct{})
	go func() {
		defer close(exchanged)
		for !stop.Load() {
			syscall.Rename(dir+"/d", dir+"/kept")
			syscall.Rename(theirs+"/d", dir+"/d")
			syscall.Rename(dir+"/d", theirs+"/d")
			os.Symlink(theirs+"/d", dir+"/d")
			os.Remove(dir + "/d")
			syscall.Rename(dir+"/kept", dir+"/d")
		}
	}()
	opened := 0
	for range 10000 {
		f, err := openAsRoot(dir + "/d/f")
		if err != nil {
			continue
		}
		opened++
		text, _, err := readOpen(f)
		f.Close()
		if err != nil || string(text) != "root's" {
			t.Fatalf("read %q, %v", text, err)
		}
	}
	stop.Store(true)
	<-exchanged
	t.Logf("%d of 10000 opened", opened)
}

// An untrusted file is an error with a remedy, as the main file and as an included one.
func TestAnUntrustedFileIsAnErrorOfTheConfiguration(t *testing.T) {
	dir := trustedDir(t)
	must(t, os.Mkdir(dir+"/conf.d", 0o755))
	write(t, dir+"/tideover.toml", "include = [\"conf.d/*.toml\"]\n[app.a]\ncommand = \"sleep 5\"\n", 0o644)
	write(t, dir+"/conf.d/b.toml", "[app.b]\ncommand = \"sleep 5\"\n", 0o644)
	load := func() *Error {
		_, err := Load(dir + "/tideover.toml")
		var faults *Error
		errors.As(err, &faults)
		return faults
	}
	if err := load(); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"/tideover.toml", "/conf.d/b.toml"} {
		must(t, os.Chmod(dir+file, 0o646))
		err := load()
		if err == nil || !err.Untrusted() || err.Error() != dir+file+": every user can change it; chmod o-w "+dir+file {
			t.Errorf("%s: %v", file, err)
		}
		must(t, os.Chmod(dir+file, 0o644))
	}
}

// Only root is led astray by the file of another user in the working directory.
func TestRootSkipsTheFileOfAnotherUserInTheWorkingDirectory(t *testing.T) {
	dir, config := trustedDir(t), trustedDir(t)
	t.Chdir(dir)
	t.Setenv("TIDEOVER_CONFIG", "")
	t.Setenv("XDG_CONFIG_HOME", config)
	must(t, os.Mkdir(config+"/tideover", 0o755))
	write(t, dir+"/tideover.toml", "[app.a]\ncommand = \"sleep 5\"\n", 0o644)
	write(t, config+"/tideover/tideover.toml", "[app.b]\ncommand = \"sleep 5\"\n", 0o644)
	if found := Discover(); found.Path != "tideover.toml" || len(found.Skipped) > 0 {
		t.Errorf("its own: %+v", found)
	}
	if os.Geteuid() != 0 {
		must(t, os.Chmod(dir+"/tideover.toml", 0o666))
		if found := Discover(); found.Path != "tideover.toml" {
			t.Errorf("as a user: %+v", found)
		}
		return
	}
	must(t, os.Chown(dir+"/tideover.toml", otherUser, 0))
	found := Discover()
	if found.Path != config+"/tideover/tideover.toml" || len(found.Skipped) != 1 || !strings.Contains(found.Skipped[0].String(), "root does not use it") {
		t.Errorf("another user's: %+v", found)
	}
	must(t, os.Chown(config, otherUser, 0))
	if found = Discover(); strings.HasPrefix(found.Path, config) || len(found.Skipped) != 2 {
		t.Errorf("with another user's XDG_CONFIG_HOME: %+v", found)
	}
}
