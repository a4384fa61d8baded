package monitor

import (
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
)

// terminal is the controlling terminal. SIGHUP has two senders: an operator, for a reload, and the
// kernel, when the terminal has hung up. The terminal itself tells which one it was.
type terminal struct{ file *os.File } // nil: started without a terminal

// findTerminal looks for the controlling terminal among the streams. It must be called before
// signal.Notify: under nohup(1) SIGHUP is ignored, and tideover is meant to outlive its terminal.
func findTerminal(streams ...*os.File) terminal {
	if signal.Ignored(unix.SIGHUP) {
		return terminal{}
	}
	for _, f := range streams {
		if isTerminal(f) {
			return terminal{f}
		}
	}
	return terminal{}
}

// closed reports whether there was a terminal that has hung up.
func (t terminal) closed() bool { return t.file != nil && !isTerminal(t.file) }

// isTerminal reports whether TIOCGPGRP works on f. After a hangup, and after the end of the session
// leader, it fails with EIO or ENOTTY.
func isTerminal(f *os.File) bool {
	fd, err := descriptorOf(f)
	if err != nil {
		return false
	}
	_, err = unix.IoctlGetInt(int(fd), unix.TIOCGPGRP)
	return err == nil
}
