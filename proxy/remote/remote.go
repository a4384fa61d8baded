package remote

import (
	"context"
	"errors"
	"io"
	"os"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"

	"tideover/proxy"
	"tideover/proxy/gate"
)

// ErrEnded is the error of a call when the relay has ended, or does not answer and is being ended.
var ErrEnded = errors.New("the relay has ended")

// Settings are what the configuration says of a whole relay.
type Settings struct {
	LogLevel       hclog.Level `json:"log_level,omitempty"` // of a relay with a log of its own
	SpoolDir       string      `json:"spool_dir"`
	SpoolLimit     int64       `json:"spool_limit"`
	MaxConnections int         `json:"max_connections,omitempty"` // of clients; 0: as many as the descriptors allow
	Apps           int         `json:"apps"`                      // for which descriptors are reserved
}

// A Relay accepts connections, holds requests and relays them, for all apps of a daemon. All methods
// may be called from any goroutine. A context bounds the wait for the answer: what was sent is
// carried out all the same.
type Relay interface {
	// Configure changes the settings of the whole relay. It can be sent again.
	Configure(ctx context.Context, s Settings) error
	// Set makes s the desired state of an app, in one step under the lock of its gate. An app that
	// the relay does not have is made. The target that s replaces is retired in the same step: its
	// idle connections are closed, and its requests in flight go on. Set blocks on nothing but the
	// relay's answer.
	Set(ctx context.Context, s Set) (Applied, error)
	// Remove ends an app: idle connections are closed, requests under way are cut after 5 s. It
	// returns when no connection is left, with the final totals. The doors of the app must have been
	// shut.
	Remove(ctx context.Context, app AppID) (Counters, error)

	// Announce says that the daemon is to end: health checks are answered 503, everything else as
	// before. It cannot be taken back.
	Announce(ctx context.Context) error
	// End returns when nothing of the relay is left, or ctx has ended. Every app must have been removed.
	End(ctx context.Context) error

	// Open accepts connections for an app from a listening socket until Shut. A door that is open
	// already moves to the app; what arrives meanwhile waits in its backlog. The error says that the
	// socket is none to accept from, that the app is not set, or ErrEnded. What fails later is logged.
	Open(ctx context.Context, d Door) error
	// Shut ends Open and returns when nothing more is accepted. What was accepted is relayed. An
	// unknown door is no error.
	Shut(ctx context.Context, door uint64) error

	// Mark begins to count the requests of an app that are held from now on. Since must be called
	// with End to end that.
	Mark(ctx context.Context, app AppID) (Mark, error)
	// Since returns what was counted since a mark. It has no error: after the death of the relay, or
	// with a mark that it does not know, the result is partial.
	Since(ctx context.Context, s Since) Held

	// Await returns nil once what a is about has come true, or the relay has ended, or does not know
	// the app or the generation. Else it returns the error of ctx, and the relay forgets a. It is the
	// only call that may block for long.
	Await(ctx context.Context, a Await) error
	// Cut ends connections at once. Unknown ones are no error.
	Cut(ctx context.Context, c Cut) error
	// Reclaim has the relay accept what waits in the backlog of a generation's private socket, again
	// and again, while workers of the generation may accept, too: they will not get to it, or are not to.
	// Those requests are sent to the next generation. The relay begins that by itself when
	// Target.Main has exited. Requests must be held, or have another target.
	Reclaim(ctx context.Context, r Reclaim) error
	// Gone says that no process of a generation exists. What waits in the backlog of its private
	// socket is accepted for the last time, all its connections are closed, and requests without a
	// response go back to the gate, where they may be sent again. It returns how many connections were
	// accepted from the backlog in all. The answer comes when the target counts as abandoned; a request
	// of it may be in flight for a moment yet.
	Gone(ctx context.Context, id ID) (reclaimed int, err error)
	// Prove says under which proof the relay may connect to the app's own listening socket. It has no
	// effect on a target that is not set, or needs no proof.
	Prove(ctx context.Context, p Proof) error

	// Probe sends one GET to an address from the relay's process, on a connection of its own, and
	// returns the beginning of the answer. The error is that of ctx or ErrEnded; how else the request
	// has failed is part of the answer.
	Probe(ctx context.Context, p Probe) (ProbeAnswer, error)

	// Turn returns nil when every event loop that accepts has run a task. The error says which does
	// not.
	Turn(ctx context.Context) error

	// State, Counters and Metrics read memory that both sides share: they ask no process, block on nothing and
	// stay readable after the death of the relay. An app or a generation that is not known has zeros.
	State(app AppID) State
	Clients() Clients
	Counters(app AppID) Counters
	Metrics(app AppID) Metrics
	Use(id ID) Use
	// Heard reports whether the app has sent a byte of a response on a connection of this generation
	// since the last call.
	Heard(id ID) bool

	// SetProver names the supervisor's side of the proofs of a generation; nil removes it. It is no
	// message.
	SetProver(id ID, p Prover)
}

