package http1

// trailerReader checks the trailer section octet by octet, under the rules for field lines, and forgets it (R42, R79).
type trailerReader struct {
	limits  *Limits
	lenient bool // of a response: fields that are not allowed are forgotten with the others
	state   trailerState
	octets  int // of the section
	line    int // of the line, without its CRLF
	fields  int
	name    [longestName]byte // the beginning of the field's name
	nameLen int
}

type trailerState uint8

const (
	trailerStart trailerState = iota // at the beginning of a line
	trailerName
	trailerValue
	trailerLF // LF of a field line
	emptyLF   // LF of the empty line
)

// next takes octets up to the end of the section.
func (t *trailerReader) next(in []byte) (n int, done bool, err *Error) {
	for n < len(in) && !done && err == nil {
		done, err = t.octet(in[n])
		n++
	}
	return n, done, err
}

// octet takes one octet of the section.
func (t *trailerReader) octet(x byte) (done bool, err *Error) {
	if t.octets++; t.octets > t.limits.Head { // R26
		return false, errHeadLong
	}
	if t.state == trailerLF || t.state == emptyLF {
		return t.lineEnd(x)
	}
	switch {
	case x == '\r':
		return false, t.lineCR()
	case x == '\n': // R14
		return false, errBareLF
	case x == 0: // R16
		return false, errNUL
	case classes[x]&inText == 0: // R17
		return false, errControl
	}
	if t.line++; t.line > t.limits.Line { // R26
		return false, errLineLong
	}
	switch t.state {
	case trailerStart:
		return false, t.fieldStart(x)
	case trailerName:
		return false, t.nameOctet(x)
	}
	return false, nil
}

// lineCR takes the CR at the end of a line.
func (t *trailerReader) lineCR() *Error {
	switch t.state {
	case trailerStart:
		t.state = emptyLF
	case trailerName: // R20
		return errNoColon
	default:
		t.state = trailerLF
	}
	return nil
}

// lineEnd takes the LF at the end of a line.
func (t *trailerReader) lineEnd(x byte) (done bool, err *Error) {
	if x != '\n' { // R15
		return false, errBareCR
	}
	done = t.state == emptyLF
	t.state, t.line, t.nameLen = trailerStart, 0, 0
	return done, nil
}

// fieldStart takes the first octet of a field line.
func (t *trailerReader) fieldStart(x byte) *Error {
	if isBlank(x) && t.fields == 0 { // R21
		return errFirstBlank
	}
	if isBlank(x) { // R22
		return errFold
	}
	if t.fields++; t.fields > t.limits.Fields { // R26
		return errManyFields
	}
	if fold[x] == 0 { // R18
		return errName
	}
	t.state = trailerName
	return t.nameOctet(x)
}

// nameOctet takes an octet of a name, or the colon behind it.
func (t *trailerReader) nameOctet(x byte) *Error {
	if x == ':' {
		t.state = trailerValue
		id := identify(t.name[:min(t.nameLen, longestName)])
		if names[id].traits&noTrailer != 0 && !t.lenient { // R42
			return errTrailer
		}
		return nil
	}
	if isBlank(x) { // R19
		return errBlankColon
	}
	if fold[x] == 0 { // R18
		return errName
	}
	if t.nameLen < longestName {
		t.name[t.nameLen] = x
	}
	if t.nameLen++; t.nameLen > 256 { // R18
		return errNameLong
	}
	return nil
}
