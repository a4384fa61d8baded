package logs

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"os"
	"reflect"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"tideover/supervisor/safepath"
)

// moveCheckInterval is the minimum time between checks whether the path still names the
// open file: logrotate may have moved it.
const moveCheckInterval = 5 * time.Second

// reopenTimeout bounds Reopen while a write is stuck.
const reopenTimeout = 2 * time.Second

// FileOptions are the options of a rotated file.
//
// Rotation is implemented here, because lumberjack leaves a goroutine behind at every
// Close and does not see a moved file, timberjack brings its own compressors, and both
// hide the write errors that are needed to count dropped lines.
type FileOptions struct {
	Path     string
	MaxSize  int64         // bytes; size at which a file is rotated; 0: never
	Every    time.Duration // age at which a file is rotated; 0: never
	Backups  int           // rotated files that are kept: PATH.1, PATH.2 ...; 0: none
	MaxAge   time.Duration // older rotated files are removed; 0: never
	Compress bool          // PATH.2.gz ...; PATH.1 is not compressed, because a process may still write to it
	Mode     os.FileMode   // of new files; 0: 0640

	Opener safepath.Opener // opens and renames the files
}

// equal reports whether two options mean the same. An Opener is made anew with every
// configuration.
func (o FileOptions) equal(other FileOptions) bool { return reflect.DeepEqual(o, other) }

func (o FileOptions) rotation() safepath.Rotation {
	return safepath.Rotation{Backups: o.Backups, MaxAge: o.MaxAge, Compress: o.Compress, Mode: o.Mode}
}

// Check opens the file and closes it again. It makes the file if it does not exist. The
// error says why a Log could not write to it.
func (o FileOptions) Check() error {
	if o.Path == "" {
		return nil
	}
	f, err := o.Opener.OpenLog(o.Path, o.Mode)
	if err != nil {
		return fmt.Errorf("cannot open a log file: %w", err)
	}
	return f.Close()
}

// file is an append-only file that is rotated. Only the goroutine of its sink uses it;
// other goroutines use requests and pending.
type file struct {
	FileOptions
	requests chan chan error             // to reopen the file
	pending  atomic.Pointer[FileOptions] // options to be applied

	f       *os.File // nil: not opened yet
	regular bool     // a device is not rotated
	id      fileID
	size    int64
	first   firstFile
	created time.Time
	checked time.Time

	cleaning sync.WaitGroup // the goroutine that compresses after a rotation
}

// fileID is the identity of a regular file; zero: there is none.
type fileID struct{ device, inode uint64 }

// firstFile is a file as it was when it was opened first, before this process has written to it.
type firstFile struct {
	opened bool
	id     fileID
	size   int64
}

// newFile returns a file that applyOptions or the first Write opens.
func newFile(o FileOptions) *file {
	f := &file{FileOptions: o, requests: make(chan chan error)}
	f.pending.Store(&o)
	return f
}

// applyOptions applies the pending options, if there are any. If a new path cannot be
// opened, the open file stays in use.
func (f *file) applyOptions() error {
	o := f.pending.Swap(nil)
	if o == nil {
		return nil
	}
	f.cleaning.Wait() // cleanUp reads the options
	before := f.FileOptions
	f.FileOptions = *o
	f.Mode = cmp.Or(f.Mode, 0o640)
	if f.f != nil && f.Path == before.Path {
		return nil
	}
	err := f.open()
	if err == nil || f.Path == before.Path {
		return err
	}
	f.FileOptions = before
	err = fmt.Errorf("%w; the output goes on to %s", err, f.Path)
	if f.f == nil {
		err = errors.Join(err, f.open())
	}
	return err
}

// open opens the file at Path. On an error the open file stays in use.
func (f *file) open() error {
	opened, err := f.Opener.OpenLog(f.Path, f.Mode)
	if err != nil {
		return fmt.Errorf("cannot open a log file: %w", err)
	}
	return f.use(opened)
}

