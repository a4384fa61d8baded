package safepath

import (
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"tideover/supervisor/process"
)

// Helper must be called first in main. It returns at once unless this process is the helper:
// the daemon's own binary, started by an Opener. The helper becomes the app's user, answers
// one request and exits.
func Helper() {
	if len(os.Args) != 1 || os.Args[0] != helperName {
		return
	}
	if err := serve(); err != nil {
		unix.Exit(1) // the daemon sees the end of the stream
	}
	unix.Exit(0)
}

func serve() error {
	conn, err := net.FileConn(os.NewFile(helperFD, "daemon"))
	if err != nil {
		return err
	}
	var r request
	if err := json.NewDecoder(conn).Decode(&r); err != nil {
		return err
	}
	if err := process.SetCredentials(&r.User); err != nil {
		return err
	}
	// The change of the user has reset it.
	_ = unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0)
	a, file := r.carryOut()
	return reply(conn.(*net.UnixConn), a, file)
}

// reply sends one byte with the descriptor, then the answer.
func reply(conn *net.UnixConn, a answer, file *os.File) error {
	var rights []byte
	if file != nil {
		rights = unix.UnixRights(int(file.Fd()))
	}
	if _, _, err := conn.WriteMsgUnix([]byte{' '}, rights, nil); err != nil {
		return err
	}
	text, err := json.Marshal(a)
	if err != nil {
		return err
	}
	_, err = conn.Write(text)
	return err
}

// carryOut does what is asked, with the rights of the calling process.
func (r request) carryOut() (a answer, file *os.File) {
	var watched *expansion // the limits are for all paths together
	for _, path := range r.Paths {
		var err error
		switch r.Action {
		case readAction:
			var f File
			f, err = readAsSelf(path, r.Limit)
			a.Files = append(a.Files, f)
		case watchAction:
			if watched == nil {
				watched = newExpansion(func(string) bool { return true })
			}
			a.Watches = append(a.Watches, watched.watch(path))
		case relinkAction:
			err = relinkAsSelf(path, r.From, r.To)
		default:
			l, missing := locateAsSelf(path, r.makesDirs())
			file, err = r.carryOutAt(l, path, missing)
		}
		a.Faults = append(a.Faults, newFailure(err))
	}
	return a, file
}

func readAsSelf(path string, limit int) (File, error) {
	l, err := locateAsSelf(path, false)
	if err != nil {
		return File{}, err
	}
	defer l.close()
	return l.read(limit)
}

// makesDirs reports whether missing directories are made.
func (r request) makesDirs() bool { return r.Action == appendAction || r.Action == rotateAction }

// carryOutAt does what is asked with the log at path, which locate has found, or not for the
// reason err.
func (r request) carryOutAt(l *location, path string, err error) (*os.File, error) {
	if err != nil && r.Action == probeAction {
		return nil, probeMissing(filepath.Dir(path), err)
	}
	if err != nil {
		return nil, err
	}
	defer l.close()
	switch r.Action {
	case appendAction:
		return l.appendTo(r.Rotation.Mode)
	case rotateAction:
		return l.rotate(r.Rotation)
	case cleanUpAction:
		return nil, l.cleanUp(r.Rotation)
	case probeAction:
		return nil, l.probe()
	}
	return nil, errors.New("unknown action " + string(r.Action))
}
