package http1

import (
	"bytes"
	"net/netip"
	"slices"
	"unsafe"
)

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
	v := r.valueOf(f)
	switch f.id {
	case nameForwardedProto, nameForwardedProtocol, nameForwardedSsl:
		if !isListOf(isToken, v) {
			r.keepEnd(f, len(v), causeIllegalForwarded)
		}
	case nameForwardedPort:
		r.keepLegalEnd(f, isPort)
	case nameRealIP:
		r.keepLegalEnd(f, isAddress)
	case nameForwarded:
		if !all(v, inForwarded) {
			return errForwarded
		}
	case nameForwardedHost:
		if !isListOf(isHost, v) {
			return errForwarded
		}
	case nameScriptName, namePathInfo:
		if len(v) > 0 && v[0] != '/' {
			return errForwarded
		}
	}
	return nil
}

// The causes for which a forwarding field is dropped, as [Request.DroppedForwarding] returns them.
const (
	causeIllegalForwarded = "its value is illegal"
	causeOtherScheme      = "a later line of it has another value"
	causeTooManyHops      = "it has more than 32 addresses, or 1 KiB, or what is no address"
)

// keepLegalEnd keeps the legal elements at the end of a list. A front-end appends its own element
// to what it has received, which a client may have made up: neither must that cost the request, nor
// must the client remove what the front-end has set.
func (r *Request) keepLegalEnd(f *field, isElement func([]byte) bool) {
	v := r.valueOf(f)
	for end := len(v); end >= 0; {
		begin := bytes.LastIndexByte(v[:end], ',') + 1
		if element := trim(v[begin:end]); len(element) > 0 && !isElement(element) {
			r.keepEnd(f, min(end+1, len(v)), causeIllegalForwarded)
			return
		}
		end = begin - 1
	}
}

// keepEnd drops the value of a forwarding field of a trusted front-end up to the index from, and
// the whole field if nothing is left. The first such field of a request is recorded for the log.
func (r *Request) keepEnd(f *field, from int, cause string) {
	if r.dropped.cause == "" {
		r.dropped = droppedField{name: names[f.id].text, value: span{f.value, f.valueEnd}, cause: cause}
	}
	rest := bytes.TrimLeft(r.valueOf(f)[from:], " \t")
	f.value = f.valueEnd - int32(len(rest))
	f.action = rewritten
	if len(rest) == 0 {
		f.action = dropped
	}
}

// droppedField is a field of which a part or all is not forwarded.
type droppedField struct {
	name, cause string
	value       span // as it was received
}

// DroppedForwarding returns the first forwarding field of a trusted front-end that is dropped, or
// of which a part is dropped: its name in lower case, its value as it was received, and why. The
// name is empty if there is none.
func (r *Request) DroppedForwarding() (name string, value []byte, cause string) {
	return r.dropped.name, r.text(r.dropped.value), r.dropped.cause
}

// HasForeignForwarding reports whether the request has X-Forwarded-For, -Proto or -Host of a client
// that is not trusted, which are replaced: it may be a front-end.
func (r *Request) HasForeignForwarding() bool {
	c := &r.counts
	return !r.policy.Trusted && int(c[nameForwardedFor])+int(c[nameForwardedProto])+int(c[nameForwardedHost]) > 0
}

// dropOtherSchemes drops the lines of a scheme field that differ from its last one. The nearest
// front-end has appended the last one, and earlier ones may be those of a client. A server joins
// the lines, and frameworks read the first element of the result, or the last one.
func (r *Request) dropOtherSchemes() {
	for _, id := range [...]nameID{nameForwardedProto, nameForwardedProtocol, nameForwardedSsl} {
		if r.counts[id] < 2 {
			continue
		}
		var last []byte
		for i := len(r.fields) - 1; i >= 0; i-- {
			f := &r.fields[i]
			if f.id != id {
				continue
			}
			if last == nil {
				last = r.valueOf(f)
			} else if !bytes.Equal(r.valueOf(f), last) {
				r.keepEnd(f, len(r.valueOf(f)), causeOtherScheme)
			}
		}
	}
}

