package proxy

import (
	"time"

	"tideover/proxy/gate"
	"tideover/proxy/http1"
)

// deny answers a request that got no pass. The zero Decision means that its client is gone.
func (b *blockingClient) deny(d gate.Decision) (keep bool) {
	x := b.exchange
	switch d.Outcome {
	case gate.Expired:
		b.refuse(expired, 503, x.settings.RetryAfter, "held for as long as a request may wait (hold.timeout): "+d.Refusal.Cause)
	case gate.Overflowed:
		b.refuse(overflowed, 503, x.settings.RetryAfter, "too many requests are waiting already")
	case gate.Refused:
		b.refuse(refused, orDefault(d.Refusal.Status, 503), d.Refusal.RetryAfter, d.Refusal.Cause)
	default:
		if !x.ended {
			x.clientGone(time.Now())
		}
	}
	return x.keepAlive
}

// reject answers a request that is at fault itself, and gives its connection up.
func (b *blockingClient) reject(fault *http1.Error) {
	x := b.exchange
	x.keepAlive = false
	x.fail(badRequest, fault.Status)
	x.logError(fault.Status, fault.Error())
	b.conn.write(http1.AppendError(nil, fault, &x.request), x.settings.WriteTimeout)
	if fault.Status == 413 {
		x.body.drain(&b.conn, drainAfterResponse)
		return
	}
	x.body.linger(&b.conn, drainAfterError)
}

// refuse ends a valid request with an error response.
func (b *blockingClient) refuse(o outcome, status int, retryAfter time.Duration, cause string) {
	b.exchange.fail(o, status)
	b.writeError(status, retryAfter, cause)
}

// writeError answers a request that has ended with an error response. The connection goes on where
// the request's body was read.
func (b *blockingClient) writeError(status int, retryAfter time.Duration, cause string) {
	x := b.exchange
	unread := !x.body.done()
	if unread || x.app.noKeepAlive.Load() {
		x.keepAlive = false
	}
	x.logError(status, cause)
	answer := x.answer(status, cause)
	answer.RetryAfter, answer.Held, answer.Hold = retryAfter, x.held, x.waited
	if page := x.settings.ErrorPage; status == 503 && len(page) > 0 {
		answer.Page, answer.PageType = page, pageType(page)
	}
	if _, err := b.conn.write(http1.AppendLocalResponse(nil, &answer), x.settings.WriteTimeout); err != nil {
		x.keepAlive = false
		return
	}
	if unread {
		x.body.drain(&b.conn, drainAfterResponse)
	}
}

// unhealthy is why front-ends are to send nothing new; empty: they may.
func (x *exchange) unhealthy() string {
	select {
	case <-x.app.leaving:
		return "the service is shutting down"
	default:
	}
	if x.settings.Draining {
		return "the service is drained"
	}
	return ""
}

// answerHealthCheck answers a front-end's question whether the server is there. A request would be
// held, and not refused, even while the app is down. A server that is leaving or drained says so by 503.
func (b *blockingClient) answerHealthCheck() (keep bool) {
	x := b.exchange
	x.keepAlive = x.keepAlive && x.request.Body.Empty()
	answer := x.answer(200, "alive")
	if cause := x.unhealthy(); cause != "" {
		answer = x.answer(503, cause)
		x.logError(answer.Status, answer.Cause)
	}
	x.fail(answered, answer.Status)
	b.conn.write(http1.AppendLocalResponse(nil, &answer), x.settings.WriteTimeout)
	return x.keepAlive
}

// answer is a response of the server's own.
func (x *exchange) answer(status int, cause string) http1.LocalResponse {
	return http1.LocalResponse{Status: status, Cause: cause, Head: x.request.Method == http1.MethodHead, Minor: x.request.Minor,
		KeepAlive: x.keepAlive, Date: time.Now()}
}

// pageType is the media type of an app's own error page.
func pageType(page []byte) string {
	if page[0] == '<' {
		return "text/html"
	}
	return "text/plain; charset=utf-8"
}
