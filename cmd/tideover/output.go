package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"tideover/cmd/tideover/internal/term"
	"tideover/supervisor/api"
	"tideover/supervisor/logs"
)

// results is where results go: standard output.
func (c *cli) results() term.Screen { return term.NewScreen(c.stdout, c.color, c.getenv) }

// errors is where progress and errors go: standard error.
func (c *cli) errors() term.Screen { return term.NewScreen(c.stderr, c.color, c.getenv) }

// decoupleErrors has all that follows on standard error written by a goroutine of its own:
// the daemon must not wait for the reader of its output.
func (c *cli) decoupleErrors() {
	signal.Ignore(syscall.SIGPIPE) // a closed standard error must not end the daemon: EPIPE is enough
	if file, ok := c.stderr.(*os.File); ok && file == os.Stderr {
		c.stderr = unblockCrashOutput(file)
	}
	c.daemonErrors = logs.NewWriter(c.stderr)
	c.stderr = c.daemonErrors
}

// unblockCrashOutput makes descriptor 2 another open file of the pipe or terminal that it is, with
// O_NONBLOCK, and returns the former one, for everything but what the Go runtime writes: the trace
// of a panic, with write(2). Where that is not read, write(2) returns EAGAIN and the process ends.
// What fits into the pipe is kept. O_NONBLOCK on the former open file would be one for the
// processes that share it. A socket cannot be opened again; the journal's stays as it is, and
// WatchdogSec= ends a daemon that hangs there. A regular file stays, too: it would be written from its
// beginning on.
func unblockCrashOutput(stderr *os.File) *os.File {
	const self = "/proc/self/fd/2"
	var st unix.Stat_t
	if err := unix.Fstat(2, &st); err != nil || st.Mode&unix.S_IFMT == unix.S_IFREG {
		return stderr
	}
	kept, err := unix.FcntlInt(2, unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return stderr
	}
	fresh, err := unix.Open(self, unix.O_WRONLY|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err == nil {
		err = unix.Dup3(fresh, 2, 0)
		unix.Close(fresh)
	}
	if err != nil { // a socket, or a pipe of another user
		unix.Close(kept)
		return stderr
	}
	return os.NewFile(uintptr(kept), stderr.Name())
}

// closeOutput writes what decoupleErrors has left to write.
func (c *cli) closeOutput() {
	if c.daemonErrors != nil {
		c.daemonErrors.Close() // an error could not be printed
	}
}

// note writes a line to standard error, unless -q was given.
func (c *cli) note(format string, args ...any) {
	if !c.quiet {
		fmt.Fprintf(c.stderr, format+"\n", args...)
	}
}

func (c *cli) printWarnings(warnings []string) {
	s := c.errors()
	for _, w := range warnings {
		s.Message(term.Yellow, s.Mark("!", "warning:"), w)
	}
}

// writeDocument writes the one JSON document that --json promises.
func (c *cli) writeDocument(v any) error {
	c.documentWritten = true
	encoder := json.NewEncoder(c.stdout)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(v)
}

// printError writes an error, its hint and its exit code.
func printError(s term.Screen, e *api.Error) {
	s.Message(term.Red, s.Mark("✗", "tideover:"), e.Message)
	printHint(s, withoutRepeated(e.Hint, e.Message))
	printExit(s, e.Exit)
}

// printHint writes what to do about an error.
func printHint(s term.Screen, hint string) {
	mark := s.Mark("  ", "hint: ")
	for line := range strings.Lines(hint) {
		io.WriteString(s.Out, s.Paragraphs(mark, mark, line))
	}
}

// printFailureText writes the error of an operation. Diagnostics of a
// configuration are laid out as check does.
func printFailureText(s term.Screen, text string) {
	mark := s.Mark("\n✗", "tideover:")
	if !term.HasDiagnostics(text) {
		s.Message(term.Red, mark, text)
		return
	}
	io.WriteString(s.Out, s.Paint(term.Red, mark)+" the configuration is not valid\n"+s.Diagnostics(text))
}

// withoutRepeated leaves out the lines of text that before contains.
func withoutRepeated(text, before string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if sentence := strings.TrimSpace(line); sentence == "" || !strings.Contains(before, sentence) {
			b.WriteString(line)
		}
	}
	return b.String()
}

// human formats a duration for people.
func human(d time.Duration) string { return api.FormatDuration(d) }

// humanSeconds is human for the unit of the API.
func humanSeconds(seconds float64) string { return human(toDuration(seconds)) }

func toDuration(seconds float64) time.Duration { return time.Duration(seconds * float64(time.Second)) }
