package main

import (
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// tether is the terminal the daemon was started on. HUP has two meanings: an
// operator's "reload", and the kernel's "your terminal is gone". Which one it
// was can be told by the terminal: it is there or it is not.
type tether struct{ terminal *os.File } // nil: started without one

// newTether looks at the streams for our controlling terminal. It must be asked
// before signal.Notify: who was started under nohup is to outlive its terminal.
func newTether(streams ...any) tether {
	if signal.Ignored(syscall.SIGHUP) {
		return tether{}
	}
	for _, stream := range streams {
		if file, ok := stream.(*os.File); ok && controls(file) {
			return tether{file}
		}
	}
	return tether{}
}

// broken is whether there was a terminal and it has gone.
func (t tether) broken() bool { return t.terminal != nil && !controls(t.terminal) }

// controls is whether file is our controlling terminal. When it is closed, or
// the shell that it belonged to has ended, the kernel answers EIO or ENOTTY.
func controls(file *os.File) bool {
	conn, err := file.SyscallConn()
	if err != nil {
		return false
	}
	asked := conn.Control(func(fd uintptr) { _, err = unix.IoctlGetInt(int(fd), unix.TIOCGPGRP) })
	return asked == nil && err == nil
}
