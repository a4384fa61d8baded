package proxy

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"tideover/proxy/gate"
)

const (
	headerV1 = "PROXY TCP4 203.0.113.9 198.51.100.1 4711 443\r\n"
	headerV2 = "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0f\xcb\x00\x71\x09\xc6\x33\x64\x01\x12\x67\x01\xbb\x04\x00\x00"
	headerV6 = "\r\n\r\n\x00\r\nQUIT\n\x21\x21\x00\x24\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x09" +
		"\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x12\x67\x01\xbb"
	headerLocal = "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"
)

const aRequest = "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n"

// balanced returns a server behind a balancer.
func behindBalancer(t *testing.T, network string, s Settings) *harness {
	s.ListenProxyProtocol = true
	r := newHarnessOn(t, listenOn(t, network), patient, s)
	r.gate.Swap(r.newTestApp(withLine, peerApp()).Target)
	return r
}

func (c *testClient) send(s string) {
	c.Helper()
	if _, err := io.WriteString(c.Conn, s); err != nil {
		c.Fatal(err)
	}
}

// The claimed address is the client's: for the app, for forwarding fields and for trust.
func TestTheAddressOfAPROXYHeaderIsTheClients(t *testing.T) {
	for _, test := range []struct{ name, header, peer, xff string }{
		{"version 1", headerV1, "203.0.113.9:4711>198.51.100.1:443", `["203.0.113.9"]`},
		{"version 2", headerV2, "203.0.113.9:4711>198.51.100.1:443", `["203.0.113.9"]`},
		{"version 2, IPv6", headerV6, "[2001:db8::9]:4711>[2001:db8::1]:443", `["2001:db8::9"]`},
		{"a trusted client", "PROXY TCP4 127.0.0.1 127.0.0.1 4711 443\r\n", "127.0.0.1:4711>127.0.0.1:443", `["6.6.6.6"]`},
		{"LOCAL", headerLocal, "", `["6.6.6.6"]`},
		{"UNKNOWN", "PROXY UNKNOWN\r\n", "", `["6.6.6.6"]`},
	} {
		for _, network := range []string{"tcp4", "tcp6", "unix"} {
			t.Run(test.name+" "+network, func(t *testing.T) {
				r := behindBalancer(t, network, Settings{})
				for _, pieces := range [][]string{{test.header + aRequest}, {test.header, aRequest}, strings.Split(test.header+aRequest, "")} {
					c := r.dial()
					for i, piece := range pieces {
						if i > 0 && len(pieces) == 2 {
							r.eventually("header read", func() (is bool) {
								r.everyClient(func(c *loopClient) { is = is || c.clientConn != nil && c.header == headerRead && c.state == stateIdle })
								return is
							})
						}
						c.send(piece)
					}
					peer := test.peer
					if peer == "" {
						peer = peerOf(c.Conn, false)
						if network == "unix" {
							peer = "none"
						}
					}
					c.want(200, "from "+peer+" close false xff "+test.xff)
					c.get("/").want(200, "from "+peer)
					c.Close()
				}
			})
		}
	}
}

// What is no valid header, or is sent from elsewhere, is closed without an answer and logged.
func TestAConnectionWithoutAValidPROXYHeaderIsClosed(t *testing.T) {
	for _, test := range []struct {
		name, sent, cause string
		set               Settings
	}{
		{"a request", aRequest, "there is no PROXY header", Settings{}},
		{"TLS", "\x16\x03\x01\x02\x00\x01", "there is no PROXY header", Settings{}},
		{"a bad line", "PROXY TCP4 203.0.113.9\r\n", "not valid", Settings{}},
		{"a bad block", "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x01\x00", "too short", Settings{}},
		{"too long", "\r\n\r\n\x00\r\nQUIT\n\x21\x11\xff\xff", "longer than", Settings{}},
		{"not in time", "PROXY TCP4 203.0", "not complete in time", Settings{HeadTimeout: 50 * time.Millisecond}},
		{"not trusted", headerV1 + aRequest, "not trusted", Settings{Trusted: noneTrusted}},
		{"another balancer", headerV1 + aRequest, "not trusted", Settings{ProxyProtocolFrom: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := behindBalancer(t, "tcp4", test.set)
			for range 3 {
				c := r.dial()
				c.send(test.sent)
				if rest, _ := io.ReadAll(c.Conn); len(rest) > 0 {
					t.Errorf("%q", rest)
				}
			}
			log := r.log.String()
			if n := strings.Count(log, `"connection without PROXY header"`); n != 1 || !strings.Contains(log, test.cause) {
				t.Errorf("%d lines for 3 connections: %s", n, log)
			}
			if c := r.server.Counters(); c.Requests != 0 || c.BadRequest != 0 {
				t.Errorf("%+v", c)
			}
		})
	}
}

// A balancer of ProxyProtocolFrom need not be trusted with forwarding fields.
func TestABalancerIsBelievedWithoutItsForwardingFields(t *testing.T) {
	r := behindBalancer(t, "tcp4", Settings{Trusted: noneTrusted, ProxyProtocolFrom: loopback})
	c := r.dial()
	c.send(headerV1 + aRequest)
	c.want(200, `from 203.0.113.9:4711>198.51.100.1:443 close false xff ["203.0.113.9"]`)
	local := r.dial()
	local.send(headerLocal + aRequest)
	local.want(200, `close false xff ["127.0.0.1"]`)
}

