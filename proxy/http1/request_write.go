package http1

import (
	"net/netip"
	"strconv"
	"time"
)

// UpstreamOptions is what AppendUpstream needs beside the request.
type UpstreamOptions struct {
	Peer   netip.Addr // of the client, for X-Forwarded-For; invalid: it has none
	Scheme string     // http or https, for X-Forwarded-Proto; empty: http
	Start  time.Time  // X-Request-Start, unless the request has one; zero: none is written
	Body   Body       // Request.Body, or Fixed for a chunked body that was buffered
	Close  bool       // write Connection: close
	// OneForwardedFor writes an X-Forwarded-For of one address also for a trusted front-end
	// (RuleOneForwardedFor); Trusted are the addresses that it passes over.
	OneForwardedFor bool
	Trusted         []netip.Prefix
}

// AppendUpstream appends the canonical head for the app:
//   - version HTTP/1.1 (RuleUpstreamVersion) and the target in origin-form (RuleAbsoluteForm);
//   - no hop-by-hop field (RuleHopByHop), no Expect (RuleContinue), no Via of tideover (RuleVia);
//   - forwarding fields as the Policy says (RuleForwardingFields);
//   - one framing field or none.
//
// Parsing the result and appending it again gives the same bytes.
func (r *Request) AppendUpstream(dst []byte, o *UpstreamOptions) []byte {
	dst = append(dst, r.text(r.method)...)
	dst = append(dst, ' ')
	dst = r.appendOrigin(dst)
	dst = append(dst, " HTTP/1.1\r\n"...)
	if r.authority.to > 0 {
		dst = appendField(dst, "Host", r.text(r.authority))
	} else if r.counts[nameHost] == 0 { // RuleDefaultHost
		dst = appendField(dst, "Host", r.policy.DefaultHost)
	}
	one := r.policy.Trusted && o.OneForwardedFor
	if one {
		dst = r.appendFieldsWithout(dst, nameForwardedFor)
	} else {
		dst = r.appendFields(dst)
	}
	if !o.Start.IsZero() && !r.forwards(nameRequestStart) {
		dst = appendRequestStart(dst, o.Start)
	}
	switch {
	case !r.policy.Trusted:
		dst = r.appendForwarded(dst, o)
	case one:
		dst = r.appendOneForwardedFor(dst, o)
	}
	dst = appendFraming(dst, o.Body)
	switch {
	case r.Upgrade:
		dst = append(dst, "Connection: Upgrade\r\nUpgrade: websocket\r\n"...)
	case o.Close:
		dst = append(dst, "Connection: close\r\n"...)
	}
	return append(dst, "\r\n"...)
}

// appendForwarded appends the forwarding fields for a client that is not a trusted front-end.
func (r *Request) appendForwarded(dst []byte, o *UpstreamOptions) []byte {
	dst = appendPeer(dst, o.Peer)
	scheme := o.Scheme
	if scheme == "" {
		scheme = "http"
	}
	dst = appendField(dst, "X-Forwarded-Proto", scheme)
	if host := r.Host(); host != nil {
		return appendField(dst, "X-Forwarded-Host", host)
	}
	return appendField(dst, "X-Forwarded-Host", r.policy.DefaultHost)
}

// appendOneForwardedFor appends the address of the nearest client that is not trusted
// (RuleOneForwardedFor), and nothing where no address is known.
func (r *Request) appendOneForwardedFor(dst []byte, o *UpstreamOptions) []byte {
	if hop := r.nearestUntrusted(o.Trusted); hop != nil {
		return appendField(dst, "X-Forwarded-For", hop)
	}
	return appendPeer(dst, o.Peer)
}

// appendPeer appends X-Forwarded-For with the client's own address, if it has one.
func appendPeer(dst []byte, peer netip.Addr) []byte {
	if !peer.IsValid() {
		return dst
	}
	dst = append(dst, "X-Forwarded-For: "...)
	return append(peer.Unmap().AppendTo(dst), "\r\n"...)
}

// appendRequestStart appends the arrival time as front-ends write it: seconds with three decimals.
func appendRequestStart(dst []byte, t time.Time) []byte {
	ms := t.UnixMilli()
	dst = append(dst, "X-Request-Start: t="...)
	dst = strconv.AppendInt(dst, ms/1000, 10)
	dst = append(dst, '.', byte('0'+ms/100%10), byte('0'+ms/10%10), byte('0'+ms%10))
	return append(dst, "\r\n"...)
}

func appendInt(dst []byte, n int64) []byte { return strconv.AppendInt(dst, n, 10) }
