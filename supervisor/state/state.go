// Package state is the file that outlives the daemon: the process trees it
// started, so that the next daemon ends them before it starts a second copy, and
// the apps that the operator stopped or drained, and the directories from which they were ready.
package state

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"

	"tideover/supervisor/api"
	"tideover/supervisor/process"
)

// Store is the state in memory and in its file. The file is replaced by rename, so
// a crash at any moment leaves one complete state.
//
// The lock file beside it is locked (flock) for the daemon's life: a second daemon
// with the same name is refused before it touches the children of the first one.
type Store struct {
	path       string
	lock       *os.File
	treePrefix string
	logger     hclog.Logger

	mu       sync.Mutex // guards the fields below, and the file
	content  content
	adopted  map[string]bool // by token: trees that this daemon has taken over
	unsaved  time.Time       // since when the file is older than content; zero: it is not
	unsynced bool            // content must be on the disk (fsync) when it is saved
	retry    *time.Timer     // saves content when that has failed; nil: that has not failed
	closed   bool
}

// retryInterval is the time between two attempts to write the file after one has failed, as
// on a full disk. Every change writes it, too.
const retryInterval = 5 * time.Second

type content struct {
	Version int                               `json:"version"`
	Trees   map[string]map[int]process.Record `json:"trees"`   // app -> generation -> its tree
	Hooks   map[string]process.Record         `json:"hooks"`   // token -> the hook's tree
	Last    map[string]int                    `json:"last"`    // app -> highest generation ever used
	Stopped map[string]bool                   `json:"stopped"` // by the operator
	Drained map[string]Drained                `json:"drained"` // for load balancers
	// Releases are the directories from which an app was ready, the last one at the end.
	Releases map[string][]Release `json:"releases,omitempty"`
}

// Drained is an app to which load balancers are to send nothing.
type Drained struct {
	By    string    `json:"by"`
	Since time.Time `json:"since"`
	Until time.Time `json:"until"` // zero: until it is ended
}

const formatVersion = 1

// checksummed is the form of the file: the content and a CRC over its bytes.
type checksummed struct {
	Sum   uint32          `json:"crc32"`
	State json.RawMessage `json:"state"`
}

// newContent is the content of a file that was never written.
func newContent() content {
	return content{Version: formatVersion, Trees: map[string]map[int]process.Record{}, Hooks: map[string]process.Record{}, Last: map[string]int{}, Stopped: map[string]bool{},
		Drained: map[string]Drained{}, Releases: map[string][]Release{}}
}

// Open takes the lock in dir and reads the file of the last daemon. A file that
// fails its checks is renamed to *.damaged and the state is empty; damaged says
// why, for the log. held is the lock file of a former supervisor, which may have the lock still; nil: there
// is none. It belongs to Open.
func Open(dir, name string, held *os.File, logger hclog.Logger) (s *Store, damaged error, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, nil, fmt.Errorf("cannot make the state directory: %w", err)
	}
	path := filepath.Join(dir, name+".json.lock")
	lock, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot open the lock file: %w", err)
	}
	if lock, err = sameLock(lock, held); err != nil {
		return nil, nil, fmt.Errorf("cannot open the lock file: %w", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		lock.Close()
		return nil, nil, api.Errorf(api.ExitError, "another tideover runs as %q already", name)
	}
	prefix, err := treePrefix(lock, path)
	if err != nil {
		lock.Close()
		return nil, nil, fmt.Errorf("cannot use the lock file: %w", err)
	}
	s = &Store{path: filepath.Join(dir, name+".json"), lock: lock, treePrefix: prefix, logger: logger, adopted: map[string]bool{}, content: newContent()}
	if damaged = s.read(); damaged != nil {
		_ = os.Rename(s.path, s.path+".damaged") // for the operator to look at; the start goes on
	}
	return s, damaged, nil
}

