package daemon

import (
	"fmt"
	"io"
	"strings"

	"github.com/coreos/go-systemd/v22/journal"
	"github.com/hashicorp/go-hclog"
)

// stderrIsJournal and stdoutIsJournal compare $JOURNAL_STREAM with the device
// and inode of the descriptor: after a redirection the variable is still set.
func stderrIsJournal() bool {
	is, err := journal.StderrIsJournalStream()
	return is && err == nil
}

func stdoutIsJournal() bool {
	is, err := journal.StdoutIsJournalStream()
	return is && err == nil
}

// prioritized prefixes every line with its syslog level, "<6>", as the journal
// reads it from standard error: sd-daemon(3).
type prioritized struct{ out io.Writer }

func (p prioritized) Write(text []byte) (int, error) { return p.LevelWrite(hclog.Info, text) }

// LevelWrite implements hclog.LevelWriter.
func (p prioritized) LevelWrite(level hclog.Level, text []byte) (int, error) {
	var b strings.Builder
	for line := range strings.Lines(string(text)) {
		fmt.Fprintf(&b, "<%d>%s", syslogLevel(level), line)
	}
	if _, err := io.WriteString(p.out, b.String()); err != nil {
		return 0, err
	}
	return len(text), nil
}

func syslogLevel(level hclog.Level) int {
	switch level {
	case hclog.Error:
		return 3
	case hclog.Warn:
		return 4
	case hclog.Info:
		return 6
	}
	return 7
}
