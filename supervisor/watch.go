package supervisor

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

// watch looks at the files whose touch reloads an app (watch.files). It looks at
// directories, those on the whole way to each file, because files are replaced
// by editors, releases by symlinks, and directories may come later than we do.
// What counts is what the path leads to: a touch is another inode or another
// time. A file that goes is none.
//
// One goroutine, run, owns everything but wanted.
type watch struct {
	logger hclog.Logger
	reload func(app, file string) // called on a goroutine of its own

	mu      sync.Mutex // guards wanted
	wanted  map[string]config.Watch
	changed chan struct{} // ready when wanted has changed

	system *fsnotify.Watcher
	files  map[string][]*watched // by app
	names  map[string]bool       // of every file and directory on the ways
	calls  sync.WaitGroup
}

// watched is one file of an app.
type watched struct {
	path  string
	quiet time.Duration // after a touch, before the reload
	seen  sight
	due   *time.Timer // nil: no reload is coming
}

// sight is what a path leads to; the zero value is nothing.
type sight struct {
	device, inode uint64
	modified      int64 // nanoseconds
}

func newWatch(logger hclog.Logger, reload func(app, file string)) *watch {
	return &watch{logger: logger, reload: reload, wanted: map[string]config.Watch{}, changed: make(chan struct{}, 1), files: map[string][]*watched{}}
}

// set says which files of an app to watch from now on. Any goroutine may call
// it, and it does not wait.
func (w *watch) set(app string, files config.Watch) {
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

// run watches until ctx ends, and returns when no reload of its asking is under
// way.
func (w *watch) run(ctx context.Context) {
	defer w.calls.Wait()
	ready := make(chan *watched) // whose quiet time is over
	defer w.forget()
	for {
		var events <-chan fsnotify.Event
		var faults <-chan error
		if w.system != nil {
			events, faults = w.system.Events, w.system.Errors
		}
		select {
		case <-ctx.Done():
			return
		case <-w.changed:
			w.take(ctx, ready)
		case e := <-events:
			if w.names[filepath.Base(e.Name)] {
				w.look(ctx, ready)
			}
		case err := <-faults:
			w.logger.Warn("watching files: events were lost", "error", err)
			w.look(ctx, ready)
		case f := <-ready:
			w.fire(f)
		}
	}
}

// forget ends all timers and the kernel's watches.
func (w *watch) forget() {
	for _, files := range w.files {
		for _, f := range files {
			f.stop()
		}
	}
	if w.system != nil {
		w.system.Close()
		w.system = nil
	}
}

func (f *watched) stop() {
	if f.due != nil {
		f.due.Stop()
		f.due = nil
	}
}

// take begins to watch what is wanted now. What a file is at this moment is what
// its next touch is compared with, unless it was watched before.
func (w *watch) take(ctx context.Context, ready chan<- *watched) {
	w.mu.Lock()
	files := map[string][]*watched{}
	for app, wanted := range w.wanted {
		for _, path := range wanted.Files {
			f := &watched{path: path, seen: see(path)}
			if i := slices.IndexFunc(w.files[app], func(old *watched) bool { return old.path == path }); i >= 0 {
				f = w.files[app][i]
			}
			f.quiet = wanted.Debounce
			files[app] = append(files[app], f)
		}
	}
	w.mu.Unlock()
	for app, old := range w.files {
		for _, f := range old {
			if !slices.Contains(files[app], f) {
				f.stop()
			}
		}
	}
	w.files = files
	if len(files) == 0 {
		w.forget()
		return
	}
	if w.system == nil {
		system, err := fsnotify.NewWatcher()
		if err != nil {
			w.logger.Error("cannot watch files; reload with `tideover reload`", "error", err, "remedy", "raise fs.inotify.max_user_instances")
			return
		}
		w.system = system
	}
	w.look(ctx, ready)
}

// look goes all the ways again, and finds out which files were touched.
func (w *watch) look(ctx context.Context, ready chan<- *watched) {
	w.names = map[string]bool{}
	dirs := map[string]bool{}
	for _, files := range w.files {
		for _, f := range files {
			way(f.path, func(dir, name string) {
				dirs[dir] = true
				w.names[name] = true
			})
		}
	}
	for _, old := range w.system.WatchList() {
		if !dirs[old] {
			w.system.Remove(old) // it may have gone by itself
		}
	}
	for dir := range dirs {
		if err := w.system.Add(dir); err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
			w.logger.Warn("cannot watch a directory; a touch in it may go unnoticed", "directory", dir, "error", err)
		}
	}
	for _, files := range w.files {
		for _, f := range files {
			if now := see(f.path); now != f.seen { // after Add: a touch between is an event to come
				f.seen = now
				if now != (sight{}) {
					f.touch(ctx, ready)
				}
			}
		}
	}
}

// touch begins the quiet time, or begins it again.
func (f *watched) touch(ctx context.Context, ready chan<- *watched) {
	f.stop()
	f.due = time.AfterFunc(f.quiet, func() {
		select {
		case ready <- f:
		case <-ctx.Done():
		}
	})
}

// fire has the app reloaded, unless the file is not watched any more.
func (w *watch) fire(f *watched) {
	if f.due == nil {
		return // another timer of it was quicker
	}
	f.due = nil
	for app, files := range w.files {
		if slices.Contains(files, f) {
			w.logger.Info("touched", "app", app, "file", f.path)
			w.calls.Go(func() { w.reload(app, f.path) })
		}
	}
}

// way calls step for every directory that has to be watched for path, with the
// name in it that matters. It follows symlinks as the kernel does: the directory
// of each one is on the way, and then the way goes on where it leads.
func way(path string, step func(dir, name string)) {
	at, rest := "/", names(path)
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
		if links++; links > mostLinks {
			return // a circle: it leads nowhere until one of them changes
		}
		if !filepath.IsAbs(to) {
			to = filepath.Join(at, to)
		}
		at, rest = "/", append(names(to), rest...)
	}
}

// mostLinks is as many symlinks as the kernel follows in one path.
const mostLinks = 40

func names(path string) []string {
	return strings.FieldsFunc(filepath.Clean(path), func(r rune) bool { return r == '/' })
}

func see(path string) sight {
	info, err := os.Stat(path)
	if err != nil {
		return sight{}
	}
	s := sight{modified: info.ModTime().UnixNano()}
	if sys, ok := info.Sys().(*syscall.Stat_t); ok {
		s.device, s.inode = sys.Dev, sys.Ino
	}
	return s
}
