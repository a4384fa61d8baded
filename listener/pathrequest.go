package listener

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// User is a user with its groups.
type User struct {
	UID, GID uint32
	Groups   []uint32 // supplementary groups
}

// pathAction is what is done with the path of a unix socket.
type pathAction string

const (
	bindAction    pathAction = "bind"    // to a new socket, which listens
	replaceAction pathAction = "replace" // by a new socket, which listens; clients find one of the two at any moment
	removeAction  pathAction = "remove"  // if it is the socket with this ID
	awaitAction   pathAction = "await"   // see TakePath
)

// A pathRequest says what is done with the path of a unix socket. A process with more rights
// than a user who can change the path must not do it itself: a symlink in the place of a
// directory leads to the file of the same name in another one.
type pathRequest struct {
	Action pathAction
	Path   string
	User   *User // that does it; nil: this process
	Mode   os.FileMode
	Owner  *owner // nil: as the kernel decides
	Stale  bool   // of bind: a socket there on which no process listens is removed first
	ID     fileID
}

// socketFDs are the descriptors of a new socket: the socket, and its file (O_PATH).
type socketFDs struct{ socket, pin int }

// carryOut does what is asked with the rights of this process. The result is for bind and replace.
func (r pathRequest) carryOut() (fd int, file *socketFile, err error) {
	switch r.Action {
	case removeAction:
		return -1, nil, removeSocket(r.Path, r.ID)
	case bindAction:
		if r.Stale {
			err = removeStaleSocket(r.Path)
		}
		if err != nil {
			return -1, nil, err
		}
		return listenUnix(r.Path, r.Mode, r.Owner)
	case replaceAction:
		return r.replace()
	}
	return -1, nil, errors.New("unknown action " + string(r.Action))
}

func (r pathRequest) replace() (fd int, file *socketFile, err error) {
	beside := besides(r.Path)
	if err = checkLength(beside); err == nil {
		err = removeStaleSocket(beside) // of a replacement that was interrupted
	}
	if err != nil {
		return -1, nil, err
	}
	if fd, file, err = listenUnix(beside, r.Mode, r.Owner); err != nil {
		return -1, nil, err
	}
	if err = os.Rename(beside, r.Path); err != nil {
		unix.Close(fd)
		file.remove()
		return -1, nil, err
	}
	file.path = r.Path
	return fd, file, nil
}

// besides is the name that a socket has before it gets its path.
func besides(path string) string { return path + ".new" }

// do carries a request out as the user that o has for its path.
func (o Options) do(r pathRequest) (fd int, file *socketFile, err error) {
	if o.As != nil {
		r.User, err = o.As(r.Path)
	}
	switch {
	case err != nil:
		return -1, nil, err
	case r.User == nil:
		return r.carryOut()
	}
	return r.ask()
}

// helperTimeout is how long the helper process may take: its user can stop it, and the path may be on
// a file system that does not answer.
const helperTimeout = 5 * time.Second

// helperName is argv[0] of the helper process: the daemon's own binary. Its only argument is the
// pathRequest.
const helperName = "tideover-path"

// helperFD is a SEQPACKET socket on which the helper process sends one pathAnswer, with socketFDs for
// bind and replace. For await it is the O_PATH descriptor of the socket's file.
const helperFD = 3

// pathAnswer is an error of the helper process as it is sent; its zero value is none.
type pathAnswer struct {
	Errno syscall.Errno `json:",omitempty"`
	Known int           `json:",omitempty"` // 1 + the index in knownErrors
	Text  string        `json:",omitempty"`
}

// knownErrors are the errors that newOpenError distinguishes.
var knownErrors = []error{errInUse, errNotSocket}

func newPathAnswer(err error) (a pathAnswer) {
	if err != nil {
		errors.As(err, &a.Errno)
		a.Known = 1 + slices.IndexFunc(knownErrors, func(known error) bool { return errors.Is(err, known) })
		a.Text = err.Error()
	}
	return a
}

func (a pathAnswer) err() error {
	switch {
	case a.Known > 0 && a.Known <= len(knownErrors):
		return knownErrors[a.Known-1]
	case a.Errno != 0:
		return a.Errno
	case a.Text != "":
		return errors.New(a.Text)
	}
	return nil
}

// userError is an error of what was done as another user.
type userError struct {
	uid uint32
	err error
}

func (e *userError) Error() string {
	return fmt.Sprintf("%v (as uid %d, because others than root can change the path)", e.err, e.uid)
}

func (e *userError) Unwrap() error { return e.err }

// ask has a helper process carry the request out as its user.
func (r pathRequest) ask() (fd int, file *socketFile, err error) {
	fds, err := r.runHelper()
	if err == nil && r.Action != removeAction {
		// listen(2) makes this process the peer that SO_PEERCRED shows to clients.
		err = os.NewSyscallError("listen", unix.Listen(fds.socket, backlog))
		if err == nil {
			file, err = restoreSocketFile(r.Path, os.NewFile(uintptr(fds.pin), r.Path))
		} else {
			unix.Close(fds.pin)
		}
		if err != nil {
			unix.Close(fds.socket)
		}
	}
	if err != nil {
		return -1, nil, &userError{r.User.UID, err}
	}
	return fds.socket, file, nil
}

