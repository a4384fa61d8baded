package daemon

import (
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"

	"tideover/cmd/tideover/internal/term"
)

// controllingTTY is the terminal that the daemon was started on. SIGHUP has two
// senders: an operator, for a reload, and the kernel, when the terminal has hung
// up. The terminal itself tells which one it was.
type controllingTTY struct{ file *os.File } // nil: started without a terminal

// findControllingTTY looks for the controlling terminal among the streams. It
// must be called before signal.Notify: under nohup(1) HUP is ignored, and the
// daemon is meant to outlive its terminal.
func findControllingTTY(streams ...any) controllingTTY {
	if signal.Ignored(syscall.SIGHUP) {
		return controllingTTY{}
	}
	for _, stream := range streams {
		if file := term.File(stream); file != nil && isControllingTTY(file) {
			return controllingTTY{file}
		}
	}
	return controllingTTY{}
}

// lost reports whether there was a terminal that has hung up.
func (t controllingTTY) lost() bool { return t.file != nil && !isControllingTTY(t.file) }

// isControllingTTY reports whether TIOCGPGRP works on file. After a hangup, and
// after the end of the session leader, it fails with EIO or ENOTTY.
func isControllingTTY(file *os.File) bool {
	conn, err := file.SyscallConn()
	if err != nil {
		return false
	}
	controlErr := conn.Control(func(fd uintptr) { _, err = unix.IoctlGetInt(int(fd), unix.TIOCGPGRP) })
	return controlErr == nil && err == nil
}
