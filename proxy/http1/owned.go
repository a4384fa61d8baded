package http1

import "bytes"

// Bounds of R49.
const (
	mostHops      = 32
	mostHopOctets = 1 << 10
)

// owned decides about a field that tells the app who the client is (R48): a trusted front-end's is checked and kept,
// anybody else's deleted. Proxy is never kept, as CGI makes HTTP_PROXY of it.
func (r *Request) owned(f *field) *Error {
	if !r.policy.Trusted || f.id == nameProxy { // R48
		f.fate = dropped
		return nil
	}
	if r.times[f.id] > 1 && names[f.id].traits&single != 0 { // R48
		return errTwoForwarded
	}
	if !isForwarded(f.id, r.valueOf(f)) { // R48
		return errForwarded
	}
	return nil
}

// isForwarded knows the grammar of each field of R48.
func isForwarded(id nameID, v []byte) bool {
	switch id {
	case nameForwarded:
		return all(v, inForwarded)
	case nameForwardedFor:
		return all(v, inAddresses)
	case nameForwardedHost:
		return isHostList(v)
	case nameForwardedProto, nameForwardedProtocol:
		return isToken(v)
	case nameForwardedPort:
		_, ok := parsePort(v)
		return ok
	case nameForwardedSsl:
		return equalFold(v, "on") || equalFold(v, "off")
	case nameRealIP:
		return len(v) > 0 && all(v, inAddress)
	case nameScriptName, namePathInfo:
		return len(v) == 0 || v[0] == '/'
	}
	return true
}

// isHostList reports whether v is a list of hosts, to which each front-end appends the one it saw.
func isHostList(v []byte) bool {
	for more := true; more; {
		var host []byte
		host, v, more = bytes.Cut(v, comma)
		if host = trim(host); len(host) == 0 {
			continue
		}
		if _, _, ok := parseHost(host); !ok {
			return false
		}
	}
	return true
}

// cutHops keeps the last 32 hops or 1 KiB of all X-Forwarded-For lines together: the near end is what trusted front-ends
// wrote (R49). Real chains are far shorter and pass untouched.
func (h *head) cutHops() {
	if h.times[nameForwardedFor] == 0 {
		return
	}
	hops, octets := mostHops, mostHopOctets
	for i := len(h.fields) - 1; i >= int(h.first[nameForwardedFor])-1; i-- {
		f := &h.fields[i]
		if f.id != nameForwardedFor || f.fate == dropped {
			continue
		}
		v := h.valueOf(f)
		from := keepHops(v, &hops, &octets)
		if from == 0 {
			continue
		}
		rest := bytes.TrimLeft(v[from:], " \t")
		f.value = f.valueEnd - int32(len(rest))
		f.fate = rewritten
		if len(rest) == 0 {
			f.fate = dropped
		}
	}
}

// keepHops returns where the part of the list v begins that fits, and takes it from the room left. Nothing fits behind
// something that did not.
func keepHops(v []byte, hops, octets *int) (from int) {
	from = len(v)
	for end := len(v); from > 0; end = from - 1 {
		begin := bytes.LastIndexByte(v[:end], ',') + 1
		if *hops == 0 || *octets < len(v)-begin { // R49
			*hops = 0
			return from
		}
		*hops--
		from = begin
	}
	*octets -= len(v)
	return 0
}
