package config

import (
	"errors"
	"fmt"
	"net/netip"
	"path"
	"slices"
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

// checkAdmin checks daemon.admin: an address that tideover binds itself.
func checkAdmin(s string) error {
	if strings.HasPrefix(s, "systemd:") {
		return errors.New(`this address is bound by tideover itself: write "127.0.0.1:9464" or "unix:/run/tideover/admin.sock"`)
	}
	return checkListen(s)
}

// checkPageHost checks a name of admin_auth.hosts.
func checkPageHost(s string) error {
	_, err := netip.ParseAddr(strings.Trim(s, "[]"))
	switch {
	case err == nil:
		return errors.New("the page answers to every address anyway: write a name")
	case strings.Contains(s, "//"):
		return errors.New(`a name is no URL: write "status.example.com"`)
	case strings.Contains(s, ":"):
		return errors.New("a name has no port: it counts with each")
	case s == "" || strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_") != "":
		return fmt.Errorf("%q is not a name of a host", s)
	}
	return nil
}

// checkSupervisorHTTP checks daemon.supervisor_http.
func checkSupervisorHTTP(s string) error {
	if strings.HasPrefix(s, "unix:") {
		return errors.New("a unix socket is daemon.supervisor_socket")
	}
	return checkAdmin(s)
}

// checkAgent checks agent.listen. HAProxy asks by TCP only.
func checkAgent(s string) error {
	if strings.HasPrefix(s, "unix:") {
		return errors.New(`HAProxy asks an agent by TCP: write "127.0.0.1:8100"`)
	}
	return checkAdmin(s)
}

// isLoopback reports whether only processes of this machine reach a host.
func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
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

// boundAddress is a public address of an app.
type boundAddress struct {
	n       int // from 0, as they were added
	address string
	app     *App
}

// addressIndex finds the public addresses that cannot be bound together with one, without
// comparing it with all others.
type addressIndex struct {
	byKind map[string][]boundAddress // by a text or a kind of host, and port
	added  int
}

func newAddressIndex() *addressIndex { return &addressIndex{byKind: map[string][]boundAddress{}} }

// Kinds of addresses that are no host. A host contains no blank.
const (
	anyHost      = "any host"
	anyIPv4      = "any IPv4"
	wildcard     = "wildcard"      // of IPv6 and IPv4
	wildcardIPv4 = "wildcard IPv4" // 0.0.0.0
)

func (x *addressIndex) add(address string, app *App) {
	entry := boundAddress{x.added, address, app}
	x.added++
	host, port, tcp := splitHostPort(address)
	kinds := []string{address}
	if tcp {
		kinds = []string{host, anyHost}
		if !strings.Contains(host, ":") {
			kinds = append(kinds, anyIPv4)
		}
		switch host {
		case "", "::":
			kinds = append(kinds, wildcard)
		case "0.0.0.0":
			kinds = append(kinds, wildcardIPv4)
		}
	}
	for _, kind := range kinds {
		x.byKind[kind+" "+port] = append(x.byKind[kind+" "+port], entry)
	}
}

// maxOverlapping is how many addresses are named that overlap with one.
const maxOverlapping = 10

// overlapping returns the first addresses that cannot be bound together with one, in the
// order in which they were added. Host names are compared as text; only localhost is
// resolved.
func (x *addressIndex) overlapping(address string) []boundAddress {
	host, port, tcp := splitHostPort(address)
	kinds := []string{address}
	if tcp {
		kinds = []string{host, wildcard}
		switch {
		case host == "" || host == "::":
			kinds = append(kinds, anyHost)
		case host == "0.0.0.0":
			kinds = append(kinds, anyIPv4)
		case !strings.Contains(host, ":"):
			kinds = append(kinds, wildcardIPv4)
		}
	}
	var all []boundAddress
	for _, kind := range kinds {
		of := x.byKind[kind+" "+port]
		all = append(all, of[:min(len(of), maxOverlapping)]...)
	}
	slices.SortFunc(all, func(a, b boundAddress) int { return a.n - b.n })
	all = slices.Compact(all) // a wildcard is of several kinds
	return all[:min(len(all), maxOverlapping)]
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