// use writes to opened from now on. On an error the open file stays in use.
func (f *file) use(opened *os.File) error {
	info, err := opened.Stat()
	if err != nil {
		opened.Close()
		return fmt.Errorf("cannot look at a log file: %w", err)
	}
	if f.f != nil {
		f.f.Close()
	}
	f.f, f.regular, f.size = opened, info.Mode().IsRegular(), info.Size()
	f.created, f.checked = creationTime(opened), time.Now()
	f.id = fileID{}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && f.regular {
		f.id = fileID{uint64(st.Dev), st.Ino}
	}
	if !f.first.opened {
		f.first = firstFile{true, f.id, f.size}
	}
	return nil
}

// creationTime returns when the file was created, or now if the file system does not
// store that.
func creationTime(f *os.File) time.Time {
	var st unix.Statx_t
	err := unix.Statx(int(f.Fd()), "", unix.AT_EMPTY_PATH, unix.STATX_BTIME, &st)
	if err != nil || st.Mask&unix.STATX_BTIME == 0 {
		return time.Now()
	}
	return time.Unix(st.Btime.Sec, int64(st.Btime.Nsec))
}

// Write appends whole lines, and rotates the file before each one for which it has no room. It writes even if
// the rotation fails.
func (f *file) Write(text []byte) (written int, err error) { return f.writeSpooled(text, nil) }

// writeSpooled is Write for a text with lines of spools.
func (f *file) writeSpooled(text []byte, lines *spooledLines) (written int, err error) {
	if err := f.reopenIfMoved(); err != nil {
		return 0, err
	}
	var failed error
	for written < len(text) {
		part := text[written:]
		if failed == nil {
			part = f.fitting(part)
			if f.needsRotation(len(part)) {
				failed = f.rotate()
			}
		}
		lines.aim(f.id, f.size, written)
		n, err := f.f.Write(part)
		written, f.size = written+n, f.size+int64(n)
		if written < len(text) {
			lines.wrote(written)
		}
		if n < len(part) {
			return written, errors.Join(err, failed)
		}
	}
	return written, nil
}

// fitting returns as many lines of text as the file has room for. If that is none, it returns those that the next
// file has room for, and at least one.
func (f *file) fitting(text []byte) []byte {
	for _, room := range []int64{f.MaxSize - f.size, f.MaxSize} {
		if f.MaxSize == 0 || !f.regular || int64(len(text)) <= room {
			return text
		}
		if room > 0 {
			if end := bytes.LastIndexByte(text[:room], '\n'); end >= 0 {
				return text[:end+1]
			}
		}
	}
	return text[:cmp.Or(bytes.IndexByte(text, '\n')+1, len(text))]
}

// reopenIfMoved opens the file if Path names another file than the open one.
func (f *file) reopenIfMoved() error {
	if f.f == nil {
		return f.open()
	}
	now := time.Now()
	if now.Sub(f.checked) < moveCheckInterval {
		return nil
	}
	f.checked = now
	named, err := os.Stat(f.Path)
	if err == nil {
		if opened, err := f.f.Stat(); err == nil && os.SameFile(named, opened) {
			return nil
		}
	}
	return f.open()
}

// requestReopen has the goroutine of the sink reopen the file, and waits for it. sinkDone is
// closed when the sink has ended.
func (f *file) requestReopen(sinkDone <-chan struct{}) error {
	done := make(chan error, 1)
	timeout := time.NewTimer(reopenTimeout)
	defer timeout.Stop()
	select {
	case f.requests <- done:
	case <-sinkDone:
		return nil
	case <-timeout.C:
		return fmt.Errorf("cannot reopen %s: a write to it is stuck", f.Path)
	}
	select {
	case err := <-done:
		return err
	case <-timeout.C:
		return fmt.Errorf("cannot reopen %s: opening it is stuck", f.Path)
	}
}

func (f *file) close() error {
	f.cleaning.Wait()
	if f.f == nil {
		return nil
	}
	return f.f.Close()
}
