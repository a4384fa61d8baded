package logs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// JournalSocket is where the systemd journal takes entries.
const JournalSocket = "/run/systemd/journal/socket"

// journalPatience is how long one entry may wait for a journal that is busy.
const journalPatience = time.Second

// errTooLong is an entry that will never be taken.
var errTooLong = errors.New("the entry is too long for a datagram")

// journal is a connection to the systemd journal in its native protocol, an
// entry in each datagram. One goroutine uses it, its sink's. It is not
// go-systemd's journal package, because that has one socket for the whole
// process, at a fixed path, and hides when an entry was not taken.
type journal struct {
	path string
	conn *net.UnixConn // nil: to be opened
}

// Write sends one entry, whole or not at all.
func (j *journal) Write(entry []byte) (int, error) {
	if j.conn == nil {
		conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Net: "unixgram", Name: j.path})
		if err != nil {
			return 0, err
		}
		conn.SetWriteBuffer(4 * longest) // the kernel may give less
		j.conn = conn
	}
	j.conn.SetWriteDeadline(time.Now().Add(journalPatience))
	switch _, err := j.conn.Write(entry); {
	case err == nil:
		return len(entry), nil
	case errors.Is(err, unix.EMSGSIZE):
		return 0, fmt.Errorf("%w: %d bytes", errTooLong, len(entry))
	default:
		j.close() // a journal that was started anew has another socket of this name
		return 0, err
	}
}

// close may be called when it is not open.
func (j *journal) close() error {
	if j.conn == nil {
		return nil
	}
	conn := j.conn
	j.conn = nil
	return conn.Close()
}

// priority is syslog's: gunicorn and Python's logging write all they have to
// say to standard error, so that is no error by itself.
func (s Stream) priority() string {
	return [...]string{Stdout: "6", Stderr: "5", Note: "4"}[s]
}

// appendEntry writes the line as the journal's native protocol wants it.
func appendEntry(b []byte, l Line) []byte {
	b = appendField(b, "MESSAGE", l.Text)
	b = appendField(b, "PRIORITY", l.Stream.priority())
	b = appendField(b, "SYSLOG_IDENTIFIER", l.App)
	b = appendField(b, "TIDEOVER_APP", l.App)
	if l.Generation > 0 {
		b = appendField(b, "TIDEOVER_GENERATION", strconv.Itoa(l.Generation))
	}
	return appendField(b, "TIDEOVER_STREAM", l.Stream.String())
}

// appendField gives the length before a value that has several lines.
func appendField(b []byte, name, value string) []byte {
	b = append(b, name...)
	if !strings.Contains(value, "\n") {
		b = append(b, '=')
	} else {
		b = append(b, '\n')
		b = binary.LittleEndian.AppendUint64(b, uint64(len(value)))
	}
	b = append(b, value...)
	return append(b, '\n')
}
