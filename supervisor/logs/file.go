package logs

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// moveCheck is how often, at most, a file that is written to is compared with
// its name: logrotate may have moved it without telling anyone.
const moveCheck = 5 * time.Second

// reopenPatience is how long Reopen waits for a file that does not move.
const reopenPatience = 2 * time.Second

// FileOptions of a file that rotates.
//
// Rotation is our own and not a library's: lumberjack leaves a goroutine
// behind at every Close and does not see a moved file, timberjack brings its
// own compressors; both hide the write errors our counting needs.
type FileOptions struct {
	Path     string
	MaxSize  int64         // bytes; a larger file is rotated; 0: never
	Every    time.Duration // age at which a file is rotated; 0: never
	Backups  int           // rotated files that are kept: PATH.1, PATH.2 ...; 0: none
	MaxAge   time.Duration // older rotated files are removed; 0: never
	Compress bool          // PATH.2.gz ...: all but the newest, so that a late writer does no harm
	Mode     os.FileMode   // of new files; 0: 0640
}

// file is an append-only file that rotates. One goroutine uses it, its sink's;
// others send requests.
type file struct {
	FileOptions
	requests chan chan error             // to open anew
	wanted   atomic.Pointer[FileOptions] // to be taken over

	f       *os.File // nil: could not be opened yet
	regular bool     // a device or a named pipe is not rotated
	size    int64
	born    time.Time
	checked time.Time

	tidying sync.WaitGroup // the compressor of the last rotation
}

func openFile(o FileOptions) (*file, error) {
	f := newFile(o)
	return f, f.adopt()
}

// newFile is one that is not open: adopt, or the first Write, opens it.
func newFile(o FileOptions) *file {
	f := &file{requests: make(chan chan error)}
	f.wanted.Store(&o)
	return f
}

// adopt takes over the options that were asked for last, if any. Where another
// path cannot be opened, the file that is open stays.
func (f *file) adopt() error {
	o := f.wanted.Swap(nil)
	if o == nil {
		return nil
	}
	f.tidying.Wait() // it reads the options
	before := f.FileOptions
	f.FileOptions = *o
	f.Mode = cmp.Or(f.Mode, 0o640)
	if f.f != nil && f.Path == before.Path {
		return nil
	}
	err := f.open()
	if err != nil && f.f != nil {
		f.FileOptions = before
		return fmt.Errorf("%w; the output goes on to %s", err, f.Path)
	}
	return err
}

// open opens the file by its name; on an error the one that was open stays.
func (f *file) open() error {
	if err := os.MkdirAll(filepath.Dir(f.Path), 0o755); err != nil {
		return fmt.Errorf("cannot make the directory of a log file: %w", err)
	}
	opened, err := os.OpenFile(f.Path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, f.Mode)
	if err != nil {
		return fmt.Errorf("cannot open a log file: %w", err)
	}
	info, err := opened.Stat()
	if err != nil {
		opened.Close()
		return fmt.Errorf("cannot look at a log file: %w", err)
	}
	if f.f != nil {
		f.f.Close()
	}
	f.f, f.regular, f.size = opened, info.Mode().IsRegular(), info.Size()
	f.born, f.checked = birth(opened), time.Now()
	return nil
}

// birth is when the file was made, as far as the file system remembers.
func birth(f *os.File) time.Time {
	var st unix.Statx_t
	err := unix.Statx(int(f.Fd()), "", unix.AT_EMPTY_PATH, unix.STATX_BTIME, &st)
	if err != nil || st.Mask&unix.STATX_BTIME == 0 {
		return time.Now()
	}
	return time.Unix(st.Btime.Sec, int64(st.Btime.Nsec))
}

// Write appends whole lines, after a rotation if one is due. A rotation that
// fails is no reason not to write.
func (f *file) Write(text []byte) (int, error) {
	if err := f.follow(); err != nil {
		return 0, err
	}
	var failed error
	if f.due(len(text)) {
		failed = f.rotate()
	}
	n, err := f.f.Write(text)
	f.size += int64(n)
	if n < len(text) {
		return n, errors.Join(err, failed)
	}
	return n, nil
}

// follow opens the file anew when its name means another one by now.
func (f *file) follow() error {
	if f.f == nil {
		return f.open()
	}
	now := time.Now()
	if now.Sub(f.checked) < moveCheck {
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

func (f *file) due(more int) bool {
	if f.size == 0 || !f.regular {
		return false
	}
	if f.MaxSize > 0 && f.size+int64(more) > f.MaxSize {
		return true
	}
	return f.Every > 0 && time.Since(f.born) >= f.Every
}

// reopenSoon asks the writing goroutine to open the file anew.
func (f *file) reopenSoon(gone <-chan struct{}) error {
	done := make(chan error, 1)
	patience := time.NewTimer(reopenPatience)
	defer patience.Stop()
	select {
	case f.requests <- done:
		return <-done
	case <-gone:
		return nil
	case <-patience.C:
		return fmt.Errorf("cannot reopen %s: a write to it is stuck", f.Path)
	}
}

func (f *file) close() error {
	f.tidying.Wait()
	if f.f == nil {
		return nil
	}
	return f.f.Close()
}
