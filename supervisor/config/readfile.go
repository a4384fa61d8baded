package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"tideover/supervisor/safepath"
)

// maxFileSize is far more than a file written by hand has.
const maxFileSize = 1 << 20

// ReadFile reads a regular file of at most 1 MiB. It checks and reads the file
// through one descriptor, so the returned info belongs to the text. It never blocks:
// a FIFO is refused, with or without a writer. The error does not contain the path.
func ReadFile(path string) ([]byte, fs.FileInfo, error) {
	f, err := openFile(path)
	if err != nil {
		return nil, nil, readError(err)
	}
	defer f.Close()
	return readOpen(f)
}

// readError says why a file is not read.
func readError(err error) error {
	var untrusted *untrustedError
	var kind *safepath.NotRegularError
	switch {
	case errors.As(err, &untrusted):
		return untrusted
	case errors.As(err, &kind):
		return kind
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("there is no such file%w", hiddenError{err})
	case errors.Is(err, unix.ENXIO):
		return errors.New("it is a socket, not a file")
	}
	return fmt.Errorf("it cannot be read: %w", withoutPath(err))
}

// readOpen reads an open regular file of at most 1 MiB.
func readOpen(f *os.File) ([]byte, fs.FileInfo, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, nil, readError(err)
	}
	if !info.Mode().IsRegular() {
		return nil, nil, fmt.Errorf("it is %s, not a file", fileType(info.Mode()))
	}
	text, err := io.ReadAll(io.LimitReader(f, maxFileSize+1))
	if err != nil {
		return nil, nil, readError(err)
	}
	if len(text) > maxFileSize {
		return nil, nil, fmt.Errorf("it is larger than %s", FormatSize(maxFileSize))
	}
	return text, info, nil
}

// withoutPath removes the path from an error of package os.
func withoutPath(err error) error {
	var at *fs.PathError
	if errors.As(err, &at) {
		return at.Err
	}
	return err
}

// hiddenError is an error that errors.Is finds but that adds nothing to the message.
type hiddenError struct{ error }

func (hiddenError) Error() string   { return "" }
func (s hiddenError) Unwrap() error { return s.error }

// fileType names the type of a file that is not regular.
func fileType(mode fs.FileMode) string {
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

// looksLikeSupervisord reports whether a text has sections of a supervisord.conf.
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
