package process

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// shimName is the shim's argv[0]. It has no arguments: its order comes on a descriptor.
	shimName = "tideover-shim"
	// shimTime bounds a start. A directory on a dead network file system would hold it for ever.
	shimTime = 30 * time.Second
)

// The shim's descriptors beside 0, 1 and 2. The listening socket is where the command will find it.
const (
	listenFD = 3
	orderFD  = 4
	reportFD = 5
)

// order is what the shim does. Texts are bytes, because JSON would repair what is not UTF-8.
type order struct {
	Argv, Env   [][]byte
	Dir         []byte
	Listen      bool
	Cgroup      string
	User        *User
	Umask       *int
	Nofile      uint64
	Limits      map[string][2]uint64
	Nice        *int
	OOMScoreAdj *int
	NoNewPrivs  bool
	Name, Token string
}

// report is a line from the shim: the first when it is about to exec, another if something failed.
type report struct {
	Joined bool   `json:"joined,omitempty"` // it is in its cgroup
	Step   string `json:"step,omitempty"`
	Path   string `json:"path,omitempty"`
	Errno  int    `json:"errno,omitempty"`
	Text   string `json:"text,omitempty"`
}

// spawn starts the shim, waits until it has become the command, and says whether it has joined its cgroup.
func spawn(s Spec, leaf *cgroup) (*os.Process, bool, error) {
	orders, err := writeOrder(s, leaf)
	if err != nil {
		return nil, false, &StartError{Step: "fork", Err: err}
	}
	defer orders.Close()
	reports, reportEnd, err := os.Pipe()
	if err != nil {
		return nil, false, &StartError{Step: "fork", Err: err}
	}
	defer reports.Close()
	main, err := fork(s, orders, reportEnd)
	reportEnd.Close()
	if err != nil {
		return nil, false, &StartError{Step: "fork", Err: err}
	}
	joined, err := readReports(reports)
	if err != nil {
		discard(main)
		return nil, false, err
	}
	return main, joined, nil
}

// discard ends a child that nobody will know.
func discard(main *os.Process) {
	main.Kill()
	main.Wait()
	ours.forget(main.Pid)
}

// writeOrder puts the order into memory, so that nobody waits for the shim to read it.
func writeOrder(s Spec, leaf *cgroup) (*os.File, error) {
	o := order{
		Argv: bytesOf(s.Argv), Env: bytesOf(s.Env), Dir: []byte(s.Dir), Listen: s.Listen != nil,
		User: s.User, Umask: s.Umask, Nofile: s.Nofile, Limits: s.Limits, Nice: s.Nice, OOMScoreAdj: s.OOMScoreAdj,
		NoNewPrivs: s.NoNewPrivs, Name: s.Name, Token: s.Token,
	}
	if leaf != nil {
		o.Cgroup = leaf.path
	}
	text, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	fd, err := unix.MemfdCreate("order", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), "order")
	if _, err := f.WriteAt(text, 0); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// fork starts the shim as a child of ours in a session of its own.
func fork(s Spec, orders, reportEnd *os.File) (*os.Process, error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	or := func(f *os.File) *os.File {
		if f == nil {
			return null
		}
		return f
	}
	return ours.start(func() (*os.Process, error) {
		return os.StartProcess("/proc/self/exe", []string{shimName}, &os.ProcAttr{
			Env:   []string{treeVariable + "=" + s.Token, "GOMAXPROCS=1"},
			Files: []*os.File{null, or(s.Stdout), or(s.Stderr), or(s.Listen), orders, reportEnd},
			Sys:   &syscall.SysProcAttr{Setsid: true},
		})
	})
}

// readReports returns when the exec has closed the shim's end.
func readReports(from *os.File) (joined bool, err error) {
	from.SetReadDeadline(time.Now().Add(shimTime))
	ready := false
	for lines := json.NewDecoder(from); ; {
		var r report
		switch err := lines.Decode(&r); {
		case errors.Is(err, io.EOF) && ready:
			return joined, nil
		case errors.Is(err, os.ErrDeadlineExceeded):
			return false, &StartError{Step: "exec", Err: fmt.Errorf("the command was not reached within %v", shimTime)}
		case err != nil:
			return false, &StartError{Step: "exec", Err: errors.New("the shim ended without a word (was it killed?)")}
		case r.Step != "":
			return false, &StartError{Step: r.Step, Path: r.Path, Err: remoteError{syscall.Errno(r.Errno), r.Text}}
		}
		ready, joined = true, r.Joined
	}
}

// remoteError is an error of the shim's: its text, and the errno it came from.
type remoteError struct {
	errno syscall.Errno
	text  string
}

func (e remoteError) Error() string { return e.text }

func (e remoteError) Unwrap() error {
	if e.errno == 0 {
		return nil
	}
	return e.errno
}

func bytesOf(texts []string) [][]byte {
	list := make([][]byte, len(texts))
	for i, s := range texts {
		list[i] = []byte(s)
	}
	return list
}
