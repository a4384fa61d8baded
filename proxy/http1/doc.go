// Package http1 reads and writes HTTP/1.1 messages on bytes. It does no I/O, starts nothing, knows no clock, and
// allocates nothing per message once its slices have grown to size.
//
// A Request or a Response is one head, parsed in place: fields are offsets into the caller's buffer. A BodyReader
// decodes the body behind it as it comes. The Append functions write heads, chunks and tideover's own answers.
//
//	var r http1.Request
//	for {
//		n, err := r.Parse(buf, &policy)       // n == 0 and err == nil: read more, call again
//		...
//	}
//	out = r.AppendUpstream(out, &forward)         // the head for the child
//	body.StartRequest(r.Body, &policy.Limits)     // then body.Next(buf[n:]) until body.Done()
//
// # Strict, and why
//
// A relay is attacked where it reads a message one way and the next server another way: one message then becomes two.
// So what cannot be read in exactly one way is refused, also where RFC 9110 and 9112 would let a recipient guess, and
// what is written is always canonical: CRLF, one space behind the colon, one framing field, plain decimal and
// hexadecimal numbers, chunks without extensions, no trailers. Names of fields keep their spelling, fields their order,
// and lines of the same name stay separate lines.
//
// Strict by choice are: a bare LF (R14), two equal Content-Length (R28), Content-Length beside Transfer-Encoding (R29),
// every list in Transfer-Encoding (R30), a blank behind a chunk size (R35), HTAB in chunk extensions (R37), an empty
// port in Host (R44), and from a child a blank before a colon, which a proxy ought to repair, and a folded line (R72).
//
// Let through on purpose are: one empty line before a request (R1), octets beyond ASCII in values (R17), any token as a
// method (R3), targets with octets that a URL should have encoded (R5), a status line without a reason (R70), and from a
// child names with underscores and lines as long as its whole head may be (R78).
//
// Every rule has a number, R1 to R91, which stands beside the statement that holds it, in Error.Rule and in the tests,
// and one status. Only two have two: a method with an illegal octet is 400 and one too long 501 (R3); a request line
// too long is 414 and every other part of a head too long 431 (R26). The limit of a body, 413, goes by the name "body".
//
// # Which fault is told
//
// A message may have several faults. What is told does not depend on how its octets were cut: lines are judged in
// their order. Of one line, its octets and its length come first (R14 to R17, R26), from left to right; then its parts
// in their order; then what it means by itself (R4 to R12, R17, R25, R48). When the empty line has come, the head is
// judged as a whole: Host, framing, the limit of the body, Connection, Expect.
//
// # Who owns what
//
// Framing, hop-by-hop fields and Expect are read and never forwarded as they are. Fields that tell the app who its
// client is are the relay's (R48): a trusted front-end's are checked and pass untouched, with nothing appended; anybody
// else's are deleted and made anew. That goes for every X-Forwarded- name, Forwarded, X-Real-IP, and SCRIPT_NAME,
// PATH_INFO and REMOTE_USER in either spelling. Proxy never passes, as CGI would make HTTP_PROXY of it. Names with an
// underscore that look like one of these, or like framing, are refused; others are dropped unless the policy says
// otherwise, because WSGI cannot tell them from the names with dashes (R25). No Via is written towards the app (R50).
package http1
