package process

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// defaultPath is the PATH of an environment without one.
const defaultPath = "/usr/local/bin:/usr/bin:/bin"

// Shim must be called first in main. It returns at once unless this process is the exec
// shim: the daemon's own binary, started by Start. The shim sets the attributes that Go
// cannot set between fork and exec, then executes the command, and never returns.
func Shim() {
	if len(os.Args) != 1 || os.Args[0] != shimName {
		return
	}
	runtime.LockOSThread() // nice, the signal mask and no_new_privs are attributes of the thread
	s := shim{status: os.NewFile(statusFD, "report")}
	s.reportError(s.run())
	unix.Exit(127)
}

type shim struct {
	request execRequest
	argv    []string
	env     []string
	joined  bool
	status  *os.File
}

// run only returns when a step has failed.
func (s *shim) run() error {
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"order", s.readRequest},
		{"cgroup", s.join},
		{"limits", s.limit},
		{"oom_score_adj", s.oom},
		{"nice", s.nice},
		{"umask", s.umask},
		{"signals", defaultSignals},
		{"user", func() error { return SetCredentials(s.request.User) }},
		{"no_new_privs", s.noNewPrivs},
		{"directory", s.changeDirectory},
		{"descriptors", s.keepDescriptors},
		{"exec", s.exec},
	} {
		if err := step.do(); err != nil {
			return &StartError{Step: step.name, Err: err}
		}
	}
	return nil
}

// reportError sends the daemon the step that failed.
func (s *shim) reportError(err error) {
	var r execStatus
	var start *StartError
	var path *os.PathError
	if errors.As(err, &start) {
		r.Step, r.Text = start.Step, start.Err.Error()
	}
	if errors.As(err, &path) {
		r.Path, r.Text = path.Path, path.Err.Error()
	}
	var errno syscall.Errno
	if errors.As(err, &errno) {
		r.Errno = int(errno)
	}
	json.NewEncoder(s.status).Encode(r)
}

func (s *shim) readRequest() error {
	f := os.NewFile(requestFD, "order")
	defer f.Close()
	text, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<40))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, &s.request); err != nil {
		return err
	}
	for _, word := range s.request.Argv {
		s.argv = append(s.argv, string(word))
	}
	s.env = s.environment()
	return nil
}

// environment returns the requested environment with LISTEN_* and the token.
func (s *shim) environment() []string {
	var env []string
	names, named := s.request.Name, false
	for _, entry := range s.request.Env {
		key, value, _ := strings.Cut(string(entry), "=")
		switch key {
		case "LISTEN_FDNAMES":
			names, named = value, true
		case "LISTEN_PID", "LISTEN_PIDFDID", "LISTEN_FDS", treeVariable:
		default:
			env = append(env, string(entry))
		}
	}
	if s.request.Token != "" {
		env = append(env, treeVariable+"="+s.request.Token)
	}
	if n := s.request.Listen; n > 0 {
		if !named {
			names = strings.Join(slices.Repeat([]string{strings.ReplaceAll(names, ":", "_")}, n), ":")
		}
		env = append(env, "LISTEN_PID="+strconv.Itoa(os.Getpid()), "LISTEN_FDS="+strconv.Itoa(n), "LISTEN_FDNAMES="+names)
	}
	return env
}

// join never fails, because without a cgroup the tree is found by other means.
func (s *shim) join() error {
	if s.request.Cgroup != "" {
		s.joined = (&cgroup{s.request.Cgroup}).join() == nil
	}
	return nil
}

// limit sets the requested limits. Without a request RLIMIT_NOFILE is that of the daemon's
// start: Go's runtime raises it for itself and restores it in syscall.Exec, unless
// syscall.Setrlimit was called for it.
func (s *shim) limit() error {
	if n := s.request.Nofile; n > 0 {
		var now syscall.Rlimit
		if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &now); err != nil {
			return err
		}
		if err := setLimit("nofile", n, max(n, now.Max)); err != nil {
			return err
		}
	}
	for name, l := range s.request.Limits {
		if err := setLimit(name, l[0], l[1]); err != nil {
			return err
		}
	}
	return nil
}

func (s *shim) oom() error {
	if s.request.OOMScoreAdj == nil {
		return nil
	}
	return os.WriteFile("/proc/self/oom_score_adj", []byte(strconv.Itoa(*s.request.OOMScoreAdj)), 0)
}

func (s *shim) nice() error {
	if s.request.Nice == nil {
		return nil
	}
	return unix.Setpriority(unix.PRIO_PROCESS, 0, *s.request.Nice)
}

