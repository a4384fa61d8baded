package monitor

import (
	"os"

	"golang.org/x/sys/unix"
)

// A descriptor is open, close-on-exec, and not in the poller of Go's runtime. That of an *os.File may be: then this
// process wakes up for each connection that another one accepts, and for each line of an app's output.
type descriptor int

// descriptorOf returns that of a file, which stays the file's, and leaves its blocking mode alone.
func descriptorOf(f *os.File) (d descriptor, err error) {
	raw, err := f.SyscallConn() // Fd would make it blocking
	if err == nil {
		err = raw.Control(func(fd uintptr) { d = descriptor(fd) })
	}
	return d, err
}

// file makes a file of it, to which it belongs from here on.
func (d descriptor) file(name string) *os.File { return os.NewFile(uintptr(d), name) }

func (d descriptor) close() { unix.Close(int(d)) }

func closeAll(all []descriptor) {
	for _, d := range all {
		d.close()
	}
}

// openExecutable opens the program of this process, to be executed.
func openExecutable() (descriptor, error) {
	fd, err := unix.Open("/proc/self/exe", unix.O_PATH|unix.O_CLOEXEC, 0)
	return descriptor(fd), os.NewSyscallError("open /proc/self/exe", err)
}
