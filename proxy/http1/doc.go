// Package http1 reads and writes HTTP/1.1 messages in byte slices. It does no I/O, starts no
// goroutine and reads no clock. Once its slices have grown to size, it allocates nothing for a
// message.
//
// A Request or a Response is one head. Its fields are offsets into the buffer of the caller. A
// BodyReader decodes the body that follows. The Append functions write heads, chunks and the
// responses of tideover itself.
//
//	var r http1.Request
//	for {
//		n, err := r.Parse(buf, &policy)       // n == 0 and err == nil: read more, call again
//		...
//	}
//	out = r.AppendUpstream(out, &options)         // the head for the app
//	body.StartRequest(r.Body, &policy.Limits)     // then body.Next(buf[n:]) until body.Done()
//
// # Strictness
//
// If a relay reads a message in one way and the next server in another, a client can make two
// messages out of one (RFC 9112 section 11.2). Therefore a message that can be read in more than
// one way is refused, even where RFC 9110 and RFC 9112 let a recipient guess. What is written is
// canonical: CRLF, one space after the colon, one framing field, plain decimal and hexadecimal
// numbers, chunks without extensions, no trailers. Field names keep their spelling, fields keep
// their order, and lines of one name are never joined.
//
// These rules are stricter than the RFCs: RuleBareLF, RuleDuplicateContentLength,
// RuleLengthAndTransferEncoding, RuleTransferEncoding (lists), RuleChunkSize (blanks),
// RuleChunkExtension (HTAB), RuleHost (an empty port), and RuleResponseFields (a blank before the
// colon, which a proxy should remove, and folded lines).
//
// These rules accept more than other servers do: RuleLeadingEmptyLine, RuleMethod (every token),
// RuleTargetOctet and RuleTargetFragment (octets that should have been percent-encoded),
// RuleControlOctet (octets above 0x7F in values), RuleStatusLine (no reason), and for responses
// RuleUnderscore (names with an underscore) and RuleResponseHeadLimits (a line as long as the head).
//
// # Rules
//
// Every rule has a constant, and a row in Rules with its RFC section and the status of the answer.
// RULES.md is the page of that table. A rule has one status in requests, except RuleMethod (illegal
// octet: 400, too long: 501), RuleHeadLimits (request line: 414, others: 431) and RuleBodyLimits
// (length: 413, time: 408). In responses every error has status 502.
//
// # Which error is reported
//
// A message may break several rules. Which of them is reported does not depend on how the bytes
// were divided into reads. Lines are checked in their order. Within a line the order is:
//
//  1. octets and length, from left to right: RuleBareLF, RuleBareCR, RuleNUL, RuleControlOctet,
//     RuleHeadLimits;
//  2. the parts of the line in their order;
//  3. the meaning of the line.
//
// After the empty line the head as a whole is checked in this order: Host, framing, length of the
// body, Connection, Expect.
//
// # Fields that the relay changes
//
// Framing fields, hop-by-hop fields and Expect are never forwarded as they are. Forwarding fields
// (RuleForwardingFields) describe the client to the app: every X-Forwarded- name, Forwarded,
// X-Real-IP, and SCRIPT_NAME, PATH_INFO and REMOTE_USER, also when they are spelled with dashes.
// Those of a trusted front-end pass unchanged, and nothing is appended. Few are refused: an illegal
// value of one that the app could not do without. Others are dropped instead, and reported by
// Request.DroppedForwarding: chains of proxies, load balancers and CDNs send them twice, empty and
// as lists. Those of other clients are replaced. Proxy never passes, because CGI would turn it into
// HTTP_PROXY.
//
// An ASGI server reads the client's address from X-Forwarded-For and nowhere else, and takes the
// first of the list where it trusts every address. Such a server gets an X-Forwarded-For of one
// address (RuleOneForwardedFor), and other fields as every app.
//
// A list passes as it is, so an app reads of it what it would read without a relay. Measured with
// X-Forwarded-Proto: https, http: gunicorn 20.1 to 27 and uvicorn do not take it for https, Django
// takes its first element and Werkzeug's ProxyFix its last. Of several lines only those pass that
// are equal to the last one: gunicorn answers 400 if they differ, uvicorn reads the last one, and
// Django the first one, which a client may have sent.
//
// WSGI cannot distinguish a name with an underscore from the name with a dash in its place. If the
// latter is a framing, hop-by-hop or forwarding field, the former is refused. Other names with an
// underscore are dropped unless the Policy says otherwise (RuleUnderscore).
package http1