func (s *shim) umask() error {
	if s.request.Umask != nil {
		unix.Umask(*s.request.Umask)
	}
	return nil
}

func (s *shim) noNewPrivs() error {
	if !s.request.NoNewPrivs {
		return nil
	}
	return unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
}

func (s *shim) changeDirectory() error {
	if len(s.request.Dir) == 0 {
		return nil
	}
	return os.Chdir(string(s.request.Dir))
}

// keepDescriptors gives the listening sockets the numbers from listenFD on, and makes all other
// descriptors close-on-exec but 0, 1 and 2. The request was read; the status needs another number.
func (s *shim) keepDescriptors() error {
	first := listenFD + s.request.Listen
	moved, err := unix.FcntlInt(statusFD, unix.F_DUPFD_CLOEXEC, firstSocketFD+s.request.Listen)
	if err != nil {
		return os.NewSyscallError("fcntl", err)
	}
	s.status.Close() // here, and not when it is collected: the number will be that of a socket
	s.status = os.NewFile(uintptr(moved), "report")
	for i := range s.request.Listen {
		if err := unix.Dup3(firstSocketFD+i, listenFD+i, 0); err != nil {
			return os.NewSyscallError("dup3", err)
		}
	}
	err = unix.CloseRange(uint(first), math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC)
	if err == nil {
		return nil
	}
	var limit syscall.Rlimit // before Linux 5.11
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	for fd := first; fd < int(min(limit.Cur, 1<<16)); fd++ {
		unix.CloseOnExec(fd)
	}
	return nil
}

// exec executes the command. It searches PATH like execvp: a file that cannot be executed
// does not end the search.
func (s *shim) exec() error {
	if err := json.NewEncoder(s.status).Encode(execStatus{Joined: s.joined}); err != nil {
		return err
	}
	name := s.argv[0]
	if file := string(s.request.File); file != "" {
		return explainExec(file, syscall.Exec(file, s.argv, s.env))
	}
	if strings.Contains(name, "/") {
		return explainExec(name, syscall.Exec(name, s.argv, s.env))
	}
	found := error(&os.PathError{Op: "exec", Path: name, Err: fmt.Errorf("not found in PATH: %w", unix.ENOENT)})
	for _, dir := range strings.Split(s.path(), ":") {
		file := filepath.Join(dir, name)
		if dir == "" || dir == "." {
			file = "./" + name
		}
		switch err := syscall.Exec(file, s.argv, s.env); err {
		case unix.ENOENT, unix.ENOTDIR:
			if _, missing := os.Lstat(file); missing == nil {
				found = explainExec(file, err)
			}
		case unix.EACCES:
			if info, missing := os.Stat(file); missing == nil && !info.IsDir() {
				found = explainExec(file, err)
			}
		default:
			return explainExec(file, err)
		}
	}
	return found
}

func (s *shim) path() string {
	for _, entry := range s.env {
		if path, ok := strings.CutPrefix(entry, "PATH="); ok {
			return path
		}
	}
	return defaultPath
}

// explainExec adds the probable reason to an error of execve.
func explainExec(file string, err error) error {
	switch info, missing := os.Stat(file); {
	case missing == nil && info.IsDir():
		err = fmt.Errorf("it is a directory: %w", err)
	case errors.Is(err, unix.ENOENT) && missing == nil:
		err = fmt.Errorf("the interpreter of its first line, %s, does not exist: %w", interpreter(file), err)
	case errors.Is(err, unix.ENOENT) && isSymlink(file):
		err = fmt.Errorf("it is a symlink to nothing: %w", err)
	case errors.Is(err, unix.ENOEXEC):
		err = fmt.Errorf("neither a program for this machine nor a script that begins with #!: %w", err)
	case errors.Is(err, unix.EACCES) && missing == nil && info.Mode()&0o111 == 0:
		err = fmt.Errorf("it is not executable: %w", err)
	}
	return &os.PathError{Op: "exec", Path: file, Err: err}
}

func isSymlink(file string) bool {
	info, err := os.Lstat(file)
	return err == nil && info.Mode()&os.ModeSymlink != 0
}

// interpreter returns what the #! line of a script names, or "a dynamic loader" for a
// program.
func interpreter(file string) string {
	f, err := os.Open(file)
	if err != nil {
		return "which cannot be read"
	}
	defer f.Close()
	line, _ := bufio.NewReader(io.LimitReader(f, 256)).ReadString('\n')
	words := strings.Fields(strings.TrimPrefix(line, "#!"))
	if !strings.HasPrefix(line, "#!") || len(words) == 0 {
		return "a dynamic loader"
	}
	return words[0]
}
