package accesslog

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
)

// environ are the variables of the WSGI environ, in lower case, that a request defines. Those of its
// fields (HTTP_...) are found by name. The others are the app's own: its server, its address, its script.
var environ = map[string]func([]byte, *Record) []byte{
	"request_method":  atoms["m"],
	"query_string":    atoms["q"],
	"server_protocol": atoms["H"],
	"path_info":       atoms["U"],
	"raw_uri":         func(b []byte, r *Record) []byte { return appendSafe(b, r.Target) },
	"remote_addr":     atoms["h"],
	"remote_port": func(b []byte, r *Record) []byte {
		if !r.Client.IsValid() { // a unix socket
			return append(b, '-')
		}
		return strconv.AppendUint(b, uint64(r.Client.Port()), 10)
	},
	"content_type":   fieldAtom("Content-Type"),
	"content_length": fieldAtom("Content-Length"),
}

// environAtom is the atom of a variable of the WSGI environ.
func environAtom(name string) (func([]byte, *Record) []byte, error) {
	lower := strings.ToLower(name)
	if atom := environ[lower]; atom != nil {
		return atom, nil
	}
	if field, ok := strings.CutPrefix(lower, "http_"); ok && field != "" {
		field = strings.ReplaceAll(field, "_", "-")
		return func(b []byte, r *Record) []byte {
			value, next := r.Fields.Find(field, 0)
			if next == 0 {
				return append(b, '-')
			}
			b = appendSafe(b, value)
			for value, next = r.Fields.Find(field, next); next > 0; value, next = r.Fields.Find(field, next) {
				b = appendSafe(append(b, ','), value)
			}
			return b
		}, nil
	}
	return nil, fmt.Errorf("%%({%s}e)s is not known: of the WSGI environ a request defines REQUEST_METHOD, RAW_URI, PATH_INFO, QUERY_STRING, SERVER_PROTOCOL, REMOTE_ADDR, REMOTE_PORT, CONTENT_TYPE, CONTENT_LENGTH and HTTP_FIELD, the app the rest", name)
}

// fieldAtom is the atom of a field of the request. Of several ones with that name it is the last, as in
// gunicorn.
func fieldAtom(name string) func([]byte, *Record) []byte {
	return func(b []byte, r *Record) []byte {
		if value, ok := last(r.Fields, name); ok {
			return appendSafe(b, value)
		}
		return append(b, '-')
	}
}

// last is the value of the last field with that name.
func last(fields Fields, name string) (value []byte, ok bool) {
	for v, next := fields.Find(name, 0); next > 0; v, next = fields.Find(name, next) {
		value, ok = v, true
	}
	return value, ok
}

// responseAtom is the atom of a field of the app's response.
func (f *Format) responseAtom(name string) func([]byte, *Record) []byte {
	n := len(f.response)
	f.response = append(f.response, name)
	return func(b []byte, r *Record) []byte {
		rest := r.Response
		for range n {
			_, rest, _ = bytes.Cut(rest, []byte{'\n'})
		}
		if value, _, ok := bytes.Cut(rest, []byte{'\n'}); ok && value[0] == '=' {
			return appendSafe(b, value[1:])
		}
		return append(b, '-')
	}
}

// WantsResponse reports whether the format has fields of the response.
func (f *Format) WantsResponse() bool { return len(f.response) > 0 }

// AppendResponse appends what the format has of the fields of a response, for Record.Response: for each
// of its atoms a line, which is "-", or the value behind "=".
func (f *Format) AppendResponse(dst []byte, response Fields) []byte {
	for _, name := range f.response {
		if value, ok := last(response, name); ok {
			dst = append(append(dst, '='), value...)
		} else {
			dst = append(dst, '-')
		}
		dst = append(dst, '\n')
	}
	return dst
}

// appendDecoded appends a path without its percent-encoding.
func appendDecoded(b, path []byte) []byte {
	for len(path) > 0 {
		i := bytes.IndexByte(path, '%')
		if i < 0 {
			break
		}
		b = appendSafe(b, path[:i])
		path = path[i:]
		var c [1]byte
		if len(path) < 3 {
			break
		}
		if _, err := hex.Decode(c[:], path[1:3]); err != nil {
			b, path = append(b, '%'), path[1:]
			continue
		}
		b, path = appendSafe(b, c[:]), path[3:]
	}
	return appendSafe(b, path)
}
