package http1

import (
	"strconv"
	"time"
)

// Continue is the interim response to Expect: 100-continue (RuleContinue).
const Continue = "HTTP/1.1 100 Continue\r\n\r\n"

// LocalResponse is a response of tideover itself, mostly an error.
type LocalResponse struct {
	Status     int
	Cause      string        // plain text, one line: the body, unless there is a Page
	RetryAfter time.Duration // in whole seconds, rounded up; 0: no Retry-After
	Head       bool          // the request was HEAD: the same head without the body
	Minor      uint8         // Request.Minor; used only with KeepAlive
	KeepAlive  bool          // false: Connection: close
	Held       bool          // write Server-Timing: hold;dur=MS
	Hold       time.Duration // how long the request was held
	Date       time.Time     // zero: no Date field
	Page       []byte        // the app's own error page, instead of Cause
	PageType   string        // its media type; empty: text/html
}

// allowHeader is the value of Allow, which a 405 must have (RFC 9110 section 15.5.6).
const allowHeader = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"

// AppendLocalResponse appends the head and the body.
func AppendLocalResponse(dst []byte, r *LocalResponse) []byte {
	reason := reasonOf(r.Status)
	dst = append(dst, "HTTP/1.1 "...)
	dst = appendInt(dst, int64(r.Status))
	dst = append(dst, ' ')
	dst = append(dst, reason...)
	dst = append(dst, "\r\n"...)
	if !r.Date.IsZero() {
		dst = append(dst, "Date: "...)
		dst = r.Date.UTC().AppendFormat(dst, "Mon, 02 Jan 2006 15:04:05 GMT")
		dst = append(dst, "\r\n"...)
	}
	if r.RetryAfter > 0 {
		dst = append(dst, "Retry-After: "...)
		dst = appendInt(dst, int64((r.RetryAfter+time.Second-1)/time.Second))
		dst = append(dst, "\r\n"...)
	}
	if r.Status == 405 {
		dst = appendField(dst, "Allow", allowHeader)
	}
	dst = append(dst, "Cache-Control: no-store\r\n"...)
	if r.Held {
		dst = appendHold(dst, r.Hold)
	}
	return r.appendBody(dst, reason)
}

// appendBody appends the rest of the head, and the body.
func (r *LocalResponse) appendBody(dst []byte, reason string) []byte {
	mediaType := "text/plain; charset=utf-8"
	length := len("000 ") + len(reason) + len("\n") + len(r.Cause)
	if r.Cause != "" {
		length += len("\n")
	}
	if r.Page != nil {
		length, mediaType = len(r.Page), r.PageType
		if mediaType == "" {
			mediaType = "text/html"
		}
	}
	dst = appendField(dst, "Content-Type", mediaType)
	dst = appendFraming(dst, Body{Framing: Fixed, Length: int64(length)})
	dst = appendConnection(dst, r.Minor, r.KeepAlive)
	dst = append(dst, "\r\n"...)
	if r.Head {
		return dst
	}
	if r.Page != nil {
		return append(dst, r.Page...)
	}
	dst = strconv.AppendInt(dst, int64(r.Status), 10)
	dst = append(dst, ' ')
	dst = append(dst, reason...)
	dst = append(dst, '\n')
	if r.Cause != "" {
		dst = append(dst, r.Cause...)
		dst = append(dst, '\n')
	}
	return dst
}

// AppendError appends the response to a refused request: plain text with Connection: close, and no
// body for HEAD. r may be incomplete.
func AppendError(dst []byte, e *Error, r *Request) []byte {
	return AppendLocalResponse(dst, &LocalResponse{Status: e.Status, Cause: e.Cause, Head: r.Method == MethodHead})
}

// reasonOf returns the reason phrase of a status that tideover itself sends.
func reasonOf(status int) string {
	switch status {
	case 200:
		return "OK"
	case 400:
		return "Bad Request"
	case 405:
		return "Method Not Allowed"
	case 408:
		return "Request Timeout"
	case 413:
		return "Content Too Large"
	case 414:
		return "URI Too Long"
	case 417:
		return "Expectation Failed"
	case 431:
		return "Request Header Fields Too Large"
	case 501:
		return "Not Implemented"
	case 502:
		return "Bad Gateway"
	case 503:
		return "Service Unavailable"
	case 504:
		return "Gateway Timeout"
	case 505:
		return "HTTP Version Not Supported"
	}
	return "Error"
}
