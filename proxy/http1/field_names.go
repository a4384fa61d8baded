package http1

// nameID identifies a field name that this package treats specially. All others are nameOther.
type nameID uint8

const (
	nameOther nameID = iota
	nameHost
	nameContentLength
	nameTransferEncoding
	nameConnection
	nameUpgrade
	nameProxyConnection
	nameKeepAlive
	nameTE
	nameTrailer
	nameProxyAuthenticate
	nameProxyAuthorization
	nameHTTP2Settings
	nameExpect
	nameForwarded
	nameForwardedFor
	nameForwardedProto
	nameForwardedHost
	nameForwardedPort
	nameForwardedSsl
	nameForwardedProtocol
	nameForwardedOther // every other name with the prefix X-Forwarded-
	nameRealIP
	nameScriptName
	namePathInfo
	nameRemoteUser
	nameProxy
	nameCookie
	nameAuthorization
	nameIdempotencyKey
	nameRequestStart
	nameWebSocketKey
	nameSetCookie
	nameContentType
	nameContentEncoding
	nameContentRange
	nameCount
)

// trait is a set of properties of a field name.
type trait uint8

const (
	hopByHop     trait = 1 << iota // removed in both directions (RuleHopByHop)
	framingField                   // replaced
	forwarding                     // describes the client to the app (RuleForwardingFields)
	endToEnd                       // must not be named by Connection (RuleConnectionOptions)
	asciiOnly                      // octets above 0x7F are refused (RuleControlOctet)
	noTrailer                      // refused as a trailer of a request (RuleTrailers)
	singleton                      // a forwarding field that may occur once (RuleForwardingFields)
)

type name struct {
	text   string // in lower case
	traits trait
}

var names = [nameCount]name{
	nameHost:               {"host", endToEnd | asciiOnly | noTrailer},
	nameContentLength:      {"content-length", framingField | endToEnd | asciiOnly | noTrailer},
	nameTransferEncoding:   {"transfer-encoding", framingField | endToEnd | asciiOnly | noTrailer},
	nameConnection:         {"connection", hopByHop | asciiOnly | noTrailer},
	nameUpgrade:            {"upgrade", hopByHop | asciiOnly | noTrailer},
	nameProxyConnection:    {"proxy-connection", hopByHop | asciiOnly | noTrailer},
	nameKeepAlive:          {"keep-alive", hopByHop | asciiOnly | noTrailer},
	nameTE:                 {"te", hopByHop | asciiOnly | noTrailer},
	nameTrailer:            {"trailer", hopByHop | asciiOnly | noTrailer},
	nameProxyAuthenticate:  {"proxy-authenticate", hopByHop | noTrailer},
	nameProxyAuthorization: {"proxy-authorization", hopByHop | noTrailer},
	nameHTTP2Settings:      {"http2-settings", hopByHop | noTrailer},
	nameExpect:             {"expect", asciiOnly | noTrailer},
	nameForwarded:          {"forwarded", forwarding | endToEnd | noTrailer},
	nameForwardedFor:       {"x-forwarded-for", forwarding | endToEnd | noTrailer},
	nameForwardedProto:     {"x-forwarded-proto", forwarding | endToEnd | noTrailer},
	nameForwardedHost:      {"x-forwarded-host", forwarding | endToEnd | noTrailer},
	nameForwardedPort:      {"x-forwarded-port", forwarding | endToEnd | noTrailer},
	nameForwardedSsl:       {"x-forwarded-ssl", forwarding | endToEnd | noTrailer},
	nameForwardedProtocol:  {"x-forwarded-protocol", forwarding | endToEnd | noTrailer},
	nameForwardedOther:     {"x-forwarded-", forwarding | endToEnd | noTrailer},
	nameRealIP:             {"x-real-ip", forwarding | endToEnd | noTrailer},
	nameScriptName:         {"script-name", forwarding | endToEnd | noTrailer | singleton},
	namePathInfo:           {"path-info", forwarding | endToEnd | noTrailer | singleton},
	nameRemoteUser:         {"remote-user", forwarding | endToEnd | noTrailer | singleton},
	nameProxy:              {"proxy", forwarding | endToEnd | noTrailer},
	nameCookie:             {"cookie", endToEnd | noTrailer},
	nameAuthorization:      {"authorization", endToEnd | noTrailer},
	nameIdempotencyKey:     {"idempotency-key", 0},
	nameRequestStart:       {"x-request-start", 0},
	nameWebSocketKey:       {"sec-websocket-key", 0},
	nameSetCookie:          {"set-cookie", noTrailer},
	nameContentType:        {"content-type", noTrailer},
	nameContentEncoding:    {"content-encoding", noTrailer},
	nameContentRange:       {"content-range", noTrailer},
}

// maxKnownName is longer than every known name. prefixForwarded is the prefix of
// nameForwardedOther.
const (
	maxKnownName    = 24
	prefixForwarded = "x-forwarded-"
)

// nameTable maps each nameHash to the one known name that has it.
var nameTable = makeNameTable()

func makeNameTable() (t [256]nameID) {
	for id := nameHost; id < nameCount; id++ {
		if id != nameForwardedOther {
			t[nameHash([]byte(names[id].text))] = id
		}
	}
	return t
}

// nameHash mixes the length and three letters of a token. It is different for each known name.
func nameHash(b []byte) uint8 {
	n := len(b)
	return uint8(n) + foldDash(b[0]) + 2*foldDash(b[max(n-4, 0)]) + 4*foldDash(b[n-1])
}

// foldDash returns an octet of a token in lower case, with '_' as '-'.
func foldDash(c byte) byte { return fold[c] &^ underscored }

// identify returns the ID of the token b. Letter case is ignored, and '_' counts as '-'.
func identify(b []byte) nameID {
	if len(b) == 0 {
		return nameOther
	}
	id := nameTable[nameHash(b)]
	if len(b) == len(names[id].text) && hasPrefix(b, names[id].text) {
		return id
	}
	if len(b) > len(prefixForwarded) && hasPrefix(b, prefixForwarded) {
		return nameForwardedOther
	}
	return nameOther
}

// hasPrefix reports whether the token b begins with s, compared as identify does. b must not be
// shorter than s.
func hasPrefix(b []byte, s string) bool {
	for i, c := range b[:len(s)] {
		if foldDash(c) != s[i] {
			return false
		}
	}
	return true
}
