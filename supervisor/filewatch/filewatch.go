// Package filewatch reloads an app when one of its watched files is touched
// (watch.files).
package filewatch

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/hashicorp/go-hclog"

	"tideover/supervisor/config"
	"tideover/supervisor/safepath"
)

// rescanInterval is the minimum time between two rescans. A rescan may need a process, and
// an app can cause events as fast as it likes.
const rescanInterval = 100 * time.Millisecond

// maxRounds bounds how often a rescan follows paths that change while they are resolved.
const maxRounds = 3

// Watcher watches every directory on the path of each file, and every directory of a pattern,
// because editors replace files, releases replace symlinks, and a file or directory may be made
// later. A touch is a change of the inode or of the modification time of what a path resolves
// to, or a new file that a pattern matches. The removal of a file is no touch.
//
// One goroutine, Run, owns every field but wanted.
type Watcher struct {
	logger hclog.Logger
	reload func(app, file string) // called on a goroutine of its own

	mu      sync.Mutex // guards wanted
	wanted  map[string]files
	changed chan struct{} // capacity 1: wanted has changed

	inotify *fsnotify.Watcher
	apps    map[string]*app
	names   map[string]bool // base names of every file and directory on the paths
	globs   map[string]bool // patterns of base names
	scanned time.Time       // the last rescan
	took    time.Duration   // that one
	rescan  *time.Timer     // nil: no rescan is due
	calls   sync.WaitGroup  // of reload
}

// files are the watched files of an app, and the rights with which they are opened.
type files struct {
	config.Watch
	opener safepath.Opener
}

// app is an app with watched files.
type app struct {
	opener  safepath.Opener
	files   []*file
	watches []safepath.Watch // of files, as they were resolved last
	failed  bool             // the last try to resolve them failed
	limited bool             // there are more files than the limits allow
}

// file is one entry of watch.files: a file, a directory or a pattern.
type file struct {
	path     string
	debounce time.Duration              // from the last touch to the reload
	last     map[string]safepath.FileID // by path; nil: not known yet
	touched  string                     // the path that was touched last
	timer    *time.Timer                // nil: no reload is due
}

// New returns a Watcher that calls reload for each touch, once Run runs.
func New(logger hclog.Logger, reload func(app, file string)) *Watcher {
	return &Watcher{logger: logger, reload: reload, wanted: map[string]files{}, changed: make(chan struct{}, 1), apps: map[string]*app{}}
}

// Set replaces the watched files of an app. It is safe for concurrent use and
// does not wait.
func (w *Watcher) Set(app string, watch config.Watch, opener safepath.Opener) {
	w.mu.Lock()
	defer w.mu.Unlock()
	before, was := w.wanted[app]
	switch {
	case len(watch.Files) == 0 && !was:
		return
	case len(watch.Files) == 0:
		delete(w.wanted, app)
	case was && slices.Equal(before.Files, watch.Files) && before.Debounce == watch.Debounce && before.opener.Equal(opener):
		return
	default:
		w.wanted[app] = files{watch, opener}
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
			w.reconcile()
			w.compare(ctx, ready)
		case e := <-events:
			if w.isWatched(filepath.Base(e.Name)) {
				w.scheduleRescan()
			}
		case err := <-faults:
			w.logger.Warn("file events lost", "error", err)
			w.scheduleRescan()
		case <-w.rescanDue():
			w.rescan = nil
			w.compare(ctx, ready)
		case f := <-ready:
			w.trigger(f)
		}
	}
}

// isWatched reports whether an event with a base name may be a touch.
func (w *Watcher) isWatched(name string) bool {
	if w.names[name] {
		return true
	}
	for glob := range w.globs {
		if safepath.MayMatch(glob, name) {
			return true
		}
	}
	return false
}

// scheduleRescan has the paths resolved again. An app that writes all the time into a directory
// with many files costs a tenth of a CPU at most.
func (w *Watcher) scheduleRescan() {
	if w.rescan == nil {
		w.rescan = time.NewTimer(time.Until(w.scanned.Add(max(rescanInterval, 10*w.took))))
	}
}

func (w *Watcher) rescanDue() <-chan time.Time {
	if w.rescan == nil {
		return nil
	}
	return w.rescan.C
}

