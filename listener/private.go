package listener

import (
	"context"
	"errors"
	"os"
)

// PrivateOptions are the choices of OpenPrivate.
type PrivateOptions struct {
	Family     string // "unix", "tcp" or "tcp6"
	Dir        string // unix: the 0700 directory of the daemon's, which must exist
	Name       string // the app's
	Generation int
	PortHint   int // tcp: the public port, where the public socket is on 127.0.0.1; 0: none
}

// Private is one generation's private socket.
type Private struct{}

// OpenPrivate listens on a fresh private socket.
func OpenPrivate(o PrivateOptions) (*Private, error) { return nil, errors.ErrUnsupported }

func (p *Private) Network() string                                         { return "" }
func (p *Private) Address() string                                         { return "" }
func (p *Private) File() *os.File                                          { return nil }
func (p *Private) SetNonblock() error                                      { return nil }
func (p *Private) Inode() uint64                                           { return 0 }
func (p *Private) Reclaim(ctx context.Context, marker []byte) (int, error) { return 0, nil }
func (p *Private) Close() error                                            { return nil }
