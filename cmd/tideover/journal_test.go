package main

import (
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// Under the journal our own lines have a priority and no time, and the app's
// come once.
func TestOwnLinesInTheJournal(t *testing.T) {
	u := newUnit(t, "broken")
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	must(t, err)
	ours, theirs := os.NewFile(uintptr(pair[0]), "journal"), os.NewFile(uintptr(pair[1]), "stderr")
	defer theirs.Close()
	var st syscall.Stat_t
	must(t, syscall.Fstat(pair[1], &st))
	u.stderr, u.env = theirs, []string{fmt.Sprintf("JOURNAL_STREAM=%d:%d", st.Dev, st.Ino)}
	u.start("run", "--name", "shop", "--listen", "systemd:shop", "--", "webapp")
	must(t, theirs.Close())
	if !u.log.await("ModuleNotFoundError") {
		t.Fatalf("the app said:\n%s", u.log)
	}
	u.await("READY", "1")
	u.signal(syscall.SIGTERM, true)
	text, err := io.ReadAll(ours)
	must(t, err)
	for line := range strings.Lines(string(text)) {
		if !regexp.MustCompile(`^<[3467]>\[[A-Z]+\] +tideover: `).MatchString(line) {
			t.Errorf("a line for the journal: %q", line)
		}
	}
	for _, want := range []string{"<3>[ERROR] tideover: start failed: app=", "<6>[INFO]  tideover: shutdown started"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}
