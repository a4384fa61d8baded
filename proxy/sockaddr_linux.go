package proxy

import (
	"encoding/binary"
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"tideover/proxy/gate"
)

// A sockaddr is an address as the kernel has it: its family, and then what belongs to that.
type sockaddr struct {
	raw    [unix.SizeofSockaddrUnix]byte // the longest kind
	length uint32
}

// aim takes the address of a target. It reports false for one that a goroutine has to find: a name, or something rare.
func (a *sockaddr) aim(o *gate.TargetOptions) bool {
	if o.Network == "unix" {
		if len(o.Address) == 0 || len(o.Address) >= len(a.raw)-2 || o.Address[0] == '@' {
			return false
		}
		a.setFamily(unix.AF_UNIX)
		a.length = uint32(2 + copy(a.raw[2:], o.Address) + 1)
		return true
	}
	at, err := netip.ParseAddrPort(o.Address)
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
		copy(a.raw[8:], sixteen[:]) // behind the flow
		a.length = unix.SizeofSockaddrInet6
	}
	binary.BigEndian.PutUint16(a.raw[2:], at.Port())
	return true
}

func (a *sockaddr) family() int             { return int(binary.NativeEndian.Uint16(a.raw[:])) }
func (a *sockaddr) setFamily(family uint16) { binary.NativeEndian.PutUint16(a.raw[:], family) }

// addrPort is the address of a peer; none over a unix socket.
func (a *sockaddr) addrPort() netip.AddrPort {
	port := binary.BigEndian.Uint16(a.raw[2:])
	switch a.family() {
	case unix.AF_INET:
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(a.raw[4:8])), port)
	case unix.AF_INET6:
		return netip.AddrPortFrom(netip.AddrFrom16([16]byte(a.raw[8:24])).Unmap(), port)
	}
	return netip.AddrPort{}
}

// connect0 is connect(2) on a descriptor that never waits.
func connect0(fd int, a *sockaddr) syscall.Errno {
	_, errno := call0(unix.SYS_CONNECT, fd, a.raw[:a.length])
	return errno
}

// accept0 is accept4(2) on a descriptor that never waits; the address is the peer's.
func accept0(fd int, a *sockaddr) (int, syscall.Errno) {
	a.length = uint32(len(a.raw))
	n, _, errno := unix.RawSyscall6(unix.SYS_ACCEPT4, uintptr(fd), uintptr(unsafe.Pointer(&a.raw)), uintptr(unsafe.Pointer(&a.length)),
		unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
	return int(n), errno
}