// sameLock returns held if it is the file that was opened, and closes the other one.
func sameLock(opened, held *os.File) (*os.File, error) {
	if held == nil {
		return opened, nil
	}
	now, err := opened.Stat()
	before, heldErr := held.Stat()
	if err := errors.Join(err, heldErr); err != nil {
		return nil, errors.Join(err, opened.Close(), held.Close())
	}
	if os.SameFile(now, before) {
		return held, opened.Close()
	}
	return opened, held.Close()
}

// Lock is the lock file, for a later supervisor.
func (s *Store) Lock() *os.File { return s.lock }

// read reads the file, if there is one.
func (s *Store) read() error {
	text, err := os.ReadFile(s.path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	content, err := decode(text)
	if err != nil {
		return fmt.Errorf("%s: %w", s.path, err)
	}
	s.content = content
	return nil
}

// decode returns the content of a file. It has all maps, also when the file lacks some.
func decode(text []byte) (content, error) {
	var file checksummed
	if err := json.Unmarshal(text, &file); err != nil {
		return content{}, err
	}
	if crc32.ChecksumIEEE(file.State) != file.Sum {
		return content{}, errors.New("wrong checksum")
	}
	var read content
	if err := json.Unmarshal(file.State, &read); err != nil {
		return content{}, err
	}
	if read.Version != formatVersion {
		return content{}, fmt.Errorf("version %d, this tideover writes %d", read.Version, formatVersion)
	}
	c := newContent()
	for app, generations := range read.Trees {
		if generations != nil {
			c.Trees[app] = generations
		}
	}
	maps.Copy(c.Hooks, read.Hooks)
	maps.Copy(c.Last, read.Last)
	maps.Copy(c.Stopped, read.Stopped)
	maps.Copy(c.Drained, read.Drained)
	maps.Copy(c.Releases, read.Releases)
	return c, nil
}

// TreePrefix begins the tokens of all process trees of the daemons that have had this store.
// By it a daemon finds trees of the one before it that were never recorded. It is the identity
// of the lock file, so no two daemons that run at the same time have the same one.
func (s *Store) TreePrefix() string { return s.treePrefix }

func treePrefix(lock *os.File, path string) (string, error) {
	info, err := lock.Stat()
	if err != nil {
		return "", err
	}
	st := info.Sys().(*syscall.Stat_t)
	sum := sha256.Sum256(fmt.Appendf(nil, "%d:%d:%s", st.Dev, st.Ino, path))
	return hex.EncodeToString(sum[:10]) + ".", nil
}

// saveLocked writes the file. If that fails it is tried again in the background. s.mu must be
// held.
func (s *Store) saveLocked(sync bool) error {
	s.unsynced = s.unsynced || sync
	err := s.writeFile(s.unsynced)
	if err == nil {
		if !s.unsaved.IsZero() {
			s.logger.Info("state saved", "after_s", time.Since(s.unsaved).Round(time.Millisecond).Seconds())
		}
		s.unsaved, s.unsynced = time.Time{}, false
		return nil
	}
	if s.unsaved.IsZero() {
		s.unsaved = time.Now()
	}
	if s.retry == nil && !s.closed {
		s.retry = time.AfterFunc(retryInterval, s.saveAgain)
	}
	return err
}

func (s *Store) saveAgain() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.retry = nil
	if !s.closed && !s.unsaved.IsZero() {
		_ = s.saveLocked(false) // logged when it failed first
	}
}

