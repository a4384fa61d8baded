package logs

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// rotate moves the file to PATH.1 and opens a new one; older ones move up by
// one. Compressing and removing go on behind.
func (f *file) rotate() error {
	f.tidying.Wait() // of the rotation before: names must not move under it
	if f.Backups > 0 {
		if err := f.shift(); err != nil {
			return err
		}
		if err := os.Rename(f.Path, f.backup(1)); err != nil {
			return fmt.Errorf("cannot rotate a log file: %w", err)
		}
	} else if err := os.Remove(f.Path); err != nil {
		return fmt.Errorf("cannot rotate a log file: %w", err)
	}
	if err := f.open(); err != nil {
		return err
	}
	f.born = time.Now()
	f.tidying.Go(f.tidy)
	return nil
}

func (f *file) backup(n int) string { return f.Path + "." + strconv.Itoa(n) }

// shift makes PATH.1 free. What moves beyond the number of backups is
// overwritten or removed.
func (f *file) shift() error {
	for n := f.Backups - 1; n >= 1; n-- {
		for _, suffix := range []string{"", ".gz"} {
			err := os.Rename(f.backup(n)+suffix, f.backup(n+1)+suffix)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("cannot rotate a log file: %w", err)
			}
		}
	}
	return nil
}

// tidy removes what is too old or too many and compresses the rest but the
// newest. Nobody hears of what fails here; the next rotation tries again.
func (f *file) tidy() {
	names, err := filepath.Glob(quoteGlob(f.Path) + ".*")
	if err != nil {
		return
	}
	for _, name := range names {
		number, compressed := strings.CutSuffix(strings.TrimPrefix(name, f.Path+"."), ".gz")
		n, err := strconv.Atoi(number)
		if err != nil || n < 1 {
			continue // not ours
		}
		switch {
		case n > f.Backups || f.expired(name):
			os.Remove(name)
		case f.Compress && n > 1 && !compressed:
			compress(name, f.Mode)
		}
	}
}

func (f *file) expired(name string) bool {
	info, err := os.Stat(name)
	return f.MaxAge > 0 && err == nil && time.Since(info.ModTime()) > f.MaxAge
}

// quoteGlob takes the special meaning from a path's characters.
func quoteGlob(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

// compress replaces name by name.gz, or leaves it as it was.
func compress(name string, mode os.FileMode) error {
	in, err := os.Open(name)
	if err != nil {
		return err
	}
	defer in.Close()
	part := name + ".part"
	out, err := os.OpenFile(part, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	defer os.Remove(part) // gone already when all went well
	z := gzip.NewWriter(out)
	_, err = io.Copy(z, in)
	if err = errors.Join(err, z.Close(), out.Close()); err != nil {
		return err
	}
	if info, err := in.Stat(); err == nil {
		os.Chtimes(part, info.ModTime(), info.ModTime()) // its age is that of its lines
	}
	if err := os.Rename(part, name+".gz"); err != nil {
		return err
	}
	return os.Remove(name)
}
