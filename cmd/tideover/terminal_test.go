package main

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// pseudoTerminal is a real terminal of 80 columns, and its other end.
func pseudoTerminal(t *testing.T) (master, tty *os.File) {
	t.Helper()
	// Not blocking, so that Close ends a Read.
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	master = os.NewFile(uintptr(fd), "/dev/ptmx")
	t.Cleanup(func() { master.Close() })
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(int(tty.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 80}); err != nil {
		t.Fatal(err)
	}
	return master, tty
}

// terminal runs use with a terminal and returns what was written to it.
func terminal(t *testing.T, use func(tty *os.File)) string {
	t.Helper()
	master, tty := pseudoTerminal(t)
	read := make(chan string)
	go func() {
		var all bytes.Buffer
		all.ReadFrom(master) // ends with EIO when the last writer has closed
		read <- all.String()
	}()
	use(tty)
	tty.Close()
	return strings.ReplaceAll(<-read, "\r\n", "\n")
}

// screenful is what stays on the screen: rewritten lines as they were last,
// without colours.
func screenful(raw string) string {
	raw = regexp.MustCompile(`\x1b\[[0-9;]*m`).ReplaceAllString(raw, "")
	var b strings.Builder
	for line := range strings.Lines(raw) {
		if i := strings.LastIndex(line, "\r\x1b[K"); i >= 0 {
			line = line[i+len("\r\x1b[K"):]
		}
		b.WriteString(strings.TrimRight(line, " \n") + "\n")
	}
	return b.String()
}

// onTerminal runs a command line with both outputs on one terminal.
func onTerminal(t *testing.T, dir string, env []string, args ...string) (raw string, exit int) {
	t.Helper()
	raw = terminal(t, func(tty *os.File) {
		exit = Main{Dirs: []string{dir}}.Run(t.Context(), args, strings.NewReader(""), tty, tty, env)
	})
	return raw, exit
}

func TestColours(t *testing.T) {
	t.Parallel()
	_, dir := shopDaemon(t)
	for _, c := range []struct {
		env   []string
		args  string
		paint bool
	}{
		{nil, "status", true},
		{[]string{"NO_COLOR=1"}, "status", false},
		{[]string{"NO_COLOR=1"}, "status --color always", true},
		{nil, "status --color never", false},
		{[]string{"TERM=dumb"}, "status", false},
	} {
		raw, _ := onTerminal(t, dir, c.env, strings.Fields(c.args)...)
		if painted := strings.Contains(raw, "\x1b[32m"); painted != c.paint {
			t.Errorf("%v %s: painted %v, want %v", c.env, c.args, painted, c.paint)
		}
	}
	if got := tideover(t, dir, "status"); strings.Contains(got.stdout, "\x1b") {
		t.Errorf("colours into a pipe: %q", got.stdout)
	}
	if got := tideover(t, dir, "status", "--color", "always"); !strings.Contains(got.stdout, "\x1b[32m") {
		t.Errorf("no colours with --color always: %q", got.stdout)
	}
}
