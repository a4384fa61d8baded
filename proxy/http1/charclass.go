package http1

import (
	"encoding/binary"
	"math/bits"
)

// underscored marks '_' in the table fold: the values of all octets of a name, or-ed, tell whether
// it contains one.
const underscored = 0x80

// fold maps each octet of a token (RFC 9110 section 5.6.2) to lower case, '_' to '-' with the mark,
// and every other octet to 0.
var fold = makeFold()

func makeFold() (t [256]byte) {
	for _, c := range []byte("!#$%&'*+-.^`|~0123456789abcdefghijklmnopqrstuvwxyz") {
		t[c] = c
	}
	for c := byte('A'); c <= 'Z'; c++ {
		t[c] = c + 'a' - 'A'
	}
	t['_'] = '-' | underscored
	return t
}

// class is a set of contexts in which an octet is legal.
type class uint8

const (
	inText      class = 1 << iota // any line: HTAB, SP, visible octets, obs-text
	inTarget                      // request target: 0x21 to 0x7E without '#', and 0x80 to 0xFF
	inHost                        // host name: letters, digits, "-._"
	inAddress                     // address with or without port, or a name instead of it
	inAddresses                   // list of addresses
	inForwarded                   // value of Forwarded (RFC 7239)
)

var classes = makeClasses()

func makeClasses() (t [256]class) {
	for c := range 256 {
		if c == '\t' || c >= ' ' && c != 0x7F {
			t[c] |= inText
		}
		if c > ' ' && c != 0x7F && c != '#' {
			t[c] |= inTarget
		}
	}
	for _, c := range []byte("-.0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_") {
		t[c] |= inHost | inAddress | inAddresses | inForwarded
	}
	for _, c := range []byte(":[]%") {
		t[c] |= inAddress | inAddresses | inForwarded
	}
	for _, c := range []byte(" \t,") {
		t[c] |= inAddresses | inForwarded
	}
	for _, c := range []byte(";=\"/!#$&'*+^`|~") { // and the rest of a token
		t[c] |= inForwarded
	}
	return t
}

// all reports whether every octet of b is of class c.
func all(b []byte, c class) bool {
	for _, x := range b {
		if classes[x]&c == 0 {
			return false
		}
	}
	return true
}

const (
	eachOctet = 0x0101010101010101
	highBits  = 0x80 * eachOctet
)

// skipText returns the index of the first octet of b, from i on, that is not inText, or len(b). It
// tests eight octets at a time, because most of the time for a head is spent here.
func skipText(b []byte, i int) int {
	for i+8 <= len(b) {
		odd := nonText(binary.LittleEndian.Uint64(b[i:]))
		if odd == 0 {
			i += 8
			continue
		}
		i += bits.TrailingZeros64(odd) >> 3
		if classes[b[i]]&inText == 0 {
			return i
		}
		i++
	}
	for i < len(b) && classes[b[i]]&inText != 0 {
		i++
	}
	return i
}

// nonText sets the high bit of each of the eight octets of x that is below 0x20 or equals 0x7F. The
// bits of octets above such an octet may be set as well, because the subtraction borrows from them,
// and the bit of 0x7E above 0xFF, because the addition carries into it.
func nonText(x uint64) uint64 {
	return ((x - 0x20*eachOctet) | (x + eachOctet)) &^ x & highBits
}

func isASCII(b []byte) bool {
	for _, c := range b {
		if c >= 0x80 {
			return false
		}
	}
	return true
}

// equalFold reports whether b equals s without regard to letter case. s must be in lower case.
func equalFold(b []byte, s string) bool {
	if len(b) != len(s) {
		return false
	}
	for i, c := range b {
		if lower(c) != s[i] {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' }

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// trim removes SP and HTAB from both ends (RuleOptionalWhitespace).
func trim(b []byte) []byte {
	for len(b) > 0 && isBlank(b[0]) {
		b = b[1:]
	}
	for len(b) > 0 && isBlank(b[len(b)-1]) {
		b = b[:len(b)-1]
	}
	return b
}

func isToken(b []byte) bool {
	for _, c := range b {
		if fold[c] == 0 {
			return false
		}
	}
	return len(b) > 0
}
