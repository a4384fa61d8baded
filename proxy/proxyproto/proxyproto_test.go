package proxyproto

import (
	"net/netip"
	"strings"
	"testing"
)

func at(s string) (a netip.AddrPort) {
	if s != "" {
		a = netip.MustParseAddrPort(s)
	}
	return a
}

// sig is the signature of version 2, as section 2.2 has it.
const sig = "\x0D\x0A\x0D\x0A\x00\x0D\x0A\x51\x55\x49\x54\x0A"

const (
	v4Block = "\xc0\xa8\x00\x01\xc0\xa8\x00\x0b\xdc\x04\x01\xbb" // 192.168.0.1 192.168.0.11 56324 443
	v6Block = "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01" +
		"\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x30\x39\x01\xbb"
	// The TLVs that HAProxy's send-proxy-v2-ssl-cn appends: PP2_TYPE_SSL with the version, and NOOP.
	tlvs = "\x20\x00\x0f\x01\x00\x00\x00\x00\x21\x00\x07TLSv1.3" + "\x04\x00\x01\x00"
)

// The headers of the specification, and those of balancers. The rest of each is the request.
func TestHeadersOfTheSpecification(t *testing.T) {
	for _, test := range []struct{ name, header, source, destination string }{
		{"the example of section 2.1", "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n", "192.168.0.1:56324", "192.168.0.11:443"},
		{"the longest TCP4", "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", "255.255.255.255:65535", "255.255.255.255:65535"},
		{"the longest TCP6", "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
			"[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535", "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"},
		{"TCP6", "PROXY TCP6 2001:db8::1 2001:DB8::2 12345 443\r\n", "[2001:db8::1]:12345", "[2001:db8::2]:443"},
		{"TCP6 of a mapped address", "PROXY TCP6 ::ffff:192.0.2.1 ::1 1 0\r\n", "[::ffff:192.0.2.1]:1", "[::1]:0"},
		{"UNKNOWN, short form", "PROXY UNKNOWN\r\n", "", ""},
		{"UNKNOWN, worst case", "PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n", "", ""},
		{"v2 TCP4", sig + "\x21\x11\x00\x0c" + v4Block, "192.168.0.1:56324", "192.168.0.11:443"},
		{"v2 TCP6", sig + "\x21\x21\x00\x24" + v6Block, "[2001:db8::1]:12345", "[2001:db8::2]:443"},
		{"v2 TCP4 with TLVs", sig + "\x21\x11\x00\x22" + v4Block + tlvs, "192.168.0.1:56324", "192.168.0.11:443"},
		{"v2 TCP6 with TLVs", sig + "\x21\x21\x00\x3a" + v6Block + tlvs, "[2001:db8::1]:12345", "[2001:db8::2]:443"},
		{"v2 LOCAL, as of a health check", sig + "\x20\x00\x00\x00", "", ""},
		{"v2 LOCAL with a block, which is skipped", sig + "\x20\x11\x00\x0c" + v4Block, "", ""},
		{"v2 LOCAL, of which the family is ignored", sig + "\x20\xff\x00\x01x", "", ""},
		{"v2 UNSPEC", sig + "\x21\x00\x00\x03abc", "", ""},
		{"v2 UDP over IPv4 is taken as UNSPEC", sig + "\x21\x12\x00\x0c" + v4Block, "", ""},
		{"v2 unix stream is taken as UNSPEC", sig + "\x21\x31\x00\xd8" + strings.Repeat("/", 216), "", ""},
		{"v2, the longest", sig + "\x21\x11\x3f\xf0" + v4Block + strings.Repeat("\x04", MaxLength-16-12), "192.168.0.1:56324", "192.168.0.11:443"},
	} {
		const request = "GET / HTTP/1.1\r\nHost: 192.168.0.11\r\n\r\n"
		input := []byte(test.header + request)
		for end := range len(test.header) {
			if h, n, err := Parse(input[:end:end]); n != 0 || err != nil || h != (Header{}) {
				t.Fatalf("%s: %d bytes of it: %v %d %v", test.name, end, h, n, err)
			}
		}
		want := Header{at(test.source), at(test.destination)}
		for _, b := range [][]byte{input, input[:len(test.header):len(test.header)]} {
			if h, n, err := Parse(b); h != want || n != len(test.header) || err != nil {
				t.Errorf("%s: %v %d %v", test.name, h, n, err)
			}
		}
	}
}

