package testenv

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
)

// These variables are in the environment of every process that an Env starts, so
// that a process is found also after it has left its parent and its group.
const (
	runTag = "TESTENV"     // the run of this program
	envTag = "TESTENV_ENV" // the Env
	appTag = "TESTENV_APP" // the Env; only for apps and their supervisors, not for front-ends
)

// RunName identifies this run of the program. scripts/test sets it, and kills
// the processes tagged with it when the program itself was killed.
func RunName() string {
	if run := os.Getenv("TESTENV_NAME"); run != "" {
		return run
	}
	return fmt.Sprintf("run-%d", os.Getpid())
}

var lastEnv atomic.Int64

// Env is a folder and the processes started in it.
type Env struct {
	Name string
	Dir  string // readable by every user: front-ends give up root
	Root string // the repository

	token     string
	mu        sync.Mutex
	processes []*Process
	closed    bool
}

// New makes an Env without processes. The name becomes part of the names of its
// folder and apps; it should be short, because a unix socket's path may have 107
// bytes only.
func New(name string) (*Env, error) {
	root, err := Repository()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "tideover-"+name+"-")
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, err
	}
	token := fmt.Sprintf("%s-%s-%d", RunName(), name, lastEnv.Add(1))
	return &Env{Name: name, Dir: dir, Root: root, token: token}, nil
}

// Repository returns the root of the repository that contains the working
// directory.
func Repository() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; dir != "/"; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "scripts", "testenv", "doc.go")); err == nil {
			return dir, nil
		}
	}
	return "", errors.New("not inside tideover's repository")
}

// Path returns a path in the folder of e.
func (e *Env) Path(elements ...string) string {
	return filepath.Join(append([]string{e.Dir}, elements...)...)
}

// Write writes a file in the folder of e and returns its path.
func (e *Env) Write(name, text string) (string, error) {
	path := e.Path(name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", err
	}
	return path, os.WriteFile(path, []byte(text), 0o644)
}

// EndRun kills every process that any Env of this run started. It is for a
// program that exits without Close.
func EndRun() { killTagged(runTag + "=" + RunName()) }

// Close ends every process of e, the newest first, and then kills every process
// that still carries its tag. It removes the folder unless keep is set.
func (e *Env) Close(keep bool) error {
	e.mu.Lock()
	e.closed = true
	processes := slices.Clone(e.processes)
	e.mu.Unlock()
	slices.Reverse(processes)
	for _, p := range processes {
		p.terminate()
	}
	killTagged(envTag + "=" + e.token)
	if keep {
		return nil
	}
	return os.RemoveAll(e.Dir)
}

// environment is that of a process of e: the one of this program without the variables that change what
// tideover and gunicorn do.
func (e *Env) environment(app bool, more []string) []string {
	env := slices.DeleteFunc(os.Environ(), func(line string) bool {
		return slices.ContainsFunc([]string{"TIDEOVER_", "GUNICORN", "PORT=", "LISTEN_", "NOTIFY_SOCKET="},
			func(prefix string) bool { return len(line) >= len(prefix) && line[:len(prefix)] == prefix })
	})
	env = append(env, runTag+"="+RunName(), envTag+"="+e.token, "PYTHONDONTWRITEBYTECODE=1", "PYTHONUNBUFFERED=1")
	if app {
		env = append(env, appTag+"="+e.token)
	}
	return append(env, more...)
}