// A Prover is the supervisor's side of the proofs of one generation. The relay calls it, from any
// goroutine.
type Prover interface {
	// Lost says that a connect has failed under the proof, or has reached another socket: the target
	// is suspended until the next Prove. It must not block. It may be called again for the same proof.
	Lost(proof uint64)
	// Holds reports whether the listening socket of the proof is still open. It is called after each
	// connect where Proof.Verify is set, and the connection is used only if it returns true. It does
	// not wait. Without a supervisor that answers the relay takes true for granted.
	Holds(proof uint64) bool
}

// AppID names an app. The supervisor gives each app that it makes another number, from 1 on: while an
// app is replaced there are two of one name.
type AppID uint64

// ID names one generation of an app.
type ID struct {
	App        AppID `json:"app"`
	Generation int   `json:"generation"`
}

// Set is the desired state of an app.
type Set struct {
	App     AppID  `json:"app"`
	Name    string `json:"name"`    // for logs
	Version uint64 `json:"version"` // grows with each Set of the app, over restarts of the supervisor too
	// Target is nil where no generation is ready: requests are held. A target with the number of the
	// present one changes nothing of it: it is the same.
	Target   *Target       `json:"target,omitempty"`
	Holds    []Hold        `json:"holds,omitempty"`   // in the order in which they began
	Refusal  *Refusal      `json:"refusal,omitempty"` // nil: nothing is refused
	Gate     GateSettings  `json:"gate"`
	Settings ProxySettings `json:"settings"`
	// Access is the pipe for the lines of the access log; the zero value: they are dropped.
	Access AccessPipe `json:"access,omitzero"`
	// Last makes every response the last one of its connection, because the app's listeners go to
	// another process or end. It cannot be taken back.
	Last bool `json:"last,omitempty"`
}

// An AccessPipe is a pipe for the lines of an access log.
type AccessPipe struct {
	// Number is that of the pipe; 0: there is none. Another number than in the Set before replaces the
	// pipe, when its last lines are written.
	Number uint64 `json:"number"`
	// File is the write end, which must be non-blocking. It stays the caller's.
	File *os.File `json:"-"`
}

// Applied is the answer to a Set.
type Applied struct {
	Version uint64 `json:"version"` // the one in force: a later one, if the Set was older
	// Former is the generation whose target was replaced in this step, and InFlight the number of its
	// requests in flight; 0: none was.
	Former   int `json:"former,omitempty"`
	InFlight int `json:"in_flight,omitempty"`
}

// A Target is one generation as the relay is to see it. It does not change.
type Target struct {
	Generation  int         `json:"generation"`
	Name        string      `json:"name"` // "shop#12"; for logs
	Network     string      `json:"network"`
	Address     string      `json:"address"`
	Concurrency int         `json:"concurrency,omitempty"`
	Bounded     bool        `json:"bounded,omitempty"`
	Marker      []byte      `json:"marker,omitempty"`
	DefaultHost string      `json:"default_host,omitempty"`
	Peer        PeerPassing `json:"peer,omitempty"`
	OneRequest  bool        `json:"one_request,omitempty"`
	HalfClose   bool        `json:"half_close,omitempty"`
	// Main is a pidfd of the main process that can be polled (PIDFD_NONBLOCK): when the process has
	// exited, the target is replaced by none without a Set, and its backlog reclaimed. nil: the
	// relay does not see that.
	Main *os.File `json:"-"`
	// Socket is the listening socket at Address; nil: the app opens it itself. Both must stay open
	// until a Set without the target has returned.
	Socket *os.File `json:"-"`
	// NeedsProof says that the app opens its listening socket itself: the target is suspended, and
	// requests are held, until the first Prove.
	NeedsProof bool `json:"needs_proof,omitempty"`
}

// A Proof says that the app's own processes listen at the address of a generation.
type Proof struct {
	ID
	// Number is that of the proof; those of one generation grow, from 1 on. A number that is not above
	// the last one has no effect.
	Number uint64 `json:"number"`
	// Void takes the proof of this number back: the target is suspended until the next one.
	Void bool `json:"void,omitempty"`
	// Verify says that Prover.Holds is asked after each connect.
	Verify bool `json:"verify,omitempty"`
}

// A Socket is an open descriptor, such as a listener.Descriptor.
type Socket interface {
	syscall.Conn
	io.Closer
}

// A Door is a listening socket from which the relay accepts.
type Door struct {
	Door    uint64 `json:"door"` // number, for the life of the supervisor; not 0
	App     AppID  `json:"app"`
	Address string `json:"address"` // as the configuration has it; for logs
	Socket  Socket `json:"-"`
}

