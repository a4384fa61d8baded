package safepath

import (
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Rotation says which rotated files of a log file are kept, and how. They are named
// NAME.1, NAME.2.gz and so on, the newest first.
type Rotation struct {
	Backups  int           // files that are kept; 0: none
	MaxAge   time.Duration // older ones are removed; 0: never
	Compress bool          // all but NAME.1, because a process may still write to it
	Mode     fs.FileMode   // of new files
}

// rotate renames the file to NAME.1 and the older ones to the next number, removes those that
// are not kept, and makes a new one.
func (l *location) rotate(r Rotation) (*os.File, error) {
	for n := r.Backups - 1; n >= 1; n-- {
		for _, suffix := range []string{"", ".gz"} {
			if err := l.rename(l.backup(n)+suffix, l.backup(n+1)+suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, err
			}
		}
	}
	if r.Backups > 0 {
		if err := l.rename(l.name, l.backup(1)); err != nil {
			return nil, err
		}
	} else if err := l.remove(); err != nil {
		return nil, err
	}
	r.Compress = false
	l.cleanUp(r) // after an error the next rotation tries again
	return l.appendTo(r.Mode)
}

func (l *location) backup(n int) string { return l.name + "." + strconv.Itoa(n) }

func (l *location) rename(from, to string) error {
	dir := int(l.dir.Fd())
	if err := unix.Renameat(dir, from, dir, to); err != nil {
		return l.fault("rename", err)
	}
	return nil
}

// cleanUp removes rotated files that are too old or too many, and compresses the others
// but NAME.1. A file that cannot be compressed stays as it is: the next rotation tries
// again.
func (l *location) cleanUp(r Rotation) error {
	dir, err := openat(l.dir, ".", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return l.fault("open", err)
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	for _, name := range names {
		number, compressed := strings.CutSuffix(strings.TrimPrefix(name, l.name+"."), ".gz")
		n, notNumber := strconv.Atoi(number)
		if notNumber != nil || n < 1 || !strings.HasPrefix(name, l.name+".") {
			continue // not a rotated file
		}
		rotated := &location{dir: l.dir, path: l.path + strings.TrimPrefix(name, l.name), name: name, shared: l.shared}
		switch {
		case n > r.Backups || rotated.olderThan(r.MaxAge):
			rotated.remove()
		case r.Compress && n > 1 && !compressed:
			rotated.compress(r.Mode)
		}
	}
	return err
}

func (l *location) olderThan(age time.Duration) bool {
	var st unix.Stat_t
	err := unix.Fstatat(int(l.dir.Fd()), l.name, &st, unix.AT_SYMLINK_NOFOLLOW)
	return age > 0 && err == nil && time.Since(time.Unix(st.Mtim.Unix())) > age
}

// compress replaces the file by NAME.gz. On an error the file stays.
func (l *location) compress(mode fs.FileMode) error {
	in, st, err := l.open(unix.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer in.Close()
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return l.fault("compress", notRegular(st.Mode))
	}
	part := &location{dir: l.dir, path: l.path + ".part", name: l.name + ".part", shared: l.shared}
	part.remove() // of a compression that was interrupted
	out, _, err := part.open(unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, mode)
	if err != nil {
		return err
	}
	// An access log grows with the requests, and a better level takes a multiple of the CPU.
	z, _ := gzip.NewWriterLevel(out, gzip.BestSpeed) // the level is valid
	_, err = io.Copy(z, in)
	err = errors.Join(err, z.Close())
	modified := unix.NsecToTimespec(st.Mtim.Nano()) // MaxAge counts from the last line
	unix.UtimesNanoAt(int(l.dir.Fd()), part.name, []unix.Timespec{modified, modified}, unix.AT_SYMLINK_NOFOLLOW)
	if err = errors.Join(err, out.Close()); err == nil {
		err = l.rename(part.name, l.name+".gz")
	}
	if err != nil {
		part.remove()
		return err
	}
	return l.remove()
}
