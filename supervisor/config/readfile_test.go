package config

import (
	"errors"
	"io/fs"
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

// What is no readable file of a sane size is a fault at once, as the
// configuration, as an included file and as an env file.
func TestWhatIsNoFile(t *testing.T) {
	dir := files(t, map[string]string{"large": strings.Repeat("# padding\n", maxFileSize/10+1)})
	at := func(name string) string { return filepath.Join(dir, name) }
	if err := errors.Join(os.Mkdir(at("directory"), 0o755), unix.Mkfifo(at("fifo"), 0o600), os.Symlink("loop", at("loop"))); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", at("socket"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for name, want := range map[string]string{
		"directory": "it is a directory, not a file",
		"fifo":      "it is a pipe, not a file",
		"socket":    "it is a socket, not a file",
		"loop":      "it cannot be read: too many levels of symbolic links",
		"large":     "it is larger than 1MiB",
		"missing":   "there is no such file",
		"/dev/zero": "it is a device, not a file",
	} {
		path := name
		if !filepath.IsAbs(name) {
			path = at(name)
		}
		for way, text := range map[string]string{
			"included": "include = \"" + path + "\"\n[app.a]\ncommand = \"sleep 1\"\n",
			"env file": "[app.a]\ncommand = \"sleep 1\"\nenv_file = \"" + path + "\"\n",
		} {
			main := at("main.toml")
			if err := os.WriteFile(main, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := Load(main); err == nil || !strings.Contains(err.Error(), want) && name != "missing" {
				t.Errorf("%s as %s: %v", name, way, err)
			}
		}
		if _, err := Load(path); err == nil || err.Error() != path+": "+want {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAFileNobodyMayReadIsAFault(t *testing.T) {
	if os.Geteuid() == 0 {
		// Root reads everything, so another user has to try.
		asAnother(t, "TestAFileNobodyMayReadIsAFault")
		return
	}
	path := filepath.Join(files(t, map[string]string{"tideover.toml": ""}), "tideover.toml")
	if err := os.Chmod(path, 0); err != nil {
		t.Fatal(err)
	}
	_, err := Load(path)
	if err == nil || err.Error() != path+": it cannot be read: permission denied" {
		t.Errorf("got %v", err)
	}
	if _, _, err := ReadFile(filepath.Join(filepath.Dir(path), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

// The largest file is read, one byte more is not.
func TestTheLargestFile(t *testing.T) {
	text := "[app.a]\ncommand = \"sleep 1\"\n"
	text += strings.Repeat("#\n", (maxFileSize-len(text))/2)
	text += strings.Repeat("#", maxFileSize-len(text))
	dir := files(t, map[string]string{"most": text, "more": text + "#"})
	if _, err := Load(filepath.Join(dir, "most")); err != nil {
		t.Error(err)
	}
	if _, err := Load(filepath.Join(dir, "more")); err == nil {
		t.Error("a larger file was read")
	}
}

// A file that is replaced while it is read is the old one or the new one, and
// its mode is of the same.
func TestAFileIsReadThroughOneDescriptor(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	write := func(text string, mode os.FileMode) {
		next := filepath.Join(dir, "next")
		if err := errors.Join(os.WriteFile(next, []byte(text), mode), os.Chmod(next, mode), os.Rename(next, path)); err != nil {
			t.Error(err)
		}
	}
	write("private", 0o600)
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			if i%2 == 0 {
				write("public", 0o644)
			} else {
				write("private", 0o600)
			}
		}
	}()
	want := map[string]os.FileMode{"private": 0o600, "public": 0o644}
	seen := map[string]bool{}
	for deadline := time.Now().Add(time.Minute); len(seen) < 2 && time.Now().Before(deadline); {
		for range 200 {
			text, info, err := ReadFile(path)
			if err != nil || info.Mode().Perm() != want[string(text)] {
				t.Fatalf("%q, %v, %v", text, info, err)
			}
			seen[string(text)] = true
		}
	}
	close(stop)
	<-done
	if len(seen) < 2 {
		t.Errorf("saw only %v", seen)
	}
}

// asAnother runs one test of this binary as the user 65534.
func asAnother(t *testing.T, name string) {
	t.Helper()
	binary, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "another")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	program := filepath.Join(dir, "config.test")
	if err := errors.Join(os.WriteFile(program, binary, 0o755), os.Chmod(dir, 0o777)); err != nil {
		t.Fatal(err)
	}
	cmd := another(t, program, "-test.run=^"+name+"$", "-test.v")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: "+name) {
		t.Errorf("as another user: %v\n%s", err, out)
	}
}

func another(t *testing.T, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Env = []string{"TMPDIR=/tmp"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	return cmd
}
