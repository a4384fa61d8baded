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

// rotate renames the file to PATH.1, and older ones to the next number, and opens a new
// one. Old files are compressed and removed in the background.
func (f *file) rotate() error {
	f.cleaning.Wait() // files must not be renamed while the last rotation compresses them
	if f.Backups > 0 {
		if err := f.shiftBackups(); err != nil {
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
	f.created = time.Now()
	f.cleaning.Go(f.cleanUp)
	return nil
}

func (f *file) backup(n int) string { return f.Path + "." + strconv.Itoa(n) }

// shiftBackups renames PATH.1 to PATH.2 and so on. The oldest one is overwritten.
func (f *file) shiftBackups() error {
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

// cleanUp removes rotated files that are too old or too many, and compresses the others
// but PATH.1. Errors are ignored, because the next rotation tries again.
func (f *file) cleanUp() {
	names, err := filepath.Glob(quoteGlob(f.Path) + ".*")
	if err != nil {
		return
	}
	for _, name := range names {
		number, compressed := strings.CutSuffix(strings.TrimPrefix(name, f.Path+"."), ".gz")
		n, err := strconv.Atoi(number)
		if err != nil || n < 1 {
			continue // not a rotated file
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

// quoteGlob quotes the characters of a path that are special in a glob pattern.
func quoteGlob(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

// compress replaces name by name.gz. On an error name stays.
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
	defer os.Remove(part) // renamed before unless an error occurred
	z := gzip.NewWriter(out)
	_, err = io.Copy(z, in)
	if err = errors.Join(err, z.Close(), out.Close()); err != nil {
		return err
	}
	if info, err := in.Stat(); err == nil {
		os.Chtimes(part, info.ModTime(), info.ModTime()) // MaxAge counts from the last line
	}
	if err := os.Rename(part, name+".gz"); err != nil {
		return err
	}
	return os.Remove(name)
}

func (f *file) needsRotation(more int) bool {
	if f.size == 0 || !f.regular {
		return false
	}
	if f.MaxSize > 0 && f.size+int64(more) > f.MaxSize {
		return true
	}
	return f.Every > 0 && time.Since(f.created) >= f.Every
}
