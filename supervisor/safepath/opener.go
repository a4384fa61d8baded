package safepath

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"time"

	"tideover/supervisor/process"
)

const (
	// openTimeout is how long the helper may take. A file system of the app's user, such as
	// FUSE, can make an open last for ever, and so can a SIGSTOP of that user.
	openTimeout = 5 * time.Second
	// cleanUpTimeout bounds the compression of rotated files.
	cleanUpTimeout = 10 * time.Minute
)

// Opener opens the files of one app. Its zero value opens those of the daemon itself, and
// of an app that runs as the daemon's user.
type Opener struct {
	// User is the app's user; nil: the daemon's own.
	User *process.User
}

// Equal reports whether two Openers have the same rights.
func (o Opener) Equal(other Opener) bool { return reflect.DeepEqual(o, other) }

// Access says how a path is opened.
type Access struct {
	As    string // name of the user; empty: the daemon's own
	Cause error  // why not as root: a *ForeignError; nil if As is empty
}

// Access says how the files at path are opened. The error is that of a path that cannot be
// opened safely, or does not lead to a directory.
func (o Opener) Access(path string) (Access, error) {
	l, err := o.locate(path, false)
	if err == nil {
		l.close()
		return Access{}, nil
	}
	if cause, ok := o.delegates(err); ok {
		return Access{As: userName(o.User.UID), Cause: cause}, nil
	}
	if errors.Is(err, fs.ErrNotExist) {
		return Access{}, nil
	}
	return Access{}, o.explain(err)
}

// Read is the result of reading a file.
type Read struct {
	File
	// As is the name of the app's user if the helper has opened the file: this user can cause
	// any error.
	As  string
	Err error
}

// ReadFile reads a regular file of at most 1 MiB.
func (o Opener) ReadFile(path string) (File, error) {
	r := o.ReadFiles([]string{path})[0]
	return r.File, r.Err
}

// ReadFiles is ReadFile for several files. At most one helper runs for all of them.
func (o Opener) ReadFiles(paths []string) []Read { return o.readFiles(paths, 0) }

// ReadProgram reads the first bytes of a program that the app is about to execute, at most
// limit. An app that runs as root executes it as root, so root may read it.
func (o Opener) ReadProgram(path string, limit int) ([]byte, error) {
	if o.User == nil || o.User.UID == 0 {
		file, err := readAsSelf(path, limit)
		return file.Text, err
	}
	r := o.readFiles([]string{path}, limit)[0]
	return r.Text, r.Err
}

func (o Opener) readFiles(paths []string, limit int) []Read {
	reads := make([]Read, len(paths))
	var others []int // indexes of the files that the helper reads
	for i, path := range paths {
		l, err := o.locate(path, false)
		if _, ok := o.delegates(err); ok {
			others = append(others, i)
			continue
		}
		if err == nil {
			reads[i].File, err = l.read(limit)
			l.close()
		}
		reads[i].Err = o.explain(err)
	}
	if len(others) == 0 {
		return reads
	}
	r := request{Action: readAction, Limit: limit}
	for _, i := range others {
		r.Paths = append(r.Paths, paths[i])
	}
	answer, _, err := o.ask(r, openTimeout)
	for n, i := range others {
		reads[i].As, reads[i].Err = userName(o.User.UID), err
		if err == nil {
			reads[i].File, reads[i].Err = answer.file(n), o.explain(answer.err(n))
		}
	}
	return reads
}

// OpenLog opens a log file to append to it. It makes the file and its directories if they
// do not exist. Apart from regular files it opens devices, but not for another user.
func (o Opener) OpenLog(path string, mode fs.FileMode) (*os.File, error) {
	return o.openLog(request{Action: appendAction, Paths: []string{path}, Rotation: Rotation{Mode: mode}})
}

// RotateLog renames a log file and those that were rotated before, and makes a new one.
func (o Opener) RotateLog(path string, r Rotation) (*os.File, error) {
	return o.openLog(request{Action: rotateAction, Paths: []string{path}, Rotation: r})
}

// openLog checks a file that the helper hands back: the app's user may end the helper, but not
// make root write to anything but a regular file.
func (o Opener) openLog(r request) (*os.File, error) {
	f, delegated, err := o.do(r, openTimeout)
	switch {
	case err != nil || !delegated:
		return f, err
	case f == nil:
		return nil, errors.New("the helper process did not hand over a file")
	}
	if err := checkLog(f); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// ProbeLog returns the error that OpenLog would return, and changes nothing.
func (o Opener) ProbeLog(path string) error {
	_, _, err := o.do(request{Action: probeAction, Paths: []string{path}}, openTimeout)
	return err
}

// CleanUpLog compresses rotated files and removes those that are not kept.
func (o Opener) CleanUpLog(path string, r Rotation) error {
	_, _, err := o.do(request{Action: cleanUpAction, Paths: []string{path}, Rotation: r}, cleanUpTimeout)
	return err
}

// do carries out a request for one path, in this process or by the helper.
func (o Opener) do(r request, timeout time.Duration) (f *os.File, delegated bool, err error) {
	path := r.Paths[0]
	l, err := o.locate(path, r.makesDirs())
	if _, ok := o.delegates(err); ok {
		answer, f, err := o.ask(r, timeout)
		if err == nil {
			err = o.explain(answer.err(0))
		}
		if err != nil && f != nil {
			f.Close()
			f = nil
		}
		return f, true, err
	}
	f, err = r.carryOutAt(l, path, err)
	return f, false, o.explain(err)
}

// WriteFile replaces a file by a new one. It fails where another user than the daemon's can
// change the path.
func (o Opener) WriteFile(path string, text []byte, mode fs.FileMode) error {
	l, err := o.locate(path, false)
	if err != nil {
		return o.explain(err)
	}
	defer l.close()
	return l.write(text, mode)
}

// RemoveFile removes a file under the conditions of WriteFile.
func (o Opener) RemoveFile(path string) error {
	l, err := o.locate(path, false)
	if err != nil {
		return o.explain(err)
	}
	defer l.close()
	return l.remove()
}

func (o Opener) locate(path string, makeDirs bool) (*location, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if os.Geteuid() != 0 {
		return locateAsSelf(path, makeDirs)
	}
	return walkAsRoot(path, o.User, makeDirs)
}

// delegates reports whether err means that the helper has to open the path as the app's
// user.
func (o Opener) delegates(err error) (*ForeignError, bool) {
	var foreign *ForeignError
	return foreign, errors.As(err, &foreign) && o.User != nil && o.User.UID != 0 && os.Geteuid() == 0
}

// explain adds what to do about an error.
func (o Opener) explain(err error) error {
	var foreign *ForeignError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &foreign):
		return fmt.Errorf("root does not open it, because %w: use a path that only root can change, or for an app a user of its own", foreign)
	case errors.Is(err, fs.ErrPermission) && o.User != nil && os.Geteuid() == 0:
		return fmt.Errorf("%w (opened as %s, because others than root can change the path)", err, userName(o.User.UID))
	}
	return err
}
