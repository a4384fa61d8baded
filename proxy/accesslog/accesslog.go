// Package accesslog formats the lines of an access log: "combined", "json", or a line with gunicorn's %
// atoms. It is pure.
package accesslog

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Record is a request that has ended. Its slices are used during Append only.
type Record struct {
	Now        time.Time
	Clock      *Clock
	App        string
	Client     netip.AddrPort // not mapped; invalid: a unix socket
	Method     []byte
	Target     []byte // as the client has sent it
	Minor      int    // of HTTP/1.x
	Fields     Fields // of the request
	Status     int    // that the client has got; 0: none
	Bytes      int64  // of the body of the app's response
	Response   []byte // what the format has of the fields of the app's response (Format.AppendResponse); empty: there was none
	Ending     string // answered, client_left, ...
	Took       time.Duration
	Upstream   time.Duration // the app's part; 0: it has not got the request
	Hold       time.Duration // the gate's part
	Generation string        // that the request was sent to last; empty: none
	Resent     int           // times it was sent again
}

// A Clock keeps the text of the second in which it was asked last: formatting the time costs more than
// the rest of a line. It is not safe for concurrent use.
type Clock struct {
	second     int64  // Unix time of the texts
	local, utc []byte // empty: there are none
}

// at makes the texts those of a moment.
func (c *Clock) at(now time.Time) {
	if second := now.Unix(); second != c.second || len(c.local) == 0 {
		c.second = second
		c.local = now.AppendFormat(c.local[:0], "[02/Jan/2006:15:04:05 -0700]")
		c.utc = now.UTC().AppendFormat(c.utc[:0], "2006-01-02T15:04:05.")
	}
}

// Fields are the header fields of a request or a response.
type Fields interface {
	// Value is that of the first field with that name, or empty.
	Value(name string) []byte
	// Find is the value of the first field with that name from an index on; next is the index behind
	// it, 0 if there is none.
	Find(name string, from int) (value []byte, next int)
}

// Format is a parsed format. It does not change.
type Format struct {
	json     bool
	parts    []part
	response []string // names of fields of the response, one for each atom that has one
}

// part is a text, and an atom behind it.
type part struct {
	text string
	atom func(dst []byte, r *Record) []byte // nil: none
}

// combined is Apache's and nginx's format of that name.
const combined = `%(h)s - - %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s"`

// Parse parses "combined", "json" or a line with atoms, such as "%(m)s %(U)s %({x-request-id}i)s".
func Parse(text string) (*Format, error) {
	switch text {
	case "json":
		return &Format{json: true}, nil
	case "", "combined":
		text = combined
	}
	f := &Format{}
	literal := strings.Builder{}
	for len(text) > 0 {
		at := strings.IndexByte(text, '%')
		if at < 0 {
			break
		}
		literal.WriteString(text[:at])
		text = text[at:]
		if strings.HasPrefix(text, "%%") {
			literal.WriteByte('%')
			text = text[2:]
			continue
		}
		name, rest, ok := cutAtom(text)
		if !ok {
			return nil, fmt.Errorf("%q is no atom: write %%(NAME)s, and %%%% for a %%", text[:min(len(text), 12)])
		}
		atom, err := f.atomOf(name)
		if err != nil {
			return nil, err
		}
		f.parts = append(f.parts, part{literal.String(), atom})
		literal.Reset()
		text = rest
	}
	literal.WriteString(text)
	f.parts = append(f.parts, part{text: literal.String()})
	return f, nil
}

// cutAtom cuts "%(NAME)s" from the front of a text.
func cutAtom(text string) (name, rest string, ok bool) {
	text, ok = strings.CutPrefix(text, "%(")
	if !ok {
		return "", "", false
	}
	name, rest, ok = strings.Cut(text, ")")
	if !ok || rest == "" || rest[0] != 's' && rest[0] != 'd' {
		return "", "", false
	}
	return name, rest[1:], true
}

