package rig

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
)

// marker is in the environment of everything that a room starts, so that no
// process of it can hide.
const marker = "RIG"

// appMarker is in the environment of an app and of what supervises it, and of
// no front-end.
const appMarker = "RIG_APP"

// Run names this run of the program; scripts/test ends what carries it when
// the program itself was killed.
func Run() string {
	if run := os.Getenv(marker + "_NAME"); run != "" {
		return run
	}
	return fmt.Sprintf("run-%d", os.Getpid())
}

var lastRoom atomic.Int64

// Room is a folder and the processes started in it.
type Room struct {
	Name string
	Dir  string // every user may enter it: front-ends give up root
	Root string // the repository

	token     string
	mu        sync.Mutex
	processes []*Process
	closed    bool
}

// NewRoom makes an empty room. The name is part of the names of its apps and
// files; it should be short.
func NewRoom(name string) (*Room, error) {
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
	token := fmt.Sprintf("%s-%s-%d", Run(), name, lastRoom.Add(1))
	return &Room{Name: name, Dir: dir, Root: root, token: token}, nil
}

// Repository is tideover's, found from the working directory upwards.
func Repository() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; dir != "/"; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "scripts", "rig", "doc.go")); err == nil {
			return dir, nil
		}
	}
	return "", errors.New("not inside tideover's repository")
}

// Path is a path in the room's folder.
func (r *Room) Path(elements ...string) string {
	return filepath.Join(append([]string{r.Dir}, elements...)...)
}

// Write makes a file of the room, with its folders.
func (r *Room) Write(name, text string) (string, error) {
	path := r.Path(name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", err
	}
	return path, os.WriteFile(path, []byte(text), 0o644)
}

// EndRun kills every process that any room of this run started. It is for a
// run that is about to end without closing its rooms.
func EndRun() { killMarked(marker + "=" + Run()) }

// Close ends every process of the room, the newest first, and those that got
// away from their parent. The folder stays when keep is set.
func (r *Room) Close(keep bool) error {
	r.mu.Lock()
	r.closed = true
	processes := slices.Clone(r.processes)
	r.mu.Unlock()
	slices.Reverse(processes)
	for _, p := range processes {
		p.end()
	}
	killMarked(marker + "_ROOM=" + r.token)
	if keep {
		return nil
	}
	return os.RemoveAll(r.Dir)
}

func (r *Room) environment(app bool, more []string) []string {
	env := slices.DeleteFunc(os.Environ(), func(line string) bool {
		return slices.ContainsFunc([]string{"TIDEOVER_", "GUNICORN", "PORT=", "LISTEN_", "NOTIFY_SOCKET="},
			func(prefix string) bool { return len(line) >= len(prefix) && line[:len(prefix)] == prefix })
	})
	env = append(env, marker+"="+Run(), marker+"_ROOM="+r.token, "PYTHONDONTWRITEBYTECODE=1", "PYTHONUNBUFFERED=1")
	if app {
		env = append(env, appMarker+"="+r.token)
	}
	return append(env, more...)
}
