package listener

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"

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
	beside := Address{"unix", besides(p.file.path)}
	mode, to, err := p.fileAccess()
	var fresh *Public
	if err == nil {
		fresh, err = openUnix(beside, p.options, pathRequest{Action: bindAction, Path: beside.Address, Mode: mode, Owner: to, Stale: true})
	}
	if err != nil {
		armed()
		return nil, err
	}
	linked, err := p.linkWhenFree(ctx, fresh.file.pin, armed)
	if !linked {
		fresh.Close()
		return nil, err
	}
	p.options.do(pathRequest{Action: removeAction, Path: beside.Address, ID: fresh.file.id})
	fresh.address, fresh.file.path = p.address, p.file.path
	return fresh, nil
}

const (
	armedLine  = "armed"
	linkedLine = "linked"
)

// linkWhenFree has the helper process make the path of p a hard link of a file as soon as there is
// none at it. It returns when the process has ended: after the link, or after the end of ctx. The
// process writes armedLine and linkedLine, or an error, and ends at the end of its standard input.
func (p *Public) linkWhenFree(ctx context.Context, file *os.File, armed func()) (linked bool, err error) {
	r := pathRequest{Action: awaitAction, Path: p.file.path}
	if p.options.As != nil {
		if r.User, err = p.options.As(r.Path); err != nil {
			armed()
			return false, err
		}
	}
	helper := r.command(context.Background(), file)
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

// await makes the path a hard link of the file of helperFD as soon as there is none at it. The
// scheduling policy is set before the process gives up its rights.
func (r pathRequest) await() error {
	unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 1}, 0)
	if err := r.User.become(); err != nil {
		return err
	}
	events, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return os.NewSyscallError("inotify_init1", err)
	}
	if _, err := unix.InotifyAddWatch(events, filepath.Dir(r.Path), unix.IN_DELETE|unix.IN_MOVED_FROM); err != nil {
		return os.NewSyscallError("inotify_add_watch", err)
	}
	waitFor := []unix.PollFd{{Fd: int32(events), Events: unix.POLLIN}, {Fd: 0}} // POLLHUP of standard input
	buffer := make([]byte, 4096)
	os.Stdout.WriteString(armedLine + "\n")
	for waitFor[1].Revents == 0 {
		err := unix.Linkat(unix.AT_FDCWD, procFD(helperFD), unix.AT_FDCWD, r.Path, unix.AT_SYMLINK_FOLLOW)
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
