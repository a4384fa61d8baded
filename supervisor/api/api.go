package api

import (
	"strconv"
	"time"
)

// Verb names an operation on one app.
type Verb string

const (
	Reload  Verb = "reload"  // new generation first, swap when it answers, then drain and stop the old
	Restart Verb = "restart" // stop the old, hold meanwhile, start the new, release when it answers
	Start   Verb = "start"   // by the operator's wish; already running is fine
	Stop    Verb = "stop"    // drain, stop; the socket stays open and answers 503

	Rollback Verb = "rollback" // the symlink of the release leads to the one before, then as Reload
)

// Renews reports whether the operation puts another generation into the place of the one that serves.
func (v Verb) Renews() bool { return v == Reload || v == Restart || v == Rollback }

// Request asks for one operation on one app.
type Request struct {
	Verb Verb   `json:"verb"`
	App  string `json:"app"` // may be empty when there is one app
	// ID is chosen by the client, random and of at most 64 characters. A second request with it asks for
	// the same operation, when the connection of the first one has ended, and begins none.
	ID string `json:"id,omitempty"`
	// Known begins nothing: the operation with the ID is waited for. If there is none the result is Unknown.
	Known   bool `json:"known,omitempty"`
	NoQueue bool `json:"no_queue,omitempty"`
	NoWait  bool `json:"no_wait,omitempty"` // it is carried out although the caller leaves the queue
	DryRun  bool `json:"dry_run,omitempty"` // reload and rollback: say what would happen
	// Revision is the word for what is deployed; empty: as the app's settings say.
	Revision string `json:"revision,omitempty"`
	// WaitDrain, of a reload, waits until the old generation has finished its requests and
	// is gone. A lost request is then an error. Else the result comes at the swap.
	WaitDrain bool `json:"wait_drain,omitempty"`
	// Unrecorded, of a stop, is not kept over a restart of the daemon.
	Unrecorded bool `json:"unrecorded,omitempty"`
	// AwaitStart, of a stop, holds requests for hold.timeout before they are refused, so that a start
	// within that time makes it a restart: for clients of supervisord, whose restart is a stop and a
	// start.
	AwaitStart bool `json:"await_start,omitempty"`
	// Command, of a reload for a rollout of a fleet, runs before it, as a hook of the app does.
	Command []string `json:"command,omitempty"`
	// Attached, of a reload or restart, keeps the body of the request open. Its end withdraws the
	// request: it is given up, unless the old generation is being stopped or a new one started.
	Attached bool   `json:"attached,omitempty"`
	By       Caller `json:"by,omitzero"` // for the log and the history
	Cause    string `json:"-"`           // why the daemon itself asks for it, in words
	// Withdrawn is closed when an attached request is withdrawn; nil: it is not attached.
	Withdrawn <-chan struct{} `json:"-"`
	// Applied, of a start, says that the settings are those of an apply: the file may have changed since.
	Applied bool `json:"-"`
	// InTurn says that the request is a part of a turn of this host in its fleet, and waits for none.
	InTurn bool `json:"-"`
}

// GivenUp is the word of Result.Result for an operation whose request was withdrawn in time: nothing
// was done.
const GivenUp = "given up"

// Unknown is the word of Result.Result where no operation with the ID is known.
const Unknown = "unknown"

// Attr is one key=value pair of a phase. Attributes are printed in their order.
type Attr struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// String returns an Attr for a string value.
func String(key, value string) Attr { return Attr{Key: key, Value: value} }

// Int returns an Attr for a number.
func Int(key string, value int) Attr { return Attr{Key: key, Value: strconv.Itoa(value)} }

// Phase is one step of an operation, reported when it begins (Result empty)
// and again when it ends.
type Phase struct {
	App      string        `json:"app"`
	Verb     Verb          `json:"verb"`
	From     int           `json:"from"` // generation that served before, 0: none
	To       int           `json:"to"`   // generation being started, 0: none yet
	Name     string        `json:"name"` // queue (behind another operation), command (of a rollout), link (of a rollback), hook, start, ready, swap, drain, stop (of a plain process), hold, release, done
	Result   string        `json:"result,omitempty"`
	Duration time.Duration `json:"-"` // package control sends it in seconds
	Attrs    []Attr        `json:"facts,omitempty"`
	Plain    bool          `json:"plain,omitempty"` // of a plain process
}

