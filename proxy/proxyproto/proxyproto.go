// Package proxyproto reads and writes the header of the PROXY protocol, with which a load balancer
// tells the next server the addresses of a connection that it relays. It works on byte slices and
// does no I/O.
//
// The specification is doc/proxy-protocol.txt of HAProxy; section numbers here are those of its
// edition of 2020/03/05. Both versions are read, and version 1 is written, which gunicorn reads.
package proxyproto

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"strconv"
)

const (
	// MaxLength is how long a header may be. The specification bounds version 1, and lets version 2
	// have 64 KiB: the most that is known to be sent, with a client's certificate, is below 4 KiB.
	MaxLength = 16 << 10
	// MaxLine is how long a line of version 1 may be, with its CRLF (section 2.1).
	MaxLine = 107
)

// The errors of Parse.
var (
	ErrNone        = errors.New("there is no PROXY header")
	ErrLine        = errors.New("the PROXY line of version 1 is not valid")
	ErrVersion     = errors.New("the PROXY header is of another version than 1 and 2")
	ErrCommand     = errors.New("the command of the PROXY header is unknown")
	ErrFamily      = errors.New("the address family or protocol of the PROXY header is unknown")
	ErrShortBlock  = errors.New("the PROXY header is too short for its addresses")
	ErrLongerBlock = errors.New("the PROXY header is longer than 16 KiB")
)

// A Header is what a header says. Both addresses are invalid where it names none: LOCAL, UNKNOWN,
// and families other than IPv4 and IPv6 with TCP. Then those of the connection itself hold.
type Header struct {
	Source, Destination netip.AddrPort
}

const (
	line      = "PROXY "
	signature = "\r\n\r\n\x00\r\nQUIT\n"
	fixed     = 16 // length of a header of version 2 without what its length field counts
)

// Parse parses the header at the front of b, and returns its length; 0: more is to be read, and at
// most MaxLength bytes in all. The result does not depend on how the bytes were divided into reads.
func Parse(b []byte) (h Header, n int, err error) {
	switch {
	case begins(b, line):
		return parseLine(b)
	case begins(b, signature):
		return parseBinary(b)
	}
	return Header{}, 0, ErrNone
}

// begins reports whether b begins with prefix, as far as it has come.
func begins(b []byte, prefix string) bool {
	n := min(len(b), len(prefix))
	return string(b[:n]) == prefix[:n]
}

// parseLine parses version 1 (section 2.1).
func parseLine(b []byte) (h Header, n int, err error) {
	end := bytes.IndexByte(b[:min(len(b), MaxLine)], '\n')
	switch {
	case end < 0 && len(b) < MaxLine:
		return h, 0, nil
	case end < len(line) || b[end-1] != '\r':
		return h, 0, ErrLine
	}
	text := b[len(line) : end-1]
	if bytes.IndexByte(text, '\r') >= 0 {
		return h, 0, ErrLine
	}
	protocol, rest, more := bytes.Cut(text, []byte(" "))
	switch string(protocol) {
	case "UNKNOWN": // what follows is ignored
		return h, end + 1, nil
	case "TCP4", "TCP6":
	default:
		more = false
	}
	f := bytes.Split(rest, []byte(" "))
	if !more || len(f) != 4 {
		return h, 0, ErrLine
	}
	v4 := string(protocol) == "TCP4"
	source, ok1 := parseAddrPort(f[0], f[2], v4)
	destination, ok2 := parseAddrPort(f[1], f[3], v4)
	if !ok1 || !ok2 {
		return h, 0, ErrLine
	}
	return Header{source, destination}, end + 1, nil
}

// parseAddrPort parses an address of one family, without a zone, and a decimal port without leading
// zeros.
func parseAddrPort(address, port []byte, v4 bool) (at netip.AddrPort, ok bool) {
	ip, err := netip.ParseAddr(string(address))
	if err != nil || ip.Is4() != v4 || ip.Zone() != "" {
		return at, false
	}
	if len(port) == 0 || len(port) > 5 || len(port) > 1 && port[0] == '0' {
		return at, false
	}
	number := 0
	for _, c := range port {
		if c < '0' || c > '9' {
			return at, false
		}
		number = number*10 + int(c-'0')
	}
	return netip.AddrPortFrom(ip, uint16(number)), number <= 0xffff
}

// The bytes of a header of version 2 behind the signature (section 2.2): version and command, then
// family and protocol.
const (
	version2     = 0x2
	commandLocal = 0x0
	commandProxy = 0x1
	tcp4         = 0x11
	tcp6         = 0x21
	maxFamily    = 0x3 // AF_UNIX
	maxProtocol  = 0x2 // DGRAM
)

// parseBinary parses version 2 (section 2.2). What follows the addresses, the TLVs, is skipped.
func parseBinary(b []byte) (h Header, n int, err error) {
	if len(b) < fixed {
		return h, 0, nil
	}
	command, family := b[12]&0xf, b[13]
	switch {
	case b[12]>>4 != version2:
		return h, 0, ErrVersion
	case command > commandProxy:
		return h, 0, ErrCommand
	case command == commandProxy && (family>>4 > maxFamily || family&0xf > maxProtocol):
		return h, 0, ErrFamily
	}
	n = fixed + int(binary.BigEndian.Uint16(b[14:]))
	size := 0 // of an address
	if command == commandProxy {
		switch family {
		case tcp4:
			size = 4
		case tcp6:
			size = 16
		}
	}
	switch {
	case n > MaxLength:
		return h, 0, ErrLongerBlock
	case size > 0 && n < fixed+2*size+4:
		return h, 0, ErrShortBlock
	case len(b) < n:
		return h, 0, nil
	case size == 0:
		return h, n, nil
	}
	addresses, ports := b[fixed:], b[fixed+2*size:]
	source, _ := netip.AddrFromSlice(addresses[:size])
	destination, _ := netip.AddrFromSlice(addresses[size : 2*size])
	return Header{
		Source:      netip.AddrPortFrom(source, binary.BigEndian.Uint16(ports)),
		Destination: netip.AddrPortFrom(destination, binary.BigEndian.Uint16(ports[2:])),
	}, n, nil
}

// AppendLine appends a line of version 1 for a valid source, of at most MaxLine bytes. An IPv4
// address in its IPv6 form (::ffff:192.0.2.1) is written as it is, as TCP6. A destination that is
// not valid is written as the unspecified address.
func AppendLine(dst []byte, source, destination netip.AddrPort) []byte {
	from, to := source.Addr().WithZone(""), destination.Addr().WithZone("")
	switch {
	case !to.IsValid() && from.Is4():
		to = netip.IPv4Unspecified()
	case !to.IsValid():
		to = netip.IPv6Unspecified()
	}
	if from.Is4() && to.Is4() {
		dst = append(dst, "PROXY TCP4 "...)
	} else {
		dst = append(dst, "PROXY TCP6 "...)
		from, to = netip.AddrFrom16(from.As16()), netip.AddrFrom16(to.As16())
	}
	dst = append(from.AppendTo(dst), ' ')
	dst = append(to.AppendTo(dst), ' ')
	dst = append(strconv.AppendUint(dst, uint64(source.Port()), 10), ' ')
	dst = strconv.AppendUint(dst, uint64(destination.Port()), 10)
	return append(dst, "\r\n"...)
}
