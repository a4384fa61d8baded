// Package filewatch reloads an app when one of its watched files is touched
// (watch.files).
package filewatch

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/hashicorp/go-hclog"

	"tideover/supervisor/config"
)

// Watcher watches every directory on the path of each file, because editors
// replace files, releases replace symlinks, and a directory may be made later. A
// touch is a change of the inode or of the modification time of what the path
// resolves to. The removal of a file is no touch.
//
// One goroutine, Run, owns every field but wanted.
type Watcher struct {
	logger hclog.Logger
	reload func(app, file string) // called on a goroutine of its own

	mu      sync.Mutex // guards wanted
	wanted  map[string]config.Watch
	changed chan struct{} // capacity 1: wanted has changed

	inotify *fsnotify.Watcher
	files   map[string][]*file // by app
	names   map[string]bool    // base names of every file and directory on the paths
	calls   sync.WaitGroup     // of reload
}

// file is one watched file of an app.
type file struct {
	path     string
	debounce time.Duration // from the last touch to the reload
	last     fileID
	timer    *time.Timer // nil: no reload is due
}

// fileID identifies what a path resolves to; the zero value: it does not exist.
type fileID struct {
	device, inode uint64
	modified      int64 // nanoseconds
}

// New returns a Watcher that calls reload for each touch, once Run runs.
func New(logger hclog.Logger, reload func(app, file string)) *Watcher {
	return &Watcher{logger: logger, reload: reload, wanted: map[string]config.Watch{}, changed: make(chan struct{}, 1), files: map[string][]*file{}}
}

// Set replaces the watched files of an app. It is safe for concurrent use and
// does not wait.
func (w *Watcher) Set(app string, files config.Watch) {
	w.mu.Lock()
	defer w.mu.Unlock()
	before, was := w.wanted[app]
	switch {
	case len(files.Files) == 0 && !was:
		return
	case len(files.Files) == 0:
		delete(w.wanted, app)
	case was && slices.Equal(before.Files, files.Files) && before.Debounce == files.Debounce:
		return
	default:
		w.wanted[app] = files
	}
	select {
	case w.changed <- struct{}{}:
	default:
	}
}

// Run watches until ctx ends and returns when every reload it has called has
// returned.
func (w *Watcher) Run(ctx context.Context) {
	defer w.calls.Wait()
	ready := make(chan *file) // debounce is over
	defer w.closeAll()
	for {
		var events <-chan fsnotify.Event
		var faults <-chan error
		if w.inotify != nil {
			events, faults = w.inotify.Events, w.inotify.Errors
		}
		select {
		case <-ctx.Done():
			return
		case <-w.changed:
			w.reconcile(ctx, ready)
		case e := <-events:
			if w.names[filepath.Base(e.Name)] {
				w.rescan(ctx, ready)
			}
		case err := <-faults:
			w.logger.Warn("file events lost", "error", err)
			w.rescan(ctx, ready)
		case f := <-ready:
			w.trigger(f)
		}
	}
}

// closeAll stops all timers and closes the inotify descriptor.
func (w *Watcher) closeAll() {
	for _, files := range w.files {
		for _, f := range files {
			f.stopTimer()
		}
	}
	if w.inotify != nil {
		w.inotify.Close()
		w.inotify = nil
	}
}

func (f *file) stopTimer() {
	if f.timer != nil {
		f.timer.Stop()
		f.timer = nil
	}
}

// reconcile makes files what wanted says. A new file is compared with its state of
// this moment at its next event; a file that was watched before keeps its state.
func (w *Watcher) reconcile(ctx context.Context, ready chan<- *file) {
	w.mu.Lock()
	files := map[string][]*file{}
	for app, wanted := range w.wanted {
		for _, path := range wanted.Files {
			f := &file{path: path, last: stat(path)}
			if i := slices.IndexFunc(w.files[app], func(old *file) bool { return old.path == path }); i >= 0 {
				f = w.files[app][i]
			}
			f.debounce = wanted.Debounce
			files[app] = append(files[app], f)
		}
	}
	w.mu.Unlock()
	for app, old := range w.files {
		for _, f := range old {
			if !slices.Contains(files[app], f) {
				f.stopTimer()
			}
		}
	}
	w.files = files
	if len(files) == 0 {
		w.closeAll()
		return
	}
	if w.inotify == nil {
		system, err := fsnotify.NewWatcher()
		if err != nil {
			w.logger.Error("cannot watch files", "error", err,
				"hint", "raise fs.inotify.max_user_instances; until then use tideover reload")
			return
		}
		w.inotify = system
	}
	w.rescan(ctx, ready)
}

// rescan walks the paths again, watches their directories and starts the timer of
// every file that has changed.
func (w *Watcher) rescan(ctx context.Context, ready chan<- *file) {
	w.names = map[string]bool{}
	dirs := map[string]bool{}
	for _, files := range w.files {
		for _, f := range files {
			walkPath(f.path, func(dir, name string) {
				dirs[dir] = true
				w.names[name] = true
			})
		}
	}
	for _, old := range w.inotify.WatchList() {
		if !dirs[old] {
			w.inotify.Remove(old) // the kernel may have removed it already
		}
	}
	for dir := range dirs {
		if err := w.inotify.Add(dir); err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
			w.logger.Warn("cannot watch directory", "directory", dir, "error", err)
		}
	}
	for _, files := range w.files {
		for _, f := range files {
			if now := stat(f.path); now != f.last { // after Add, so a later touch is an event
				f.last = now
				if now != (fileID{}) {
					f.startTimer(ctx, ready)
				}
			}
		}
	}
}

// startTimer starts the debounce time, or starts it anew.
func (f *file) startTimer(ctx context.Context, ready chan<- *file) {
	f.stopTimer()
	f.timer = time.AfterFunc(f.debounce, func() {
		select {
		case ready <- f:
		case <-ctx.Done():
		}
	})
}

// trigger reloads the app of f, unless f is not watched any more.
func (w *Watcher) trigger(f *file) {
	if f.timer == nil {
		return // an earlier timer has been handled
	}
	f.timer = nil
	for app, files := range w.files {
		if slices.Contains(files, f) {
			w.logger.Info("watched file changed", "app", app, "file", f.path)
			w.calls.Go(func() { w.reload(app, f.path) })
		}
	}
}

// walkPath calls step for every directory that has to be watched for path, with
// the name in it. It resolves symlinks as the kernel does: the directory of each
// symlink is watched, and so are those of its target.
func walkPath(path string, step func(dir, name string)) {
	at, rest := "/", components(path)
	for links := 0; len(rest) > 0; {
		name := rest[0]
		rest = rest[1:]
		step(at, name)
		next := filepath.Join(at, name)
		to, err := os.Readlink(next)
		if err != nil {
			at = next
			continue
		}
		if links++; links > maxLinks {
			return // ELOOP, until one of them changes
		}
		if !filepath.IsAbs(to) {
			to = filepath.Join(at, to)
		}
		at, rest = "/", append(components(to), rest...)
	}
}

// maxLinks is the number of symlinks that Linux follows in one path (MAXSYMLINKS).
const maxLinks = 40

func components(path string) []string {
	return strings.FieldsFunc(filepath.Clean(path), func(r rune) bool { return r == '/' })
}

func stat(path string) fileID {
	info, err := os.Stat(path)
	if err != nil {
		return fileID{}
	}
	s := fileID{modified: info.ModTime().UnixNano()}
	if sys, ok := info.Sys().(*syscall.Stat_t); ok {
		s.device, s.inode = sys.Dev, sys.Ino
	}
	return s
}
