package generation

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"slices"
	"strconv"
	"syscall"

	"tideover/supervisor/process"
)

// childPort is the port of {port} on 127.0.0.1. Until the child listens, and whenever it has
// closed its socket, every user may listen there.
type childPort struct {
	process Process
	uid     uint32 // the app's user
	port    int

	stranger process.Listening // the last socket of another process
	holder   string            // that process
}

func (c *childPort) address() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(c.port)) }

// prove finds the sockets that may get a connection to the port. The tree must hold all of
// them, also those of another address: a socket of 127.0.0.1 gets the connection before one
// of [::]. From then on the kernel gives no other user a socket that would get it, as long as
// the one that was found is open.
//
// A socket belongs to the tree if one of its processes holds it. Servers that listen in one
// process and serve in others (uvicorn --workers, granian) hold it in all of them, and it
// makes no difference whether the first one has exited.
//
// Without CAP_SYS_PTRACE the descriptors of another user's processes cannot be read. Then the
// user of the socket decides, and no connection can be verified later.
//
// One call at a time.
func (c *childPort) prove() (*proof, error) {
	if err := c.tryConnect(); errors.Is(err, errNotListening) { // costs less than the kernel's table of all sockets
		return nil, err
	}
	stranger := process.Listening{}
	for {
		sockets, err := process.ListeningOnLoopback(c.port)
		if err != nil {
			return nil, err
		}
		if len(sockets) == 0 {
			return nil, fmt.Errorf("%w on %s in this network namespace", errNotListening, c.address())
		}
		holders, err := c.process.Holders(inodesOf(sockets))
		unreadable := errors.Is(err, fs.ErrPermission)
		i := slices.IndexFunc(sockets, func(s process.Listening) bool {
			_, held := holders[s.Inode]
			return !held && !(unreadable && s.UID == c.uid)
		})
		if i < 0 {
			if holder, ok := holders[sockets[0].Inode]; ok {
				return &proof{valid: holder.IsOpen}, nil
			}
			return &proof{}, nil
		}
		if sockets[i] == stranger { // seen twice: the process was not just forked
			return nil, &strangerError{c.address(), c.holderOf(stranger)}
		}
		stranger = sockets[i]
	}
}

// holderOf names the process that holds a socket. It looks through the descriptors of all
// processes of the machine, once for each socket.
func (c *childPort) holderOf(s process.Listening) string {
	if s != c.stranger {
		c.stranger, c.holder = s, describeProcess(process.HolderOf(s.Inode), s.UID)
	}
	return c.holder
}

func inodesOf(sockets []process.Listening) []uint64 {
	var inodes []uint64
	for _, s := range sockets {
		inodes = append(inodes, s.Inode)
	}
	return inodes
}

// tryConnect opens a connection and closes it. The error is errNotListening if nothing listens.
func (c *childPort) tryConnect() error {
	conn, err := net.DialTimeout("tcp", c.address(), connectTimeout)
	if errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("%w on %s", errNotListening, c.address())
	}
	if err != nil {
		return err
	}
	return conn.Close()
}