// PhaseResult is a finished phase as Result lists it.
type PhaseResult struct {
	Name     string  `json:"name"`
	Result   string  `json:"result"` // ok, failed
	Duration float64 `json:"duration_s"`
}

// GenerationPair names the generation before and after an operation; 0 is none.
type GenerationPair struct {
	From int `json:"from"`
	To   int `json:"to"`
}

// RequestCounts is what an operation meant for clients.
type RequestCounts struct {
	Held    int     `json:"held"`       // requests that waited at the gate
	HeldMax float64 `json:"held_max_s"` // the longest of those waits
	Lost    int     `json:"lost"`       // ended by tideover's own 502, 503 or 504, or cut
}

// Drain is what became of the generation that a reload has replaced.
type Drain struct {
	Generation int     `json:"generation"`
	Result     string  `json:"result"`     // running; ok: no process of it is left
	InFlight   int     `json:"in_flight"`  // requests that it had at the swap
	Reclaimed  int     `json:"reclaimed"`  // of those, the ones that no worker had accepted: the new generation got them
	Cut        int     `json:"cut"`        // of those, the ones still in flight when it was stopped
	Duration   float64 `json:"duration_s"` // 0 while it runs
}

// Result is how an operation ended. Its JSON is fixed by the interface; keys
// may be added, never changed.
type Result struct {
	App         string         `json:"app"`
	Verb        Verb           `json:"verb"`
	Result      string         `json:"result"` // ok, kept old, down, failed, dry run, given up (withdrawn), lost requests (with WaitDrain)
	Exit        Exit           `json:"exit"`
	Generation  GenerationPair `json:"generation"`
	Revision    RevisionPair   `json:"revision,omitzero"` // of these generations
	Phases      []PhaseResult  `json:"phases"`
	Requests    RequestCounts  `json:"requests"` // until it ended; of a reload in status, until the drain ended
	Drain       *Drain         `json:"drain,omitempty"`
	Plain       bool           `json:"plain,omitempty"` // of a plain process: Requests is zero
	Cause       string         `json:"cause,omitempty"` // why the daemon itself has asked for it
	Error       string         `json:"error,omitempty"` // what went wrong, in a sentence
	Hint        string         `json:"hint,omitempty"`  // what to do, what endangers what still serves
	Probe       string         `json:"probe,omitempty"` // the readiness probe's last answer
	ChildOutput []string       `json:"child_output"`    // last lines of the new generation, when it failed
	Warnings    []string       `json:"warnings,omitempty"`
	Duration    float64        `json:"duration_s"`
	Ended       time.Time      `json:"ended"`
	Plan        []string       `json:"plan,omitempty"` // dry run: what would happen, a sentence each
}

// ListenRequest asks to open the public addresses of an app that has none open yet.
type ListenRequest struct {
	App string `json:"app"`
	// Pid is a process that listens on them: its sockets are duplicated, so that no connection
	// is lost. 0: they are bound.
	Pid int `json:"pid,omitempty"`
	// For is how long an address may still be in use.
	For time.Duration `json:"-"` // package control sends it in seconds
}

// HoldRequest asks to hold one app's requests.
type HoldRequest struct {
	// ID is as that of Request: a second request with it asks for the same hold.
	ID  string        `json:"id,omitempty"`
	For time.Duration `json:"-"` // the lease; 0: the app's hold.timeout; package control sends it in seconds
	By  Caller        `json:"by,omitzero"`
	// Attached holds end with the control connection that asked for them.
	Attached bool `json:"attached,omitempty"`
}

// HoldReport tells what a hold meant for clients; complete once it ended.
type HoldReport struct {
	App      string        `json:"app"`
	Drained  bool          `json:"drained"`        // every request in flight had ended when hold returned
	InFlight int           `json:"in_flight"`      // how many had not
	Waited   float64       `json:"drain_s"`        // how long they took
	For      float64       `json:"for_s"`          // the lease
	Longest  float64       `json:"hold_timeout_s"` // the longest that a request is held (hold.timeout)
	Held     float64       `json:"held_for_s"`     // how long it really was
	Requests RequestCounts `json:"requests"`
	Expired  bool          `json:"expired"` // the lease ended by itself
}