// atoms are gunicorn's, and those in braces that end in x are tideover's own.
var atoms = map[string]func([]byte, *Record) []byte{
	"h": func(b []byte, r *Record) []byte { return appendHost(b, r.Client) },
	"l": func(b []byte, _ *Record) []byte { return append(b, '-') },
	"u": func(b []byte, r *Record) []byte { return appendOrDash(b, userOf(r.Fields.Value("Authorization"))) },
	"p": func(b []byte, _ *Record) []byte { return append(b, '-') }, // which of the workers has accepted is not seen from outside
	"t": func(b []byte, r *Record) []byte { r.Clock.at(r.Now); return append(b, r.Clock.local...) },
	"r": func(b []byte, r *Record) []byte {
		b = append(appendSafe(b, r.Method), ' ')
		b = append(appendSafe(b, r.Target), " HTTP/1."...)
		return strconv.AppendInt(b, int64(r.Minor), 10)
	},
	"m": func(b []byte, r *Record) []byte { return appendOrDash(b, r.Method) },
	"U": func(b []byte, r *Record) []byte { path, _ := cutQuery(r.Target); return appendDecoded(b, path) },
	"q": func(b []byte, r *Record) []byte { _, query := cutQuery(r.Target); return appendSafe(b, query) },
	"H": func(b []byte, r *Record) []byte {
		return strconv.AppendInt(append(b, "HTTP/1."...), int64(r.Minor), 10)
	},
	"s": func(b []byte, r *Record) []byte { return strconv.AppendInt(b, int64(r.Status), 10) },
	"B": func(b []byte, r *Record) []byte { return strconv.AppendInt(b, r.Bytes, 10) },
	"b": func(b []byte, r *Record) []byte {
		if r.Status == 0 {
			return append(b, '-')
		}
		return strconv.AppendInt(b, r.Bytes, 10)
	},
	"f": func(b []byte, r *Record) []byte { return appendOrDash(b, r.Fields.Value("Referer")) },
	"a": func(b []byte, r *Record) []byte { return appendOrDash(b, r.Fields.Value("User-Agent")) },
	"T": func(b []byte, r *Record) []byte { return strconv.AppendInt(b, int64(r.Took/time.Second), 10) },
	"D": func(b []byte, r *Record) []byte { return strconv.AppendInt(b, r.Took.Microseconds(), 10) },
	"M": func(b []byte, r *Record) []byte { return strconv.AppendInt(b, r.Took.Milliseconds(), 10) },
	"L": func(b []byte, r *Record) []byte { return appendSeconds(b, r.Took) },

	"{app}x":        func(b []byte, r *Record) []byte { return append(b, r.App...) },
	"{ending}x":     func(b []byte, r *Record) []byte { return append(b, r.Ending...) },
	"{upstream}x":   func(b []byte, r *Record) []byte { return appendSeconds(b, r.Upstream) },
	"{hold}x":       func(b []byte, r *Record) []byte { return appendSeconds(b, r.Hold) },
	"{generation}x": func(b []byte, r *Record) []byte { return appendOrDash(b, r.Generation) },
	"{resent}x":     func(b []byte, r *Record) []byte { return strconv.AppendInt(b, int64(r.Resent), 10) },
}

func (f *Format) atomOf(name string) (func([]byte, *Record) []byte, error) {
	if atom := atoms[name]; atom != nil {
		return atom, nil
	}
	if braced, ok := strings.CutPrefix(name, "{"); ok {
		if field, kind, ok := strings.Cut(braced, "}"); ok && field != "" {
			switch kind {
			case "i":
				return fieldAtom(field), nil
			case "o":
				return f.responseAtom(field), nil
			case "e":
				return environAtom(field)
			}
		}
	}
	return nil, fmt.Errorf("%%(%s)s is not known: gunicorn's h l u t r m U q H s b B f a T D M L p, {FIELD}i, {FIELD}o and {VARIABLE}e are, and {app}x {ending}x {upstream}x {hold}x {generation}x {resent}x", name)
}

// Append appends a line with its line feed. What a client has sent cannot end the line, or a quoted
// part of it.
func (f *Format) Append(dst []byte, r *Record) []byte {
	if f.json {
		return appendJSON(dst, r)
	}
	for _, p := range f.parts {
		dst = append(dst, p.text...)
		if p.atom != nil {
			dst = p.atom(dst, r)
		}
	}
	return append(dst, '\n')
}

