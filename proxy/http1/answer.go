package http1

import "time"

// Continue is the interim answer to Expect: 100-continue (R52).
const Continue = "HTTP/1.1 100 Continue\r\n\r\n"

// Answer is an answer of tideover's own, errors above all.
type Answer struct {
	Status     int
	Cause      string        // plain text, one line, the body of the answer unless there is a Page
	RetryAfter time.Duration // Retry-After, whole seconds rounded up; 0: none
	Head       bool          // the request was HEAD: same head, no body
	Minor      uint8         // of the request; matters only where KeepAlive is set
	KeepAlive  bool          // false: Connection: close
	Held       bool          // add Server-Timing: hold;dur=...
	Hold       time.Duration
	Date       time.Time // zero: no Date field
	Page       []byte    // the app's own page instead of Cause
	PageType   string    // its media type; "": text/html
}

// AppendAnswer appends head and body of the answer.
func AppendAnswer(dst []byte, a *Answer) []byte { return dst }

// AppendError appends the answer to a refused request: plain text, Connection: close, no body to HEAD. r may have been read in part.
func AppendError(dst []byte, e *Error, r *Request) []byte { return dst }
