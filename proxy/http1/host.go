package http1

import "bytes"

const maxHostLength = 255

// parseHost parses a Host, or the authority of a target (RuleHost). nameLen is the length without
// colon and port. port is 0 if there is none.
func parseHost(b []byte) (nameLen, port int, ok bool) {
	if len(b) == 0 || len(b) > maxHostLength {
		return 0, 0, false
	}
	if b[0] == '[' {
		nameLen = bytes.IndexByte(b, ']') + 1
		if nameLen == 0 || !isIPv6(b[1:nameLen-1]) {
			return 0, 0, false
		}
	} else {
		for nameLen < len(b) && classes[b[nameLen]]&inHost != 0 {
			nameLen++
		}
		if !hasLabels(b[:nameLen]) {
			return 0, 0, false
		}
	}
	if nameLen == len(b) {
		return nameLen, 0, true
	}
	if b[nameLen] != ':' {
		return 0, 0, false
	}
	port, ok = parsePort(b[nameLen+1:])
	return nameLen, port, ok
}

// hasLabels reports whether a host name has no empty label. One dot at the end is allowed.
func hasLabels(b []byte) bool {
	if len(b) == 0 || b[0] == '.' {
		return false
	}
	for i := 1; i < len(b); i++ {
		if b[i] == '.' && b[i-1] == '.' {
			return false
		}
	}
	return true
}

// parsePort parses a port of 1 to 65535.
func parsePort(b []byte) (port int, ok bool) {
	if len(b) > 5 {
		return 0, false
	}
	for _, c := range b {
		if !isDigit(c) {
			return 0, false
		}
		port = port*10 + int(c-'0')
	}
	return port, 1 <= port && port <= 65535
}

// isIPv6 reports whether b is an IPv6 address (RFC 4291 section 2.2) without a zone.
func isIPv6(b []byte) bool {
	groups, gap := 0, false
	if len(b) >= 2 && b[0] == ':' && b[1] == ':' {
		gap, b = true, b[2:]
	}
	for len(b) > 0 {
		n := 0
		for n < len(b) && hexValue(b[n]) < 16 {
			n++
		}
		if n < len(b) && b[n] == '.' {
			return isIPv4(b) && (groups == 6 && !gap || groups <= 5 && gap)
		}
		if n == 0 || n > 4 {
			return false
		}
		groups++
		if b = b[n:]; len(b) == 0 {
			break
		}
		if b[0] != ':' || len(b) == 1 {
			return false
		}
		if b = b[1:]; b[0] == ':' {
			if gap {
				return false
			}
			gap, b = true, b[1:]
		}
	}
	return groups == 8 && !gap || groups <= 7 && gap
}

// isIPv4 reports whether b is an IPv4 address in dotted decimal without leading zeros.
func isIPv4(b []byte) bool {
	for part := range 4 {
		n, v := 0, 0
		for n < len(b) && n < 3 && isDigit(b[n]) {
			v = v*10 + int(b[n]-'0')
			n++
		}
		if n == 0 || v > 255 || n > 1 && b[0] == '0' {
			return false
		}
		b = b[n:]
		if part < 3 {
			if len(b) == 0 || b[0] != '.' {
				return false
			}
			b = b[1:]
		}
	}
	return len(b) == 0
}

// sameHost reports whether two valid hosts are equal. Letter case is ignored, and a missing port is
// the default port.
func sameHost(a, b []byte, defaultPort int) bool {
	aLen, aPort, _ := parseHost(a)
	bLen, bPort, _ := parseHost(b)
	if aPort == 0 {
		aPort = defaultPort
	}
	if bPort == 0 {
		bPort = defaultPort
	}
	return aPort == bPort && sameName(a[:aLen], b[:bLen])
}

// hexValue returns the value of a hexadecimal digit, and 16 or more for every other octet.
func hexValue(c byte) byte {
	switch {
	case isDigit(c):
		return c - '0'
	case 'a' <= lower(c):
		return lower(c) - 'a' + 10
	}
	return 16
}
