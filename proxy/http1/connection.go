package http1

import "bytes"

// maxConnectionOptions bounds the work that Connection causes: each option is compared with each
// field (RuleConnectionOptions).
const maxConnectionOptions = 32

// connectionOptions are the options of all Connection fields of a head.
type connectionOptions struct {
	close, keepAlive, upgrade bool
	count                     int
}

// parseConnection reads all Connection fields as one list and drops every field that they name. If
// remove is false, a field that is named and not hop-by-hop is an error instead
// (RuleConnectionOptions).
func (h *head) parseConnection(remove bool) (o connectionOptions, err *Error) {
	if h.counts[nameConnection] == 0 {
		return o, nil
	}
	for i := h.firstIndex[nameConnection] - 1; int(i) < len(h.fields); i++ {
		f := &h.fields[i]
		if f.id != nameConnection {
			continue
		}
		for rest, more := h.valueOf(f), true; more; {
			var option []byte
			option, rest, more = bytes.Cut(rest, comma)
			if err := h.parseOption(trim(option), &o, remove); err != nil {
				return o, err
			}
		}
	}
	return o, nil
}

// parseOption reads one element of the list. It may be empty (RFC 9110 section 5.6.1).
func (h *head) parseOption(v []byte, o *connectionOptions, remove bool) *Error {
	if len(v) == 0 {
		return nil
	}
	o.count++
	if o.count > maxConnectionOptions || !isToken(v) {
		return errConnectionOption
	}
	switch {
	case equalFold(v, "close"):
		o.close = true
	case equalFold(v, "keep-alive"):
		o.keepAlive = true
	case equalFold(v, "upgrade"):
		o.upgrade = true
	default:
		return h.dropNamed(v, remove)
	}
	return nil
}

// dropNamed drops the fields with the name v. If remove is false, only those that are dropped
// anyway may be there: a front-end in front of a server that does not know Connection forwards the
// list of its client, and the fields that it has set itself must not be lost by it.
func (h *head) dropNamed(v []byte, remove bool) *Error {
	if names[identify(v)].traits&endToEnd != 0 {
		return errConnectionEndToEnd
	}
	for i := range h.fields {
		f := &h.fields[i]
		if f.action == dropped || !sameName(h.nameOf(f), v) {
			continue
		}
		if !remove {
			return errConnectionNamed
		}
		f.action = dropped
	}
	return nil
}

// persists reports whether the sender keeps the connection open (RulePersistence).
func (o connectionOptions) persists(minor uint8) bool {
	return !o.close && (minor == 1 || o.keepAlive)
}

// upgradesToWebSocket reports whether there is exactly one Upgrade, which is websocket and named by
// Connection. Every other protocol, h2c too, is ignored (RuleWebSocketUpgrade, RuleH2C).
func (h *head) upgradesToWebSocket(o connectionOptions) bool {
	return o.upgrade && h.counts[nameUpgrade] == 1 && equalFold(h.valueOf(h.knownField(nameUpgrade)), "websocket")
}
