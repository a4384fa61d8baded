package config

import (
	"errors"
	"fmt"
	"net/netip"
	"path"
	"strconv"
	"strings"
)

// maxUnixPath is the longest path the kernel takes for a unix socket.
const maxUnixPath = 107

// checkListen checks the spelling of a public address: "HOST:PORT", ":PORT",
// "[::]:PORT", "unix:/PATH" or "systemd:NAME".
func checkListen(s string) error {
	if path, ok := strings.CutPrefix(s, "unix:"); ok {
		return checkUnixPath(path)
	}
	if name, ok := strings.CutPrefix(s, "systemd:"); ok {
		if name == "" {
			return errors.New(`"systemd:" needs the socket's name (FileDescriptorName= of the .socket unit)`)
		}
		return nil
	}
	if strings.HasPrefix(s, "fd:") {
		return errors.New(`a file descriptor is taken by name: "systemd:NAME"`)
	}
	if strings.HasPrefix(s, "/") {
		return fmt.Errorf("write %q for a unix socket", "unix:"+s)
	}
	if strings.Contains(s, "//") {
		return errors.New(`an address is no URL: write "127.0.0.1:8000" or "unix:/run/shop.sock"`)
	}
	return checkHostPort(s)
}

func checkUnixPath(p string) error {
	switch {
	case strings.HasPrefix(p, "@") || strings.HasPrefix(p, "\x00"):
		return errors.New("abstract sockets cannot be protected by file modes: write a path")
	case strings.HasPrefix(p, "//"):
		return fmt.Errorf("write %q", "unix:/"+strings.TrimLeft(p, "/"))
	case !path.IsAbs(p):
		return errors.New("the path of a unix socket must begin with /")
	case len(p) > maxUnixPath:
		return fmt.Errorf("the path of a unix socket may have %d bytes, this one has %d: choose a shorter one, such as under /run", maxUnixPath, len(p))
	}
	return nil
}

func checkHostPort(s string) error {
	if _, err := strconv.Atoi(s); err == nil {
		return fmt.Errorf("write %q for a port on all addresses, or %q", ":"+s, "127.0.0.1:"+s)
	}
	colon := strings.LastIndexByte(s, ':')
	if colon < 0 {
		return fmt.Errorf("%q has no port: write %q", s, s+":8000")
	}
	host, port := s[:colon], s[colon+1:]
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
		return fmt.Errorf("%q is not a port: it is a number from 1 to 65535", port)
	}
	if inside, ok := strings.CutPrefix(host, "["); ok {
		inside, closed := strings.CutSuffix(inside, "]")
		if _, err := netip.ParseAddr(inside); err != nil || !closed {
			return fmt.Errorf("%q is not an IPv6 address", host)
		}
		return nil
	}
	if strings.Contains(host, ":") {
		return fmt.Errorf("write an IPv6 address in brackets: %q", "["+host+"]:"+port)
	}
	return checkHost(host)
}

// checkHost checks an IPv4 address or a host name; empty means all addresses.
func checkHost(host string) error {
	if strings.Trim(host, "0123456789.") == "" && host != "" {
		if _, err := netip.ParseAddr(host); err != nil {
			return fmt.Errorf("%q is not an IPv4 address", host)
		}
	}
	if i := strings.IndexFunc(host, func(r rune) bool {
		return r != '-' && r != '.' && r != '_' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	}); i >= 0 {
		return fmt.Errorf("%q is not the name of a host", host)
	}
	return nil
}

// overlapping reports whether two public addresses cannot both be bound. Host names
// are compared as text; only localhost is resolved.
func overlapping(a, b string) bool {
	hostA, portA, tcpA := splitHostPort(a)
	hostB, portB, tcpB := splitHostPort(b)
	if !tcpA || !tcpB {
		return a == b
	}
	if portA != portB {
		return false
	}
	return hostA == hostB || covers(hostA, hostB) || covers(hostB, hostA)
}

// covers reports whether host is a wildcard address that includes other.
func covers(host, other string) bool {
	switch host {
	case "", "::":
		return true
	case "0.0.0.0":
		return !strings.Contains(other, ":")
	}
	return false
}

func splitHostPort(s string) (host, port string, tcp bool) {
	if strings.HasPrefix(s, "unix:") || strings.HasPrefix(s, "systemd:") {
		return "", "", false
	}
	colon := strings.LastIndexByte(s, ':')
	host, port = strings.Trim(strings.ToLower(s[:max(colon, 0)]), "[]"), s[colon+1:]
	if host == "localhost" {
		host = "127.0.0.1"
	}
	return host, port, true
}
