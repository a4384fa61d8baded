package proxy

import (
	"net/netip"
	"time"

	"github.com/hashicorp/go-hclog"

	"tideover/proxy/gate"
)

// Settings are what may be configured of a server. Zero values mean the default named, where one is named.
type Settings struct {
	Timeout     time.Duration // from the pass to the first byte of the answer; then 504. 0: for ever
	Buffer      int64         // bytes of body kept per request, so that it can be sent again; larger ones are streamed. 0: 64 KiB, <0: none
	BufferTotal int64         // bytes kept for all requests of the app together, heads of held ones included. 0: 64 MiB
	Alive       string        // a path answered 200 by the server itself and never held; empty: none

	ServeHalfClosed bool           // a client that shuts its writing side down still waits for the answer; else it has left
	KeepWorking     bool           // let the app finish a request whose client has left; else its connection is closed
	IdempotencyKey  bool           // an Idempotency-Key field makes any method resendable
	NoResend        bool           // never send a request twice, whatever is known about it
	Trusted         []netip.Prefix // front-ends whose forwarding fields pass; nil: loopback and unix peers. Empty, not nil: none of those with an address
	TrustUnix       bool           // beside Trusted, where that is not nil: unix peers, too
	PassUnderscores bool           // forward fields with an underscore in the name; else they are dropped

	RetryAfter time.Duration // what a 503 of ours says when too many or too long are held. 0: 5 s
	Page       []byte        // the body of a 503 of ours, HTML where it begins with '<', else plain text; empty: the cause in words

	Limits Limits

	HeadTimeout   time.Duration // from a request's first byte to the end of its head; then 408. 0: 10 s
	BodyTimeout   time.Duration // without a byte of an expected body; then 408. 0: 30 s
	WriteTimeout  time.Duration // a client that takes next to nothing for so long is cut. 0: 60 s
	IdleTimeout   time.Duration // between requests on a connection; longer than any front-end's pool. 0: 620 s
	TunnelTimeout time.Duration // a tunnel without a byte either way. 0: for ever
	MinRate       int64         // bytes a second that a client we wait for must send (beyond the first BodyTimeout) or take (in any WriteTimeout). 0: 256, <0: none
}

// Limits are the relay's own, in bytes where nothing else is said; zero values mean the default.
type Limits struct {
	Head   int   // 32 KiB; beyond: 431
	Target int   // the request line, 8190; beyond: 414
	Fields int   // number of header fields, 100; beyond: 431
	Body   int64 // 0: no limit; beyond: 413
}

// Options make a server.
type Options struct {
	App      string // its name, for logs
	Gate     *gate.Gate
	Settings Settings
	Logger   hclog.Logger // nil: nothing is logged
}

func (s Settings) resolved() Settings {
	s.Buffer = max(0, orDefault(s.Buffer, 64<<10))
	s.BufferTotal = orDefault(s.BufferTotal, 64<<20)
	s.RetryAfter = orDefault(s.RetryAfter, 5*time.Second)
	s.Limits.Head = orDefault(s.Limits.Head, 32<<10)
	s.Limits.Target = orDefault(s.Limits.Target, 8190)
	s.Limits.Fields = orDefault(s.Limits.Fields, 100)
	s.HeadTimeout = orDefault(s.HeadTimeout, 10*time.Second)
	s.BodyTimeout = orDefault(s.BodyTimeout, 30*time.Second)
	s.WriteTimeout = orDefault(s.WriteTimeout, 60*time.Second)
	s.IdleTimeout = orDefault(s.IdleTimeout, 620*time.Second)
	s.MinRate = max(0, orDefault(s.MinRate, 256))
	return s
}

func orDefault[T comparable](value, byDefault T) T {
	var zero T
	if value == zero {
		return byDefault
	}
	return value
}
