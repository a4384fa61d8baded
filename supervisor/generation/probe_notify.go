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
	"tideover/supervisor/process"
)

// notifySocket is where the processes of one generation say how they are: the
// socket of sd_notify(3). What counts is READY=1, EXTEND_TIMEOUT_USEC, and the
// words of STATUS; the rest is systemd's. Only the generation's own processes
// are heard.
type notifySocket struct {
	path       string
	conn       *net.UnixConn
	ready      chan struct{} // closed by the first READY=1
	extensions chan time.Duration
	status     atomic.Pointer[string]
	done       chan struct{} // closed when nobody listens any more; nil: nobody did
}

// maxNotifyMessage is that of the longest message, as systemd has it.
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
		err = unix.Chmod(n.path, 0o666) // who gets into the directory may speak
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

// passCredentials makes the kernel say who sends.
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

// start hears what the processes of tree say, until close.
func (n *notifySocket) start(tree *process.Process, logger hclog.Logger) {
	n.done = make(chan struct{})
	go n.listen(tree, logger)
}

func (n *notifySocket) listen(tree *process.Process, logger hclog.Logger) {
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
			logger.Warn("somebody else says how the process is, and is not heard; who sends READY=1 must live until it was read", "of", tree.Pid(), "pid", sender)
		}
		for _, fd := range passed { // not before it was heard: systemd-notify waits for that
			unix.Close(fd)
		}
	}
}

// parseControl tells who sent a message, and the descriptors that came with it.
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

// maxStatus of a STATUS are shown, in bytes.
const maxStatus = 200

func (n *notifySocket) setStatus(words string) {
	words = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(words[:min(len(words), maxStatus)], ""))
	n.status.Store(&words)
}

// Status is the last STATUS, empty before the first.
func (n *notifySocket) Status() string {
	if n == nil || n.status.Load() == nil {
		return ""
	}
	return *n.status.Load()
}

// wait returns when somebody has said READY=1. Who asks for more time gets it.
func (n *notifySocket) wait(ctx context.Context, prolong func(time.Duration)) (ProbeResult, error) {
	for {
		select {
		case <-n.ready:
			return ProbeResult{Text: "READY=1"}, nil
		case d := <-n.extensions:
			prolong(d)
		case <-ctx.Done():
			return ProbeResult{Text: "no READY=1"}, ctx.Err()
		}
	}
}

// close ends the listening.
func (n *notifySocket) close() {
	n.conn.Close()
	if n.done != nil {
		<-n.done
	}
}
