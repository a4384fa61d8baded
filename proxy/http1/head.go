package http1

// head is what heads of requests and responses have in common: lines found once, fields as offsets into the buffer.
type head struct {
	buf    []byte
	start  int // where the line begins that is read next
	seen   int // where to go on looking for its end
	fields []field
	err    *Error // the verdict, once there is one

	first [nameCount]int32 // index in fields of the first of each known name, plus one
	times [nameCount]uint8 // how often it was there; 255 is "that often or more"
}

// field is one field line. The offsets are into head.buf.
type field struct {
	name, nameEnd   int32
	value, valueEnd int32
	id              nameID
	underscore      bool
	fate            fate
}

// span is a part of head.buf.
type span struct{ from, to int32 }

// fate is what becomes of a field line when the head is written.
type fate uint8

const (
	verbatim  fate = iota // already spelled as we would: the line is copied
	rewritten             // name, colon, SP, value, CRLF
	dropped
)

// line looks for the end of the line at h.start. end is the index of its CR, or -1 if more bytes are needed. The line
// may have max octets, and the head may be no longer than whole, which is the case if the CR is two octets before.
func (h *head) line(max, whole int, tooLong, tooMuch *Error) (end int, err *Error) {
	last := h.start + max // where the CR must be at the latest
	if last > whole-2 {
		last, tooLong = whole-2, tooMuch
	}
	window := h.buf[:min(len(h.buf), last+1)]
	i := skipText(window, h.seen)
	h.seen = i
	if i > last { // R26, R78
		return -1, tooLong
	}
	if i >= len(window) {
		return -1, nil
	}
	switch {
	case window[i] == '\n': // R14
		return -1, errBareLF
	case window[i] == 0: // R16
		return -1, errNUL
	case window[i] != '\r': // R17
		return -1, errControl
	case i+1 == len(h.buf):
		return -1, nil
	case h.buf[i+1] != '\n': // R15
		return -1, errBareCR
	}
	return i, nil
}

// advance goes on behind the line that ends at end.
func (h *head) advance(end int) {
	h.start = end + 2
	h.seen = h.start
}

// field reads the field line that ends at end and appends it to h.fields.
func (h *head) field(end int, l *Limits) (*field, *Error) {
	if len(h.fields) >= l.Fields { // R26, R78
		return nil, errManyFields
	}
	b := h.buf[:end]
	i := end
	mark := byte(0)
	for j, c := range b[h.start:] {
		folded := fold[c]
		if folded == 0 {
			i = h.start + j
			break
		}
		mark |= folded
	}
	if i == end || b[i] != ':' || i == h.start { // R18, R19, R20, R21, R22
		return nil, h.badName(b, i)
	}
	if i-h.start > 256 { // R18
		return nil, errNameLong
	}
	value, valueEnd := i+1, end
	for value < valueEnd && isBlank(b[value]) { // R23
		value++
	}
	for value < valueEnd && isBlank(b[valueEnd-1]) { // R23
		valueEnd--
	}
	f := field{name: int32(h.start), nameEnd: int32(i), value: int32(value), valueEnd: int32(valueEnd),
		id: identify(b[h.start:i]), underscore: mark&underscored != 0}
	if value != i+2 || b[i+1] != ' ' || valueEnd != end {
		f.fate = rewritten
	}
	h.fields = append(h.fields, f)
	if !f.underscore {
		h.count(f.id)
	}
	return &h.fields[len(h.fields)-1], nil
}

// badName tells what is wrong with a field line whose name ends at i, and not at a colon.
func (h *head) badName(b []byte, i int) *Error {
	if blank := i < len(b) && isBlank(b[i]); i == h.start && blank {
		if len(h.fields) == 0 { // R21
			return errFirstBlank
		}
		return errFold // R22
	}
	if rest := trim(b[i:]); i > h.start && len(rest) > 0 && rest[0] == ':' { // R19
		return errBlankColon
	}
	if i == len(b) || isBlank(b[i]) { // R20
		return errNoColon
	}
	return errName // R18
}

// count notes that one more field of a known name was read.
func (h *head) count(id nameID) {
	if h.times[id] == 0 {
		h.first[id] = int32(len(h.fields))
	}
	if h.times[id] < 255 {
		h.times[id]++
	}
}

// known is the first field of a known name, nil if there is none.
func (h *head) known(id nameID) *field {
	if h.times[id] == 0 {
		return nil
	}
	return &h.fields[h.first[id]-1]
}

// carries reports whether a field with that name will be written.
func (h *head) carries(id nameID) bool {
	f := h.known(id)
	return f != nil && f.fate != dropped
}

func (h *head) bytes(s span) []byte { return h.buf[s.from:s.to] }

func (h *head) nameOf(f *field) []byte  { return h.buf[f.name:f.nameEnd] }
func (h *head) valueOf(f *field) []byte { return h.buf[f.value:f.valueEnd] }

// lookup is the value of the first field with that name.
func (h *head) lookup(name string) []byte {
	for i := range h.fields {
		if f := &h.fields[i]; sameName(h.nameOf(f), name) {
			return h.valueOf(f)
		}
	}
	return nil
}

// sameName compares field names without regard to the case of letters.
func sameName[A, B ~string | ~[]byte](a A, b B) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}

// appendFields appends the field lines that are not dropped, in their order (R24). Lines that stand behind each other
// and need no change are copied in one go.
func (h *head) appendFields(dst []byte) []byte {
	from, to := int32(0), int32(0)
	for i := range h.fields {
		f := &h.fields[i]
		switch f.fate {
		case verbatim:
			if f.name != to {
				dst = append(dst, h.buf[from:to]...)
				from = f.name
			}
			to = f.valueEnd + 2
		case rewritten:
			dst = append(dst, h.buf[from:to]...)
			from, to = 0, 0
			dst = appendField(dst, h.nameOf(f), h.valueOf(f))
		}
	}
	return append(dst, h.buf[from:to]...)
}

// appendField appends one canonical field line.
func appendField[A, B ~string | ~[]byte](dst []byte, name A, value B) []byte {
	dst = append(dst, name...)
	dst = append(dst, ": "...)
	dst = append(dst, value...)
	return append(dst, "\r\n"...)
}
