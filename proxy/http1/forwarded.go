package http1

import "bytes"

// The limits of RuleForwardedForLimit.
const (
	maxHops      = 32
	maxHopOctets = 1 << 10
)

// checkForwarded checks a forwarding field of a trusted front-end, and drops that of any other
// client (RuleForwardingFields). Proxy is always dropped, because CGI would turn it into
// HTTP_PROXY.
func (r *Request) checkForwarded(f *field) *Error {
	if !r.policy.Trusted || f.id == nameProxy {
		f.action = dropped
		return nil
	}
	if r.counts[f.id] > 1 && names[f.id].traits&singleton != 0 {
		return errDuplicateForwarded
	}
	if !isForwardingValue(f.id, r.valueOf(f)) {
		return errForwarded
	}
	return nil
}

// isForwardingValue reports whether v follows the grammar of a forwarding field.
func isForwardingValue(id nameID, v []byte) bool {
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

// isHostList reports whether v is a list of hosts: each front-end may append the Host that it
// received.
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

// trimForwardedFor keeps the last 32 addresses or 1 KiB of all X-Forwarded-For lines together
// (RuleForwardedForLimit). The last addresses are those that trusted front-ends wrote.
func (h *head) trimForwardedFor() {
	if h.counts[nameForwardedFor] == 0 {
		return
	}
	hops, octets := maxHops, maxHopOctets
	for i := len(h.fields) - 1; i >= int(h.firstIndex[nameForwardedFor])-1; i-- {
		f := &h.fields[i]
		if f.id != nameForwardedFor || f.action == dropped {
			continue
		}
		v := h.valueOf(f)
		from := fittingHops(v, &hops, &octets)
		if from == 0 {
			continue
		}
		rest := bytes.TrimLeft(v[from:], " \t")
		f.value = f.valueEnd - int32(len(rest))
		f.action = rewritten
		if len(rest) == 0 {
			f.action = dropped
		}
	}
}

// fittingHops returns the index where the part of the list v begins that fits, and subtracts that
// part from hops and octets. Once an address did not fit, none before it fits.
func fittingHops(v []byte, hops, octets *int) (from int) {
	from = len(v)
	for end := len(v); from > 0; end = from - 1 {
		begin := bytes.LastIndexByte(v[:end], ',') + 1
		if *hops == 0 || *octets < len(v)-begin {
			*hops = 0
			return from
		}
		*hops--
		from = begin
	}
	*octets -= len(v)
	return 0
}
