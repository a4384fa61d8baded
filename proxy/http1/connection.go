package http1

import "bytes"

// mostOptions bounds the work a Connection field can cause (R46).
const mostOptions = 32

// options is what the Connection fields of a head say.
type options struct {
	close, keepAlive, upgrade bool
	count                     int
}

// connection reads all Connection lines as one list and drops every field they name (R46).
func (h *head) connection() (o options, err *Error) {
	if h.times[nameConnection] == 0 {
		return o, nil
	}
	for i := h.first[nameConnection] - 1; int(i) < len(h.fields); i++ {
		f := &h.fields[i]
		if f.id != nameConnection {
			continue
		}
		for rest, more := h.valueOf(f), true; more; {
			var option []byte
			option, rest, more = bytes.Cut(rest, comma)
			if err := h.option(trim(option), &o); err != nil {
				return o, err
			}
		}
	}
	return o, nil
}

// option reads one element of the list, which may be empty (RFC 9110 section 5.6.1).
func (h *head) option(v []byte, o *options) *Error {
	if len(v) == 0 {
		return nil
	}
	o.count++
	if o.count > mostOptions || !isToken(v) { // R46
		return errOption
	}
	switch {
	case equalFold(v, "close"):
		o.close = true
	case equalFold(v, "keep-alive"):
		o.keepAlive = true
	case equalFold(v, "upgrade"):
		o.upgrade = true
	default:
		return h.dropNamed(v)
	}
	return nil
}

// dropNamed drops the fields with a name that Connection gave.
func (h *head) dropNamed(v []byte) *Error {
	if names[identify(v)].traits&pinned != 0 { // R46
		return errPinned
	}
	for i := range h.fields {
		if f := &h.fields[i]; sameName(h.nameOf(f), v) { // R46
			f.fate = dropped
		}
	}
	return nil
}

// persists reports whether the sender keeps the connection (R90): HTTP/1.1 unless it says close, HTTP/1.0 only if it
// says keep-alive.
func (o options) persists(minor uint8) bool {
	return !o.close && (minor == 1 || o.keepAlive)
}

// upgrades reports whether Upgrade is there once and says websocket and nothing else, and Connection names it (R60, R61).
func (h *head) upgrades(o options) bool {
	return o.upgrade && h.times[nameUpgrade] == 1 && equalFold(h.valueOf(h.known(nameUpgrade)), "websocket")
}