// Mark names the beginning of a count of held requests. It is valid in one relay only.
type Mark struct {
	App    AppID  `json:"app"`
	Epoch  uint64 `json:"epoch"` // of the relay
	Number uint64 `json:"number"`
}

// Since asks for the count since a mark, and ends it.
type Since struct {
	Mark
	End bool `json:"end,omitempty"`
}

// Held is how many requests began to be held, and the longest that any of them was held.
type Held struct {
	Held    int           `json:"held"`
	Longest time.Duration `json:"longest"`
	Partial bool          `json:"partial,omitempty"` // a relay has died, or was replaced, meanwhile
}

// An Await asks for an answer once something has come true.
type Await struct {
	ID
	What Event `json:"what"`
}

// An Event is what an Await waits for.
type Event uint8

const (
	// Finished: no request of the generation is in flight. Tunnels are not among them.
	Finished Event = iota + 1
	// TunnelsClosed: no tunnel of the generation is left.
	TunnelsClosed
	// Asked: the app has something to answer. A request of the generation is in flight, or is held
	// because its target is suspended.
	Asked
	// Disconnected: no client's connection is left. Of the app; Generation is 0.
	Disconnected
	// Sent: no response is left that is sent from memory or the spool after its app has finished it.
	// Of the app.
	Sent
)

// A Cut ends connections.
type Cut struct {
	ID
	What Connections `json:"what"`
}

// Connections are those that a Cut ends.
type Connections uint8

const (
	Tunnels  Connections = iota + 1 // of the generation
	Requests                        // all requests under way of an app; Generation is 0. For a Remove that waits
	// Idle are those of an app without a request, from now on; Generation is 0. A request that has
	// arrived is answered first. The doors of the app must have been shut for good.
	Idle
)

// Reclaim begins or ends the reclaiming of a backlog.
type Reclaim struct {
	ID
	Exited bool `json:"exited,omitempty"` // the main process has: its workers need no blocking accept(2)
	End    bool `json:"end,omitempty"`
}

// A Probe is one GET to a generation.
type Probe struct {
	ID
	Network string `json:"network"`
	Address string `json:"address"`
	Line    string `json:"line,omitempty"` // of the PROXY protocol, before the request; empty: none
	TLS     bool   `json:"tls,omitempty"`  // any certificate will do
	Host    string `json:"host"`
	Path    string `json:"path"`
	// Proof is that of the address; 0: none is needed. Verify is as in Proof.
	Proof  uint64 `json:"proof,omitempty"`
	Verify bool   `json:"verify,omitempty"`
	// UserAgent is the field of that name.
	UserAgent string `json:"user_agent"`
}

// ProbeAnswer is what came back.
type ProbeAnswer struct {
	Status      int          `json:"status"` // 0: no answer
	Line        string       `json:"line,omitempty"`
	ContentType string       `json:"content_type,omitempty"`
	Body        []byte       `json:"body,omitempty"` // at most 512 bytes of it
	Failure     ProbeFailure `json:"failure,omitempty"`
	Error       string       `json:"error,omitempty"` // why there is no answer, in words
}

// ProbeFailure is why a Probe has no answer.
type ProbeFailure uint8

const (
	ProbeOther    ProbeFailure = iota + 1
	ProbeRefused               // nothing listens at the address, or not the socket of the proof
	ProbeTLSAlert              // the server has ended the handshake by an alert
	ProbeClosed                // the connection was opened, and ended without an answer
	ProbeTimeout               // the time was over; connected or not
)

// An Admission gives an app idle connections of another relay. Over a boundary the FD of each is an
// index into the descriptors that travel beside the message.
type Admission struct {
	App         AppID        `json:"app"`
	Connections []Connection `json:"connections"`
}

// State is what an app is in the middle of.
type State struct {
	Held        int           // requests in the queue
	Oldest      time.Duration // for how long the oldest of them is held; 0 when none is
	Connections int           // of clients
	Sending     int           // responses that are sent from memory or the spool after the app has finished them
}

// Clients are the client connections of all apps.
type Clients struct {
	Open  int
	Limit int // as many there may be; 0: without bound
}

// Use is what a generation is in use for.
type Use struct {
	InFlight int // requests
	Tunnels  int
}

// What both sides mean by the same words.
type (
	Hold          = gate.Hold // it ends by itself also where no supervisor is there
	Refusal       = gate.Refusal
	GateSettings  = gate.Settings
	ProxySettings = proxy.Settings
	Limits        = proxy.Limits
	Access        = proxy.Access
	Counters      = proxy.Counters
	Metrics       = proxy.Metrics
	Histogram     = proxy.Histogram
	Connection    = proxy.Connection
	PeerPassing   = gate.PeerPassing
)

// How the app learns the address of a client.
const (
	PeerInFields        = gate.PeerInFields
	PeerProxyLine       = gate.PeerProxyLine
	PeerOneForwardedFor = gate.PeerOneForwardedFor
)
