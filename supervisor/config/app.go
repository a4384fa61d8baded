package config

import (
	"os"
	"strings"
	"syscall"
	"time"

	"tideover/supervisor/gunicorn"
	"tideover/supervisor/servers"
)

// ReloadMode says in which order a reload replaces a generation.
type ReloadMode string

const (
	Overlap ReloadMode = "overlap" // the new generation starts, then the old one stops
	Replace ReloadMode = "replace" // the old one stops first, requests are held meanwhile
)

// RelayNone is the value of the key relay with which no request is relayed.
const RelayNone = "none"

// What App.Revision can be beside a command.
const (
	RevisionAuto = "auto" // by the best evidence in the directory
	RevisionGit  = "git"  // the commit that is checked out
	RevisionDir  = "dir"  // the name of the directory, symlinks resolved
)

// RevisionIs reports whether the key revision is this word, and no command.
func (a *App) RevisionIs(word string) bool { return len(a.Revision) == 1 && a.Revision[0] == word }

// RestartPolicy says what happens when a process exits by itself.
type RestartPolicy string

const (
	RestartAlways    RestartPolicy = "always"
	RestartOnFailure RestartPolicy = "on-failure" // not after an exit code of App.ExitCodes
	RestartNever     RestartPolicy = "never"
)

// App is the settings of one app, with all defaults filled in. An App is never
// modified after it is loaded.
type App struct {
	Name    string
	Command []string
	Listen  []string // public addresses as package listener parses them, or "systemd:NAME"; empty: see Web

	// ListenFrom says where Listen comes from: "listen", one of the origins that
	// package gunicorn defines, or a variable. QueryGunicorn means that only gunicorn
	// knows its address: Listen is a guess until WithGunicornReport, and must not be
	// opened.
	ListenFrom    string
	QueryGunicorn bool
	Gunicorn      *gunicorn.Command // nil if the command does not run gunicorn
	Server        *servers.Command  // nil if the command runs no other known server, or has a placeholder
	// ReadsForwardedFor says that the command runs another server, perhaps with a placeholder, that
	// takes the address of a client from X-Forwarded-For.
	ReadsForwardedFor bool

	ListenMode os.FileMode // of unix sockets
	Directory  string      // absolute; a symlink is resolved at every start
	User       string      // empty: as the daemon
	Group      string      // empty: the user's
	Umask      *int        // nil: as the daemon
	Env        map[string]string
	EnvFile    []string // absolute; read at every start (see Environment); "-" in front: may be missing
	EnvClear   bool     // start from PATH, LANG, LC_*, TZ and TERM only
	EnvPass    []string // names that are inherited in spite of EnvClear or User

	Revision []string // RevisionAuto, RevisionGit, RevisionDir, or a command that prints it

	Relay     string        // "http" or "none"; see Web and Direct
	Reload    ReloadMode    // empty: see ReloadMode
	Upstream  string        // "auto", "unix" or "tcp"
	Buffering string        // "auto", "on" or "off"; see BuffersBodies
	Timeout   time.Duration // until the first byte of the response; 0: no limit
	Autostart bool
	Restart   RestartPolicy
	ExitCodes []int    // exit codes that are not a failure
	Instances int      // number of processes of a plain app; see Each
	Instance  int      // number of this instance, from 1; 0: there is only one
	After     []string // apps that start before and stop after this one
	Labels    []string // selectors that address several apps
	// SupervisorNames are the names of the processes to clients of supervisord; see Program.
	SupervisorNames []string

	Trusted []string // IP, CIDR or "unix": peers from which X-Forwarded-* pass untouched

	ListenProxyProtocol bool     // every connection to the public socket begins with a PROXY header
	ProxyProtocolFrom   []string // IP or CIDR: peers whose headers are believed; nil: Trusted

	HalfClose string   // "leave": a FIN after the request means that the client left; "serve": it is answered
	OnLeave   string   // "close": the connection to the app is closed when the client leaves; "finish": the app may finish
	Resend    []string // "safe": idempotent methods; "key": also requests with an Idempotency-Key; empty: none

	Underscores     string // header fields with an underscore in their name: "drop" or "pass"
	ConnectionNamed string // fields that Connection names beyond the hop-by-hop ones: "refuse" or "remove"

	Ready  Ready
	Live   Liveness
	Memory Memory
	Hold   Hold
	Agent  Agent
	Stop   Stop
	Drain  Drain
	Log    Log
	Watch  Watch
	Hooks  Hooks
	Limits Limits

	Nice        *int
	OOMScoreAdj *int
	NoNewPrivs  *bool // nil: see NoNewPrivileges

	explicit map[string]bool // the keys that the file or a flag sets, by Key.Path
	own      map[string]bool // of these, those that are not from [defaults]
	origin   *File           // nil: a command line
}

// Origin is the configuration that the app is from; nil: a command line.
func (a *App) Origin() *File { return a.origin }

// Listens reports whether the app has public sockets. Otherwise it is a plain process.
func (a *App) Listens() bool { return len(a.Listen) > 0 }

// Web reports whether requests are relayed to the app.
func (a *App) Web() bool { return a.Listens() && a.Relay != RelayNone }

// Direct reports whether the app's processes get the public sockets themselves.
func (a *App) Direct() bool { return a.Listens() && a.Relay == RelayNone }

// Argv returns the command that is executed, with its placeholders: the command, or the one that
// has its known server listen on the private socket.
func (a *App) Argv() []string {
	if a.Server == nil || !a.Listens() {
		return a.Command
	}
	if a.Direct() {
		if argv, err := a.Server.SharedArgv(strings.HasPrefix(a.Listen[0], "unix:")); err == nil {
			return argv
		}
		return a.Command
	}
	if argv := a.Server.Argv(a.UnixUpstream()); argv != nil {
		return argv
	}
	return a.Command
}