// A health check that connects and closes is no line in the log.
func TestAConnectionThatEndsBeforeItsFirstByteIsNoMatter(t *testing.T) {
	r := behindBalancer(t, "tcp4", Settings{})
	r.dial().Close()
	r.eventually("served", func() bool { return r.server.Counters().Connections == 1 && r.server.startedLoop().clients.Load() == 0 })
	if r.log.String() != "" {
		t.Error(r.log.String())
	}
}

// The time of a header begins with its first byte: some balancers send it with the first request.
func TestAConnectionMayBeIdleBeforeItsHeader(t *testing.T) {
	r := behindBalancer(t, "tcp4", Settings{HeadTimeout: 30 * time.Millisecond})
	c, other := r.dial(), r.dial()
	other.send("PROXY ")
	other.ended() // its time has passed
	c.send(headerV1 + aRequest)
	c.want(200, "203.0.113.9:4711")
}

// What is known of a PROXY header goes with the connection: that it is due, and the addresses once it
// was read. A part of one stays until the rest has come.
func TestAPROXYHeaderGoesToTheNextRelay(t *testing.T) {
	r := behindBalancer(t, "tcp4", Settings{})
	fresh, part, read, used := r.dial(), r.dial(), r.dial(), r.dial()
	part.send(headerV2[:20])
	read.send(headerV1)
	used.send(headerV6 + aRequest)
	used.want(200, "from [2001:db8::9]:4711")
	r.eventually("header read", func() bool {
		n, idle := 0, 0
		r.everyClient(func(c *loopClient) {
			if c.state == stateIdle {
				idle++
			}
			if c.state == statePartialHeader || c.header == headerRead {
				n++
			}
		})
		return n == 3 && idle == 3
	})
	next := newHarness(t, patient, Settings{})
	next.gate.Swap(next.newTestApp(withLine, peerApp()).Target)
	admit := func(n int) {
		text, err := json.Marshal(r.yields(n))
		var all []Connection
		if err == nil {
			err = json.Unmarshal(text, &all)
		}
		if err == nil {
			err = next.server.Admit(all)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	admit(3)
	fresh.send(headerV1 + aRequest)
	fresh.want(200, "from 203.0.113.9:4711>198.51.100.1:443")
	read.get("/").want(200, "from 203.0.113.9:4711>198.51.100.1:443")
	used.get("/").want(200, "from [2001:db8::9]:4711>[2001:db8::1]:443")
	part.send(headerV2[20:])
	admit(1)
	part.get("/").want(200, "from 203.0.113.9:4711>198.51.100.1:443")
	next.counted("all", func(c Counters) bool { return c.Answered == 4 })
	r.yields(0)
	for _, c := range []*testClient{fresh, part, read, used} {
		c.Close()
	}
}

// A server that is closed does not wait for a header.
func TestCloseDoesNotWaitForAPROXYHeader(t *testing.T) {
	r := behindBalancer(t, "tcp4", Settings{})
	c, part := r.dial(), r.dial()
	part.send("PROXY TCP4")
	r.eventually("begun", func() (is bool) {
		r.everyClient(func(c *loopClient) { is = is || c.state == statePartialHeader })
		return is
	})
	began := time.Now()
	r.end()
	c.ended()
	io.ReadAll(part.Conn)
	between(t, began, 0, closeGrace)
}

// Whether a header is due is known when the connection is accepted.
func TestAConnectionKeepsWhatItWasAcceptedWith(t *testing.T) {
	r := newHarness(t, patient, Settings{})
	r.gate.Swap(r.newTestApp(withLine, peerApp()).Target)
	before := r.dial().get("/")
	before.want(200, "request 1 from "+peerOf(before.Conn, false))
	r.server.Configure(Settings{ListenProxyProtocol: true})
	after := r.dial()
	after.send(headerV1 + aRequest)
	after.want(200, "from 203.0.113.9:4711")
	before.get("/").want(200, "from "+peerOf(before.Conn, false))
	r.server.Configure(Settings{})
	after.get("/").want(200, "from 203.0.113.9:4711")
}

// A client's address of a header is what the log has.
func TestTheLogHasTheAddressOfThePROXYHeader(t *testing.T) {
	r := newHarness(t, gate.Settings{Limit: 0, Timeout: time.Minute}, Settings{ListenProxyProtocol: true})
	c := r.dial()
	c.send(headerV1 + "NONSENSE\r\n\r\n")
	c.hear()
	r.eventually("logged", func() bool { return strings.Contains(r.log.String(), `"client":"203.0.113.9:4711"`) })
}

// Many connections of many claimed clients over one balancer, in pieces and in the wrong order.
func TestManyClaimedClientsAtOnce(t *testing.T) {
	r := behindBalancer(t, "tcp4", Settings{})
	for i := range 50 {
		c := r.dial()
		c.send(fmt.Sprintf("PROXY TCP4 203.0.113.%d 198.51.100.1 %d 443\r\n", i, 1000+i))
		c.get("/").want(200, fmt.Sprintf("from 203.0.113.%d:%d>", i, 1000+i))
		c.in = bufio.NewReader(c.Conn)
		c.say("PUT / HTTP/1.1\nHost: a\nContent-Length: 2\n\nhi").want(200, fmt.Sprintf("from 203.0.113.%d:%d>", i, 1000+i))
		if i%2 == 0 {
			c.Conn.(*net.TCPConn).SetLinger(0)
		}
		c.Close()
	}
}
