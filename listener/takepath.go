package listener

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// takePathPoll is the time after which TakePath looks whether its context has ended.
const takePathPoll = 100 * time.Millisecond

// TakePath waits until the process that has bound the path removes it, as gunicorn does at its
// end, and puts another socket there at once, with the same mode and owner. p goes on to listen,
// as with Rebind. The result is nil when ctx ends before.
//
// A client that connects between the two finds no file. To keep that time at some microseconds
// the other socket exists before, under a name beside the path, and one thread waits for the
// removal with the scheduling policy SCHED_FIFO, where the kernel allows it.
//
// armed is called once: a removal after it is noticed by that thread, or there is an error.
func (p *Public) TakePath(ctx context.Context, armed func()) (*Public, error) {
	armed = sync.OnceFunc(armed)
	defer armed()
	if p.file == nil || p.file.pin == nil {
		return nil, nil
	}
	st, err := p.file.stat()
	if err != nil {
		return nil, newOpenError(p.address, err)
	}
	spare := Address{"unix", p.file.path + ".new"}
	fresh, err := openUnix(spare, os.FileMode(st.Mode).Perm(), &owner{int(st.Uid), int(st.Gid)})
	if err != nil {
		return nil, newOpenError(spare, err)
	}
	linked := make(chan error)
	go func() {
		runtime.LockOSThread() // and ends with the thread, so that its policy is no other goroutine's
		linked <- linkWhenFree(ctx, fresh.file.address(), p.file.path, armed)
	}()
	if err := <-linked; err != nil {
		fresh.Close()
		if ctx.Err() != nil {
			return nil, nil
		}
		return nil, newOpenError(p.address, err)
	}
	unix.Unlink(spare.Address)
	fresh.address, fresh.file.path = p.address, p.file.path
	return fresh, nil
}

// linkWhenFree makes path a hard link of a file as soon as there is none at path. file is a link in
// /proc/self/fd. It must be called on a thread of its own.
func linkWhenFree(ctx context.Context, file, path string, armed func()) error {
	events, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return os.NewSyscallError("inotify_init1", err)
	}
	defer unix.Close(events)
	if _, err := unix.InotifyAddWatch(events, filepath.Dir(path), unix.IN_DELETE|unix.IN_MOVED_FROM); err != nil {
		return os.NewSyscallError("inotify_add_watch", err)
	}
	unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 1}, 0)
	buffer := make([]byte, 4096)
	armed()
	for ctx.Err() == nil {
		err := unix.Linkat(unix.AT_FDCWD, file, unix.AT_FDCWD, path, unix.AT_SYMLINK_FOLLOW)
		if !errors.Is(err, unix.EEXIST) {
			return os.NewSyscallError("link", err)
		}
		unix.Poll([]unix.PollFd{{Fd: int32(events), Events: unix.POLLIN}}, int(takePathPoll.Milliseconds()))
		unix.Read(events, buffer)
	}
	return ctx.Err()
}
