package http1

// maxExcess is the limit of chunkReader.excess (RuleChunkOverhead). net/http has the same.
const (
	maxSizeDigits = 16
	maxChunkSize  = 1<<52 - 1
	maxSizeLine   = 256
	maxExcess     = 16 << 10
)

// chunkReader decodes the chunked coding (RFC 9112 section 7.1). Outside of chunk data it works
// octet by octet, so it needs no complete line. Extensions are checked and dropped
// (RuleChunkRewrite).
type chunkReader struct {
	state    chunkState
	digits   int   // of the size so far
	size     int64 // of the chunk so far; in inData: what is still to come
	line     int   // octets of the size line so far
	excess   int64 // overhead in octets that the data do not outweigh (RuleChunkOverhead)
	trailers trailerReader
}

type chunkState uint8

const (
	inSize      chunkState = iota // digits
	extStart                      // after ';'
	extName                       // name of an extension
	extNameEnd                    // blanks after the name
	extValue                      // after '='
	extToken                      // value that is a token
	extQuoted                     // value that is a quoted string
	extPair                       // after a backslash in it
	extValueEnd                   // after its closing quote
	extBlank                      // blanks after a value
	sizeLF                        // LF of the size line
	inData                        // chunk data
	dataCR                        // CR after the data
	dataLF                        // LF after the data
	inTrailers                    // after the last chunk
	chunksDone                    // after the empty line
)

// next decodes until there is data, or to the end of in or of the body. room is the number of
// content bytes that may still come.
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
			err = c.readLineEnd(in[n], room)
		default:
			err = c.readSizeLine(in[n])
		}
		n++
	}
	return nil, n, err
}

// readLineEnd expects the CR or LF that the state requires.
func (c *chunkReader) readLineEnd(x byte, room int64) *Error {
	switch c.state {
	case dataCR:
		if x != '\r' {
			return errChunkEnd
		}
		c.state = dataLF
	case dataLF:
		if x != '\n' {
			return errChunkEnd
		}
		c.state, c.digits, c.size, c.line = inSize, 0, 0, 0
	default:
		if x != '\n' {
			return errChunkLine
		}
		return c.beginChunk(room)
	}
	return nil
}

// beginChunk checks a complete size line and begins the chunk data or the trailers.
func (c *chunkReader) beginChunk(room int64) *Error {
	if c.size > room {
		return errBodyTooLong
	}
	if c.size == 0 {
		c.state = inTrailers
		return nil
	}
	c.excess += int64(c.line) + 4 // the CRLF of the size line and the one after the data
	c.excess = max(0, c.excess-16-2*c.size)
	if c.excess > maxExcess {
		return errChunkOverhead
	}
	c.state = inData
	return nil
}

// readSizeLine takes one octet of the line with the size and the extensions.
func (c *chunkReader) readSizeLine(x byte) *Error {
	if x == '\n' {
		return errChunkLine
	}
	if x != '\r' {
		c.line++
	}
	if c.line > maxSizeLine {
		return errChunkExt
	}
	if c.state == inSize {
		return c.readSize(x)
	}
	next := extNext(c.state, x)
	if next == inSize {
		return errChunkExt
	}
	c.state = next
	return nil
}

// readSize takes one octet of the size, or the octet after it (RuleChunkSize, RuleLengthOverflow).
func (c *chunkReader) readSize(x byte) *Error {
	if v := hexValue(x); v < 16 {
		c.digits++
		c.size = c.size<<4 | int64(v)
		if c.digits > maxSizeDigits || c.size > maxChunkSize {
			return errChunkSize
		}
		return nil
	}
	switch {
	case c.digits == 0:
		return errChunkSize
	case x == ';':
		c.state = extStart
	case x == '\r':
		c.state = sizeLF
	default:
		return errChunkSize
	}
	return nil
}

// extNext is the grammar of extensions (RFC 9112 section 7.1.1). It returns the state after octet
// x, or inSize if x is illegal. SP is allowed where the grammar has BWS, except at the ends of the
// line; HTAB is not allowed.
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

// extAfter returns the state after x, which follows the name of an extension. last: the line may
// end here.
func extAfter(x byte, blank chunkState, last bool) chunkState {
	if x == '=' {
		return extValue
	}
	if x == ' ' {
		return blank
	}
	return extEnd(x, last)
}

// extEnd returns the state after x, which follows an extension. last: the line may end here.
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

// isQuotable reports whether x may stand in a quoted string.
func isQuotable(x byte) bool { return x >= ' ' && x != 0x7F }

func either(yes bool, a, b chunkState) chunkState {
	if yes {
		return a
	}
	return b
}
