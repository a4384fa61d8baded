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

// JournalSocket is the socket of the systemd journal.
const JournalSocket = "/run/systemd/journal/socket"

// journalTimeout bounds the write of one entry.
const journalTimeout = time.Second

// errTooLong says that an entry can never be written.
var errTooLong = errors.New("the entry is too long for a datagram")

// journal writes to the systemd journal in its native protocol, one entry in each
// datagram. Only the goroutine of its sink uses it. The journal package of go-systemd is
// not used, because it has one socket for the whole process, at a fixed path, and hides
// write errors.
type journal struct {
	path string
	conn *net.UnixConn // nil: not connected
}

// Write sends one entry, completely or not at all.
func (j *journal) Write(entry []byte) (int, error) {
	if j.conn == nil {
		conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Net: "unixgram", Name: j.path})
		if err != nil {
			return 0, err
		}
		conn.SetWriteBuffer(4 * maxLineLength) // the kernel may give less
		j.conn = conn
	}
	j.conn.SetWriteDeadline(time.Now().Add(journalTimeout))
	switch _, err := j.conn.Write(entry); {
	case err == nil:
		return len(entry), nil
	case errors.Is(err, unix.EMSGSIZE):
		return 0, fmt.Errorf("%w: %d bytes", errTooLong, len(entry))
	default:
		j.close() // a restarted journald has another socket at this path
		return 0, err
	}
}

// close closes the connection, if there is one.
func (j *journal) close() error {
	if j.conn == nil {
		return nil
	}
	conn := j.conn
	j.conn = nil
	return conn.Close()
}

// priority is the syslog priority. Standard error is "notice" and not "err", because
// gunicorn and Python's logging write all messages there.
func (s Stream) priority() string {
	return [...]string{Stdout: "6", Stderr: "5", Note: "4", Access: "6"}[s]
}

// appendEntry appends a single line as an entry of the journal's native protocol.
func appendEntry(b []byte, l block) []byte {
	b = appendField(b, "MESSAGE", l.Text)
	b = appendField(b, "PRIORITY", l.Stream.priority())
	b = appendField(b, "SYSLOG_IDENTIFIER", l.App)
	b = appendField(b, "TIDEOVER_APP", l.App)
	if l.Generation > 0 {
		b = appendField(b, "TIDEOVER_GENERATION", strconv.Itoa(l.Generation))
	}
	return appendField(b, "TIDEOVER_STREAM", l.Stream.String())
}

// appendField appends one field. A value with line feeds is preceded by its length.
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