// TakesSocket reports whether the command is known to listen on its private socket: it runs
// gunicorn or another known server, or has a placeholder.
func (a *App) TakesSocket() bool {
	return a.Gunicorn != nil || a.Server != nil || len(Placeholders(a.Command)) > 0
}

// ReloadMode says how a reload replaces a generation: as the key says; if it is not set, a
// web app overlaps, also without a relay, and of a plain process there is one copy at a time,
// because two may do the same work twice, or need the same port.
func (a *App) ReloadMode() ReloadMode {
	switch {
	case a.Reload != "":
		return a.Reload
	case a.Listens():
		return Overlap
	}
	return Replace
}

// BuffersBodies reports whether a request reaches the app when its body is complete: as the key
// says; "auto": where a worker of gunicorn serves one connection at a time. Other servers may want
// to read a body while it comes, and serve others meanwhile.
func (a *App) BuffersBodies() bool {
	switch a.Buffering {
	case "on":
		return true
	case "off":
		return false
	}
	return a.Gunicorn != nil && a.Gunicorn.ServesOneAtATime()
}

// Ready says when a generation may serve.
type Ready struct {
	Path     string        // of the GET request; "/" if it is not set
	Explicit bool          // the key ready.path is set; otherwise any HTTP response counts at a first start
	Host     string        // Host header; empty: the listen address
	Status   Statuses      // status codes that count as ready
	Timeout  time.Duration // from the start of the process until it is ready
	Warm     []string      // paths fetched once each before the swap
	After    time.Duration // plain process: it is not ready before it has run for so long
	Notify   bool          // plain process: ready when it sends READY=1 (sd_notify)
	Command  []string      // plain process: ready when this command exits with 0
}

// Liveness says when a generation that answers nothing counts as dead.
type Liveness struct {
	Path     string        // of a periodic GET request; empty: none
	Interval time.Duration // 0: a generation never counts as dead
	Timeout  time.Duration // of one request; Interval if that is less
	Failures int           // in a row
}

// Memory bounds the memory of an app.
type Memory struct {
	Max      int64 // bytes of the whole tree; 0: no limit
	Interval time.Duration
	Pause    time.Duration // between two reloads for that reason
}

// Hold bounds the queue of held requests.
type Hold struct {
	Limit       int
	Timeout     time.Duration
	MaxFor      time.Duration // bounds the length of an operator's hold; 0: no limit
	Buffer      int64         // bytes of body kept for one request
	BufferTotal int64         // bytes of body kept for all of them
	Alive       string        // path that tideover answers itself and never holds; empty: none
	Page        string        // file sent as the body of tideover's own 503; empty: plain text
	PageText    []byte        // its content, added when the settings are taken into use; nil: plain text
	RetryAfter  time.Duration // of tideover's own 503
}

// Agent is where load balancers ask whether to send requests here.
type Agent struct {
	Listen string // HOST:PORT of HAProxy's agent-check; empty: none
}

// Stop says how a generation is stopped.
type Stop struct {
	Signal  syscall.Signal
	Timeout time.Duration // until the whole process tree is killed
	Tree    bool          // the signal is sent to every process, not only to the main one
}

// Drain bounds how long an old generation may finish its requests and tunnels.
type Drain struct {
	Timeout time.Duration
	Tunnels time.Duration
}

// Log says where the output of the app's processes goes.
type Log struct {
	File         string        // absolute; empty: no file
	MaxSize      int64         // bytes after which it is rotated; 0: never
	Every        time.Duration // age at which it is rotated; 0: never
	Backups      int
	MaxAge       time.Duration // after which rotated files are removed; 0: never
	Compress     bool
	Mode         os.FileMode
	Stdout       bool   // also to the daemon's own output, with a prefix
	Journal      bool   // also to the systemd journal
	Buffer       int64  // bytes kept in memory
	Access       string // which requests have a line in the access log: off, all, errors, slow, held
	AccessSlow   time.Duration
	AccessFormat string
	AccessFile   string // absolute; empty: among the output
	// MergeStderr shows clients of supervisord standard error in the log of standard output.
	MergeStderr bool
}

// Watch names files. A change of one causes a reload.
type Watch struct {
	Files    []string // absolute
	Debounce time.Duration
}

// Hooks are commands that run before or after operations, with TIDEOVER_* in their
// environment.
type Hooks struct {
	BeforeStart []string // if it fails, the start fails
	AfterReady  []string
	AfterReload []string
	OnFailure   []string
	Timeout     time.Duration
}

// Limits are those of the relay (413, 414, 431, 408) and of the process.
type Limits struct {
	Head     int64 // bytes of a request's head
	Target   int64 // bytes of a request line
	Field    int64 // bytes of a field line; 0: as Target, and 8190 at least
	Fields   int
	Body     int64         // bytes; 0: no limit
	HeadTime time.Duration // from a request's first byte to the end of its head
	BodyTime time.Duration // without a byte inside a body
	SendTime time.Duration // without a byte read by the client
	MinRate  int64         // bytes per second that a client must send or read; 0: no minimum
	MaxConns int           // client connections; 0: as the daemon
	Idle     time.Duration // of a public connection between requests
	Tunnel   time.Duration // of a tunnel without a byte either way; 0: no limit

	MinRateWorker int64 // MinRate for a body that a worker waits for; 0: as MinRate

	Nofile uint64 // 0: as the daemon
	Nproc  uint64 // 0: as the daemon
	Core   int64  // bytes; -1: as the daemon
}
