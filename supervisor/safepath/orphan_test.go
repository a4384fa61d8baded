package safepath

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// askUntilStopped asks helper processes to read a file until it has stopped one, prints its pid, and
// waits for its answer.
func askUntilStopped([]string) error {
	go func() {
		for {
			lists, _ := filepath.Glob("/proc/self/task/*/children")
			for _, list := range lists {
				children, _ := os.ReadFile(list)
				pid, err := strconv.Atoi(strings.TrimSpace(string(children)))
				if err != nil {
					continue
				}
				if name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); string(name) == helperName+"\x00" && unix.Kill(pid, unix.SIGSTOP) == nil {
					fmt.Println(pid)
					return
				}
			}
		}
	}()
	for {
		_, _, _ = Opener{User: appUser}.ask(request{Action: readAction, Paths: []string{"/etc/passwd"}}, time.Hour)
	}
}

// A helper that its user has stopped ends with the daemon, also when that is killed.
func TestAStoppedHelperDoesNotOutliveTheDaemon(t *testing.T) {
	t.Parallel()
	for range 3 { // before or after it has become the user
		daemon := program(t, nil, "askUntilStopped")
		out, err := daemon.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := daemon.Start(); err != nil {
			t.Fatal(err)
		}
		line, _ := bufio.NewReader(out).ReadString('\n')
		helper, err := strconv.Atoi(strings.TrimSpace(line))
		daemon.Process.Kill()
		daemon.Wait()
		if err != nil {
			t.Fatal(err)
		}
		for until := time.Now().Add(10 * time.Second); unix.Kill(helper, 0) == nil; <-time.After(time.Millisecond) {
			if text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", helper)); strings.Contains(string(text), ") Z ") {
				break
			}
			if time.Now().After(until) {
				unix.Kill(helper, unix.SIGKILL)
				t.Fatal("the helper lives on")
			}
		}
	}
}
