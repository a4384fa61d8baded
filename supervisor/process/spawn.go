package process

import (
	"cmp"
	"context"
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
	// shimName is argv[0] of the shim. It has no arguments; its request comes on
	// requestFD.
	shimName = "tideover-shim"
	// execTimeout bounds the shim, which a dead network file system could block for ever.
	execTimeout = 30 * time.Second
)

// The descriptors of the shim beside 0, 1 and 2: the listening sockets have the numbers from
// firstSocketFD on. The command gets them from listenFD on.
const (
	requestFD     = 3
	statusFD      = 4
	firstSocketFD = 5

	listenFD = 3
)

// execRequest is Spec for the shim. Texts are byte slices, because JSON would replace
// bytes that are not UTF-8.
type execRequest struct {
	Argv, Env   [][]byte
	Dir, File   []byte
	Listen      int // number of listening sockets
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

// execStatus is a message of the shim: one before execve, and one if a step fails.
type execStatus struct {
	Joined bool   `json:"joined,omitempty"` // it has joined its cgroup
	Step   string `json:"step,omitempty"`
	Path   string `json:"path,omitempty"`
	Errno  int    `json:"errno,omitempty"`
	Text   string `json:"text,omitempty"`
}

// spawn starts the shim and waits for its execve. joined reports whether it is in the
// cgroup.
func spawn(s Spec, group *cgroup) (main *os.Process, joined bool, err error) {
	request, err := writeRequest(s, group)
	if err != nil {
		return nil, false, &StartError{Step: "fork", Err: err}
	}
	defer request.Close()
	status, statusWrite, err := os.Pipe()
	if err != nil {
		return nil, false, &StartError{Step: "fork", Err: err}
	}
	defer status.Close()
	main, err = fork(s, request, statusWrite)
	statusWrite.Close()
	if err != nil {
		return nil, false, &StartError{Step: "fork", Err: err}
	}
	joined, err = readStatus(status)
	if err != nil {
		killAndReap(main, s.Token)
		return nil, false, err
	}
	return main, joined, nil
}

// killAndReap ends a child after a failed start.
func killAndReap(main *os.Process, token string) {
	s, err := readStat(main.Pid)
	main.Kill()
	if err == nil {
		awaitExit(context.Background(), s)
	}
	collect(main, token)
	ownChildren.forget(main.Pid)
	main.Release()
}

// writeRequest writes the request to a memfd, so that the daemon need not wait until the
// shim reads it.
func writeRequest(s Spec, group *cgroup) (*os.File, error) {
	r := execRequest{
		Argv: bytesOf(s.Argv), Env: bytesOf(s.Env), Dir: []byte(s.Dir), File: []byte(s.File), Listen: len(s.Listen),
		User: s.User, Umask: s.Umask, Nofile: s.Nofile, Limits: s.Limits, Nice: s.Nice, OOMScoreAdj: cmp.Or(s.OOMScoreAdj, defaultOOMScoreAdj()),
		NoNewPrivs: s.NoNewPrivs, Name: s.Name, Token: s.Token,
	}
	if group != nil {
		r.Cgroup = group.path
	}
	text, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	fd, err := unix.MemfdCreate("order", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), "order")
	if _, err := f.Write(text); err != nil { // the shim reads from the beginning
		f.Close()
		return nil, err
	}
	return f, nil
}

// fork starts the shim as a child in a session of its own.
func fork(s Spec, request, statusWrite *os.File) (*os.Process, error) {
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
	env := []string{treeVariable + "=" + s.Token, "GOMAXPROCS=1"}
	files := append([]*os.File{null, or(s.Stdout), or(s.Stderr), request, statusWrite}, s.Listen...)
	return ownChildren.start(func() (*os.Process, error) {
		if p := parent(); p != nil {
			pid, err := p.Spawn(s.Token, shimName, env, files)
			if err != nil {
				return nil, err
			}
			return os.FindProcess(pid)
		}
		return os.StartProcess("/proc/self/exe", []string{shimName}, &os.ProcAttr{Env: env, Files: files, Sys: &syscall.SysProcAttr{Setsid: true}})
	})
}

// readStatus reads the messages of the shim until execve has closed its end of the pipe.
func readStatus(from *os.File) (joined bool, err error) {
	from.SetReadDeadline(time.Now().Add(execTimeout))
	ready := false
	for lines := json.NewDecoder(from); ; {
		var r execStatus
		switch err := lines.Decode(&r); {
		case errors.Is(err, io.EOF) && ready:
			return joined, nil
		case errors.Is(err, os.ErrDeadlineExceeded):
			return false, &StartError{Step: "exec", Err: fmt.Errorf("the command was not reached within %v", execTimeout)}
		case err != nil:
			return false, &StartError{Step: "exec", Err: errors.New("the shim ended without a word (was it killed?)")}
		case r.Step != "":
			return false, &StartError{Step: r.Step, Path: r.Path, Err: shimError{syscall.Errno(r.Errno), r.Text}}
		}
		ready, joined = true, r.Joined
	}
}

// shimError is an error of the shim: its text, and the errno in it or 0.
type shimError struct {
	errno syscall.Errno
	text  string
}

func (e shimError) Error() string { return e.text }

func (e shimError) Unwrap() error {
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
