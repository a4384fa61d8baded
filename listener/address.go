package listener

import "errors"

// Address says where a public socket listens: Network is "tcp" or "unix".
type Address struct{ Network, Address string }

// Parse reads "127.0.0.1:8000", ":8000", "[::]:8000", "localhost:8000" or "unix:/run/shop.sock".
func Parse(s string) (Address, error) { return Address{}, errors.ErrUnsupported }

// String gives the spelling back that Parse understands.
func (a Address) String() string { return a.Address }
