package proxy

import (
	"net/netip"
	"time"

	"github.com/hashicorp/go-hclog"

	"tideover/proxy/connlimit"
	"tideover/proxy/gate"
	"tideover/proxy/http1"
	"tideover/proxy/spool"
)

// Options make a server.
type Options struct {
	App      string // its name, for logs
	Gate     *gate.Gate
	Settings Settings
	Logger   hclog.Logger // nil: nothing is logged
	// Leaving is closed when the server is about to be closed: then health checks (HealthPath)
	// are answered 503, and everything else as before. nil: never.
	Leaving <-chan struct{}
	Spool   *spool.Spool       // shared by all servers; nil: none
	Limiter *connlimit.Limiter // of client connections, shared by all servers; nil: none
	Totals  *Totals            // to which the server counts; nil: its own
	// Panicked is called, from any goroutine, each time that a panic has cost a connection. It must
	// not block. nil: nothing is.
	Panicked func()
}

// Settings are what may be configured of a server, also while it runs. Zero values mean the
// default, where one is named.
type Settings struct {
	// Timeout is the time from the pass to the first byte of the response; then 504. 0: without
	// bound.
	Timeout time.Duration
	// Buffering says that a worker of the app serves one connection at a time, and must not wait
	// for a client: a request passes the gate when its body is complete, in memory or in the spool,
	// and a response is taken off the worker into the same places. What both do not take is streamed,
	// and a body that comes very fast.
	Buffering bool
	// Buffer is how many bytes of a body are kept in memory per request, so that it can be sent
	// again; a longer one is streamed, or goes to the spool. The same goes for a response whose client
	// is slow. 0: 64 KiB, <0: none.
	Buffer int64
	// BufferTotal is how many bytes are kept for all requests of the app together, heads of held
	// ones included; responses take half of that at most. 0: 64 MiB.
	BufferTotal int64
	// HealthPath is a path to which the server itself answers 200, or 503 when it is leaving. Its
	// requests are never held. Empty: none.
	HealthPath string
	// Draining has HealthPath answered with 503 as well: front-ends are to send new requests
	// elsewhere, and those that come are served.
	Draining bool

	// AllowHalfClose says that a client that has sent FIN still waits for its response; else it
	// counts as gone.
	AllowHalfClose bool
	// FinishOnDisconnect lets the app finish a request after its client has disconnected; else the
	// connection to the app is closed.
	FinishOnDisconnect bool
	// PanicOn is for tests: a request for PanicOn + POINT panics at that point: "head", "response",
	// "upload" or "tunnel". Empty: none does. No configuration sets it.
	PanicOn string

	// IdempotencyKey says that an Idempotency-Key field makes a request of any method safe to
	// resend.
	IdempotencyKey bool
	// NoResend says that no request is ever sent twice.
	NoResend bool
	// Trusted are the addresses of front-ends. Forwarding fields from there pass. nil: loopback and
	// unix peers. Empty, not nil: no peer with an address.
	Trusted []netip.Prefix
	// TrustUnix says that unix peers are trusted too, where Trusted is not nil.
	TrustUnix bool
	// ListenProxyProtocol says that every connection begins with a header of the PROXY protocol,
	// version 1 or 2; else it is closed. The address in the header becomes that of the client, for
	// Trusted, forwarding fields, logs and the app. Whether a connection has a header is settled when
	// it is accepted.
	ListenProxyProtocol bool
	// ProxyProtocolFrom are the addresses of load balancers: only their headers are believed, and
	// other connections are closed. nil: those that are trusted (Trusted, TrustUnix).
	ProxyProtocolFrom []netip.Prefix
	// PassUnderscores forwards fields with an underscore in the name; else they are dropped.
	PassUnderscores bool
	// RemoveNamed removes the fields of a request that its Connection names; else the request is
	// refused. Fields that are always hop-by-hop are removed in any case.
	RemoveNamed bool

	// Access says which requests have a line in the access log (Server.SetAccessLog), AccessSlow from
	// which duration on one is slow, and AccessFormat what the line has (accesslog.Parse); empty:
	// "combined".
	Access       Access
	AccessSlow   time.Duration
	AccessFormat string

	// RetryAfter is what a 503 says when too many requests are held, or one for too long. 0: 5 s.
	RetryAfter time.Duration
	// ErrorPage is the body of a 503, HTML where it begins with '<', else plain text. Empty: the
	// cause in words.
	ErrorPage []byte

	Limits Limits
	// MaxConnections is how many client connections the server has at most. Beyond, idle ones are
	// closed; without one, new ones wait in the backlog. 0: as many as Options.Limiter allows.
	MaxConnections int

	// HeadTimeout is the time from the first byte of a request to the end of its head; then 408. A
	// PROXY header has as long. 0: 10 s.
	HeadTimeout time.Duration
	// BodyTimeout is the longest time without a byte of an expected body; then 408. 0: 30 s.
	BodyTimeout time.Duration
	// WriteTimeout is after how long a client is disconnected that takes next to nothing. 0: 60 s.
	WriteTimeout time.Duration
	// IdleTimeout is how long a connection without a request is kept; longer than any front-end's
	// pool does. 0: 620 s.
	IdleTimeout time.Duration
	// TunnelTimeout is how long a tunnel is kept without a byte either way. 0: without bound.
	TunnelTimeout time.Duration
	// MinRate is how many bytes a second a client must send, beyond the first BodyTimeout, or take,
	// in each WriteTimeout. 0: 256, <0: none.
	MinRate int64
	// WorkerMinRate is the same, and MinRate at least, for the body of a request that has a worker
	// which serves one connection (Buffering): one that is streamed. Here a client may never be more
	// than BodyTimeout ahead of the rate. It is the same, too, for a response whose worker waits
	// because there is no room for it. 0: 1 KiB, <0: none.
	WorkerMinRate int64
}

