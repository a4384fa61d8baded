package http1

// head is the common part of request and response heads. Fields are offsets into the buffer of the
// caller.
type head struct {
	buf       []byte
	lineStart int // where the next line begins
	scanned   int // how far the search for its end has come
	fields    []field
	err       *Error // the error of an earlier Parse

	firstIndex [nameCount]int32 // index in fields of the first field of each known name, plus one
	counts     [nameCount]uint8 // number of fields of each known name; 255 means 255 or more
}

// field is one field line. The numbers are offsets into head.buf.
type field struct {
	name, nameEnd   int32
	value, valueEnd int32
	id              nameID
	underscore      bool
	action          action
}

// span is a part of head.buf.
type span struct{ from, to int32 }

// action is what is written for a field line.
type action uint8

const (
	copied    action = iota // the line as it is, because it is canonical
	rewritten               // name, colon, SP, value, CRLF
	dropped                 // nothing
)

// findLineEnd returns the index of the CR that ends the line at h.lineStart, or -1 if more bytes
// are needed. errLine is the error of a line longer than maxLine octets, errHead that of a head
// longer than maxHead octets: the last CR of a head is two octets before its end.
func (h *head) findLineEnd(maxLine, maxHead int, errLine, errHead *Error) (end int, err *Error) {
	last := h.lineStart + maxLine // the last index at which the CR may be
	if last > maxHead-2 {
		last, errLine = maxHead-2, errHead
	}
	window := h.buf[:min(len(h.buf), last+1)]
	i := skipText(window, h.scanned)
	h.scanned = i
	if i > last { // RuleHeadLimits, RuleResponseHeadLimits
		return -1, errLine
	}
	if i >= len(window) {
		return -1, nil
	}
	switch {
	case window[i] == '\n':
		return -1, errBareLF
	case window[i] == 0:
		return -1, errNUL
	case window[i] != '\r':
		return -1, errControl
	case i+1 == len(h.buf):
		return -1, nil
	case h.buf[i+1] != '\n':
		return -1, errBareCR
	}
	return i, nil
}

// nextLine continues after the line that ends at end.
func (h *head) nextLine(end int) {
	h.lineStart = end + 2
	h.scanned = h.lineStart
}

// parseField parses the field line that ends at end and appends it to h.fields.
func (h *head) parseField(end int, l *Limits) (*field, *Error) {
	if len(h.fields) >= l.Fields {
		return nil, errTooManyFields
	}
	b := h.buf[:end]
	i := end
	mark := byte(0)
	for j, c := range b[h.lineStart:] {
		folded := fold[c]
		if folded == 0 {
			i = h.lineStart + j
			break
		}
		mark |= folded
	}
	if i == end || b[i] != ':' || i == h.lineStart {
		return nil, h.fieldError(b, i)
	}
	if i-h.lineStart > 256 {
		return nil, errFieldNameTooLong
	}
	value, valueEnd := i+1, end
	for value < valueEnd && isBlank(b[value]) { // RuleOptionalWhitespace
		value++
	}
	for value < valueEnd && isBlank(b[valueEnd-1]) { // RuleOptionalWhitespace
		valueEnd--
	}
	f := field{name: int32(h.lineStart), nameEnd: int32(i), value: int32(value), valueEnd: int32(valueEnd),
		id: identify(b[h.lineStart:i]), underscore: mark&underscored != 0}
	if value != i+2 || b[i+1] != ' ' || valueEnd != end {
		f.action = rewritten
	}
	h.fields = append(h.fields, f)
	if !f.underscore {
		h.countField(f.id)
	}
	return &h.fields[len(h.fields)-1], nil
}

// fieldError returns the error of a field line. Its name ends at i, and not with a colon.
func (h *head) fieldError(b []byte, i int) *Error {
	if blank := i < len(b) && isBlank(b[i]); i == h.lineStart && blank {
		if len(h.fields) == 0 {
			return errLeadingBlank
		}
		return errObsFold
	}
	if rest := trim(b[i:]); i > h.lineStart && len(rest) > 0 && rest[0] == ':' {
		return errBlankBeforeColon
	}
	if i == len(b) || isBlank(b[i]) {
		return errNoColon
	}
	return errFieldName
}

// countField counts the last field of h.fields under a known name.
func (h *head) countField(id nameID) {
	if h.counts[id] == 0 {
		h.firstIndex[id] = int32(len(h.fields))
	}
	if h.counts[id] < 255 {
		h.counts[id]++
	}
}

// knownField returns the first field of a known name, or nil.
func (h *head) knownField(id nameID) *field {
	if h.counts[id] == 0 {
		return nil
	}
	return &h.fields[h.firstIndex[id]-1]
}

// forwards reports whether a field of a known name is written.
func (h *head) forwards(id nameID) bool {
	f := h.knownField(id)
	return f != nil && f.action != dropped
}

func (h *head) text(s span) []byte { return h.buf[s.from:s.to] }

func (h *head) nameOf(f *field) []byte  { return h.buf[f.name:f.nameEnd] }
func (h *head) valueOf(f *field) []byte { return h.buf[f.value:f.valueEnd] }

// lookup returns the value of the first field with that name, or nil.
func (h *head) lookup(name string) []byte {
	value, _ := h.Find(name, 0)
	return value
}

// Find returns the value of the first field with that name from an index on, and the index behind it;
// 0: there is none. Letter case is ignored.
func (h *head) Find(name string, from int) (value []byte, next int) {
	for i := from; i < len(h.fields); i++ {
		if f := &h.fields[i]; sameName(h.nameOf(f), name) {
			return h.valueOf(f), i + 1
		}
	}
	return nil, 0
}

// sameName compares field names without regard to letter case.
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

// appendFields appends the field lines that are not dropped, in their order (RuleFieldOrder).
// Adjacent lines that need no change are copied together.
func (h *head) appendFields(dst []byte) []byte { return h.appendFieldsWithout(dst, nameCount) }

// appendFieldsWithout is appendFields without the lines of one name.
func (h *head) appendFieldsWithout(dst []byte, without nameID) []byte {
	from, to := int32(0), int32(0)
	for i := range h.fields {
		f := &h.fields[i]
		switch {
		case f.id == without:
		case f.action == copied:
			if f.name != to {
				dst = append(dst, h.buf[from:to]...)
				from = f.name
			}
			to = f.valueEnd + 2
		case f.action == rewritten:
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
