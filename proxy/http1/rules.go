package http1

// A Rule is the code of one rule for messages and connections. Error.Rule, log lines and RULES.md
// name it.
type Rule string

// The rules, by name. Codes are stable: a code is never given to another rule.
const (
	// Request line.
	RuleLeadingEmptyLine Rule = "R1"
	RuleRequestLine      Rule = "R2"
	RuleMethod           Rule = "R3"
	RuleTargetOctet      Rule = "R4"
	RuleTargetFragment   Rule = "R5"
	RuleOriginForm       Rule = "R6"
	RuleAsteriskForm     Rule = "R7"
	RuleAbsoluteForm     Rule = "R8"
	RuleConnect          Rule = "R9"
	RuleTrace            Rule = "R10"
	RuleVersion          Rule = "R11"
	RuleVersionSyntax    Rule = "R12"
	RuleUpstreamVersion  Rule = "R13"

	// Field lines.
	RuleBareLF             Rule = "R14"
	RuleBareCR             Rule = "R15"
	RuleNUL                Rule = "R16"
	RuleControlOctet       Rule = "R17"
	RuleFieldName          Rule = "R18"
	RuleBlankBeforeColon   Rule = "R19"
	RuleMissingColon       Rule = "R20"
	RuleLeadingBlank       Rule = "R21"
	RuleObsFold            Rule = "R22"
	RuleOptionalWhitespace Rule = "R23"
	RuleFieldOrder         Rule = "R24"
	RuleUnderscore         Rule = "R25"
	RuleHeadLimits         Rule = "R26"

	// Framing of bodies.
	RuleContentLength             Rule = "R27"
	RuleDuplicateContentLength    Rule = "R28"
	RuleLengthAndTransferEncoding Rule = "R29"
	RuleTransferEncoding          Rule = "R30"
	RuleUnknownTransferCoding     Rule = "R31"
	RuleTransferEncodingHTTP10    Rule = "R32"
	RuleNoFraming                 Rule = "R33"
	RuleMethodIndependentFraming  Rule = "R34"
	RuleChunkSize                 Rule = "R35"
	RuleChunkSizeLine             Rule = "R36"
	RuleChunkExtension            Rule = "R37"
	RuleChunkOverhead             Rule = "R38"
	RuleChunkDataEnd              Rule = "R39"
	RuleChunkRewrite              Rule = "R40"
	RuleIncompleteRequest         Rule = "R41"
	RuleTrailers                  Rule = "R42"
	RuleLengthOverflow            Rule = "R43"

	// Host, Connection and forwarding fields.
	RuleHost              Rule = "R44"
	RuleDefaultHost       Rule = "R45"
	RuleConnectionOptions Rule = "R46"
	RuleHopByHop          Rule = "R47"
	RuleForwardingFields  Rule = "R48"
	RuleForwardedForLimit Rule = "R49"
	RuleVia               Rule = "R50"

	// Expect, interim and early responses.
	RuleExpect           Rule = "R51"
	RuleContinue         Rule = "R52"
	RuleInterimResponses Rule = "R53"
	RuleEarlyResponse    Rule = "R54"

	// X-Forwarded-For for ASGI servers.
	RuleOneForwardedFor Rule = "R55"

	// Upgrade.
	RuleWebSocketUpgrade   Rule = "R60"
	RuleH2C                Rule = "R61"
	RuleBytesAfterUpgrade  Rule = "R62"
	RuleFailedUpgrade      Rule = "R63"
	RuleSwitchingProtocols Rule = "R64"
	RuleTunnels            Rule = "R65"

	// Responses of the app.
	RuleStatusLine             Rule = "R70"
	RuleNotHTTP                Rule = "R71"
	RuleResponseFields         Rule = "R72"
	RuleResponseFraming        Rule = "R73"
	RuleResponseWithoutBody    Rule = "R74"
	RuleUpstreamReuse          Rule = "R75"
	RuleIncompleteResponse     Rule = "R76"
	RuleCloseDelimitedResponse Rule = "R77"
	RuleResponseHeadLimits     Rule = "R78"
	RuleResponseTrailers       Rule = "R79"
	RuleHTTP10Client           Rule = "R80"

	// Connections.
	RulePipelining          Rule = "R85"
	RuleOneUpstreamRequest  Rule = "R86"
	RuleLingeringClose      Rule = "R87"
	RuleResend              Rule = "R88"
	RuleUpstreamUnavailable Rule = "R89"
	RulePersistence         Rule = "R90"
	RuleIdleUpstream        Rule = "R91"

	// Timeouts and sizes.
	RuleHeadTimeout Rule = "head"
	RuleBodyLimits  Rule = "body"
)

