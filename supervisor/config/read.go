package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// maxFile is far more than anybody writes by hand.
const maxFile = 1 << 20

// readFile reads a regular file of at most maxFile bytes, once and through one
// descriptor, so that what was looked at is what is read. It waits for nobody:
// a FIFO without a writer is refused like any other. The info is that of the
// very file that was read; the error does not name the file.
func readFile(path string) ([]byte, fs.FileInfo, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, fmt.Errorf("there is no such file%w", silent{err})
	}
	if err != nil {
		return nil, nil, fmt.Errorf("it cannot be read: %w", bare(err))
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, nil, fmt.Errorf("it cannot be read: %w", bare(err))
	}
	if !info.Mode().IsRegular() {
		return nil, nil, fmt.Errorf("it is %s, not a file", sort(info.Mode()))
	}
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, nil, fmt.Errorf("it cannot be read: %w", bare(err))
	}
	if len(text) > maxFile {
		return nil, nil, fmt.Errorf("it is larger than %s", spellSize(maxFile))
	}
	return text, info, nil
}

// bare is an error without the path in front.
func bare(err error) error {
	var at *fs.PathError
	if errors.As(err, &at) {
		return at.Err
	}
	return err
}

// silent is an error that can be asked for, but says nothing.
type silent struct{ error }

func (silent) Error() string   { return "" }
func (s silent) Unwrap() error { return s.error }

// sort names what is no regular file.
func sort(mode fs.FileMode) string {
	switch {
	case mode.IsDir():
		return "a directory"
	case mode&fs.ModeNamedPipe != 0:
		return "a pipe"
	case mode&fs.ModeSocket != 0:
		return "a socket"
	}
	return "a device"
}

// looksLikeSupervisord reports whether a text has the sections of a
// supervisord.conf.
func looksLikeSupervisord(text string) bool {
	for line := range strings.Lines(text) {
		for _, section := range []string{"[program:", "[supervisord]", "[group:", "[unix_http_server]", "[eventlistener:"} {
			if strings.HasPrefix(line, section) {
				return true
			}
		}
	}
	return false
}
