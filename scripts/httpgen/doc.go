// Package httpgen generates legal HTTP/1.1 requests as browsers, command-line
// tools, API clients, crawlers and proxies send them, and responses as apps send
// them. The tests of proxy/http1 and of scripts/e2e share it.
//
// source.go has the entry point and the table of shapes. browsers.go, clients.go,
// proxies.go, odd.go and bounds.go write the fields of each shape, target.go the
// targets, framing.go the framing and bodies. full.go adds the variety for
// parsers. response.go generates responses, corrupt.go breaks messages.
//
// A Source is reproducible: the same seed and number give the same message.
// Requests are legal by RFC 9110, 9112 and 3986, with two exceptions that clients
// send all the time: octets beyond ASCII in field values (obs-text), and
// unescaped brackets and bars in queries. No request has what tideover refuses by
// choice although the grammar allows it: a blank after a chunk size, a tab in a
// chunk extension, an empty port.
package httpgen
