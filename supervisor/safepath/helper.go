package safepath

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"tideover/supervisor/process"
)

// helperName is argv[0] of the helper process. It has no arguments; the request and the
// answer are on helperFD, a stream socket.
const helperName = "tideover-open"

const helperFD = 3

// maxAnswer bounds the answer of the helper, which runs as the app's user.
const maxAnswer = 8 << 20

// action is what the helper does.
type action string

const (
	readAction    action = "read"
	appendAction  action = "append"
	rotateAction  action = "rotate"
	cleanUpAction action = "clean up"
	watchAction   action = "watch"
	probeAction   action = "probe"
	relinkAction  action = "relink"
)

// request is what the daemon asks of the helper.
type request struct {
	User     process.User
	Action   action
	Paths    []string
	Limit    int
	Rotation Rotation
	From, To string // relink
}

// answer has one entry for each path of the request.
type answer struct {
	Files   []File    `json:",omitempty"`
	Watches []Watch   `json:",omitempty"`
	Faults  []failure // an entry without a text is no error
}

func (a answer) file(n int) File {
	if n < len(a.Files) {
		return a.Files[n]
	}
	return File{}
}

func (a answer) err(n int) error {
	if n < len(a.Faults) {
		return a.Faults[n].err()
	}
	return errors.New("the helper process did not answer")
}

// failure is an error as it is sent: with its errno, so that errors.Is works.
type failure struct {
	Op, Path, Text string
	Errno          syscall.Errno
}

func newFailure(err error) failure {
	if err == nil {
		return failure{}
	}
	f := failure{Text: err.Error()}
	var at *fs.PathError
	if errors.As(err, &at) {
		f.Op, f.Path, f.Text = at.Op, at.Path, at.Err.Error()
	}
	errors.As(err, &f.Errno)
	return f
}

func (f failure) err() error {
	switch {
	case f.Text == "":
		return nil
	case f.Op == "":
		return errors.New(f.Text)
	case f.Errno != 0:
		return &fs.PathError{Op: f.Op, Path: f.Path, Err: f.Errno}
	}
	return &fs.PathError{Op: f.Op, Path: f.Path, Err: errors.New(f.Text)}
}

// ask has a helper process do what r says. The helper is killed after the timeout.
func (o Opener) ask(r request, timeout time.Duration) (answer, *os.File, error) {
	r.User = *o.User
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	helper := exec.CommandContext(ctx, "/proc/self/exe")
	helper.Args, helper.Env, helper.Dir = []string{helperName}, []string{"GOMAXPROCS=1"}, "/"
	a, file, err := run(ctx, helper, r)
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("no answer within %v", timeout)
	}
	if err != nil {
		return a, nil, &fs.PathError{Op: "open", Path: r.Paths[0], Err: err}
	}
	return a, file, nil
}

// run starts the helper and returns its answer, and the file if it sends one. The helper is
// killed when ctx ends.
func run(ctx context.Context, helper *exec.Cmd, r request) (answer, *os.File, error) {
	ours, theirs, err := socketPair()
	if err != nil {
		return answer{}, nil, err
	}
	defer ours.Close()
	helper.ExtraFiles = []*os.File{theirs}
	// A helper that its user has stopped (SIGSTOP) would outlive this process. The signal is that of the end of
	// the thread.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	helper.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
	err = helper.Start()
	theirs.Close()
	if err != nil {
		return answer{}, nil, fmt.Errorf("cannot start a helper process: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { ours.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	a, file, err := exchange(ours, r)
	if err != nil {
		helper.Process.Kill()
		go helper.Wait() // ends with the process, which may be in an uninterruptible wait
		return a, nil, err
	}
	helper.Wait() // its exit code says nothing that the answer does not
	return a, file, nil
}

// exchange sends the request and receives the answer.
func exchange(conn *net.UnixConn, r request) (answer, *os.File, error) {
	var a answer
	text, err := json.Marshal(r)
	if err == nil {
		_, err = conn.Write(text)
	}
	if err == nil {
		err = conn.CloseWrite()
	}
	if err != nil {
		return a, nil, err
	}
	first := make([]byte, 1)
	control := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := conn.ReadMsgUnix(first, control)
	if err != nil {
		return a, nil, err
	}
	file := receivedFile(control[:n])
	if err := json.NewDecoder(io.LimitReader(conn, maxAnswer)).Decode(&a); err != nil {
		if file != nil {
			file.Close()
		}
		return a, nil, errors.New("the helper process was killed")
	}
	return a, file, nil
}

// receivedFile returns the file of an SCM_RIGHTS message, or nil.
func receivedFile(control []byte) *os.File {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil || len(messages) == 0 {
		return nil
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) == 0 {
		return nil
	}
	return os.NewFile(uintptr(fds[0]), "log")
}

// socketPair returns two connected stream sockets, close-on-exec.
func socketPair() (*net.UnixConn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "helper"), os.NewFile(uintptr(fds[1]), "daemon")
	defer ours.Close()
	conn, err := net.FileConn(ours)
	if err != nil {
		theirs.Close()
		return nil, nil, err
	}
	return conn.(*net.UnixConn), theirs, nil
}

// virtualFileSystems have regular files that are no files: a write to them changes the
// kernel.
var virtualFileSystems = []int64{unix.PROC_SUPER_MAGIC, unix.SYSFS_MAGIC, unix.CGROUP_SUPER_MAGIC, unix.CGROUP2_SUPER_MAGIC,
	unix.DEBUGFS_MAGIC, unix.TRACEFS_MAGIC, unix.SECURITYFS_MAGIC, unix.BPF_FS_MAGIC, unix.SELINUX_MAGIC, unix.BINFMTFS_MAGIC}

// checkLog verifies that a descriptor from the helper is a regular file that is open for
// appending.
func checkLog(f *os.File) error {
	st, err := statOf(f)
	if err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return notRegular(st.Mode)
	}
	flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFL, 0)
	if err != nil {
		return os.NewSyscallError("fcntl", err)
	}
	if flags&unix.O_ACCMODE != unix.O_WRONLY || flags&unix.O_APPEND == 0 {
		return errors.New("it is not open for appending")
	}
	var system unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &system); err != nil {
		return os.NewSyscallError("fstatfs", err)
	}
	for _, magic := range virtualFileSystems {
		if int64(system.Type) == magic {
			return errors.New("it is on a file system of the kernel")
		}
	}
	return nil
}
