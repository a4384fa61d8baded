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
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// defaultPath is where a command is looked for when its environment has no PATH.
const defaultPath = "/usr/local/bin:/usr/bin:/bin"

// Shim must be called first in main. It returns at once unless this process is the exec shim: the daemon's own binary, started
// by Start, that prepares what Go cannot prepare between fork and exec and then becomes the command. Then it never returns.
func Shim() {
	if len(os.Args) != 1 || os.Args[0] != shimName {
		return
	}
	runtime.LockOSThread() // nice, the signal mask and no_new_privs belong to the thread that execs
	s := shim{reports: os.NewFile(reportFD, "report")}
	s.fail(s.run())
	unix.Exit(127)
}

type shim struct {
	order   order
	argv    []string
	env     []string
	joined  bool
	reports *os.File
}

// run only returns when something failed.
func (s *shim) run() error {
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"order", s.read},
		{"cgroup", s.join},
		{"limits", s.limit},
		{"mark", func() error { return setMark(s.order.Token) }},
		{"oom_score_adj", s.oom},
		{"nice", s.nice},
		{"umask", s.umask},
		{"signals", defaultSignals},
		{"user", func() error { return become(s.order.User) }},
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

// fail tells the daemon which step failed.
func (s *shim) fail(err error) {
	var r report
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
	json.NewEncoder(s.reports).Encode(r)
}

func (s *shim) read() error {
	f := os.NewFile(orderFD, "order")
	text, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<40))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, &s.order); err != nil {
		return err
	}
	for _, word := range s.order.Argv {
		s.argv = append(s.argv, string(word))
	}
	s.env = s.environment()
	return nil
}

// environment is the one ordered, with the variables that only this process can know.
func (s *shim) environment() []string {
	var env []string
	names := s.order.Name
	for _, entry := range s.order.Env {
		key, value, _ := strings.Cut(string(entry), "=")
		switch key {
		case "LISTEN_FDNAMES":
			names = value
		case "LISTEN_PID", "LISTEN_PIDFDID", "LISTEN_FDS", treeVariable:
		default:
			env = append(env, string(entry))
		}
	}
	if s.order.Token != "" {
		env = append(env, treeVariable+"="+s.order.Token)
	}
	if s.order.Listen {
		env = append(env, "LISTEN_PID="+strconv.Itoa(os.Getpid()), "LISTEN_FDS=1",
			"LISTEN_FDNAMES="+strings.ReplaceAll(names, ":", "_"))
	}
	return env
}

// join is the one step that may fail silently: without a cgroup the tree is found by other means.
func (s *shim) join() error {
	if s.order.Cgroup != "" {
		s.joined = (&cgroup{s.order.Cgroup}).join() == nil
	}
	return nil
}

// limit sets what was ordered. RLIMIT_NOFILE is otherwise what the daemon was started with: Go's runtime raises it for itself,
// hands the old value to its children and puts it back in syscall.Exec, unless syscall.Setrlimit was called for it.
func (s *shim) limit() error {
	if n := s.order.Nofile; n > 0 {
		var now syscall.Rlimit
		if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &now); err != nil {
			return err
		}
		if err := setLimit("nofile", n, max(n, now.Max)); err != nil {
			return err
		}
	}
	for name, l := range s.order.Limits {
		if err := setLimit(name, l[0], l[1]); err != nil {
			return err
		}
	}
	return nil
}

func (s *shim) oom() error {
	if s.order.OOMScoreAdj == nil {
		return nil
	}
	return os.WriteFile("/proc/self/oom_score_adj", []byte(strconv.Itoa(*s.order.OOMScoreAdj)), 0)
}

func (s *shim) nice() error {
	if s.order.Nice == nil {
		return nil
	}
	return unix.Setpriority(unix.PRIO_PROCESS, 0, *s.order.Nice)
}

func (s *shim) umask() error {
	if s.order.Umask != nil {
		unix.Umask(*s.order.Umask)
	}
	return nil
}

func (s *shim) noNewPrivs() error {
	if !s.order.NoNewPrivs {
		return nil
	}
	return unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
}

func (s *shim) changeDirectory() error {
	if len(s.order.Dir) == 0 {
		return nil
	}
	return os.Chdir(string(s.order.Dir))
}

// keepDescriptors lets the exec close everything but 0, 1, 2 and the listening socket. Until then the shim needs its own.
func (s *shim) keepDescriptors() error {
	first := listenFD
	if s.order.Listen {
		first++
	}
	err := unix.CloseRange(uint(first), math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC)
	if err == nil {
		return nil
	}
	var limit syscall.Rlimit // an older kernel
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	for fd := first; fd < int(min(limit.Cur, 1<<16)); fd++ {
		unix.CloseOnExec(fd)
	}
	return nil
}

// exec becomes the command, looking for it as execvp does: a file that may not be run does not end the search.
func (s *shim) exec() error {
	if err := json.NewEncoder(s.reports).Encode(report{Joined: s.joined}); err != nil {
		return err
	}
	name := s.argv[0]
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

// explainExec says what the kernel's word for a failed exec means here.
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

// interpreter is what a script's #! line names; a program's is its dynamic loader.
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
