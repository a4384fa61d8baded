package listener

import (
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"
)

// maxUnixPath is the size of sun_path without its final NUL.
const maxUnixPath = 107

// Address is the address of a public socket. Network is "tcp" or "unix". Address is
// host:port, where an empty host means every interface, or an absolute path. Two
// Addresses are equal if they are written alike.
type Address struct{ Network, Address string }

// String returns the address as Parse reads it.
func (a Address) String() string {
	if a.Network == "unix" {
		return "unix:" + a.Address
	}
	return a.Address
}

// Port is the TCP port; 0: the kernel chooses one, or it is a unix socket.
func (a Address) Port() int {
	if a.Network != "tcp" {
		return 0
	}
	_, port, _ := net.SplitHostPort(a.Address)
	n, _ := strconv.Atoi(port)
	return n
}

// Parse parses "127.0.0.1:8000", ":8000", "[::]:8000", "localhost:8000" or
// "unix:/run/shop.sock". Port 0 is allowed: the kernel chooses one. Every error says
// what to write instead.
func Parse(s string) (Address, error) {
	if path, ok := strings.CutPrefix(s, "unix:"); ok {
		return parseUnix(s, path)
	}
	switch {
	case s == "":
		return Address{}, fmt.Errorf("the listen address is empty: write one like 127.0.0.1:8000 or unix:/run/shop.sock")
	case s[0] == '/':
		return Address{}, fmt.Errorf("listen address %q: write unix:%s for a unix socket", s, s)
	case s[0] == '@', s[0] == 0:
		return Address{}, errAbstract(s)
	case strings.Contains(s, "://"):
		_, rest, _ := strings.Cut(s, "://")
		return Address{}, fmt.Errorf("listen address %q: write it without a scheme, %s", s, strings.TrimRight(rest, "/"))
	}
	return parseTCP(s)
}

func parseTCP(s string) (Address, error) {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return Address{}, missingPort(s)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || strconv.FormatUint(n, 10) != port {
		return Address{}, fmt.Errorf("listen address %q: the port must be a number from 0 to 65535", s)
	}
	if host == "*" {
		return Address{}, fmt.Errorf("listen address %q: write :%s for every interface", s, port)
	}
	if strings.ContainsAny(host, " \t\r\n/@,\x00") {
		return Address{}, fmt.Errorf("listen address %q: %q is no host name and no IP address", s, host)
	}
	return Address{"tcp", s}, nil
}

// missingPort returns the error for an address that is not host:port, with a guess at
// what was meant.
func missingPort(s string) error {
	if ip := net.ParseIP(strings.Trim(s, "[]")); ip != nil {
		return fmt.Errorf("listen address %q: the port is missing: write %s", s, net.JoinHostPort(ip.String(), "8000"))
	}
	if strings.Count(s, ":") > 1 && s[0] != '[' {
		return fmt.Errorf("listen address %q: an IPv6 address goes into brackets: write [::1]:8000", s)
	}
	if _, err := strconv.ParseUint(s, 10, 16); err == nil {
		return fmt.Errorf("listen address %q: write 127.0.0.1:%s, or :%s for every interface", s, s, s)
	}
	return fmt.Errorf("listen address %q: write it as host:port, like 127.0.0.1:8000, or as unix:/path", s)
}

func parseUnix(s, path string) (Address, error) {
	path = strings.TrimPrefix(path, "//") // gunicorn's other spelling, unix:///run/shop.sock
	switch {
	case path == "":
		return Address{}, fmt.Errorf("listen address %q: the path is missing: write one like unix:/run/shop.sock", s)
	case path[0] == '@', path[0] == 0:
		return Address{}, errAbstract(s)
	case strings.IndexByte(path, 0) >= 0:
		return Address{}, fmt.Errorf("listen address %q: a path cannot contain a NUL byte", s)
	case !filepath.IsAbs(path):
		return Address{}, fmt.Errorf("listen address %q: the path must be absolute, like unix:/run/%s", s, filepath.Base(path))
	case strings.HasSuffix(path, "/"), filepath.Clean(path) == "/":
		return Address{}, fmt.Errorf("listen address %q: this is a directory: write unix:%s", s, filepath.Join(path, "app.sock"))
	}
	path = filepath.Clean(path)
	if err := checkLength(path); err != nil {
		return Address{}, fmt.Errorf("listen address: %w", err)
	}
	return Address{"unix", path}, nil
}

func errAbstract(s string) error {
	return fmt.Errorf("listen address %q: abstract unix sockets have no owner and no mode: use a path, like unix:/run/shop.sock", s)
}

// checkLength returns an error for a path for which bind would only return EINVAL.
func checkLength(path string) error {
	if n := len(path); n > maxUnixPath {
		return fmt.Errorf("the unix socket path %s has %d bytes and the kernel allows %d: choose a shorter directory", path, n, maxUnixPath)
	}
	return nil
}
