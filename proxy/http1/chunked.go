package http1

// Bounds of a chunk's size line: R35, R37, and R38, which is net/http's rule.
const (
	mostSizeDigits = 16
	mostChunk      = 1<<52 - 1
	mostSizeLine   = 256
	mostExcess     = 16 << 10
)

// chunkReader decodes the chunked coding (RFC 9112 section 7.1), octet by octet where there are no data: it needs no
// line to be complete. Extensions are checked and forgotten (R40).
type chunkReader struct {
	state    chunkState
	digits   int   // of the size, so far
	size     int64 // of the chunk, so far; in its data: how much is still to come
	line     int   // octets of the size line, so far
	excess   int64 // overhead that no data make up for (R38)
	trailers trailerReader
}

type chunkState uint8

const (
	inSize      chunkState = iota // digits
	extStart                      // behind ';'
	extName                       // in the name of an extension
	extNameEnd                    // blanks behind it
	extValue                      // behind '='
	extToken                      // in a token
	extQuoted                     // in a quoted string
	extPair                       // behind its backslash
	extValueEnd                   // behind its closing quote
	extBlank                      // blanks behind a value
	sizeLF                        // LF of the size line
	inData                        // content
	dataCR                        // CR behind it
	dataLF                        // LF behind it
	inTrailers                    // behind the last chunk
	chunksDone                    // behind the empty line
)

// next decodes until there is content, the end of in or the end of the body. room is how much content may come.
func (c *chunkReader) next(in []byte, room int64) (data []byte, n int, err *Error) {
	for n < len(in) && err == nil {
		switch c.state {
		case inData:
			data = in[n:min(int64(len(in)), int64(n)+c.size)]
			c.size -= int64(len(data))
			if c.size == 0 {
				c.state = dataCR
			}
			return data, n + len(data), nil
		case inTrailers:
			used, done, err := c.trailers.next(in[n:])
			if done {
				c.state = chunksDone
			}
			return nil, n + used, err
		case chunksDone:
			return nil, n, nil
		case sizeLF, dataCR, dataLF:
			err = c.lineEnd(in[n], room)
		default:
			err = c.sizeLine(in[n])
		}
		n++
	}
	return nil, n, err
}

// lineEnd takes the CR and LF that must stand where the state says.
func (c *chunkReader) lineEnd(x byte, room int64) *Error {
	switch c.state {
	case dataCR:
		if x != '\r' { // R39
			return errChunkEnd
		}
		c.state = dataLF
	case dataLF:
		if x != '\n' { // R39
			return errChunkEnd
		}
		c.state, c.digits, c.size, c.line = inSize, 0, 0, 0
	default:
		if x != '\n' { // R36
			return errChunkLine
		}
		return c.begin(room)
	}
	return nil
}

// begin judges a complete size line and begins the chunk, or the trailers.
func (c *chunkReader) begin(room int64) *Error {
	if c.size > room { // body
		return errBodyLong
	}
	if c.size == 0 {
		c.state = inTrailers
		return nil
	}
	c.excess += int64(c.line) + 4 // the CRLF here and the one behind the data
	c.excess = max(0, c.excess-16-2*c.size)
	if c.excess > mostExcess { // R38
		return errChunkWaste
	}
	c.state = inData
	return nil
}

// sizeLine takes one octet of the line with size and extensions.
func (c *chunkReader) sizeLine(x byte) *Error {
	if x == '\n' { // R36
		return errChunkLine
	}
	if x != '\r' {
		c.line++
	}
	if c.line > mostSizeLine { // R37
		return errChunkExt
	}
	if c.state == inSize {
		return c.sizeOctet(x)
	}
	next := extNext(c.state, x)
	if next == inSize { // R37
		return errChunkExt
	}
	c.state = next
	return nil
}

// sizeOctet takes one octet of the size, or what ends it (R35, R43).
func (c *chunkReader) sizeOctet(x byte) *Error {
	if v := hexValue(x); v < 16 {
		c.digits++
		c.size = c.size<<4 | int64(v)
		if c.digits > mostSizeDigits || c.size > mostChunk { // R35
			return errChunkSize
		}
		return nil
	}
	switch {
	case c.digits == 0: // R35
		return errChunkSize
	case x == ';':
		c.state = extStart
	case x == '\r':
		c.state = sizeLF
	default: // R35
		return errChunkSize
	}
	return nil
}

// extNext is the grammar of extensions (RFC 9112 section 7.1.1): the state behind octet x, or inSize if x is illegal
// there. SP is allowed where the grammar has BWS, but for the ends of the line; HTAB is not.
func extNext(s chunkState, x byte) chunkState {
	token := fold[x] != 0
	switch s {
	case extStart:
		return either(token, extName, either(x == ' ', extStart, inSize))
	case extName:
		if token {
			return extName
		}
		return extAfter(x, extNameEnd, true)
	case extNameEnd:
		return extAfter(x, extNameEnd, false)
	case extValue:
		return either(token, extToken, either(x == '"', extQuoted, either(x == ' ', extValue, inSize)))
	case extToken:
		return either(token, extToken, extEnd(x, true))
	case extValueEnd:
		return extEnd(x, true)
	case extBlank:
		return extEnd(x, false)
	case extPair:
		return either(isQuotable(x), extQuoted, inSize)
	}
	switch { // extQuoted
	case x == '"':
		return extValueEnd
	case x == '\\':
		return extPair
	}
	return either(isQuotable(x), extQuoted, inSize)
}

// extAfter is what may follow the name of an extension.
func extAfter(x byte, blank chunkState, last bool) chunkState {
	if x == '=' {
		return extValue
	}
	if x == ' ' {
		return blank
	}
	return extEnd(x, last)
}

// extEnd is what may follow an extension; last: the line may end here.
func extEnd(x byte, last bool) chunkState {
	switch {
	case x == ';':
		return extStart
	case x == ' ':
		return extBlank
	case x == '\r' && last:
		return sizeLF
	}
	return inSize
}

// isQuotable reports whether x may stand in a quoted string: no control octet.
func isQuotable(x byte) bool { return x >= ' ' && x != 0x7F }

func either(yes bool, a, b chunkState) chunkState {
	if yes {
		return a
	}
	return b
}
