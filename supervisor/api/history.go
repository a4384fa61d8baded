package api

import (
	"fmt"
	"time"
)

// RecordKind says what a Record tells.
type RecordKind string

const (
	OperationBegun RecordKind = "begun"     // a reload, restart, start or stop has begun
	OperationEnded RecordKind = "operation" // it has ended; of a reload, at the swap
	DrainEnded     RecordKind = "drained"   // the generation that a reload has replaced is gone
	AppStarted     RecordKind = "start"     // a generation was started without an operation: with the daemon, after a crash
	AppCrashed     RecordKind = "crash"     // a generation that served has ended by itself, or was found dead
	AppDown        RecordKind = "down"      // the app is left down, or given up: nothing starts it soon
	HoldBegun      RecordKind = "hold"      // the operator holds the requests, or has prolonged that
	HoldEnded      RecordKind = "release"   // the hold has ended
	ConfigApplied  RecordKind = "config"    // the configuration was applied, or could not be
	DaemonChanged  RecordKind = "daemon"    // result: started, upgraded, stopping
	RecordsLost    RecordKind = "lost"      // records could not be written: count
)

// Record is one line of the history, and one event. There is one schema: a key that does not belong
// to the kind is absent. Keys may be added, never changed.
type Record struct {
	ID   uint64     `json:"id"` // rises by one from record to record, also over restarts of the daemon
	Time time.Time  `json:"time"`
	Kind RecordKind `json:"kind"`
	App  string     `json:"app,omitempty"` // empty: of the daemon

	Verb       Verb           `json:"verb,omitempty"`      // begun, operation, drained
	Begun      uint64         `json:"begun,omitempty"`     // operation, drained: id of the record of its beginning; 0: unknown
	Result     string         `json:"result,omitempty"`    // operation: as in Result; start: ok, failed; config: as in ApplyResult; daemon
	Exit       *Exit          `json:"exit,omitempty"`      // operation, config
	Generation GenerationPair `json:"generation,omitzero"` // crash: from is the one that has ended
	Revision   RevisionPair   `json:"revision,omitzero"`   // of these generations
	Directory  string         `json:"directory,omitempty"` // operation, start: of the new generation, symlinks resolved, if it was ready
	By         Caller         `json:"by,omitzero"`         // the caller; release: the caller that has ended the hold, or that has begun it where it has expired
	Callers    int            `json:"callers,omitempty"`   // begun: how many wait for this operation; 0: one
	Cause      string         `json:"cause,omitempty"`     // why, in words
	Error      string         `json:"error,omitempty"`
	Hint       string         `json:"hint,omitempty"`
	Probe      string         `json:"probe,omitempty"`        // the last answer to the readiness probe
	Output     []string       `json:"child_output,omitempty"` // last lines of the new generation, when it failed
	Warnings   []string       `json:"warnings,omitempty"`
	Phases     []PhaseResult  `json:"phases,omitempty"`
	Requests   *RequestCounts `json:"requests,omitempty"` // operation, drained, release; nil: no request is relayed
	Drain      *Drain         `json:"drain,omitempty"`
	Duration   float64        `json:"duration_s,omitempty"` // crash: since it was ready

	For     float64 `json:"for_s,omitempty"`   // hold: the lease
	Expired bool    `json:"expired,omitempty"` // release: the lease ended by itself

	Changes  []AppChange     `json:"changes,omitempty"`  // config: of the apps that have changed
	Settings []SettingChange `json:"settings,omitempty"` // config: of [daemon]

	Version string `json:"version,omitempty"` // daemon
	Pid     int    `json:"pid,omitempty"`     // daemon
	Count   uint64 `json:"count,omitempty"`   // lost
}

// RevisionPair is the revision before and after; empty: none is known.
type RevisionPair struct {
	From string `json:"from,omitempty"`
	To   string `json:"to,omitempty"`
}

// Caller is what has asked for something.
type Caller struct {
	Via     string `json:"via"` // cli, page, XML-RPC, rollout, or what asks without a client: "signal HUP", "memory.max"
	UID     int    `json:"uid"` // of a client (cli)
	Pid     int    `json:"pid,omitempty"`
	Command string `json:"command,omitempty"` // its program and arguments, at most 100 characters
	Address string `json:"address,omitempty"` // of the browser (page), or of the web server in front
}

// ViaClient is Caller.Via of a client of the control socket.
const ViaClient = "cli"

// ViaPage is Caller.Via of a request of the page with the token.
const ViaPage = "page"

// ViaXMLRPC is Caller.Via of a client of supervisord's interface, and ViaRollout that of a turn of this
// host in its fleet. The admin process asks for both.
const (
	ViaXMLRPC  = "XML-RPC"
	ViaRollout = "rollout"
)

// String is the caller in logs: "cli uid 0, pid 4711: tideover reload shop", "page from 10.0.0.7".
func (c Caller) String() string {
	if c.Address != "" {
		return c.Via + " from " + c.Address
	}
	if c.Via != ViaClient {
		return c.Via
	}
	text := fmt.Sprintf("%s uid %d", c.Via, c.UID)
	if c.Pid != 0 {
		text += fmt.Sprintf(", pid %d", c.Pid)
	}
	if c.Command != "" {
		text += ": " + c.Command
	}
	return text
}

// HistoryQuery selects records, the oldest first.
type HistoryQuery struct {
	Apps   []string  `json:"apps,omitempty"`  // selectors, as of Status, and names of removed apps; empty: all, and the daemon's own
	Since  time.Time `json:"since,omitzero"`  // not older
	After  uint64    `json:"after,omitempty"` // only those with a greater id
	Last   int       `json:"last,omitempty"`  // of the ones before the question, at most so many; 0: all, negative: none
	Follow bool      `json:"follow,omitempty"`
}