// writeFile writes a temporary file and renames it. With sync the file is fsynced
// before the rename, and its directory after it. What does not survive a reboot needs no
// sync: process trees, and their numbers.
func (s *Store) writeFile(sync bool) error {
	state, err := json.Marshal(s.content)
	if err != nil {
		return err
	}
	text, err := json.Marshal(checksummed{Sum: crc32.ChecksumIEEE(state), State: state})
	if err != nil {
		return err
	}
	dir := filepath.Dir(s.path)
	tmp, err := os.CreateTemp(dir, filepath.Base(s.path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(text)
	if sync {
		err = errors.Join(err, tmp.Sync())
	}
	if err = errors.Join(err, tmp.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), s.path); err != nil || !sync {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// Adopt marks a tree as taken over: it is not stale.
func (s *Store) Adopt(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.adopted[token] = true
}

// IsKnown reports whether a tree is recorded, or was taken over.
func (s *Store) IsKnown(token string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, hook := s.content.Hooks[token]; hook || s.adopted[token] {
		return true
	}
	for _, generations := range s.content.Trees {
		for _, tree := range generations {
			if tree.Token == token {
				return true
			}
		}
	}
	return false
}

// StaleTrees returns the trees without a recorded end by the last daemon that were
// not adopted.
func (s *Store) StaleTrees() []process.Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	var trees []process.Record
	for _, generations := range s.content.Trees {
		for _, tree := range generations {
			if !s.adopted[tree.Token] {
				trees = append(trees, tree)
			}
		}
	}
	return slices.AppendSeq(trees, maps.Values(s.content.Hooks))
}

// ForgetStale removes what StaleTrees returned. Those trees must have ended.
func (s *Store) ForgetStale() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, generations := range s.content.Trees {
		maps.DeleteFunc(generations, func(_ int, tree process.Record) bool { return !s.adopted[tree.Token] })
	}
	s.content.Hooks = map[string]process.Record{}
	return s.saveLocked(false)
}

// NextNumber returns the next generation number of app. No number is used twice,
// not even by a later daemon.
func (s *Store) NextNumber(app string) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.content.Last[app]++
	return s.content.Last[app], s.saveLocked(false)
}

// SetTree records the process tree of a generation.
func (s *Store) SetTree(app string, generation int, tree process.Record) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.content.Trees[app] == nil {
		s.content.Trees[app] = map[int]process.Record{}
	}
	s.content.Trees[app][generation] = tree
	return s.saveLocked(false)
}

// RemoveTree records that no process of a generation is left.
func (s *Store) RemoveTree(app string, generation int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.content.Trees[app], generation)
	return s.saveLocked(false)
}

// SetHook records a hook that is about to run. Its token is enough to find its
// processes.
func (s *Store) SetHook(tree process.Record) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.content.Hooks[tree.Token] = tree
	return s.saveLocked(false)
}

// RemoveHook records that a hook has ended.
func (s *Store) RemoveHook(token string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.content.Hooks, token)
	return s.saveLocked(false)
}

// SetStopped records that the operator has stopped an app, or started it. It
// returns when that is on the disk.
func (s *Store) SetStopped(app string, stopped bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if stopped {
		s.content.Stopped[app] = true
	} else {
		delete(s.content.Stopped, app)
	}
	return s.saveLocked(true)
}

// Stopped reports whether the operator has stopped an app.
func (s *Store) Stopped(app string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.content.Stopped[app]
}

// SetDrained records that load balancers are to send nothing to an app; nil: that this has ended. It
// returns when that is on the disk.
func (s *Store) SetDrained(app string, d *Drained) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d != nil {
		s.content.Drained[app] = *d
	} else if _, recorded := s.content.Drained[app]; recorded {
		delete(s.content.Drained, app)
	} else {
		return nil
	}
	return s.saveLocked(true)
}

// Drained returns the record of SetDrained, or nil.
func (s *Store) Drained(app string) *Drained {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d, recorded := s.content.Drained[app]; recorded {
		return &d
	}
	return nil
}

// Close writes what was not saved yet, and releases the lock.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	if s.retry != nil {
		s.retry.Stop()
	}
	var err error
	if !s.unsaved.IsZero() {
		err = s.saveLocked(false)
	}
	return errors.Join(err, unix.Flock(int(s.lock.Fd()), unix.LOCK_UN), s.lock.Close()) // the monitor has a duplicate
}