// closeAll stops all timers and closes the inotify descriptor.
func (w *Watcher) closeAll() {
	for _, a := range w.apps {
		for _, f := range a.files {
			f.stopTimer()
		}
	}
	if w.rescan != nil {
		w.rescan.Stop()
		w.rescan = nil
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

// reconcile makes apps what wanted says. A file that was watched before keeps its state.
func (w *Watcher) reconcile() {
	w.mu.Lock()
	apps := map[string]*app{}
	for name, wanted := range w.wanted {
		a := &app{opener: wanted.opener}
		if before := w.apps[name]; before != nil {
			a.limited = before.limited
		}
		for _, path := range wanted.Files {
			f := &file{path: path}
			if before := w.apps[name].file(path); before != nil {
				f = before
			}
			f.debounce = wanted.Debounce
			a.files = append(a.files, f)
		}
		apps[name] = a
	}
	w.mu.Unlock()
	for name, old := range w.apps {
		for _, f := range old.files {
			if now := apps[name]; now == nil || !slices.Contains(now.files, f) {
				f.stopTimer()
			}
		}
	}
	w.apps = apps
	if len(apps) == 0 {
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
}

func (a *app) file(path string) *file {
	if a == nil {
		return nil
	}
	if i := slices.IndexFunc(a.files, func(f *file) bool { return f.path == path }); i >= 0 {
		return a.files[i]
	}
	return nil
}

// compare resolves the paths again, watches their directories and starts the timer of
// every file that has changed.
func (w *Watcher) compare(ctx context.Context, ready chan<- *file) {
	if w.inotify == nil {
		return
	}
	began := time.Now()
	w.resolve()
	for range maxRounds {
		if !w.watchDirs() {
			break
		}
		w.resolve() // a touch before the directory was watched caused no event
	}
	w.scanned = time.Now()
	w.took = w.scanned.Sub(began)
	for _, a := range w.apps {
		for i, f := range a.files {
			if i < len(a.watches) && f.update(a.watches[i].Files) {
				f.startTimer(ctx, ready)
			}
		}
	}
}

// update takes the files as they are now, and reports whether one was touched.
func (f *file) update(now map[string]safepath.FileID) (touched bool) {
	if now == nil {
		return false // they were not resolved
	}
	for path, id := range now {
		if f.last[path] != id {
			touched, f.touched = true, path
		}
	}
	f.last = now
	return touched
}

// resolve resolves the paths of every app. The state of a new file is the first one that is
// seen.
func (w *Watcher) resolve() {
	for name, a := range w.apps {
		var paths []string
		for _, f := range a.files {
			paths = append(paths, f.path)
		}
		watches, err := a.opener.Watches(paths)
		if err != nil && !a.failed {
			w.logger.Warn("cannot resolve watched files", "app", name, "error", err)
		}
		if a.failed = err != nil; a.failed {
			continue // what was resolved before counts
		}
		a.watches = watches
		limited := false
		for i, f := range a.files {
			limited = limited || watches[i].Truncated
			if f.last == nil {
				f.last = watches[i].Files
			}
		}
		if limited && !a.limited {
			w.logger.Warn("too many files to watch", "app", name, "files", safepath.MaxWatchedFiles, "directories", safepath.MaxWatchedDirs,
				"hint", "changes of further ones are not noticed; watch.files should name less")
		}
		a.limited = limited
	}
}

// watchDirs watches the directories on the resolved paths and no others. It reports whether
// one is new.
func (w *Watcher) watchDirs() (added bool) {
	w.names, w.globs = map[string]bool{}, map[string]bool{}
	dirs := map[string]bool{}
	for _, a := range w.apps {
		for _, watch := range a.watches {
			for _, dir := range watch.Dirs {
				dirs[dir] = true
			}
			for _, name := range watch.Names {
				if safepath.HasPattern(name) {
					w.globs[name] = true
				} else {
					w.names[name] = true
				}
			}
		}
	}
	before := map[string]bool{}
	for _, old := range w.inotify.WatchList() {
		before[old] = true
		if !dirs[old] {
			w.inotify.Remove(old) // the kernel may have removed it already
		}
	}
	for dir := range dirs {
		switch err := w.inotify.Add(dir); {
		case err == nil:
			added = added || !before[dir]
		case !errors.Is(err, os.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR):
			w.logger.Warn("cannot watch directory", "directory", dir, "error", err)
		}
	}
	return added
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
	for name, a := range w.apps {
		if slices.Contains(a.files, f) {
			touched := f.touched
			w.logger.Info("watched file changed", "app", name, "file", touched)
			w.calls.Go(func() { w.reload(name, touched) })
		}
	}
}
