package monitor

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// protocolVersion is the first byte of each frame. The frames are frozen: a monitor serves the
// supervisors of later versions, because an upgrade does not replace it.
const protocolVersion = 1

// kind is what a frame is. New kinds get new numbers; the meaning of a number never changes.
type kind byte

// Frames of the supervisor. Each but beat and done has one answer, with the same call number.
const (
	kindHello   kind = 1  // it handles signals. Child and stored frames come before the answer; number: starts of a supervisor
	kindUp      kind = 2  // it has started; descriptor: its executable, for the next start
	kindBeat    kind = 3  // it runs; number: signals that it has got
	kindSpawn   kind = 4  // text: token, argv[0], environment, each ended by NUL; descriptors: the executable, then 0, 1, 2 ...; number: pid
	kindCollect kind = 5  // text: token; number: wait status. EAGAIN: it lives; ESRCH: there is none
	kindPause   kind = 6  // orphans stay zombies
	kindResume  kind = 7  // the end of one pause
	kindStore   kind = 8  // text: name; descriptor: what replaces that of the name
	kindDrop    kind = 9  // text: name
	kindNotify  kind = 10 // text: message for NOTIFY_SOCKET. EAGAIN: its queue is full
	kindDone    kind = 11 // tideover ends with this process; number: exit code. There is no answer
	kindReplace kind = 12 // it ends now; descriptor: the executable that is started next, once
)

// Frames of the monitor.
const (
	kindAnswer kind = 64
	kindSignal kind = 65 // number: the signal; errno 1: SIGHUP because the terminal is closed
	kindChild  kind = 66 // text: token, empty: the former supervisor; number: pid, or with errno 1 the wait status
	kindStored kind = 67 // text: name; descriptor
)

const (
	headerSize = 16
	maxText    = 128 << 10
	maxFiles   = 253 // SCM_MAX_FD
)

// frame is one message of the protocol: version, kind, two bytes that are 0, then call, number and
// errno with four bytes each, little-endian, then the text.
type frame struct {
	kind   kind
	call   uint32
	number int32
	errno  int32
	text   string
	files  []descriptor
	lost   bool // descriptors of it did not fit into this process
}

func (f *frame) closeFiles() {
	closeAll(f.files)
	f.files = nil
}

// encode returns the bytes of a frame.
func (f *frame) encode() []byte {
	b := make([]byte, headerSize, headerSize+len(f.text))
	b[0], b[1] = protocolVersion, byte(f.kind)
	binary.LittleEndian.PutUint32(b[4:], f.call)
	binary.LittleEndian.PutUint32(b[8:], uint32(f.number))
	binary.LittleEndian.PutUint32(b[12:], uint32(f.errno))
	return append(b, f.text...)
}

// decode reads the bytes of a frame.
func decode(b []byte) (*frame, error) {
	if len(b) < headerSize || len(b) > headerSize+maxText || b[0] != protocolVersion {
		return nil, fmt.Errorf("a frame of %d bytes is not one of version %d", len(b), protocolVersion)
	}
	return &frame{
		kind: kind(b[1]), call: binary.LittleEndian.Uint32(b[4:]), number: int32(binary.LittleEndian.Uint32(b[8:])),
		errno: int32(binary.LittleEndian.Uint32(b[12:])), text: string(b[headerSize:]),
	}, nil
}

// conn is one end of the channel.
type conn struct {
	*net.UnixConn
	packet, control []byte
}

// newConn returns the connection of a SOCK_SEQPACKET socket, which it closes.
func newConn(socket *os.File) (*conn, error) {
	defer socket.Close()
	c, err := net.FileConn(socket)
	if err != nil {
		return nil, err
	}
	packets, ok := c.(*net.UnixConn)
	if !ok || packets.LocalAddr().Network() != "unixpacket" {
		c.Close()
		return nil, errors.New("not a unix socket of type SOCK_SEQPACKET")
	}
	return &conn{UnixConn: packets, packet: make([]byte, headerSize+maxText+1), control: make([]byte, unix.CmsgSpace(4*maxFiles))}, nil
}

// send writes a frame. Its descriptors stay the caller's. Descriptors in flight are bounded for processes
// without privileges (ETOOMANYREFS): the peer reads at the same time, so it is tried again.
func (c *conn) send(f *frame) error {
	var rights []byte
	if len(f.files) > 0 {
		fds := make([]int, len(f.files))
		for i, d := range f.files {
			fds[i] = int(d)
		}
		rights = unix.UnixRights(fds...)
	}
	packet := f.encode()
	for tries := 0; ; tries++ {
		_, _, err := c.WriteMsgUnix(packet, rights, nil)
		if !errors.Is(err, unix.ETOOMANYREFS) || tries == maxTries {
			return err
		}
		<-time.After(retryInterval)
	}
}

const (
	maxTries      = 1000
	retryInterval = time.Millisecond
)

// receive reads a frame, whose descriptors belong to the caller. The error is io.EOF at the end of the
// channel. A peer that has closed its end with unread packets causes ECONNRESET once, before the
// packets that it has sent.
func (c *conn) receive() (*frame, error) {
	for reset := false; ; reset = true {
		n, rights, flags, _, err := c.ReadMsgUnix(c.packet, c.control)
		if errors.Is(err, unix.ECONNRESET) && !reset {
			continue
		}
		if err != nil {
			return nil, err
		}
		files := receivedFiles(c.control[:rights])
		if n == 0 { // every frame has a header
			closeAll(files)
			return nil, io.EOF
		}
		f, err := decode(c.packet[:n])
		if err != nil {
			closeAll(files)
			return nil, err
		}
		f.files, f.lost = files, flags&unix.MSG_CTRUNC != 0
		return f, nil
	}
}

// receivedFiles returns the descriptors of a packet, which are close-on-exec.
func receivedFiles(control []byte) (files []descriptor) {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return nil
	}
	for i := range messages {
		fds, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			continue
		}
		for _, fd := range fds {
			files = append(files, descriptor(fd))
		}
	}
	return files
}
