package netpoll

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// A Sockaddr is a socket address in the kernel's form: its family, then what that family defines.
type Sockaddr struct {
	raw    [unix.SizeofSockaddrUnix]byte // the longest kind
	length uint32
}

// Set takes an address as net.Dial does; network is "unix" or "tcp". It reports false for one that
// it cannot express: a name that has to be resolved, an abstract unix socket, an IPv6 zone.
func (a *Sockaddr) Set(network, address string) bool {
	if network == "unix" {
		if len(address) == 0 || len(address) >= len(a.raw)-2 || address[0] == '@' {
			return false
		}
		a.setFamily(unix.AF_UNIX)
		a.length = uint32(2 + copy(a.raw[2:], address) + 1)
		return true
	}
	at, err := netip.ParseAddrPort(address)
	ip := at.Addr().Unmap()
	switch {
	case err != nil || ip.Zone() != "":
		return false
	case ip.Is4():
		a.setFamily(unix.AF_INET)
		four := ip.As4()
		copy(a.raw[4:], four[:])
		a.length = unix.SizeofSockaddrInet4
	default:
		a.setFamily(unix.AF_INET6)
		sixteen := ip.As16()
		copy(a.raw[8:], sixteen[:]) // behind the flow information
		a.length = unix.SizeofSockaddrInet6
	}
	binary.BigEndian.PutUint16(a.raw[2:], at.Port())
	return true
}

// Family is the address family, as unix.AF_INET.
func (a *Sockaddr) Family() int { return int(binary.NativeEndian.Uint16(a.raw[:])) }

func (a *Sockaddr) setFamily(family uint16) { binary.NativeEndian.PutUint16(a.raw[:], family) }

// AddrPort is the address of a TCP socket; invalid for another kind. An IPv4 address is in its IPv6
// form (::ffff:192.0.2.1) where the socket is one for both.
func (a *Sockaddr) AddrPort() netip.AddrPort {
	port := binary.BigEndian.Uint16(a.raw[2:])
	switch a.Family() {
	case unix.AF_INET:
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(a.raw[4:8])), port)
	case unix.AF_INET6:
		return netip.AddrPortFrom(netip.AddrFrom16([16]byte(a.raw[8:24])), port)
	}
	return netip.AddrPort{}
}

// LocalAddr is the address of a TCP socket's own end; invalid for another kind.
func LocalAddr(fd int) netip.AddrPort {
	own, _ := unix.Getsockname(fd)
	return addrPort(own)
}

// PeerAddr is the address of a TCP socket's other end; invalid for another kind, or without a peer.
func PeerAddr(fd int) netip.AddrPort {
	peer, _ := unix.Getpeername(fd)
	return addrPort(peer)
}

func addrPort(address unix.Sockaddr) netip.AddrPort {
	switch a := address.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr), uint16(a.Port))
	}
	return netip.AddrPort{}
}