func appendJSON(b []byte, r *Record) []byte {
	r.Clock.at(r.Now)
	b = append(append(b, `{"time":"`...), r.Clock.utc...)
	b = appendDigits(b, r.Now.Nanosecond()/1e6, 100)
	b = appendString(b, `Z","app":`, r.App)
	var client [64]byte
	b = appendString(b, `,"client":`, appendAddress(client[:0], r.Client))
	b = appendString(b, `,"method":`, r.Method)
	b = appendString(b, `,"target":`, r.Target)
	b = appendString(b, `,"host":`, r.Fields.Value("Host"))
	b = strconv.AppendInt(append(b, `,"status":`...), int64(r.Status), 10)
	b = strconv.AppendInt(append(b, `,"bytes":`...), r.Bytes, 10)
	b = appendString(b, `,"ending":`, r.Ending)
	b = appendSeconds(append(b, `,"duration_s":`...), r.Took)
	b = appendSeconds(append(b, `,"upstream_s":`...), r.Upstream)
	b = appendSeconds(append(b, `,"hold_s":`...), r.Hold)
	b = appendString(b, `,"generation":`, r.Generation)
	b = strconv.AppendInt(append(b, `,"resent":`...), int64(r.Resent), 10)
	for _, field := range optional {
		if value := r.Fields.Value(field.name); len(value) > 0 {
			b = appendString(b, field.key, value)
		}
	}
	return append(b, "}\n"...)
}

// optional are the fields that are in a JSON line if the request has them.
var optional = []struct{ key, name string }{
	{`,"forwarded_for":`, "X-Forwarded-For"}, {`,"request_id":`, "X-Request-Id"}, {`,"referer":`, "Referer"}, {`,"user_agent":`, "User-Agent"},
}

const digits = "0123456789abcdef"

// text is what a client has sent, or a name.
type text interface{ ~string | ~[]byte }

// plain are the bytes that stay as they are in a line and in a JSON string.
var plain = func() (is [256]bool) {
	for c := 0x20; c < 0x7f; c++ {
		is[c] = c != '"' && c != '\\'
	}
	return is
}()

// appendString appends key and a JSON string. Bytes that are not ASCII, and control characters, are
// escaped as the code points of their numbers.
func appendString[T text](b []byte, key string, value T) []byte {
	b = append(append(b, key...), '"')
	from := 0
	for i := range len(value) {
		c := value[i]
		if plain[c] {
			continue
		}
		b = append(b, value[from:i]...)
		from = i + 1
		if c == '"' || c == '\\' {
			b = append(b, '\\', c)
		} else {
			b = append(b, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
		}
	}
	return append(append(b, value[from:]...), '"')
}

// appendSafe appends what a client has sent, as Apache and nginx do: \xHH for what could end the line or
// a quoted part.
func appendSafe[T text](b []byte, value T) []byte {
	from := 0
	for i := range len(value) {
		if c := value[i]; !plain[c] {
			b = append(append(b, value[from:i]...), '\\', 'x', digits[c>>4], digits[c&15])
			from = i + 1
		}
	}
	return append(b, value[from:]...)
}

func appendOrDash[T text](b []byte, value T) []byte {
	if len(value) == 0 {
		return append(b, '-')
	}
	return appendSafe(b, value)
}

// appendSeconds appends a duration in seconds, with six digits behind the point.
func appendSeconds(b []byte, d time.Duration) []byte {
	b = append(strconv.AppendInt(b, int64(d/time.Second), 10), '.')
	return appendDigits(b, int(d%time.Second/time.Microsecond), 100_000)
}

// appendDigits appends a number with all its digits; first is the value of the first one.
func appendDigits(b []byte, n, first int) []byte {
	for ; first > 0; first /= 10 {
		b = append(b, '0'+byte(n/first%10))
	}
	return b
}

// userOf is the user of a field Authorization with the scheme Basic, as gunicorn reads it; empty: none.
func userOf(authorization []byte) []byte {
	if len(authorization) < 5 || !bytes.EqualFold(authorization[:5], []byte("Basic")) {
		return nil
	}
	_, encoded, _ := bytes.Cut(authorization, []byte(" "))
	encoded = bytes.TrimSpace(encoded)
	decoded := make([]byte, base64.StdEncoding.DecodedLen(len(encoded)))
	n, err := base64.StdEncoding.Decode(decoded, encoded)
	if err != nil {
		return nil
	}
	user, _, _ := bytes.Cut(decoded[:n], []byte(":"))
	return user
}

func cutQuery(target []byte) (path, query []byte) {
	for i, c := range target {
		if c == '?' {
			return target[:i], target[i+1:]
		}
	}
	return target, nil
}

// appendAddress appends an address and its port.
func appendAddress(b []byte, a netip.AddrPort) []byte {
	if !a.IsValid() {
		return append(b, "unix"...)
	}
	return a.AppendTo(b)
}

// appendHost appends an address without its port.
func appendHost(b []byte, a netip.AddrPort) []byte {
	if !a.IsValid() {
		return append(b, "unix"...)
	}
	return a.Addr().AppendTo(b)
}
