package http1

// nameID is a field name this package has to know; every other one is nameOther.
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
	nameForwardedOther // any other X-Forwarded-
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

// trait is what a name means to the relay.
type trait uint8

const (
	hop       trait = 1 << iota // removed both ways (R47)
	framing                     // read, then written anew
	owned                       // tells the app who the client is: the relay's (R48)
	pinned                      // may not be named by Connection (R46)
	ascii                       // framing or routing: no octet beyond ASCII (R17)
	noTrailer                   // not allowed in request trailers (R42)
	single                      // owned, and at most once (R48)
)

type name struct {
	text   string // in lower case
	traits trait
}

var names = [nameCount]name{
	nameHost:               {"host", pinned | ascii | noTrailer},
	nameContentLength:      {"content-length", framing | pinned | ascii | noTrailer},
	nameTransferEncoding:   {"transfer-encoding", framing | pinned | ascii | noTrailer},
	nameConnection:         {"connection", hop | ascii | noTrailer},
	nameUpgrade:            {"upgrade", hop | ascii | noTrailer},
	nameProxyConnection:    {"proxy-connection", hop | ascii | noTrailer},
	nameKeepAlive:          {"keep-alive", hop | ascii | noTrailer},
	nameTE:                 {"te", hop | ascii | noTrailer},
	nameTrailer:            {"trailer", hop | ascii | noTrailer},
	nameProxyAuthenticate:  {"proxy-authenticate", hop | noTrailer},
	nameProxyAuthorization: {"proxy-authorization", hop | noTrailer},
	nameHTTP2Settings:      {"http2-settings", hop | noTrailer},
	nameExpect:             {"expect", ascii | noTrailer},
	nameForwarded:          {"forwarded", owned | pinned | ascii | noTrailer},
	nameForwardedFor:       {"x-forwarded-for", owned | pinned | ascii | noTrailer},
	nameForwardedProto:     {"x-forwarded-proto", owned | pinned | ascii | noTrailer | single},
	nameForwardedHost:      {"x-forwarded-host", owned | pinned | ascii | noTrailer},
	nameForwardedPort:      {"x-forwarded-port", owned | pinned | ascii | noTrailer | single},
	nameForwardedSsl:       {"x-forwarded-ssl", owned | pinned | ascii | noTrailer | single},
	nameForwardedProtocol:  {"x-forwarded-protocol", owned | pinned | ascii | noTrailer | single},
	nameForwardedOther:     {"x-forwarded-", owned | pinned | noTrailer},
	nameRealIP:             {"x-real-ip", owned | pinned | ascii | noTrailer | single},
	nameScriptName:         {"script-name", owned | pinned | noTrailer | single},
	namePathInfo:           {"path-info", owned | pinned | noTrailer | single},
	nameRemoteUser:         {"remote-user", owned | pinned | noTrailer | single},
	nameProxy:              {"proxy", owned | pinned | noTrailer},
	nameCookie:             {"cookie", pinned | noTrailer},
	nameAuthorization:      {"authorization", pinned | noTrailer},
	nameIdempotencyKey:     {"idempotency-key", 0},
	nameRequestStart:       {"x-request-start", 0},
	nameWebSocketKey:       {"sec-websocket-key", 0},
	nameSetCookie:          {"set-cookie", noTrailer},
	nameContentType:        {"content-type", noTrailer},
	nameContentEncoding:    {"content-encoding", noTrailer},
	nameContentRange:       {"content-range", noTrailer},
}

// longestName is enough of a name to identify it; prefixForwarded is how nameForwardedOther begins.
const (
	longestName     = 24
	prefixForwarded = "x-forwarded-"
)

// slots finds the one known name a token can be.
var slots = makeSlots()

func makeSlots() (t [256]nameID) {
	for id := nameHost; id < nameCount; id++ {
		if id != nameForwardedOther {
			t[slot([]byte(names[id].text))] = id
		}
	}
	return t
}

// slot is different for each known name: it mixes length, first, fourth last and last letter.
func slot(b []byte) uint8 {
	n := len(b)
	return uint8(n) + dashed(b[0]) + 2*dashed(b[max(n-4, 0)]) + 4*dashed(b[n-1])
}

// dashed is the octet of a token in lower case, '_' as '-'.
func dashed(c byte) byte { return fold[c] &^ underscored }

// identify tells which known name the token b is, ignoring the case of letters and taking '_' for '-'.
func identify(b []byte) nameID {
	if len(b) == 0 {
		return nameOther
	}
	id := slots[slot(b)]
	if len(b) == len(names[id].text) && hasPrefix(b, names[id].text) {
		return id
	}
	if len(b) > len(prefixForwarded) && hasPrefix(b, prefixForwarded) {
		return nameForwardedOther
	}
	return nameOther
}

// hasPrefix reports whether the token b, at least as long as s, begins with s, as identify compares.
func hasPrefix(b []byte, s string) bool {
	for i, c := range b[:len(s)] {
		if dashed(c) != s[i] {
			return false
		}
	}
	return true
}
