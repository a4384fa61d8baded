package http1

import (
	"encoding/binary"
	"math/bits"
)

// underscored marks '_' in the fold table, so that a name tells whether it has one when all its octets are or-ed.
const underscored = 0x80

// fold maps each octet of a token (RFC 9110 section 5.6.2) to lower case, '_' to '-' with the mark, all others to 0.
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

// class tells where else an octet is legal.
type class uint8

const (
	inText      class = 1 << iota // anywhere in a line: HTAB, SP, visible, obs-text (R15, R16, R17)
	inTarget                      // request target: 0x21 to 0x7E without '#' (R4, R5)
	inHost                        // host name: letters, digits, "-._"
	inAddress                     // an address with or without port, or a name in its place (R48)
	inAddresses                   // a list of them
	inForwarded                   // the grammar of RFC 7239, seen from afar
)

var classes = makeClasses()

func makeClasses() (t [256]class) {
	for c := range 256 {
		if c == '\t' || c >= ' ' && c != 0x7F {
			t[c] |= inText
		}
		if c > ' ' && c < 0x7F && c != '#' {
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
	for _, c := range []byte(";=\"/!#$&'*+^`|~") { // the rest of a token, too: an extension's name or value
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
	everyOctet = 0x0101010101010101
	highBits   = 0x80 * everyOctet
)

// skipText returns the index of the first octet of b, from i on, that is not inText; len(b) if there is none. It
// looks at eight octets at a time: this is where a head spends its time.
func skipText(b []byte, i int) int {
	for i+8 <= len(b) {
		odd := oddOctets(binary.LittleEndian.Uint64(b[i:]))
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

// oddOctets sets the high bit of each of eight octets that is below 0x20 or is 0x7F, and perhaps of some others: of
// those above such an octet, which the borrow reaches, and of 0x7E above 0xFF, which the carry reaches.
func oddOctets(x uint64) uint64 {
	return ((x - 0x20*everyOctet) | (x + everyOctet)) &^ x & highBits
}

// isASCII reports whether b has no octet beyond 0x7F.
func isASCII(b []byte) bool {
	for _, c := range b {
		if c >= 0x80 {
			return false
		}
	}
	return true
}

// equalFold reports whether b is s, which is in lower case, but for the case of letters.
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

// trim cuts SP and HTAB, and nothing else, from both ends (R23).
func trim(b []byte) []byte {
	for len(b) > 0 && isBlank(b[0]) {
		b = b[1:]
	}
	for len(b) > 0 && isBlank(b[len(b)-1]) {
		b = b[:len(b)-1]
	}
	return b
}

// isToken reports whether b is a token.
func isToken(b []byte) bool {
	for _, c := range b {
		if fold[c] == 0 {
			return false
		}
	}
	return len(b) > 0
}
