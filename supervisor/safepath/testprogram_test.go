package safepath

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"tideover/supervisor/process"
)

// The tests need two users that are not root: the app's, and another one.
var (
	appUser   = &process.User{UID: 33, GID: 33}
	otherUser = &process.User{UID: 1000, GID: 1000}
)

// testPrograms run in processes of their own.
var testPrograms = map[string]func(args []string) error{
	"askUntilStopped": askUntilStopped,
	"swap":            swap,
	"open-in":         openInBindMount,
}

func TestMain(m *testing.M) {
	Helper()
	if len(os.Args) > 2 && os.Args[1] == "testprogram" {
		if err := testPrograms[os.Args[2]](os.Args[3:]); err != nil {
			fmt.Println(err)
			unix.Exit(1)
		}
		unix.Exit(0)
	}
	os.Exit(m.Run())
}

// program is a test program that has not been started.
func program(t *testing.T, user *process.User, args ...string) *exec.Cmd {
	t.Helper()
	c := exec.CommandContext(t.Context(), "/proc/self/exe", append([]string{"testprogram"}, args...)...)
	c.Dir = "/"
	if user != nil {
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: user.UID, Gid: user.GID}}
	}
	c.Stderr = os.Stderr
	return c
}

// swap exchanges two names until its standard input ends, at least 10,000 times, and prints
// how often. It needs write permission in their directory.
func swap(args []string) error {
	fmt.Println("begun")
	ended := make(chan struct{})
	go func() {
		io.Copy(io.Discard, os.Stdin)
		close(ended)
	}()
	for n := 0; ; n++ {
		if err := unix.Renameat2(unix.AT_FDCWD, args[0], unix.AT_FDCWD, args[1], unix.RENAME_EXCHANGE); err != nil {
			return fmt.Errorf("swap %s and %s: %w", args[0], args[1], err)
		}
		select {
		case <-ended:
			if n >= 10_000 {
				fmt.Println(n)
				return nil
			}
		default:
		}
	}
}

// tries is how often root tries to open a path that is being exchanged. Each one may start a
// helper, which is slow under the race detector.
const tries = 100

// whileSwapping runs swap as a user and calls do meanwhile, as often as tries. It returns the number
// of exchanges.
func whileSwapping(t *testing.T, user *process.User, a, b string, do func()) string {
	t.Helper()
	c := program(t, user, "swap", a, b)
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	if line, err := lines.ReadString('\n'); strings.TrimSpace(line) != "begun" {
		t.Fatalf("the test program says %q, %v", line, err)
	}
	for range tries {
		do()
	}
	in.Close()
	count, _ := lines.ReadString('\n')
	if err := c.Wait(); err != nil {
		t.Fatalf("the test program says %q, %v", count, err)
	}
	return strings.TrimSpace(count)
}

// openInBindMount mounts a directory over another one, in a mount namespace of its own, and
// opens a log there.
func openInBindMount(args []string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := unix.Mount(args[0], args[1], "", unix.MS_BIND, ""); err != nil {
		return err
	}
	f, err := Opener{User: appUser}.OpenLog(filepath.Join(args[1], "shop.log"), 0)
	if err != nil {
		return err
	}
	st, err := statOf(f)
	fmt.Println("owner", st.Uid)
	return err
}

func rootUser() *process.User { return &process.User{} }
