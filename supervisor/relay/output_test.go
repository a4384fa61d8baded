package relay

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"
)

func TestAnEntryOfTheRelaysLogIsOneOfTheDaemons(t *testing.T) {
	entries := func(logger hclog.Logger) {
		logger.Info("client disconnected", "app", "shop", "bytes", 12_345_678_901, "after_s", 1.5, "path", "/a\nb\x1b[31m")
		logger.Warn("spool full", "limit", 7, "error", errors.New("no space"), "wait", 2*time.Second)
		logger.Debug("not shown")
	}
	var direct, piped bytes.Buffer
	options := func(to *bytes.Buffer) *hclog.LoggerOptions {
		return &hclog.LoggerOptions{Output: to, DisableTime: true}
	}
	entries(hclog.New(options(&direct)))

	r, w, err := openPipe()
	if err != nil {
		t.Fatal(err)
	}
	entries(newLogger(hclog.Info, newSink(hclog.Info, &stderr{fd: int(w.Fd())})))
	w.WriteString("panic: a line that is no entry")
	w.Close()
	copyLog(r, hclog.New(options(&piped)))
	lines := strings.SplitAfter(piped.String(), "\n")
	if got := strings.Join(lines[:len(lines)-2], ""); got != direct.String() {
		t.Errorf("through the pipe:\n%s\ndirectly:\n%s", got, direct.String())
	}
	if got := lines[len(lines)-2]; !strings.Contains(got, "relay wrote") || !strings.Contains(got, "a line that is no entry") {
		t.Errorf("the last line is %q", got)
	}
}

func TestAFullPipeCostsLinesAndBlocksNothing(t *testing.T) {
	r, w, err := openPipe()
	if err != nil {
		t.Fatal(err)
	}
	fd := int(w.Fd())
	if err := unix.SetNonblock(fd, true); err != nil {
		t.Fatal(err)
	}
	out := &stderr{fd: fd}
	logger := newLogger(hclog.Info, newSink(hclog.Info, out))
	const lines = 5000
	for range lines {
		logger.Info("one line", "text", strings.Repeat("x", 1000))
	}
	if out.dropped == 0 {
		t.Fatal("everything has found room")
	}
	var text bytes.Buffer
	read := make(chan struct{})
	go func() {
		defer close(read)
		copyLog(r, hclog.New(&hclog.LoggerOptions{Output: &text}))
	}()
	for out.dropped > 0 {
		logger.Info("one line")
	}
	w.Close()
	<-read
	if n := strings.Count(text.String(), "one line: text="); n == 0 || n >= lines {
		t.Errorf("%d of %d lines have arrived", n, lines)
	}
	if !strings.Contains(text.String(), "relay log lines dropped") {
		t.Error("it is not logged how many lines were dropped")
	}
}

func TestALongLineIsCut(t *testing.T) {
	r, w, err := openPipe()
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		defer w.Close()
		w.WriteString(strings.Repeat("x", 10*maxLine) + "\nnext\n")
	}()
	var text bytes.Buffer
	copyLog(r, hclog.New(&hclog.LoggerOptions{Output: &text}))
	if n := strings.Count(text.String(), "relay wrote"); n != 2 || text.Len() > 2*maxLine || !strings.Contains(text.String(), "line=next") {
		t.Errorf("%d lines, %d bytes", n, text.Len())
	}
}

func FuzzLogEntry(f *testing.F) {
	f.Add([]byte(`{"level":3,"message":"m","pairs":["a",1,"b",[{}],null]}`))
	f.Add([]byte(`{"level":9,"message":"m"}{`))
	f.Fuzz(func(t *testing.T, line []byte) {
		var text bytes.Buffer
		logged := logEntry(line, hclog.New(&hclog.LoggerOptions{Output: &text, Level: hclog.Trace}))
		if logged != (text.Len() > 0) {
			t.Errorf("logged: %v, text %q", logged, text.String())
		}
	})
}