// DrainRequest asks to have load balancers send no new request to an app here.
type DrainRequest struct {
	For time.Duration `json:"-"` // 0: until it is ended; package control sends it in seconds
	By  string        `json:"by,omitempty"`
}

// DrainReport tells what a drain for load balancers begins with, or has ended with.
type DrainReport struct {
	App      string   `json:"app"`
	For      float64  `json:"for_s"`    // 0: until it is ended
	Lasted   float64  `json:"lasted_s"` // of one that has ended; 0: there was none
	InFlight int      `json:"in_flight"`
	Notices  []string `json:"notices"` // where load balancers are told: "agent 127.0.0.1:8100"
}

// LogQuery selects lines of the children's output.
type LogQuery struct {
	Apps   []string `json:"apps,omitempty"` // selectors, as of Status; empty: all
	Lines  int      `json:"lines"`
	Follow bool     `json:"follow,omitempty"`
	Daemon bool     `json:"daemon,omitempty"` // tideover's own log instead; with Apps its lines of these apps

	Since      time.Time `json:"since,omitzero"`       // not older
	Until      time.Time `json:"until,omitzero"`       // not newer
	Grep       string    `json:"grep,omitempty"`       // a regular expression (RE2) that the text contains
	Generation int       `json:"generation,omitempty"` // 0: all
	Stream     string    `json:"stream,omitempty"`     // stdout, stderr, tideover or access; empty: all
}

// ApplyRequest asks to make the apps what the configuration file says now.
type ApplyRequest struct {
	ID     string `json:"id,omitempty"`      // as that of Request
	DryRun bool   `json:"dry_run,omitempty"` // only tell the difference
	By     Caller `json:"by,omitzero"`
	// AllowEmpty accepts a configuration without apps, and one whose include matches no file
	// any more.
	AllowEmpty bool `json:"allow_empty,omitempty"`
	// Only, unless it is empty, are the names of the apps that are made what the file says; the others
	// and the daemon stay as they are.
	Only []string `json:"only,omitempty"`
	// Remove takes the apps in Only away, whatever the file says.
	Remove bool `json:"remove,omitempty"`
}

// Change is what became of an app when a configuration was applied.
type Change string

const (
	Added     Change = "added"
	Removed   Change = "removed"
	Unchanged Change = "unchanged"
	ByLive    Change = "live"    // every new setting is in force already
	ByReload  Change = "reload"  // the new generation has them
	ByReopen  Change = "reopen"  // its public addresses, with zero loss; and a reload
	ByReplace Change = "replace" // it became a web app, or stopped being one: the old one goes, the new one comes
)

// SettingChange is one setting that differs.
type SettingChange struct {
	Key    string `json:"key"`
	Before string `json:"before"` // as TOML; empty: not set
	After  string `json:"after"`
	Takes  string `json:"takes"` // live, reload, listen, boot
}

// AppChange is one app's part in ApplyResult.
type AppChange struct {
	App      string          `json:"app"`
	Change   Change          `json:"change"`
	Settings []SettingChange `json:"settings,omitempty"`
	Notes    []string        `json:"notes,omitempty"`  // dry run: what else would happen, a sentence each
	Result   *Result         `json:"result,omitempty"` // of the start, reload or stop it took; nil: none, or a dry run
}

// ApplyResult is how an Apply ended. Its JSON is fixed by the interface; keys
// may be added, never changed.
type ApplyResult struct {
	Result string      `json:"result"` // ok, failed, dry run
	Exit   Exit        `json:"exit"`   // of several, the worst
	Apps   []AppChange `json:"apps"`
	// Settings of [daemon] and [fleet] that differ and are changed in the running daemon.
	Settings []SettingChange `json:"settings,omitempty"`
	Warnings []string        `json:"warnings,omitempty"` // of the configuration; settings of [daemon] that need a new start
	Error    string          `json:"error,omitempty"`
	Hint     string          `json:"hint,omitempty"`
}