// RuleInfo is one row of the table of rules.
type RuleInfo struct {
	Rule   Rule
	Name   string // the name of the constant, without "Rule"
	RFC    string // the section that the rule implements or restricts
	Text   string // what is required, refused or done
	Status []int  // answers to a message that breaks the rule; none: it cannot be broken
	Where  string // the file or package that implements the rule, relative to the root of the repository
}

// Rules is the table of all rules, in the order of RULES.md.
var Rules = []RuleInfo{
	{RuleLeadingEmptyLine, "LeadingEmptyLine", "RFC 9112 section 2.2",
		"One empty line before a request is skipped. Anything else before it is refused.",
		[]int{400}, "proxy/http1/request.go"},
	{RuleRequestLine, "RequestLine", "RFC 9112 section 3",
		"The request line is method, space, target, space, version, with single spaces.",
		[]int{400}, "proxy/http1/request_line.go"},
	{RuleMethod, "Method", "RFC 9112 section 3.1",
		"The method is a token (an illegal octet: 400) of at most 32 octets (longer: 501). Its letter case is kept.",
		[]int{400, 501}, "proxy/http1/request_line.go"},
	{RuleTargetOctet, "TargetOctet", "RFC 9112 section 3.2",
		"The target consists of the octets 0x21 to 0x7E and 0x80 to 0xFF. Those above 0x7F are forwarded as they are, although the RFC requires a client to encode them. Others are refused by R2, R16 and R17.",
		nil, "proxy/http1/request_line.go"},
	{RuleTargetFragment, "TargetFragment", "RFC 9112 section 3.2",
		"A target with a fragment is refused. Every other target is forwarded octet by octet and never decoded.",
		[]int{400}, "proxy/http1/request_line.go"},
	{RuleOriginForm, "OriginForm", "RFC 9112 section 3.2.1",
		"A target begins with a slash unless it is the asterisk or has the scheme http or https.",
		[]int{400}, "proxy/http1/target.go"},
	{RuleAsteriskForm, "AsteriskForm", "RFC 9112 section 3.2.4",
		"The target * is allowed for OPTIONS only.",
		[]int{400}, "proxy/http1/target.go"},
	{RuleAbsoluteForm, "AbsoluteForm", "RFC 9112 section 3.2.2",
		"An absolute target has a valid authority without userinfo, which equals Host. It is forwarded in origin-form, with its authority as Host.",
		[]int{400}, "proxy/http1/target.go"},
	{RuleConnect, "Connect", "RFC 9110 section 9.3.6",
		"CONNECT is refused.",
		[]int{405}, "proxy/http1/target.go"},
	{RuleTrace, "Trace", "RFC 9110 section 9.3.8",
		"TRACE is refused.",
		[]int{405}, "proxy/http1/target.go"},
	{RuleVersion, "Version", "RFC 9112 section 2.3",
		"The version is HTTP/1.0 or HTTP/1.1.",
		[]int{505}, "proxy/http1/request_line.go"},
	{RuleVersionSyntax, "VersionSyntax", "RFC 9112 section 2.3",
		"The request line ends with a well-formed version; HTTP/0.9 is refused.",
		[]int{400}, "proxy/http1/request_line.go"},
	{RuleUpstreamVersion, "UpstreamVersion", "RFC 9112 section 2.3",
		"Every request is forwarded as HTTP/1.1.",
		nil, "proxy/http1/request_write.go"},
	{RuleBareLF, "BareLF", "RFC 9112 section 2.2",
		"A line ends with CRLF. LF alone is refused, although the RFC allows a recipient to accept it.",
		[]int{400}, "proxy/http1/head.go"},
	{RuleBareCR, "BareCR", "RFC 9112 section 2.2",
		"CR without LF is refused.",
		[]int{400}, "proxy/http1/head.go"},
	{RuleNUL, "NUL", "RFC 9110 section 5.5",
		"NUL is refused.",
		[]int{400}, "proxy/http1/head.go"},
	{RuleControlOctet, "ControlOctet", "RFC 9110 section 5.5",
		"Control octets other than HTAB are refused. Octets above 0x7F pass, but not in framing fields, Host and Expect.",
		[]int{400}, "proxy/http1/head.go"},
	{RuleFieldName, "FieldName", "RFC 9110 section 5.1",
		"A field name is a token of 1 to 256 octets.",
		[]int{400}, "proxy/http1/head.go"},
	{RuleBlankBeforeColon, "BlankBeforeColon", "RFC 9112 section 5.1",
		"SP or HTAB between field name and colon is refused.",
		[]int{400}, "proxy/http1/head.go"},
	{RuleMissingColon, "MissingColon", "RFC 9112 section 5",
		"A field line without a colon is refused.",
		[]int{400}, "proxy/http1/head.go"},
	{RuleLeadingBlank, "LeadingBlank", "RFC 9112 section 2.2",
		"A first field line that begins with SP or HTAB is refused.",
		[]int{400}, "proxy/http1/head.go"},
	{RuleObsFold, "ObsFold", "RFC 9112 section 5.2",
		"A folded field line is refused.",
		[]int{400}, "proxy/http1/head.go"},
	{RuleOptionalWhitespace, "OptionalWhitespace", "RFC 9112 section 5.1",
		"SP and HTAB around a field value are removed, and no other octet is.",
		nil, "proxy/http1/head.go"},
	{RuleFieldOrder, "FieldOrder", "RFC 9110 section 5.3",
		"Field lines keep their order; lines of one name are never joined or split.",
		nil, "proxy/http1/head.go"},
	{RuleUnderscore, "Underscore", "RFC 3875 section 4.1.18",
		"A name with an underscore that WSGI cannot tell from a framing, hop-by-hop or forwarding field is refused. Other names with an underscore are dropped and counted, unless the configuration lets them pass.",
		[]int{400}, "proxy/http1/request.go"},
	{RuleHeadLimits, "HeadLimits", "RFC 9110 section 5.4",
		"Default limits: request line 8190 octets (414); field line 8190 octets, 100 fields, head 32 KiB (431). Trailers have the same limits.",
		[]int{414, 431}, "proxy/http1/head.go"},
	{RuleContentLength, "ContentLength", "RFC 9110 section 8.6",
		"Content-Length is 1 to 19 digits, at most 2^63-1. It is forwarded without leading zeros.",
		[]int{400}, "proxy/http1/framing.go"},
	{RuleDuplicateContentLength, "DuplicateContentLength", "RFC 9112 section 6.3",
		"A second Content-Length is refused, although the RFC allows an equal one.",
		[]int{400}, "proxy/http1/framing.go"},
	{RuleLengthAndTransferEncoding, "LengthAndTransferEncoding", "RFC 9112 section 6.3",
		"Content-Length together with Transfer-Encoding is refused, although the RFC allows it.",
		[]int{400}, "proxy/http1/framing.go"},
	{RuleTransferEncoding, "TransferEncoding", "RFC 9112 section 6.1",
		"A second Transfer-Encoding, an empty element, and chunked twice or not last are refused.",
		[]int{400}, "proxy/http1/framing.go"},
	{RuleUnknownTransferCoding, "UnknownTransferCoding", "RFC 9112 section 6.1",
		"A transfer coding other than chunked is refused.",
		[]int{501}, "proxy/http1/framing.go"},
	{RuleTransferEncodingHTTP10, "TransferEncodingHTTP10", "RFC 9112 section 6.1",
		"Transfer-Encoding in an HTTP/1.0 message is refused.",
		[]int{400}, "proxy/http1/framing.go"},
	{RuleNoFraming, "NoFraming", "RFC 9112 section 6.3",
		"A request with neither Content-Length nor Transfer-Encoding has no body.",
		nil, "proxy/http1/framing.go"},
	{RuleMethodIndependentFraming, "MethodIndependentFraming", "RFC 9112 section 6",
		"The framing of a request does not depend on its method.",
		nil, "proxy/http1/framing.go"},
	{RuleChunkSize, "ChunkSize", "RFC 9112 section 7.1",
		"A chunk size is 1 to 16 hexadecimal digits, at most 2^52-1, with no blank before or after it.",
		[]int{400, 502}, "proxy/http1/chunk_read.go"},
	{RuleChunkSizeLine, "ChunkSizeLine", "RFC 9112 section 7.1",
		"The line of a chunk size ends with CRLF and contains no other CR or LF.",
		[]int{400, 502}, "proxy/http1/chunk_read.go"},
	{RuleChunkExtension, "ChunkExtension", "RFC 9112 section 7.1.1",
		"Chunk extensions follow their grammar, without HTAB. The line has at most 256 octets.",
		[]int{400, 502}, "proxy/http1/chunk_read.go"},
	{RuleChunkOverhead, "ChunkOverhead", "RFC 9112 section 7.1.1",
		"16 octets and twice the data of each chunk are free. What size lines and CRLFs need beyond that may add up to 16 KiB.",
		[]int{400, 502}, "proxy/http1/chunk_read.go"},
	{RuleChunkDataEnd, "ChunkDataEnd", "RFC 9112 section 7.1",
		"CRLF follows the data of a chunk.",
		[]int{400, 502}, "proxy/http1/chunk_read.go"},
	{RuleChunkRewrite, "ChunkRewrite", "RFC 9112 section 7.1.1",
		"Chunk extensions are dropped; forwarded chunks have chunk headers of tideover.",
		nil, "proxy/http1/chunk_read.go"},
	{RuleIncompleteRequest, "IncompleteRequest", "RFC 9112 section 8",
		"A request body that ends before its last octet, or before the empty line after the last chunk, is refused.",
		[]int{400}, "proxy/http1/body.go"},
	{RuleTrailers, "Trailers", "RFC 9110 section 6.5.1",
		"Trailers are checked as field lines are, and dropped. Trailers for framing, routing and authentication are refused in a request.",
		[]int{400}, "proxy/http1/trailers.go"},
	{RuleLengthOverflow, "LengthOverflow", "RFC 9112 section 7.1",
		"No length wraps around: a Content-Length that is too large is refused by R27, a chunk size by R35.",
		nil, "proxy/http1/framing.go"},
	{RuleHost, "Host", "RFC 9112 section 3.2",
		"HTTP/1.1 requires exactly one Host: a name, an IPv4 or a bracketed IPv6 address, with an optional port of 1 to 65535, at most 255 octets.",
		[]int{400}, "proxy/http1/request.go"},
	{RuleDefaultHost, "DefaultHost", "RFC 9112 section 3.2",
		"An HTTP/1.0 request without Host is forwarded with the default host, and refused where none is configured.",
		[]int{400}, "proxy/http1/request.go"},
	{RuleConnectionOptions, "ConnectionOptions", "RFC 9110 section 7.6.1",
		"A request with a field that Connection names is refused unless the configuration has such fields removed, although the RFC requires it: a client must not remove what a front-end has set. Responses lose such fields. R47 has those that are always removed. More than 32 names, and a name that is always end-to-end, are refused.",
		[]int{400}, "proxy/http1/connection.go"},
	{RuleHopByHop, "HopByHop", "RFC 9110 section 7.6.1",
		"Connection, Proxy-Connection, Keep-Alive, TE, Trailer, Upgrade, Proxy-Authenticate, Proxy-Authorization and HTTP2-Settings are removed in both directions.",
		nil, "proxy/http1/request.go"},
	{RuleForwardingFields, "ForwardingFields", "RFC 7239 section 8.1",
		"X-Forwarded-*, Forwarded, X-Real-IP, SCRIPT_NAME, PATH_INFO and REMOTE_USER of a trusted front-end pass unchanged, also when they are empty, lists, or in several lines. Dropped and logged are: an illegal value of X-Forwarded-Proto, -Protocol and -Ssl; an illegal element of -Port and X-Real-IP, with the elements before it; lines of -Proto, -Protocol and -Ssl that differ from the last one, which the nearest front-end wrote. Refused are: an illegal value of Forwarded, X-Forwarded-Host, SCRIPT_NAME and PATH_INFO; two of SCRIPT_NAME, PATH_INFO or REMOTE_USER. Those of other clients are replaced. Proxy is always removed.",
		[]int{400}, "proxy/http1/forwarded.go"},
	{RuleForwardedForLimit, "ForwardedForLimit", "RFC 7239 section 5.2",
		"The last 32 addresses, or 1 KiB, of X-Forwarded-For are kept, and nothing before an element that is no address. What is not kept is logged.",
		nil, "proxy/http1/forwarded.go"},
	{RuleVia, "Via", "RFC 9110 section 7.6.3",
		"Via passes unchanged and none is added, although the RFC requires a gateway to add it.",
		nil, "proxy/http1/request_write.go"},
	{RuleExpect, "Expect", "RFC 9110 section 10.1.1",
		"Expect is 100-continue and nothing else. HTTP/1.0 requests have none.",
		[]int{417}, "proxy/http1/request.go"},
	{RuleContinue, "Continue", "RFC 9110 section 10.1.1",
		"tideover answers Expect: 100-continue itself and never forwards it.",
		nil, "proxy/http1/request.go"},
	{RuleInterimResponses, "InterimResponses", "RFC 9110 section 15.2",
		"At most 8 interim responses, together no longer than a head may be, come before a response. They have no body. 103 passes to HTTP/1.1 clients, others are dropped.",
		[]int{502}, "proxy/http1/response.go"},
	{RuleEarlyResponse, "EarlyResponse", "RFC 9112 section 9.5",
		"A response that comes before the end of the request's body passes with Connection: close. The rest of the body is read within bounds and dropped.",
		nil, "proxy"},
	{RuleOneForwardedFor, "OneForwardedFor", "RFC 7239 section 5.2",
		"For an ASGI server, X-Forwarded-For is one address: that of a client that is not trusted; for a trusted front-end the last one of its list that is not trusted, else the first one, else its own.",
		nil, "proxy"},
	{RuleWebSocketUpgrade, "WebSocketUpgrade", "RFC 6455 section 4.1",
		"Upgrade passes for a GET of HTTP/1.1 without a body, with websocket alone, named by Connection, and with a valid Sec-WebSocket-Key. Elsewhere it is removed.",
		nil, "proxy/http1/request.go"},
	{RuleH2C, "H2C", "RFC 9113 section 3.1",
		"An upgrade to h2c is removed.",
		nil, "proxy/http1/connection.go"},
	{RuleBytesAfterUpgrade, "BytesAfterUpgrade", "RFC 9110 section 7.8",
		"What a client sends after its upgrade request is forwarded only when the response is 101.",
		nil, "proxy"},
	{RuleFailedUpgrade, "FailedUpgrade", "RFC 9110 section 7.8",
		"Without a 101 the client's connection is closed after the response: what came after the upgrade request is never read as a request.",
		nil, "proxy"},
	{RuleSwitchingProtocols, "SwitchingProtocols", "RFC 9110 section 15.2.2",
		"A 101 is the answer to an upgrade request, and switches to websocket.",
		[]int{502}, "proxy/http1/response.go"},
	{RuleTunnels, "Tunnels", "RFC 9110 section 7.8",
		"Tunnels are counted apart from requests and have their own idle timeout and drain timeout.",
		nil, "proxy"},
	{RuleStatusLine, "StatusLine", "RFC 9112 section 4",
		"The status line is HTTP/1.0 or HTTP/1.1, space, a status of 100 to 999, although the RFC has no class above 599. The reason may be missing.",
		[]int{502}, "proxy/http1/response.go"},
	{RuleNotHTTP, "NotHTTP", "RFC 9112 section 4",
		"A response begins with HTTP/; no empty line may come before it.",
		[]int{502}, "proxy/http1/response.go"},
	{RuleResponseFields, "ResponseFields", "RFC 9112 section 5",
		"R14 to R22, R25 and R46 hold for responses, too. SP before a colon is refused, although the RFC requires a proxy to remove it.",
		[]int{502}, "proxy/http1/response.go"},
	{RuleResponseFraming, "ResponseFraming", "RFC 9112 section 6.3",
		"R27 to R32 hold for responses, too, but equal values of Content-Length count as one, in several lines or in a list.",
		[]int{502}, "proxy/http1/response.go"},
	{RuleResponseWithoutBody, "ResponseWithoutBody", "RFC 9112 section 6.3",
		"A response to HEAD, and one with status 1xx, 204 or 304, has no body. Its Content-Length passes for HEAD and 304.",
		nil, "proxy/http1/response.go"},
	{RuleUpstreamReuse, "UpstreamReuse", "RFC 9112 section 9.3",
		"A connection to the app is used again only when its response ended where its head said it would and nothing came after it.",
		nil, "proxy/http1/response.go"},
	{RuleIncompleteResponse, "IncompleteResponse", "RFC 9112 section 8",
		"A response that ends before its last octet is cut for the client, too.",
		[]int{502}, "proxy/http1/body.go"},
	{RuleCloseDelimitedResponse, "CloseDelimitedResponse", "RFC 9112 section 8",
		"A response that ends with its connection is cut for the client when the app's process died with it.",
		nil, "proxy"},
	{RuleResponseHeadLimits, "ResponseHeadLimits", "RFC 9110 section 5.4",
		"The head of a response has at most 64 KiB and 200 fields.",
		[]int{502}, "proxy/http1/limits.go"},
	{RuleResponseTrailers, "ResponseTrailers", "RFC 9110 section 6.5",
		"Trailers of a response are checked as field lines are, and dropped.",
		nil, "proxy/http1/body.go"},
	{RuleHTTP10Client, "HTTP10Client", "RFC 9112 section 6.1",
		"An HTTP/1.0 client gets no chunked body and no interim response.",
		nil, "proxy/http1/response_write.go"},
	{RulePipelining, "Pipelining", "RFC 9112 section 9.3.2",
		"Requests of one connection are answered one after the other, in their order.",
		nil, "proxy"},
	{RuleOneUpstreamRequest, "OneUpstreamRequest", "RFC 9112 section 9.3.2",
		"A connection to the app carries one request at a time.",
		nil, "proxy"},
	{RuleLingeringClose, "LingeringClose", "RFC 9112 section 9.6",
		"After an error response the connection is read for a bounded time before it is closed, so that a reset does not destroy the response.",
		nil, "proxy"},
	{RuleResend, "Resend", "RFC 9110 section 9.2.2",
		"A request that is kept whole is sent to the app again when nothing of it was written, when the app provably did not read it, or, once, when it is idempotent and nothing of a response was sent to the client. The last does not hold after 5 s in a worker that died alone; the time in the app's backlog does not count where the number of workers and threads is known.",
		nil, "proxy"},
	{RuleUpstreamUnavailable, "UpstreamUnavailable", "RFC 9110 section 15.6.4",
		"A connect that fails (EAGAIN, ECONNREFUSED, ENOENT), or that does not reach the listening socket that was proven to be the app's, sends the request back to the gate, where it is held.",
		nil, "proxy"},
	{RulePersistence, "Persistence", "RFC 9112 section 9.3",
		"HTTP/1.1 keeps a connection unless Connection says close, HTTP/1.0 closes it unless Connection says keep-alive.",
		nil, "proxy/http1/connection.go"},
	{RuleIdleUpstream, "IdleUpstream", "RFC 9112 section 9.3.1",
		"An idle connection to the app is used again for 1 s, and never for a request that is not idempotent.",
		nil, "proxy"},
	{RuleHeadTimeout, "HeadTimeout", "RFC 9110 section 15.5.9",
		"A request's head that is not complete in time is refused.",
		[]int{408}, "proxy"},
	{RuleBodyLimits, "BodyLimits", "RFC 9110 section 15.5.14",
		"A request's body longer than the configured limit is refused (413), and one that comes too slowly (408).",
		[]int{408, 413}, "proxy"},
}

// String returns the code and the name: "R14 BareLF".
func (r Rule) String() string {
	for i := range Rules {
		if Rules[i].Rule == r {
			return string(r) + " " + Rules[i].Name
		}
	}
	return string(r)
}
