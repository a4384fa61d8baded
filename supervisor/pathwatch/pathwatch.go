// Package pathwatch says when a name in a directory may have appeared, gone or changed
// (inotify), so that a daemon that waits for it sleeps.
package pathwatch

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

// events are those of a name in a directory, and of the directory itself.
const events = unix.IN_CREATE | unix.IN_DELETE | unix.IN_MOVED_FROM | unix.IN_MOVED_TO |
	unix.IN_DELETE_SELF | unix.IN_MOVE_SELF | unix.IN_ONLYDIR

// Watcher has one inotify descriptor for all paths. All methods may be called from any
// goroutine.
type Watcher struct {
	file *os.File
	done chan struct{} // closed when the goroutine that reads has ended

	mu    sync.Mutex
	dirs  map[int32]string // by watch descriptor
	paths map[*Path]struct{}
}

// Path is a watched path.
type Path struct {
	// Changed gets a value after each event; it has capacity 1. It is nil for a nil Watcher.
	Changed <-chan struct{}

	watcher *Watcher
	path    string
	changed chan struct{}
}

// New returns a running Watcher. The error is that of inotify_init1, such as EMFILE.
func New() (*Watcher, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, os.NewSyscallError("inotify_init1", err)
	}
	w := &Watcher{file: os.NewFile(uintptr(fd), "inotify"), done: make(chan struct{}), dirs: map[int32]string{}, paths: map[*Path]struct{}{}}
	go w.read()
	return w, nil
}

// Close ends the Watcher. No Path gets a value any more.
func (w *Watcher) Close() {
	if w == nil {
		return
	}
	w.file.Close()
	<-w.done
}

// Watch begins to watch a path, whose directory may not exist. A nil Watcher watches nothing.
func (w *Watcher) Watch(path string) *Path {
	if w == nil {
		return &Path{}
	}
	changed := make(chan struct{}, 1)
	p := &Path{Changed: changed, watcher: w, path: path, changed: changed}
	w.mu.Lock()
	w.paths[p] = struct{}{}
	w.mu.Unlock()
	p.Renew()
	return p
}

// Renew watches the directory that is now at the path: after an event it can be another one.
// It reports whether there is one. Events before are not reported.
func (p *Path) Renew() bool {
	if p.watcher == nil {
		return false
	}
	w, dir := p.watcher, filepath.Dir(p.path)
	raw, err := w.file.SyscallConn()
	if err != nil {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	watch := -1
	raw.Control(func(fd uintptr) { watch, err = unix.InotifyAddWatch(int(fd), dir, events) })
	if err != nil || watch < 0 {
		return false
	}
	w.dirs[int32(watch)] = dir
	return true
}

// Stop ends the watch of the path. Its directory stays watched.
func (p *Path) Stop() {
	if p.watcher == nil {
		return
	}
	p.watcher.mu.Lock()
	defer p.watcher.mu.Unlock()
	delete(p.watcher.paths, p)
}

// read reads events until Close.
func (w *Watcher) read() {
	defer close(w.done)
	buffer := make([]byte, 16<<10)
	for {
		n, err := w.file.Read(buffer)
		if err != nil {
			return
		}
		w.handle(buffer[:n])
	}
}

func (w *Watcher) handle(text []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(text) >= unix.SizeofInotifyEvent {
		watch := int32(binary.NativeEndian.Uint32(text))
		mask, size := binary.NativeEndian.Uint32(text[4:]), int(binary.NativeEndian.Uint32(text[12:]))
		name, _, _ := bytes.Cut(text[unix.SizeofInotifyEvent:unix.SizeofInotifyEvent+size], []byte{0})
		text = text[unix.SizeofInotifyEvent+size:]
		w.tellLocked(w.dirs[watch], string(name), mask)
		if mask&unix.IN_IGNORED != 0 {
			delete(w.dirs, watch)
		}
	}
}

// tellLocked notifies the paths that an event concerns. w.mu must be held.
func (w *Watcher) tellLocked(dir, name string, mask uint32) {
	for p := range w.paths {
		ofDir := filepath.Dir(p.path) == dir && (name == "" || name == filepath.Base(p.path))
		if !ofDir && mask&unix.IN_Q_OVERFLOW == 0 {
			continue
		}
		select {
		case p.changed <- struct{}{}:
		default:
		}
	}
}
