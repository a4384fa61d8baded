package listener

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"
)

// TakePath waits until the process that has bound the path removes it, as gunicorn does at its
// end, and puts another socket there at once, with the same mode and owner. p goes on to listen,
// as with Rebind. The result is nil when ctx ends before.
//
// A client that connects between the two finds no file. To keep that time at some microseconds
// the other socket exists before, under a name beside the path, and a process of its own waits
// for the removal: on a busy machine a thread of this process would wait up to 0.1 s until the
// scheduler of Go lets it go on. Where the kernel allows it, its scheduling policy is SCHED_FIFO.
//
// armed is called once: a removal after it is noticed by that process, or there is an error.
func (p *Public) TakePath(ctx context.Context, armed func()) (*Public, error) {
	if p.file == nil || p.file.pin == nil {
		armed()
		return nil, nil
	}
	fresh, err := p.takePath(ctx, armed)
	if err != nil {
		return nil, newOpenError(p.address, err)
	}
	return fresh, nil
}

func (p *Public) takePath(ctx context.Context, armed func()) (*Public, error) {
	beside := p.file.path + ".new"
	st, err := p.file.stat()
	var fresh *Public
	if err == nil {
		fresh, err = openUnix(Address{"unix", beside}, os.FileMode(st.Mode).Perm(), &owner{int(st.Uid), int(st.Gid)})
	}
	if err != nil {
		armed()
		return nil, err
	}
	linked, err := linkWhenFree(ctx, fresh.file.pin, p.file.path, armed)
	if !linked {
		fresh.Close()
		return nil, err
	}
	unix.Unlink(beside)
	fresh.address, fresh.file.path = p.address, p.file.path
	return fresh, nil
}

// pathHelperName is argv[0] of the helper process of TakePath. The path is its argument, and the
// O_PATH descriptor of the other socket's file is pathHelperFD. It writes armedLine and linkedLine,
// or an error, and ends at the end of its standard input.
const pathHelperName = "tideover-path"

const (
	pathHelperFD = 3
	armedLine    = "armed"
	linkedLine   = "linked"
)

// linkWhenFree has the helper process make path a hard link of a file as soon as there is none at
// path. It returns when the process has ended: after the link, or after the end of ctx.
func linkWhenFree(ctx context.Context, file *os.File, path string, armed func()) (linked bool, err error) {
	helper := exec.Command("/proc/self/exe")
	helper.Args, helper.Env, helper.Dir = []string{pathHelperName, path}, []string{"GOMAXPROCS=1"}, "/"
	helper.ExtraFiles = []*os.File{file}
	output, err := helper.StdoutPipe()
	var input io.WriteCloser
	if err == nil {
		input, err = helper.StdinPipe()
	}
	if err == nil {
		err = helper.Start()
	}
	if err != nil {
		armed()
		return false, err
	}
	defer helper.Wait() // its exit code says nothing that its output does not
	defer context.AfterFunc(ctx, func() { input.Close() })()
	lines := bufio.NewScanner(output)
	wasArmed := lines.Scan() && lines.Text() == armedLine
	armed()
	if wasArmed && !lines.Scan() && ctx.Err() != nil {
		return false, nil
	}
	switch said := lines.Text(); said {
	case linkedLine:
		return true, nil
	case "":
		return false, errors.New("the process that waits for the path's removal was killed")
	default:
		return false, errors.New(said)
	}
}

// Helper must be called first in main. It returns at once unless this process is the helper process
// of TakePath: the daemon's own binary.
func Helper() {
	if len(os.Args) != 2 || os.Args[0] != pathHelperName {
		return
	}
	runtime.LockOSThread() // the scheduling policy is an attribute of the thread
	if err := awaitRemoval(os.Args[1]); err != nil {
		os.Stdout.WriteString(err.Error() + "\n")
		unix.Exit(1)
	}
	unix.Exit(0)
}

// awaitRemoval makes path a hard link of the file of pathHelperFD as soon as there is none at path.
func awaitRemoval(path string) error {
	events, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return os.NewSyscallError("inotify_init1", err)
	}
	if _, err := unix.InotifyAddWatch(events, filepath.Dir(path), unix.IN_DELETE|unix.IN_MOVED_FROM); err != nil {
		return os.NewSyscallError("inotify_add_watch", err)
	}
	unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 1}, 0)
	waitFor := []unix.PollFd{{Fd: int32(events), Events: unix.POLLIN}, {Fd: 0}} // POLLHUP of standard input
	buffer := make([]byte, 4096)
	os.Stdout.WriteString(armedLine + "\n")
	for waitFor[1].Revents == 0 {
		err := unix.Linkat(unix.AT_FDCWD, procFD(pathHelperFD), unix.AT_FDCWD, path, unix.AT_SYMLINK_FOLLOW)
		if err == nil {
			os.Stdout.WriteString(linkedLine + "\n")
			return nil
		}
		if !errors.Is(err, unix.EEXIST) {
			return os.NewSyscallError("link", err)
		}
		unix.Poll(waitFor, -1)
		unix.Read(events, buffer)
	}
	return nil
}
