package config

import (
	"os"
	"syscall"
	"time"

	"tideover/supervisor/gunicorn"
)

// ReloadMode says how new code comes into service.
type ReloadMode string

const (
	Overlap ReloadMode = "overlap" // the new generation first, then the old one goes
	Replace ReloadMode = "replace" // the old one goes first, requests are held meanwhile
)

// RestartPolicy says what happens when a process ends by itself.
type RestartPolicy string

const (
	RestartAlways    RestartPolicy = "always"
	RestartOnFailure RestartPolicy = "on-failure" // not after an exit code of App.ExitCodes
	RestartNever     RestartPolicy = "never"
)

// App is the settings of one app, complete: defaults are filled in. It is a
// value nobody changes once it is loaded.
type App struct {
	Name    string
	Command []string
	Listen  []string // public addresses as package listener parses them, or "systemd:NAME"; empty: see Web

	// ListenFrom says where Listen comes from: "listen" or one of the origins that
	// package gunicorn defines. QueryGunicorn means that gunicorn has a
	// configuration file which may name another address: Listen is provisional
	// until WithGunicornReport.
	ListenFrom    string
	QueryGunicorn bool
	Gunicorn      *gunicorn.Command // nil if the command does not run gunicorn

	ListenMode os.FileMode // of unix sockets
	Directory  string      // absolute; may be a symlink, to be resolved anew at every start
	User       string      // empty: as the daemon
	Group      string      // empty: the user's
	Umask      *int        // nil: as the daemon
	Env        map[string]string
	EnvFile    []string // absolute; read anew at every start (see Environment); "-" in front: may be missing
	EnvClear   bool     // start from PATH, LANG, LC_*, TZ and TERM only
	EnvPass    []string // with EnvClear: names that are passed on nevertheless

	Reload    ReloadMode
	Upstream  string        // "auto", "unix" or "tcp"
	Timeout   time.Duration // to the child's first byte; 0: never
	Autostart bool
	Restart   RestartPolicy
	ExitCodes []int    // codes that mean done, and no failure
	Instances int      // of a plain process; see Each
	Instance  int      // which of them this one is, from 1; 0: the only one
	After     []string // names of apps that are started before and stopped after this one
	Labels    []string // names by which verbs may address several apps

	Trusted   []string // IP, CIDR or "unix": whose X-Forwarded-* pass untouched
	HalfClose string   // "leave": a FIN after the request means the client left; "serve": answer it
	OnLeave   string   // "close": the app's connection is closed when the client leaves; "finish": the app may finish
	Resend    []string // "safe": GET and other idempotent methods; "key": also with an Idempotency-Key; empty: nothing

	Underscores string // fields with an underscore in their name: "drop" or "pass"

	Ready  Ready
	Hold   Hold
	Stop   Stop
	Drain  Drain
	Log    Log
	Watch  Watch
	Hooks  Hooks
	Limits Limits

	Nice        *int
	OOMScoreAdj *int
	NoNewPrivs  bool
}

// Web reports whether requests are relayed to the app; otherwise it is a plain
// process.
func (a *App) Web() bool { return len(a.Listen) > 0 }

// Ready says when a generation may serve.
type Ready struct {
	Path     string        // GET; empty: "/", and then a first start takes any valid answer
	Explicit bool          // Path was written by the user
	Host     string        // Host header; empty: the listen address
	Status   Statuses      // answers that count
	Timeout  time.Duration // from the start of the process to the first answer that counts
	Warm     []string      // paths fetched once each before the swap
	After    time.Duration // plain process: alive for so long
	Notify   bool          // plain process: it says READY=1 by sd_notify
	Command  []string      // plain process: ready when this exits with 0
}

// Hold bounds the queue of requests that wait.
type Hold struct {
	Limit       int
	Timeout     time.Duration
	Buffer      int64         // bytes of body kept for one request
	BufferTotal int64         // bytes of body kept for all of them
	Alive       string        // path answered by tideover itself, never held; empty: off
	Page        string        // file sent as the body of tideover's own 503; empty: plain text
	RetryAfter  time.Duration // of tideover's own 503
}

// Stop says how a generation is ended.
type Stop struct {
	Signal  syscall.Signal
	Timeout time.Duration // then the whole tree is killed
	Tree    bool          // the signal goes to every process, not to the main one alone
}

// Drain bounds how long a generation may finish what it has.
type Drain struct {
	Timeout time.Duration
	Tunnels time.Duration
}

// Log says where the children's output goes.
type Log struct {
	File     string        // absolute; empty: no file
	MaxSize  int64         // bytes, then it is rotated; 0: never
	Every    time.Duration // age at which it is rotated; 0: never
	Backups  int
	MaxAge   time.Duration // of rotated files; 0: for ever
	Compress bool
	Mode     os.FileMode
	Stdout   bool  // also to the daemon's own output, prefixed
	Journal  bool  // also to the systemd journal
	Buffer   int64 // bytes kept in memory
}

// Watch names files that cause a reload when they are touched.
type Watch struct {
	Files    []string // absolute
	Debounce time.Duration
}

// Hooks are commands run before, after and beside what happens to an app, with
// TIDEOVER_* in their environment.
type Hooks struct {
	BeforeStart []string // failing, it fails the start
	AfterReady  []string
	AfterReload []string
	OnFailure   []string
	Timeout     time.Duration
}

// Limits are the relay's (413, 414, 431, 408) and the process's.
type Limits struct {
	Head     int64 // bytes of a request's head
	Target   int64 // bytes of a request line
	Fields   int
	Body     int64         // bytes; 0: no limit
	HeadTime time.Duration // from a request's first byte to the end of its head
	BodyTime time.Duration // silence within a body
	SendTime time.Duration // silence of a client that does not read
	MinRate  int64         // bytes a second that a client must send or take; 0: none
	Idle     time.Duration // of a public connection between requests
	Tunnel   time.Duration // silence of a tunnel; 0: for ever

	Nofile uint64 // 0: as the daemon
	Nproc  uint64 // 0: as the daemon
	Core   int64  // bytes; -1: as the daemon
}
