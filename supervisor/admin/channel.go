package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"golang.org/x/sys/unix"

	"tideover/supervisor/confine"
)

// maxMessage bounds a message in bytes.
const maxMessage = 64 << 10

// order is the first message of the daemon.
type order struct {
	Confinement confine.Options `json:"confinement"`
	// SystemRoots has the certificates of the system read, while they can be.
	SystemRoots bool `json:"system_roots,omitempty"`
}

// door is a message of the daemon with a listening socket. Those messages follow when the process is
// confined; the last message, without a socket, says what the doors are for. Each later one has a
// unix socket that was bound again.
type door struct {
	For endpoint `json:"for,omitempty"`
	// Of the last one:
	Supervisor Supervisor `json:"supervisor"`
	Page       Page       `json:"page"`
	// Of one with a connection, of connectionEndpoint: the answer to a question.
	ID    int    `json:"id,omitempty"`
	Error string `json:"error,omitempty"`
}

// readiness is the answer to order: the process is confined, or why it is not.
type readiness struct {
	Measures []confine.Measure `json:"measures"`
	Error    string            `json:"error,omitempty"`
}

// channel is one end of the socket pair between the daemon and the process: SEQPACKET, so that a
// message arrives whole or not at all. Its end of file tells each side that the other one has
// ended.
type channel struct{ conn *net.UnixConn }

// newChannel takes a descriptor over.
func newChannel(end *os.File) (channel, error) {
	conn, err := net.FileConn(end)
	end.Close()
	if err != nil {
		return channel{}, err
	}
	local, ok := conn.(*net.UnixConn)
	if !ok {
		conn.Close()
		return channel{}, errors.New("no unix socket")
	}
	return channel{local}, nil
}

// send sends a message, with a file unless that is nil.
func (c channel) send(message any, file *os.File) error {
	text, err := json.Marshal(message)
	if err != nil {
		return err
	}
	var rights []byte
	if file != nil {
		raw, err := file.SyscallConn()
		if err != nil {
			return err
		}
		if err := raw.Control(func(fd uintptr) { rights = unix.UnixRights(int(fd)) }); err != nil {
			return err
		}
	}
	_, _, err = c.conn.WriteMsgUnix(text, rights, nil)
	return err
}

// receive receives a message, and the file that is with it, or nil. The error is io.EOF when the
// other side has ended.
func (c channel) receive(message any) (file *os.File, err error) {
	text, control := make([]byte, maxMessage), make([]byte, unix.CmsgSpace(4))
	n, rights, flags, _, err := c.conn.ReadMsgUnix(text, control)
	if err != nil {
		return nil, err
	}
	if rights > 0 {
		if file, err = receivedFile(control[:rights]); err != nil {
			return nil, err
		}
	}
	if n == 0 && file == nil {
		return nil, io.EOF
	}
	if flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 {
		err = errors.New("a message of the channel is too long")
	} else {
		err = json.Unmarshal(text[:n], message)
	}
	if err != nil && file != nil {
		file.Close()
	}
	return file, err
}

func receivedFile(control []byte) (*os.File, error) {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return nil, err
	}
	for _, m := range messages {
		if fds, err := unix.ParseUnixRights(&m); err == nil && len(fds) == 1 {
			unix.CloseOnExec(fds[0])
			return os.NewFile(uintptr(fds[0]), "listener"), nil
		}
	}
	return nil, fmt.Errorf("%d control messages without a descriptor", len(messages))
}
