package http1

import (
	"net/netip"
	"strings"
	"testing"
)

// X-Forwarded-For is the one address that uvicorn would find with the same list of trusted
// addresses: uvicorn 0.51, ProxyHeadersMiddleware.
func TestOneForwardedForIsTheNearestAddressThatIsNotTrusted(t *testing.T) {
	loopback, private, all := []string{"127.0.0.0/8", "::1/128"}, []string{"10.0.0.0/8", "fd00::/8"}, []string{"0.0.0.0/0", "::/0"}
	for _, test := range []struct {
		name    string
		trusted []string
		fields  []string
		want    string
	}{
		{"none: the front-end itself", loopback, nil, "192.0.2.7"},
		{"empty", loopback, []string{""}, "192.0.2.7"},
		{"one", loopback, []string{"203.0.113.9"}, "203.0.113.9"},
		{"what a client forged is on the left", loopback, []string{"6.6.6.6, 203.0.113.9"}, "203.0.113.9"},
		{"a forged loopback", loopback, []string{"127.0.0.1, 203.0.113.9"}, "203.0.113.9"},
		{"through a chain", private, []string{"6.6.6.6,203.0.113.9,10.1.1.1,10.2.2.2"}, "203.0.113.9"},
		{"through a chain of IPv6", private, []string{"6.6.6.6, 2001:db8::9, fd00::1"}, "2001:db8::9"},
		{"through a mapped address", private, []string{"203.0.113.9, ::ffff:10.1.1.1"}, "203.0.113.9"},
		{"in two lines", private, []string{"6.6.6.6, 203.0.113.9", "10.1.1.1"}, "203.0.113.9"},
		{"all trusted: the first", private, []string{"10.0.0.9, 10.1.1.1", "10.2.2.2"}, "10.0.0.9"},
		{"everything trusted: the first, as with *", all, []string{"6.6.6.6, 203.0.113.9, 10.1.1.1"}, "6.6.6.6"},
		{"nothing trusted", []string{}, []string{"203.0.113.9, 127.0.0.1"}, "127.0.0.1"},
		{"with ports", private, []string{"203.0.113.9:4711, 10.1.1.1:80, [fd00::1]:80, [fd00::2]"}, "203.0.113.9:4711"},
		{"empty elements", private, []string{" , 203.0.113.9 ,, 10.1.1.1, "}, "203.0.113.9"},
		{"a name", private, []string{"203.0.113.9, unknown, 10.1.1.1"}, "unknown"},
		{"no address at all", private, []string{"203.0.113.9, <script>, 10.1.1.1"}, "10.1.1.1"},
		{"too many", private, []string{"203.0.113.9" + strings.Repeat(", 10.1.1.1", 32)}, "10.1.1.1"},
	} {
		o := UpstreamOptions{Peer: netip.MustParseAddr("192.0.2.7"), OneForwardedFor: true, Trusted: []netip.Prefix{}}
		for _, p := range test.trusted {
			o.Trusted = append(o.Trusted, netip.MustParsePrefix(p))
		}
		lines := []string{"X-Forwarded-Proto: https"}
		for _, f := range test.fields {
			lines = append(lines, "X-Forwarded-For: "+f, "X-Other: 1")
		}
		var r Request
		in := []byte(get(lines...))
		if _, err := r.Parse(in, &trustedPolicy); err != nil {
			t.Fatal(test.name, err)
		}
		want := "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Proto: https\r\n" + strings.Repeat("X-Other: 1\r\n", len(test.fields)) +
			"X-Forwarded-For: " + test.want + "\r\n\r\n"
		if got := string(r.AppendUpstream(nil, &o)); got != want {
			t.Errorf("%s:\n got %q\nwant %q", test.name, got, want)
		}
		out := make([]byte, 0, 1024)
		if n := testing.AllocsPerRun(10, func() { r.AppendUpstream(out, &o) }); n > 0 && test.name != "a name" {
			t.Errorf("%s: %v allocations", test.name, n)
		}
		o.OneForwardedFor = false
		if got := string(r.AppendUpstream(nil, &o)); strings.Count(got, "X-Forwarded-For") > len(test.fields) {
			t.Errorf("%s: for another server: %q", test.name, got)
		}
	}
}

// For a client that is not trusted the address of its connection counts, not its X-Forwarded-For.
func TestOneForwardedForOfAnUntrustedClientIsItsOwnAddress(t *testing.T) {
	const forged = "X-Forwarded-For: 127.0.0.1, 6.6.6.6"
	for peer, want := range map[string]string{"192.0.2.7": "X-Forwarded-For: 192.0.2.7\r\n", "::ffff:192.0.2.7": "X-Forwarded-For: 192.0.2.7\r\n",
		"2001:db8::7": "X-Forwarded-For: 2001:db8::7\r\n", "": ""} {
		o := UpstreamOptions{OneForwardedFor: true, Trusted: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}}
		if peer != "" {
			o.Peer = netip.MustParseAddr(peer)
		}
		var r Request
		if _, err := r.Parse([]byte(get(forged, "X-Forwarded-Proto: https", forged)), &untrustedPolicy); err != nil {
			t.Fatal(err)
		}
		want := "GET / HTTP/1.1\r\nHost: a\r\n" + want + "X-Forwarded-Proto: http\r\nX-Forwarded-Host: a\r\n\r\n"
		if got := string(r.AppendUpstream(nil, &o)); got != want {
			t.Errorf("%q:\n got %q\nwant %q", peer, got, want)
		}
	}
}
