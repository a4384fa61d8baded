package http1

// trailerReader checks the trailer section octet by octet, under the rules of field lines, and
// drops it (RuleTrailers, RuleResponseTrailers).
type trailerReader struct {
	limits  *Limits
	lenient bool // of a response: no field name is refused
	state   trailerState
	octets  int // of the section
	line    int // octets of the line without its CRLF
	fields  int
	name    [maxKnownName]byte // beginning of the field name
	nameLen int
}

type trailerState uint8

const (
	trailerStart trailerState = iota // beginning of a line
	trailerName
	trailerValue
	trailerLF // LF of a field line
	emptyLF   // LF of the empty line
)

// next reads octets up to the end of the section.
func (t *trailerReader) next(in []byte) (n int, done bool, err *Error) {
	for n < len(in) && !done && err == nil {
		done, err = t.read(in[n])
		n++
	}
	return n, done, err
}

func (t *trailerReader) read(x byte) (done bool, err *Error) {
	if t.octets++; t.octets > t.limits.Head {
		return false, errHeadTooLong
	}
	if t.state == trailerLF || t.state == emptyLF {
		return t.readLineEnd(x)
	}
	switch {
	case x == '\r':
		return false, t.readLineCR()
	case x == '\n':
		return false, errBareLF
	case x == 0:
		return false, errNUL
	case classes[x]&inText == 0:
		return false, errControl
	}
	if t.line++; t.line > t.limits.Line {
		return false, errLineTooLong
	}
	switch t.state {
	case trailerStart:
		return false, t.readFieldStart(x)
	case trailerName:
		return false, t.readName(x)
	}
	return false, nil
}

func (t *trailerReader) readLineCR() *Error {
	switch t.state {
	case trailerStart:
		t.state = emptyLF
	case trailerName:
		return errNoColon
	default:
		t.state = trailerLF
	}
	return nil
}

// readLineEnd expects the LF at the end of a line.
func (t *trailerReader) readLineEnd(x byte) (done bool, err *Error) {
	if x != '\n' {
		return false, errBareCR
	}
	done = t.state == emptyLF
	t.state, t.line, t.nameLen = trailerStart, 0, 0
	return done, nil
}

// readFieldStart takes the first octet of a field line.
func (t *trailerReader) readFieldStart(x byte) *Error {
	if isBlank(x) && t.fields == 0 {
		return errLeadingBlank
	}
	if isBlank(x) {
		return errObsFold
	}
	if t.fields++; t.fields > t.limits.Fields {
		return errTooManyFields
	}
	if fold[x] == 0 {
		return errFieldName
	}
	t.state = trailerName
	return t.readName(x)
}

// readName takes an octet of a name, or the colon after it.
func (t *trailerReader) readName(x byte) *Error {
	if x == ':' {
		t.state = trailerValue
		id := identify(t.name[:min(t.nameLen, maxKnownName)])
		if names[id].traits&noTrailer != 0 && !t.lenient {
			return errTrailer
		}
		return nil
	}
	if isBlank(x) {
		return errBlankBeforeColon
	}
	if fold[x] == 0 {
		return errFieldName
	}
	if t.nameLen < maxKnownName {
		t.name[t.nameLen] = x
	}
	if t.nameLen++; t.nameLen > 256 {
		return errFieldNameTooLong
	}
	return nil
}
