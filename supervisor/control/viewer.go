package control

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"sync"
	"time"
)

// Access is what a process that the daemon has started itself may do.
type Access int

const (
	Look    Access = iota // at the state of the apps
	Read                  // also what they have written
	Operate               // also reload, hold and drain, as a member of socket_group
	Drive                 // also start, stop, reload, apply, signal and shutdown
)

// role is that of an Access.
func (a Access) role() role { return []role{roleViewer, roleReader, roleOperator, roleSupervisor}[a] }

// Rights are those of such a process.
type Rights struct {
	Access Access
	// Fleet is for the process that takes this host's turns in its fleet.
	Fleet bool
	// Commands permits reloads with a command, for a rollout of a fleet.
	Commands bool
	// Token is that of the user of the page: a request that shows it may use the paths that are marked
	// for the page, with any Access. The process does not know it. Empty: the page only looks.
	Token string
}

// viewerConn is the daemon's end of a socket pair.
type viewerConn struct {
	*net.UnixConn
	peer   peer
	role   role
	rights Rights
	close  func() error

	mu     sync.Mutex // guards denied
	denied time.Time  // when a refused request was logged last
}

// Close closes the connection once.
func (c *viewerConn) Close() error { return c.close() }

// ServeViewer answers requests on one end of a socket pair until ctx ends or the peer has closed
// the other end. It takes the descriptor over. The peer, a process that the daemon has started
// itself, may do what its rights say and nothing else, whichever user it is. Its requests are HTTP/2
// without TLS, so that they are answered side by side on the one connection, beside the bounds of
// the control socket.
func (s *Server) ServeViewer(ctx context.Context, end *os.File, rights Rights) error {
	conn, err := net.FileConn(end)
	end.Close()
	if err != nil {
		return err
	}
	local, ok := conn.(*net.UnixConn)
	if !ok {
		conn.Close()
		return errors.New("no unix socket")
	}
	closed := make(chan struct{})
	viewer := &viewerConn{UnixConn: local, peer: peer{uid: uint32(os.Geteuid())}, role: rights.Access.role(), rights: rights, close: sync.OnceValue(func() error {
		defer close(closed)
		return local.Close()
	})}
	web := s.webServer(ctx)
	web.Protocols = onlyHTTP2()
	ended := make(chan error, 1)
	go func() { ended <- web.Serve(&oneConn{conn: viewer, closed: closed}) }()
	select {
	case <-closed:
	case <-ctx.Done():
	}
	web.Close()
	<-ended
	return viewer.Close()
}

// onlyHTTP2 is HTTP/2 without TLS.
func onlyHTTP2() *http.Protocols {
	p := &http.Protocols{}
	p.SetUnencryptedHTTP2(true)
	return p
}

// oneConn is a listener that accepts one connection, and ends when that is closed.
type oneConn struct {
	conn     net.Conn
	accepted sync.Once
	closed   <-chan struct{}
}

func (l *oneConn) Accept() (conn net.Conn, err error) {
	l.accepted.Do(func() { conn = l.conn })
	if conn != nil {
		return conn, nil
	}
	<-l.closed
	return nil, net.ErrClosed
}

func (l *oneConn) Addr() net.Addr { return l.conn.LocalAddr() }

func (l *oneConn) Close() error { return l.conn.Close() }

// viewerEnd is the client's end of a socket pair.
type viewerEnd struct {
	net.Conn
	once   sync.Once
	closed chan struct{}
}

// Close may be called more than once.
func (c *viewerEnd) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// NewViewerClient returns a client on the other end of the socket pair. When the connection is
// broken every request fails.
func NewViewerClient(end *os.File) (*Client, error) {
	conn, err := net.FileConn(end)
	end.Close()
	if err != nil {
		return nil, err
	}
	pair := &viewerEnd{Conn: conn, closed: make(chan struct{})}
	first := make(chan net.Conn, 1)
	first <- pair
	// Requests that are made at once before there is a connection dial one each. net/http gives them
	// the first one when it is there, unless their own dial has failed before.
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		select {
		case conn := <-first:
			return conn, nil
		case <-pair.closed:
		case <-ctx.Done():
		}
		return nil, net.ErrClosed
	}
	return &Client{socket: "the supervisor's socket pair", http: &http.Client{Transport: &http.Transport{
		DialContext: dial, Protocols: onlyHTTP2(), DisableCompression: true, MaxResponseHeaderBytes: 16 << 10,
	}}}, nil
}