func TestAHeaderThatIsNotExactIsRefused(t *testing.T) {
	for header, want := range map[string]error{
		"GET / HTTP/1.1\r\n\r\n":                    ErrNone,
		"\r\nGET / HTTP/1.1\r\n":                    ErrNone,
		"proxy TCP4 1.2.3.4 1.2.3.4 1 1\r\n":        ErrNone,
		"PROXY\tTCP4":                               ErrNone,
		"\x16\x03\x01\x02\x00\x01\x00":              ErrNone, // TLS
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n":          ErrNone,
		"PROXY /page HTTP/1.1\r\n":                  ErrLine, // a request
		"PROXY \r\n":                                ErrLine,
		"PROXY TCP4\r\n":                            ErrLine,
		"PROXY UNKNOWN\n":                           ErrLine,
		"PROXY UNKNOWN\r \r\n":                      ErrLine,
		"PROXY UNKNOWNX\r\n":                        ErrLine,
		"PROXY TCP4 1.2.3.4 1.2.3.4 1 1\n":          ErrLine,
		"PROXY  TCP4 1.2.3.4 1.2.3.4 1 1\r\n":       ErrLine,
		"PROXY TCP4  1.2.3.4 1.2.3.4 1 1\r\n":       ErrLine,
		"PROXY TCP4 1.2.3.4 1.2.3.4 1 1 \r\n":       ErrLine,
		"PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n":          ErrLine,
		"PROXY TCP4 1.2.3.4 1.2.3.4 1 1 1\r\n":      ErrLine,
		"PROXY TCP4 1.2.3.4\t1.2.3.4 1 1\r\n":       ErrLine,
		"PROXY TCP4 01.2.3.4 1.2.3.4 1 1\r\n":       ErrLine,
		"PROXY TCP4 1.2.3 1.2.3.4 1 1\r\n":          ErrLine,
		"PROXY TCP4 1.2.3.256 1.2.3.4 1 1\r\n":      ErrLine,
		"PROXY TCP4 ::1 ::1 1 1\r\n":                ErrLine,
		"PROXY TCP4 1.2.3.4 ::1 1 1\r\n":            ErrLine,
		"PROXY TCP6 1.2.3.4 1.2.3.4 1 1\r\n":        ErrLine,
		"PROXY TCP6 fe80::1%eth0 ::1 1 1\r\n":       ErrLine,
		"PROXY TCP6 [::1] ::1 1 1\r\n":              ErrLine,
		"PROXY TCP6 :::1 ::1 1 1\r\n":               ErrLine,
		"PROXY UDP4 1.2.3.4 1.2.3.4 1 1\r\n":        ErrLine,
		"PROXY TCP4 1.2.3.4 1.2.3.4 65536 1\r\n":    ErrLine,
		"PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n":    ErrLine,
		"PROXY TCP4 1.2.3.4 1.2.3.4 01 1\r\n":       ErrLine,
		"PROXY TCP4 1.2.3.4 1.2.3.4 +1 1\r\n":       ErrLine,
		"PROXY TCP4 1.2.3.4 1.2.3.4 -1 1\r\n":       ErrLine,
		"PROXY TCP4 1.2.3.4 1.2.3.4 1 \r\n":         ErrLine,
		"PROXY TCP4 1.2.3.4 1.2.3.4 1 1\x00\r\n":    ErrLine,
		"PROXY " + strings.Repeat("x", MaxLine-6):   ErrLine, // no end in sight
		"PROXY UNKNOWN" + strings.Repeat(" ", 100):  ErrLine,
		sig + "\x11\x11\x00\x0c" + v4Block:          ErrVersion,
		sig + "\x31\x11\x00\x0c" + v4Block:          ErrVersion,
		sig + "\x22\x11\x00\x0c" + v4Block:          ErrCommand,
		sig + "\x21\x41\x00\x0c" + v4Block:          ErrFamily,
		sig + "\x21\x13\x00\x0c" + v4Block:          ErrFamily,
		sig + "\x21\x11\x00\x0b" + v4Block:          ErrShortBlock,
		sig + "\x21\x21\x00\x23" + v6Block:          ErrShortBlock,
		sig + "\x21\x11\x00\x00":                    ErrShortBlock,
		sig + "\x20\x00\x3f\xf1":                    ErrLongerBlock,
		sig + "\x21\x11\xff\xff" + v4Block:          ErrLongerBlock,
		sig[:11] + "\x0b\x21\x11\x00\x0c" + v4Block: ErrNone,
	} {
		if h, n, err := Parse([]byte(header)); err != want || n != 0 || h != (Header{}) {
			t.Errorf("%q: %v %d %v, want %v", header, h, n, err, want)
		}
	}
}

