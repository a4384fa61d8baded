package proxy

import (
	"errors"
	"os"
	"time"

	"tideover/proxy/http1"
)

// Faults of a client that only a clock or a setting can see.
var (
	errHeadSlow  = &http1.Error{Status: 408, Rule: "head", Cause: "the request's head took too long"}
	errBodySlow  = &http1.Error{Status: 408, Rule: "body", Cause: "the request's body came too slowly"}
	errBodyLarge = &http1.Error{Status: 413, Rule: "body", Cause: "the request's body is too large"}
)

// isFault reports whether a body could not be read for a fault of the client's that has an answer.
func isFault(err error) bool {
	var fault *http1.Error
	return errors.As(err, &fault) || errors.Is(err, os.ErrDeadlineExceeded)
}

// reject answers a request that is at fault itself, and gives the connection up.
func (x *exchange) reject(fault *http1.Error) {
	x.keepAlive = false
	x.end(badRequest)
	x.log(fault.Status, fault.Error())
	x.client.write(http1.AppendError(nil, fault, &x.request), x.set.WriteTimeout)
	if fault.Status == 413 {
		x.body.drain(afterAnswer)
		return
	}
	x.body.linger(afterNonsense)
}

// refuse answers a sound request with an error of ours. The connection goes on where the request's body was read.
func (x *exchange) refuse(e ending, status int, retryAfter time.Duration, cause string) {
	unread := !x.body.over()
	if unread || x.server.lame.Load() {
		x.keepAlive = false
	}
	x.end(e)
	x.log(status, cause)
	answer := http1.Answer{Status: status, Cause: cause, RetryAfter: retryAfter, Head: x.request.Method == http1.MethodHead,
		Minor: x.request.Minor, KeepAlive: x.keepAlive, Held: x.held, Hold: x.waited, Date: time.Now()}
	if status == 503 && len(x.set.Page) > 0 {
		answer.Page, answer.PageType = x.set.Page, pageType(x.set.Page)
	}
	if _, err := x.client.write(http1.AppendAnswer(nil, &answer), x.set.WriteTimeout); err != nil {
		x.keepAlive = false
		return
	}
	if unread {
		x.body.drain(afterAnswer)
	}
}

// pageType is the media type of an app's own page.
func pageType(page []byte) string {
	if page[0] == '<' {
		return "text/html"
	}
	return "text/plain; charset=utf-8"
}

// isAlive reports whether a request is a front-end's question whether we are there.
func (s *Settings) isAlive(r *http1.Request) bool {
	return string(r.Path()) == s.Alive && (r.Method == http1.MethodGet || r.Method == http1.MethodHead)
}

// answerAlive answers it: whatever the app does, a request would be answered or held.
func (x *exchange) answerAlive() bool {
	x.keepAlive = x.keepAlive && x.request.Body.Empty()
	x.end(answered)
	answer := http1.Answer{Status: 200, Cause: "alive", Head: x.request.Method == http1.MethodHead, Minor: x.request.Minor,
		KeepAlive: x.keepAlive, Date: time.Now()}
	x.client.write(http1.AppendAnswer(nil, &answer), x.set.WriteTimeout)
	return x.keepAlive
}
