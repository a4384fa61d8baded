package listener

import (
	"errors"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// rivalGrace is how long another socket must be at the path before Rebind connects to it: a
	// process has bound it a moment ago perhaps, and not called listen(2) yet.
	rivalGrace = 500 * time.Millisecond
	// rivalInterval is the time between two connects to a socket on which a process listens.
	rivalInterval = 30 * time.Second
)

// rival is another socket that is at the path of a Public.
type rival struct {
	id    fileID
	next  time.Time // when Rebind connects to it
	fault error     // until then
}

var errReplaced = errors.New("its file was replaced by another socket")

// Rebind binds the path of a unix socket again if its file was removed or replaced, with the
// mode and the owner that it had, and returns the new socket. p goes on to listen, because
// connections may wait in its backlog; only the path belongs to the new one. Rebind returns nil
// if the file is there, or if Open has not created it.
//
// Rebind never removes what another process uses: another file at the path, or a socket on
// which a process listens, is an *OpenError. A socket on which no process listens is replaced.
// One call at a time.
func (p *Public) Rebind() (*Public, error) {
	if p.file == nil {
		return nil, nil
	}
	at, err := statSocket(p.file.path)
	switch now := time.Now(); {
	case err != nil:
		return nil, newOpenError(p.address, err)
	case at == p.file.id && at != (fileID{}):
		p.rival = rival{}
		return nil, nil
	case at == (fileID{}):
		p.rival = rival{}
	case at != p.rival.id:
		p.rival = rival{id: at, next: now.Add(rivalGrace), fault: newOpenError(p.address, errReplaced)}
		return nil, p.rival.fault
	case now.Before(p.rival.next):
		return nil, p.rival.fault
	}
	mode, to, err := p.fileAccess()
	if err != nil {
		return nil, newOpenError(p.address, err)
	}
	// Where there is no file, a process may bind the path now, and has not called listen(2) yet.
	stale := at != (fileID{})
	fresh, err := openUnix(p.address, p.options, pathRequest{Action: bindAction, Path: p.file.path, Mode: mode, Owner: to, Stale: stale})
	if err != nil {
		err = newOpenError(p.address, err)
		p.rival.next, p.rival.fault = time.Now().Add(rivalInterval), err
		return nil, err
	}
	return fresh, nil
}

// fileAccess returns the mode and the owner for a socket in the place of this one: those of its file,
// which another process may have changed. Where there is no descriptor of the file, the mode is that of
// Open, and there is no owner.
func (p *Public) fileAccess() (os.FileMode, *owner, error) {
	if p.file.pin == nil {
		return p.options.Mode, nil, nil
	}
	st, err := p.file.stat()
	if err != nil {
		return 0, nil, err
	}
	return os.FileMode(st.Mode).Perm(), &owner{int(st.Uid), int(st.Gid)}, nil
}

// Pending reports whether a connection waits in the backlog.
func (p *Public) Pending() bool { return pending(p) }

func pending(conn syscall.Conn) bool {
	polled := []unix.PollFd{{Events: unix.POLLIN}}
	err := withFD(conn, func(fd int) error {
		polled[0].Fd = int32(fd)
		_, err := unix.Poll(polled, 0)
		return err
	})
	return err == nil && polled[0].Revents&unix.POLLIN != 0
}

// PathFile is an O_PATH descriptor of the file of a unix socket, for Restore; nil: Open has
// created none. It belongs to p.
func (p *Public) PathFile() *os.File {
	if p.file == nil {
		return nil
	}
	return p.file.pin
}

// HasPath reports whether Open has created the file of a unix socket: Rebind binds it again.
func (p *Public) HasPath() bool { return p.file != nil }
