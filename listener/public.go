package listener

import (
	"errors"
	"net"
	"os"
)

// Options are the choices of Open.
type Options struct {
	Mode os.FileMode // of a unix socket's file; 0: 0666
}

// Public is a public socket.
type Public struct{}

// Open binds and listens.
func Open(a Address, o Options) (*Public, error) { return nil, errors.ErrUnsupported }

// Adopt makes a Public of a listening socket that somebody else opened, as Inherited returns them. It takes f over.
func Adopt(f *os.File) (*Public, error) { return nil, errors.ErrUnsupported }

func (p *Public) Listener() net.Listener  { return nil }
func (p *Public) Address() Address        { return Address{} }
func (p *Public) File() (*os.File, error) { return nil, errors.ErrUnsupported }
func (p *Public) Close() error            { return nil }
