package supervisor

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"tideover/supervisor/api"
	"tideover/supervisor/process"
)

// records is what must outlive the daemon: which process trees it started, so
// that the next daemon ends them before it starts a second copy, and which
// apps the operator stopped. One file, replaced whole: whatever moment a crash
// picks, it is one state that existed.
//
// The lock file beside it is held for the daemon's life: a second daemon on
// the same records is refused before it could touch the first one's children.
type records struct {
	path string
	lock *os.File

	mu    sync.Mutex // guards what follows, and the file
	state recordedState
	kept  map[string]bool // by token: trees that are not left over
}

type recordedState struct {
	Version int                               `json:"version"`
	Trees   map[string]map[int]process.Record `json:"trees"`   // app -> generation -> its tree
	Hooks   map[string]process.Record         `json:"hooks"`   // token -> the hook's tree
	Last    map[string]int                    `json:"last"`    // app -> highest generation ever used
	Stopped map[string]bool                   `json:"stopped"` // apps stopped by the operator
}

const recordsVersion = 1

// sealed is the file: the state and a checksum over its bytes.
type sealed struct {
	Sum   uint32          `json:"crc32"`
	State json.RawMessage `json:"state"`
}

// openRecords takes the lock in dir and reads what the last daemon left there.
// A file that does not pass its checks is kept aside and the state is empty:
// damaged is returned for the log then.
func openRecords(dir, name string) (r *records, damaged error, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, nil, fmt.Errorf("cannot make the state directory: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(dir, name+".json.lock"), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot open the lock file: %w", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		lock.Close()
		return nil, nil, api.Errorf(api.ExitError, "another tideover runs as %q already", name)
	}
	r = &records{path: filepath.Join(dir, name+".json"), lock: lock, kept: map[string]bool{}}
	r.state = recordedState{Version: recordsVersion, Trees: map[string]map[int]process.Record{}, Hooks: map[string]process.Record{}, Last: map[string]int{}, Stopped: map[string]bool{}}
	if damaged = r.read(); damaged != nil {
		_ = os.Rename(r.path, r.path+".damaged") // kept for a person to look at; starting is more important
	}
	return r, damaged, nil
}

func (r *records) read() error {
	text, err := os.ReadFile(r.path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var file sealed
	if err := json.Unmarshal(text, &file); err != nil {
		return fmt.Errorf("%s: %w", r.path, err)
	}
	if crc32.ChecksumIEEE(file.State) != file.Sum {
		return fmt.Errorf("%s: wrong checksum", r.path)
	}
	state := r.state
	if err := json.Unmarshal(file.State, &state); err != nil {
		return fmt.Errorf("%s: %w", r.path, err)
	}
	if state.Version != recordsVersion {
		return fmt.Errorf("%s: version %d, this tideover writes %d", r.path, state.Version, recordsVersion)
	}
	r.state = state
	return nil
}

// write replaces the file whole. That is enough for what dies with the machine:
// process trees, and their numbers.
func (r *records) write() error { return r.replace(false) }

// replace writes a temporary file and renames it. With lasting it is on the disk
// before that, and its name after; a start need not wait for a disk.
func (r *records) replace(lasting bool) error {
	state, err := json.Marshal(r.state)
	if err != nil {
		return err
	}
	text, err := json.Marshal(sealed{Sum: crc32.ChecksumIEEE(state), State: state})
	if err != nil {
		return err
	}
	dir := filepath.Dir(r.path)
	tmp, err := os.CreateTemp(dir, filepath.Base(r.path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(text)
	if lasting {
		err = errors.Join(err, tmp.Sync())
	}
	if err = errors.Join(err, tmp.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), r.path); err != nil || !lasting {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// keep is told of a tree that was taken over.
func (r *records) keep(token string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.kept[token] = true
}

// left returns the trees the last daemon had not seen end, and nobody keeps.
func (r *records) left() []process.Record {
	r.mu.Lock()
	defer r.mu.Unlock()
	var trees []process.Record
	for _, generations := range r.state.Trees {
		for _, tree := range generations {
			if !r.kept[tree.Token] {
				trees = append(trees, tree)
			}
		}
	}
	return slices.AppendSeq(trees, maps.Values(r.state.Hooks))
}

// forgetTrees is called when everything left() named has ended.
func (r *records) forgetTrees() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, generations := range r.state.Trees {
		maps.DeleteFunc(generations, func(_ int, tree process.Record) bool { return !r.kept[tree.Token] })
	}
	r.state.Hooks = map[string]process.Record{}
	return r.write()
}

// number hands out the next generation number of app; no number is ever used
// twice, not even by another daemon.
func (r *records) number(app string) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.state.Last[app]++
	return r.state.Last[app], r.write()
}

func (r *records) started(app string, generation int, tree process.Record) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.state.Trees[app] == nil {
		r.state.Trees[app] = map[int]process.Record{}
	}
	r.state.Trees[app][generation] = tree
	return r.write()
}

func (r *records) gone(app string, generation int) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.state.Trees[app], generation)
	return r.write()
}

// hook notes one that is about to run. Its token is enough to find it.
func (r *records) hook(tree process.Record) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.state.Hooks[tree.Token] = tree
	return r.write()
}

func (r *records) hookGone(token string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.state.Hooks, token)
	return r.write()
}

func (r *records) setStopped(app string, stopped bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if stopped {
		r.state.Stopped[app] = true
	} else {
		delete(r.state.Stopped, app)
	}
	return r.replace(true)
}

func (r *records) stopped(app string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state.Stopped[app]
}

func (r *records) close() error { return r.lock.Close() }
