package config

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"tideover/supervisor/safepath"
)

// untrustedError says why a file is not used as a configuration: another user could have
// written it.
type untrustedError struct{ message, hint string }

func (e *untrustedError) Error() string { return e.message }

// openConfig opens a configuration file. Its commands run with the rights of the daemon, so
// root takes no file that another user can change, with any directory on its path, and
// other users none that every user can write. Permissions are those of the open descriptor.
func openConfig(path string) (*os.File, error) {
	if os.Geteuid() == 0 {
		return openAsRoot(path)
	}
	f, err := openFile(path)
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o002 != 0 {
		f.Close()
		return nil, &untrustedError{"every user can change it", "chmod o-w " + path}
	}
	return f, nil
}

// openAsRoot opens a file if only root can change it. The error is an *untrustedError if
// others can.
func openAsRoot(path string) (*os.File, error) {
	f, err := safepath.OpenTrusted(path)
	var foreign *safepath.ForeignError
	if !errors.As(err, &foreign) {
		return f, err
	}
	what := foreign.Path
	if what == path {
		what = "it"
	}
	return nil, &untrustedError{foreign.Who + " can change " + what, foreign.Remedy}
}

// openFile opens a file for reading. It does not wait for the writer of a FIFO.
func openFile(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
}
