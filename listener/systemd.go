package listener

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// listenFDsStart is SD_LISTEN_FDS_START of sd_listen_fds(3).
const listenFDsStart = 3

// SystemdSockets returns the descriptors that a service manager has passed by
// LISTEN_FDS, LISTEN_PID and LISTEN_FDNAMES (sd_listen_fds(3)), by name and in their
// order; one without a name is "unknown". It removes these variables from the
// environment and makes the descriptors close-on-exec, with other numbers, so that children do not use
// them. If LISTEN_PID is another process, it returns none. The caller owns the files.
// It must be called once, before the first child is started.
func SystemdSockets() (map[string][]*os.File, error) {
	pid, fds, names := os.Getenv("LISTEN_PID"), os.Getenv("LISTEN_FDS"), os.Getenv("LISTEN_FDNAMES")
	for _, v := range []string{"LISTEN_PID", "LISTEN_PIDFDID", "LISTEN_FDS", "LISTEN_FDNAMES"} {
		os.Unsetenv(v)
	}
	if fds == "" || pid != strconv.Itoa(os.Getpid()) {
		return nil, nil
	}
	count, err := strconv.ParseUint(fds, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("LISTEN_FDS=%q is not a number of descriptors", fds)
	}
	var named []string
	if names != "" {
		if named = strings.Split(names, ":"); len(named) != int(count) {
			return nil, fmt.Errorf("LISTEN_FDNAMES has %d names for LISTEN_FDS=%d descriptors", len(named), count)
		}
	}
	files := map[string][]*os.File{}
	for i := range int(count) {
		name := "unknown"
		if named != nil && named[i] != "" {
			name = named[i]
		}
		fd := listenFDsStart + i
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil {
			return nil, fmt.Errorf("LISTEN_FDS=%d, but descriptor %d is not open", count, fd)
		}
		passed := &Descriptor{fd: fd}
		f, err := fileOf(passed, name) // a former process may have made it non-blocking
		passed.Close()
		if err != nil {
			return nil, err
		}
		files[name] = append(files[name], f)
	}
	return files, nil
}

// Has reports whether the socket is the one that Open would make for an address: bound to the same
// host and port, or to the same path. One of [::] is also that of 0.0.0.0 and of every interface,
// unless it is for IPv6 only.
func (p *Public) Has(a Address) bool {
	if p.address.Network != a.Network {
		return false
	}
	if a.Network == "unix" {
		return samePath(p.address.Address, a.Address)
	}
	host, port, err := net.SplitHostPort(a.Address)
	own, perr := netip.ParseAddrPort(p.bound.String())
	if err != nil || perr != nil || port != strconv.Itoa(int(own.Port())) {
		return false
	}
	switch host {
	case "localhost":
		host = "127.0.0.1"
	case "":
		host = "::"
	}
	ip, err := netip.ParseAddr(host)
	bound := own.Addr().Unmap()
	switch {
	case err != nil:
		return false
	case ip.IsUnspecified() && bound.Is6() && bound.IsUnspecified():
		return ip.Is6() || !p.isV6Only()
	}
	return ip.Unmap() == bound
}

// isV6Only reports whether a socket of [::] gets no connections of IPv4.
func (p *Public) isV6Only() bool {
	only := 1
	err := withFD(p, func(fd int) (err error) {
		only, err = unix.GetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY)
		return err
	})
	return err != nil || only != 0
}

// samePath reports whether two paths are those of the same file. A service manager may have bound
// a relative path, or one through a symlink such as /var/run.
func samePath(a, b string) bool {
	full, err := filepath.Abs(a)
	if err != nil || full == filepath.Clean(b) {
		return err == nil
	}
	one, err1 := os.Stat(a)
	other, err2 := os.Stat(b)
	return err1 == nil && err2 == nil && os.SameFile(one, other)
}