// isListOf reports whether v is a list of such elements. A front-end may append to what it has
// received, and elements may be empty.
func isListOf(isElement func([]byte) bool, v []byte) bool {
	for more := true; more; {
		var element []byte
		element, v, more = bytes.Cut(v, comma)
		if element = trim(element); len(element) > 0 && !isElement(element) {
			return false
		}
	}
	return true
}

func isPort(v []byte) bool    { _, ok := parsePort(v); return ok }
func isAddress(v []byte) bool { return all(v, inAddress) }
func isHost(v []byte) bool    { _, _, ok := parseHost(v); return ok }

// trimForwardedFor keeps the last 32 addresses or 1 KiB of all X-Forwarded-For lines together, and
// nothing before an element that is no address (RuleForwardedForLimit). The last addresses are
// those that trusted front-ends wrote.
func (r *Request) trimForwardedFor() {
	if r.counts[nameForwardedFor] == 0 {
		return
	}
	hops, octets := maxHops, maxHopOctets
	for i := len(r.fields) - 1; i >= int(r.firstIndex[nameForwardedFor])-1; i-- {
		f := &r.fields[i]
		if f.id != nameForwardedFor || f.action == dropped {
			continue
		}
		v := r.valueOf(f)
		from := fittingHops(v, &hops, &octets)
		if from == 0 {
			continue
		}
		r.keepEnd(f, from, causeTooManyHops)
	}
}

// fittingHops returns the index where the part of the list v begins that fits, and subtracts that
// part from hops and octets. Once an element did not fit, none before it fits.
func fittingHops(v []byte, hops, octets *int) (from int) {
	from = len(v)
	for end := len(v); from > 0; end = from - 1 {
		begin := bytes.LastIndexByte(v[:end], ',') + 1
		if *hops == 0 || *octets < len(v)-begin || !all(v[begin:end], inAddresses) {
			*hops = 0
			return from
		}
		*hops--
		from = begin
	}
	*octets -= len(v)
	return 0
}

// nearestUntrusted returns the last address of all X-Forwarded-For lines together that is not in
// trusted, and the first one if all are (RuleOneForwardedFor). It is the address that uvicorn's
// ProxyHeadersMiddleware finds with the same list. The result is nil if there is no address.
func (r *Request) nearestUntrusted(trusted []netip.Prefix) (hop []byte) {
	if r.counts[nameForwardedFor] == 0 {
		return nil
	}
	for i := len(r.fields) - 1; i >= int(r.firstIndex[nameForwardedFor])-1; i-- {
		f := &r.fields[i]
		if f.id != nameForwardedFor || f.action == dropped {
			continue
		}
		v := r.valueOf(f)
		for end := len(v); end >= 0; {
			begin := bytes.LastIndexByte(v[:end], ',') + 1
			if element := trim(v[begin:end]); len(element) > 0 {
				if hop = element; !isHopIn(trusted, hop) {
					return hop
				}
			}
			end = begin - 1
		}
	}
	return hop
}

// isHopIn reports whether an element of X-Forwarded-For is an address in one of the prefixes. Some
// front-ends write a port behind it.
func isHopIn(prefixes []netip.Prefix, hop []byte) bool {
	switch end := bytes.IndexByte(hop, ']'); {
	case hop[0] == '[' && end > 0:
		hop = hop[1:end]
	case bytes.Count(hop, []byte(":")) == 1:
		hop = hop[:bytes.IndexByte(hop, ':')]
	}
	// ParseAddr keeps its argument in an error, which ends here, and nowhere else: no copy is needed.
	ip, err := netip.ParseAddr(unsafe.String(unsafe.SliceData(hop), len(hop)))
	ip = ip.Unmap()
	return err == nil && slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(ip) })
}