// runHelper returns what the helper process answers. It is killed after helperTimeout.
func (r pathRequest) runHelper() (fds socketFDs, err error) {
	ours, theirs, err := helperSockets()
	if err != nil {
		return fds, err
	}
	defer ours.Close()
	ctx, cancel := context.WithTimeout(context.Background(), helperTimeout)
	defer cancel()
	helper := r.command(ctx, theirs)
	// A helper that its user has stopped (SIGSTOP) would outlive this process. The signal is that of the end of
	// the thread.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	helper.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
	err = helper.Start()
	theirs.Close()
	if err != nil {
		return fds, fmt.Errorf("cannot start a helper process: %w", err)
	}
	ours.SetReadDeadline(time.Now().Add(helperTimeout))
	if fds, err = receiveAnswer(ours, r.Action != removeAction); errors.Is(err, os.ErrDeadlineExceeded) {
		helper.Process.Kill()
		go helper.Wait() // ends with the process, which may be in an uninterruptible wait
		return fds, fmt.Errorf("no answer within %v", helperTimeout)
	}
	helper.Wait() // its exit code says nothing that its answer does not
	return fds, err
}

// command is the helper process for a request.
func (r pathRequest) command(ctx context.Context, inherited *os.File) *exec.Cmd {
	text, _ := json.Marshal(r) // of strings and numbers
	helper := exec.CommandContext(ctx, "/proc/self/exe")
	helper.Args, helper.Env, helper.Dir = []string{helperName, string(text)}, []string{"GOMAXPROCS=1"}, "/"
	helper.ExtraFiles = []*os.File{inherited}
	return helper
}

// helperSockets returns the two ends of the channel to the helper process.
func helperSockets() (ours *net.UnixConn, theirs *os.File, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	f := os.NewFile(uintptr(pair[0]), "helper process")
	defer f.Close()
	theirs = os.NewFile(uintptr(pair[1]), "daemon")
	conn, err := net.FileConn(f)
	if err != nil {
		theirs.Close()
		return nil, nil, err
	}
	return conn.(*net.UnixConn), theirs, nil
}

// maxPathAnswer bounds the answer of the helper process, which runs as another user.
const maxPathAnswer = 4096

// receiveAnswer returns the descriptors of an answer, where some are expected, or its error.
func receiveAnswer(conn *net.UnixConn, expected bool) (fds socketFDs, err error) {
	text, rights := make([]byte, maxPathAnswer), make([]byte, unix.CmsgSpace(2*4))
	n, m, _, _, err := conn.ReadMsgUnix(text, rights)
	if err != nil {
		return fds, fmt.Errorf("receive the answer of the helper process: %w", err)
	}
	var got []int
	if messages, err := unix.ParseSocketControlMessage(rights[:m]); err == nil && len(messages) == 1 {
		got, _ = unix.ParseUnixRights(&messages[0])
	}
	var a pathAnswer
	if err = json.Unmarshal(text[:n], &a); err == nil {
		err = a.err()
	}
	if err == nil && expected == (len(got) == 2) {
		if expected {
			fds = socketFDs{got[0], got[1]}
		}
		return fds, nil
	}
	for _, fd := range got {
		unix.Close(fd)
	}
	if err == nil {
		err = errors.New("the helper process did not hand over a socket")
	}
	return fds, err
}

// Helper must be called first in main. It returns at once unless this process is the helper process
// of a Public: the daemon's own binary. The helper becomes the user of its request, carries it out
// and exits.
func Helper() {
	if len(os.Args) != 2 || os.Args[0] != helperName {
		return
	}
	runtime.LockOSThread() // the scheduling policy of await is an attribute of the thread
	var r pathRequest
	err := json.Unmarshal([]byte(os.Args[1]), &r)
	if err == nil && r.Action == awaitAction {
		err = r.await()
	} else if err == nil {
		err = r.serve()
	}
	if err != nil {
		os.Stdout.WriteString(err.Error() + "\n")
		unix.Exit(1)
	}
	unix.Exit(0)
}

// serve carries the request out and sends the answer.
func (r pathRequest) serve() error {
	fd, file, err := -1, (*socketFile)(nil), r.User.become()
	_ = unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0) // the change of the user has reset it
	if err == nil {
		fd, file, err = r.carryOut()
	}
	text, _ := json.Marshal(newPathAnswer(err)) // of strings and numbers
	var rights []byte
	if file != nil {
		withFD(file.pin, func(pin int) error { rights = unix.UnixRights(fd, pin); return nil })
	}
	return unix.Sendmsg(helperFD, text[:min(len(text), maxPathAnswer)], rights, nil, 0)
}

// become gives up all rights but those of the user. nil, or a user that this process is without
// privileges: nothing is given up.
func (u *User) become() error {
	if u == nil || os.Geteuid() != 0 && os.Geteuid() == int(u.UID) {
		return nil
	}
	groups := []int{int(u.GID)}
	for _, g := range u.Groups {
		groups = append(groups, int(g))
	}
	uid, gid := int(u.UID), int(u.GID)
	if err := syscall.Setgroups(groups); err != nil {
		return os.NewSyscallError("setgroups", err)
	}
	if err := syscall.Setresgid(gid, gid, gid); err != nil {
		return os.NewSyscallError("setresgid", err)
	}
	if err := syscall.Setresuid(uid, uid, uid); err != nil {
		return os.NewSyscallError("setresuid", err)
	}
	if uid != 0 && syscall.Setuid(0) == nil {
		return errors.New("setuid(0) is still possible")
	}
	return nil
}