// Limits bound what a client may send, in bytes where nothing else is said. Zero values mean the
// default.
type Limits struct {
	Head   int   // 32 KiB; beyond: 431
	Target int   // the request line, 8190; beyond: 414
	Field  int   // one field line, as Target and at least 8190; beyond: 431
	Fields int   // number of header fields, 100; beyond: 431
	Body   int64 // 0: no limit; beyond: 413
}

// loopback are the addresses of this machine's own clients.
var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

// withDefaults returns the settings with every default filled in.
func (s Settings) withDefaults() Settings {
	s.Buffer = max(0, orDefault(s.Buffer, 64<<10))
	s.BufferTotal = orDefault(s.BufferTotal, 64<<20)
	if s.Trusted == nil {
		s.Trusted, s.TrustUnix = loopback, true
	}
	s.RetryAfter = orDefault(s.RetryAfter, 5*time.Second)
	s.Limits.Head = orDefault(s.Limits.Head, 32<<10)
	s.Limits.Target = orDefault(s.Limits.Target, 8190)
	s.Limits.Fields = orDefault(s.Limits.Fields, 100)
	s.HeadTimeout = orDefault(s.HeadTimeout, 10*time.Second)
	s.BodyTimeout = orDefault(s.BodyTimeout, 30*time.Second)
	s.WriteTimeout = orDefault(s.WriteTimeout, 60*time.Second)
	s.IdleTimeout = orDefault(s.IdleTimeout, 620*time.Second)
	s.MinRate = max(0, orDefault(s.MinRate, 256))
	s.WorkerMinRate = max(0, orDefault(s.WorkerMinRate, 1<<10))
	return s
}

func orDefault[T comparable](value, byDefault T) T {
	var zero T
	if value == zero {
		return byDefault
	}
	return value
}

// finCounts reports whether a client that has sent FIN is gone.
func (s *Settings) finCounts() bool { return !s.AllowHalfClose }

// idempotent reports whether a request may reach the app twice.
func (s *Settings) idempotent(r *http1.Request) bool {
	return r.Method.Idempotent() || r.IdempotencyKey && s.IdempotencyKey
}

// isHealthCheck reports whether a request is for the server itself.
func (s *Settings) isHealthCheck(r *http1.Request) bool {
	return string(r.Path()) == s.HealthPath && (r.Method == http1.MethodGet || r.Method == http1.MethodHead)
}
