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
	for _, path := range r.Paths {
		var err error
		switch r.Action {
		case readAction:
			var f File
			f, err = readAsSelf(path, r.Limit)
			a.Files = append(a.Files, f)
		case watchAction:
			a.Watches = append(a.Watches, watchAsSelf(path))
		case probeAction:
			err = probeAsSelf(path)
		default:
			file, err = r.changeLog(path)
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

func probeAsSelf(path string) error {
	l, err := locateAsSelf(path, false)
	if err != nil {
		return probeMissing(filepath.Dir(path), err)
	}
	defer l.close()
	return l.probe()
}

func (r request) changeLog(path string) (*os.File, error) {
	l, err := locateAsSelf(path, true)
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
	}
	return nil, errors.New("unknown action " + string(r.Action))
}