func TestALineIsReadAsItWasWritten(t *testing.T) {
	for _, test := range []struct{ source, destination, line string }{
		{"192.0.2.7:4711", "198.51.100.1:80", "PROXY TCP4 192.0.2.7 198.51.100.1 4711 80\r\n"},
		{"[2001:db8::7]:65535", "[2001:db8::1]:80", "PROXY TCP6 2001:db8::7 2001:db8::1 65535 80\r\n"},
		{"[::ffff:192.0.2.7]:1", "[::ffff:198.51.100.1]:80", "PROXY TCP6 ::ffff:192.0.2.7 ::ffff:198.51.100.1 1 80\r\n"},
		{"192.0.2.7:1", "[2001:db8::1]:80", "PROXY TCP6 ::ffff:192.0.2.7 2001:db8::1 1 80\r\n"},
		{"[2001:db8::7]:1", "198.51.100.1:80", "PROXY TCP6 2001:db8::7 ::ffff:198.51.100.1 1 80\r\n"},
		{"[fe80::7%eth0]:1", "[fe80::1%eth0]:80", "PROXY TCP6 fe80::7 fe80::1 1 80\r\n"},
		{"192.0.2.7:1", "", "PROXY TCP4 192.0.2.7 0.0.0.0 1 0\r\n"},
		{"[2001:db8::7]:1", "", "PROXY TCP6 2001:db8::7 :: 1 0\r\n"},
	} {
		got := AppendLine([]byte("before"), at(test.source), at(test.destination))
		if string(got) != "before"+test.line {
			t.Errorf("%s %s: %q", test.source, test.destination, got)
		}
		if h, n, err := Parse([]byte(test.line)); n != len(test.line) || err != nil || h.Source.Port() != at(test.source).Port() {
			t.Errorf("%q: %v %d %v", test.line, h, n, err)
		}
	}
	b := make([]byte, 0, MaxLine)
	if n := testing.AllocsPerRun(100, func() {
		AppendLine(b, netip.AddrPortFrom(netip.AddrFrom16([16]byte{0xff, 15: 1}), 65535), netip.AddrPortFrom(netip.IPv6LinkLocalAllRouters(), 65535))
	}); n > 0 {
		t.Errorf("%v allocations for a line", n)
	}
}

// Whatever arrives: no part of it has another result than the whole, and what was understood can be
// written and is read in the same way.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{"", "PROXY UNKNOWN\r\n", "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\nGET", "PROXY TCP6 ::1 ::2 1 2\r\n",
		sig + "\x21\x11\x00\x0c" + v4Block, sig + "\x21\x21\x00\x3a" + v6Block + tlvs, sig + "\x20\x00\x00\x00", sig + "\x21\x31\x00\x01x"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h, n, err := Parse(b)
		if n < 0 || n > len(b) || n > MaxLength || err != nil && n != 0 || (n == 0 || err != nil) && h != (Header{}) {
			t.Fatalf("%v %d %v", h, n, err)
		}
		if n == 0 && err == nil && len(b) >= MaxLength {
			t.Fatal("more is to be read than MaxLength")
		}
		if h.Source.IsValid() != h.Destination.IsValid() || h.Source.Addr().Is4() != h.Destination.Addr().Is4() || h.Source.Addr().Zone() != "" {
			t.Fatalf("addresses of two families: %v", h)
		}
		for end := range min(len(b), 200) {
			part, m, partErr := Parse(b[:end])
			if partErr != nil && partErr != err || m > 0 && (m != n || part != h) || n > 0 && end < n && (m > 0 || partErr != nil) {
				t.Fatalf("%d bytes: %v %d %v, all: %v %d %v", end, part, m, partErr, h, n, err)
			}
		}
		if h.Source.IsValid() {
			again := AppendLine(nil, h.Source, h.Destination)
			got, m, err := Parse(again)
			if got != h || m != len(again) || len(again) > MaxLine || err != nil {
				t.Fatalf("%q of %v is read as %v %v", again, h, got, err)
			}
		}
	})
}
