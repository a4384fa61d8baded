package generation

import (
	"context"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
	"unicode"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"

	"tideover/supervisor/api"
)

// notifySocket is the socket of sd_notify(3) of one generation. It handles
// READY=1, EXTEND_TIMEOUT_USEC, STOPPING=1 and STATUS; other variables are for
// systemd. Messages of processes outside the generation's tree are refused.
type notifySocket struct {
	path       string
	conn       *net.UnixConn
	ready      chan struct{} // closed by the first READY=1
	extensions chan time.Duration
	status     atomic.Pointer[string]
	done       chan struct{} // closed when the reading goroutine has ended; nil: it was not started
}

// maxNotifyMessage is the size of the longest message, the same as systemd's.
const maxNotifyMessage = 4096

func openNotifySocket(dir string) (*notifySocket, error) {
	path := filepath.Join(dir, "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return nil, api.Errorf(api.ExitError, "cannot open the socket for READY=1: %v", err)
	}
	n := newNotifySocket(path, conn)
	err = n.passCredentials()
	if err == nil {
		err = unix.Chmod(n.path, 0o666) // the mode of the directory decides which users can send
	}
	if err != nil {
		n.conn.Close()
		return nil, api.Errorf(api.ExitError, "cannot prepare the socket for READY=1: %v", err)
	}
	return n, nil
}

func newNotifySocket(path string, conn *net.UnixConn) *notifySocket {
	return &notifySocket{path: path, conn: conn, ready: make(chan struct{}), extensions: make(chan time.Duration, 1)}
}

// passCredentials sets SO_PASSCRED: the kernel adds the sender's pid to each
// message.
func (n *notifySocket) passCredentials() error {
	raw, err := n.conn.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err := raw.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PASSCRED, 1)
	}); err != nil {
		return err
	}
	return failed
}

// start handles the messages of the processes of tree until close.
func (n *notifySocket) start(tree Process, logger hclog.Logger) {
	n.done = make(chan struct{})
	go n.listen(tree, logger)
}

func (n *notifySocket) listen(tree Process, logger hclog.Logger) {
	defer close(n.done)
	refused := false
	text, control := make([]byte, maxNotifyMessage), make([]byte, 1024)
	for {
		size, controls, flags, _, err := n.conn.ReadMsgUnix(text, control)
		if err != nil {
			return
		}
		sender, passed := parseControl(control[:controls])
		switch {
		case flags&unix.MSG_TRUNC != 0:
		case slices.Contains(tree.Members(), sender):
			n.handle(string(text[:size]))
		case !refused:
			refused = true
			logger.Warn("notification ignored", "pid", tree.Pid(), "sender_pid", sender,
				"hint", "the sender must be a process of the app and must exist until its message is read")
		}
		for _, fd := range passed { // only now: systemd-notify waits until they are closed
			unix.Close(fd)
		}
	}
}

// parseControl returns the pid of the sender and the descriptors that came with
// the message.
func parseControl(control []byte) (pid int, passed []int) {
	messages, err := syscall.ParseSocketControlMessage(control)
	if err != nil {
		return 0, nil
	}
	for i := range messages {
		if c, err := syscall.ParseUnixCredentials(&messages[i]); err == nil {
			pid = int(c.Pid)
		} else if fds, err := syscall.ParseUnixRights(&messages[i]); err == nil {
			passed = append(passed, fds...)
		}
	}
	return pid, passed
}

func (n *notifySocket) handle(message string) {
	for line := range strings.SplitSeq(message, "\n") {
		name, value, _ := strings.Cut(line, "=")
		switch {
		case name == "READY" && value == "1":
			if !isClosed(n.ready) {
				close(n.ready)
			}
		case name == "STATUS":
			n.setStatus(value)
		case name == "STOPPING" && value == "1":
			n.setStatus("stopping")
		case name == "EXTEND_TIMEOUT_USEC":
			if usec, err := strconv.ParseUint(value, 10, 63); err == nil && usec < uint64(time.Duration(1<<62)/time.Microsecond) {
				select {
				case <-n.extensions: // only the last one counts
				default:
				}
				n.extensions <- time.Duration(usec) * time.Microsecond
			}
		}
	}
}

// maxStatus is how much of a STATUS is kept, in bytes.
const maxStatus = 200

func (n *notifySocket) setStatus(text string) {
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text[:min(len(text), maxStatus)], ""))
	n.status.Store(&text)
}

// Status is the last STATUS, empty before the first.
func (n *notifySocket) Status() string {
	if n == nil || n.status.Load() == nil {
		return ""
	}
	return *n.status.Load()
}

// wait returns at READY=1. EXTEND_TIMEOUT_USEC is passed to extend.
func (n *notifySocket) wait(ctx context.Context, extend func(time.Duration)) (ProbeResult, error) {
	for {
		select {
		case <-n.ready:
			return ProbeResult{Text: "READY=1"}, nil
		case d := <-n.extensions:
			extend(d)
		case <-ctx.Done():
			return ProbeResult{Text: "no READY=1"}, ctx.Err()
		}
	}
}

// close closes the socket and waits for the goroutine that reads it.
func (n *notifySocket) close() {
	n.conn.Close()
	if n.done != nil {
		<-n.done
	}
}
