package channel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// An attachment is one packet: the version, the epoch of the process that attaches, and as descriptor
// its peer's end of a new channel.
const (
	attachVersion = 1
	attachSize    = 16
)

// Attach makes the sockets of a channel and sends one of them to the process that reads attachments
// from the other end of to, which stays the caller's. That process gives up the channel before, once
// it has read what came over it. epoch must be higher than that of any attachment before.
func Attach(to *os.File, epoch uint64) (ours *os.File, err error) {
	ours, theirs, err := Pair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	packet := make([]byte, attachSize)
	packet[0] = attachVersion
	binary.LittleEndian.PutUint64(packet[8:], epoch)
	err = withDescriptors([]*os.File{to, theirs}, nil, func(fds []int) error {
		return unix.Sendmsg(fds[0], packet, unix.UnixRights(fds[1]), nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
	})
	if err != nil {
		ours.Close()
		return nil, fmt.Errorf("cannot attach: %w", err)
	}
	return ours, nil
}

// Attachments are the channels of later processes.
type Attachments struct {
	conn  *net.UnixConn
	epoch uint64 // the highest one so far
}

// NewAttachments reads attachments from socket, of Pair, which it closes.
func NewAttachments(socket *os.File) (*Attachments, error) {
	defer socket.Close()
	conn, err := net.FileConn(socket)
	if err != nil {
		return nil, err
	}
	packets, ok := conn.(*net.UnixConn)
	if !ok {
		conn.Close()
		return nil, errors.New("not a unix socket")
	}
	return &Attachments{conn: packets}, nil
}

// Next waits for the next attachment. io.EOF: no process is left that could attach. A process that
// another one has replaced is passed over.
func (a *Attachments) Next() (*os.File, error) {
	packet, control := make([]byte, 256), make([]byte, unix.CmsgSpace(4*scmMaxFD))
	for {
		n, c, _, _, err := a.conn.ReadMsgUnix(packet, control)
		if err != nil {
			return nil, err
		}
		files, err := receivedFiles(control[:c])
		if err != nil {
			return nil, err
		}
		if n == 0 {
			return nil, io.EOF
		}
		epoch := uint64(0)
		if n >= attachSize && packet[0] == attachVersion && len(files) == 1 {
			epoch = binary.LittleEndian.Uint64(packet[8:])
		}
		if epoch <= a.epoch {
			closeFiles(files)
			continue
		}
		a.epoch = epoch
		return files[0], nil
	}
}

// Close ends Next.
func (a *Attachments) Close() { a.conn.Close() }
