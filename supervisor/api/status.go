package api

import "time"

// State is what the operator sees of an app: derived from its generations and
// its gate at the moment of the question, never stored.
type State string

const (
	Stopped   State = "stopped"   // by the operator's wish, or because it is done
	Starting  State = "starting"  // no generation has answered yet
	Running   State = "running"   // a generation serves
	Reloading State = "reloading" // one serves (or requests are held) while the next starts
	Holding   State = "holding"   // a generation is there; the operator holds the requests
	Backoff   State = "backoff"   // no process; the next try has a time
	Failed    State = "failed"    // given up holding; a slow retry goes on, unless its restart policy forbids it
	Stopping  State = "stopping"
)

// Status is the answer to `tideover status --json`: keys may be added, never
// changed.
type Status struct {
	Version string `json:"version"`
	Pid     int    `json:"pid"`
	// Supervisor is the process that answers: another one takes its place when it dies, and Pid stays.
	Supervisor int         `json:"supervisor_pid,omitempty"`
	Uptime     float64     `json:"uptime_s"`
	Apps       []AppStatus `json:"apps"`

	Connections     int `json:"connections"`      // of clients, of all apps
	ConnectionLimit int `json:"connection_limit"` // how many there can be; 0: without bound

	// DurationBounds are the upper bounds, in seconds, of the buckets of AppStatus.Durations but for
	// the last one, which has none.
	DurationBounds []float64 `json:"duration_bounds_s"`

	// ConfigChanged is the file of the configuration that was changed after it was applied; empty:
	// none. Only with apps asked for by name.
	ConfigChanged string `json:"config_changed,omitempty"`

	Fleet string `json:"fleet,omitempty"` // the group of hosts with which this one takes turns; empty: none
	Turns *Turns `json:"turns,omitempty"` // reloads that take turns with other hosts (fleet.local); nil: none

	ShuttingDown bool `json:"shutting_down,omitempty"` // the daemon is to end; readiness says no

	Upgrade *Upgrade `json:"upgrade,omitempty"` // the last one of the daemon's program; nil: none

	MonitorEnded bool `json:"monitor_ended,omitempty"` // the first process was killed: the daemon serves for a while and ends
}

// AppStatus is one app at one instant.
type AppStatus struct {
	Name       string   `json:"name"`
	State      State    `json:"state"`
	Generation int      `json:"generation"`         // the one that serves, 0: none
	Revision   string   `json:"revision,omitempty"` // of it: the word for what is deployed; empty: none is known
	Pid        int      `json:"pid"`                // its main process, 0: none
	Uptime     float64  `json:"uptime_s"`           // since it was ready
	Listen     []string `json:"listen"`
	Relay      string   `json:"relay,omitempty"`    // "none": the processes have the public sockets, and nothing is counted
	Capacity   int      `json:"capacity,omitempty"` // requests that its workers handle at once; 0: unknown
	InFlight   int      `json:"in_flight"`
	Tunnels    int      `json:"tunnels"`
	Held       int      `json:"held"`
	HeldOldest float64  `json:"held_oldest_s"`
	Counters   Counters `json:"counters"`
	LastReload *Result  `json:"last_reload"` // nil: none yet

	Connections int `json:"connections"` // of clients

	RequestsPerSecond float64 `json:"requests_per_s"` // that have ended in the last 10 s
	FailingPerSecond  float64 `json:"failing_per_s"`  // of them, those with a status of 500 or above

	Failed    uint64   `json:"failed"`              // requests that have ended with a status of 500 or above, since the daemon started
	Durations []uint64 `json:"durations,omitempty"` // requests by how long they took for the client, since the daemon started; see DurationBounds

	Operation *Operation `json:"operation,omitempty"` // that runs; nil: none

	Draining []DrainingGeneration `json:"draining,omitempty"` // the generations that are being stopped, the oldest first

	Command   []string `json:"command"`
	Directory string   `json:"directory"` // symlinks resolved, as the generation got it
	User      string   `json:"user,omitempty"`
	Labels    []string `json:"labels,omitempty"`
	Ready     string   `json:"ready"`                      // how readiness is asked
	Processes int      `json:"processes,omitempty"`        // only of apps asked for by name
	Memory    uint64   `json:"memory_bytes,omitempty"`     // only of apps asked for by name
	CPU       float64  `json:"cpu_s,omitempty"`            // that these processes have used; only of apps asked for by name
	CPUShare  float64  `json:"cpu_share,omitempty"`        // of one CPU, since the last question, or at first since it was ready
	MemoryMax uint64   `json:"memory_max_bytes,omitempty"` // 0: no limit
	Restarts  int      `json:"restarts"`                   // crashes since the daemon started
	LastCrash *Crash   `json:"last_crash,omitempty"`       // nil: none since the daemon started
	Next      float64  `json:"next_try_s"`                 // backoff, failed: until the next try
	Holds     []string `json:"holds,omitempty"`            // the names of the holds
	Reason    string   `json:"reason,omitempty"`           // why it is in this state, in words
	Says      string   `json:"says,omitempty"`             // its own words: STATUS of sd_notify
	Warnings  []string `json:"warnings,omitempty"`         // what endangers what serves
	Drained   *Drained `json:"drained,omitempty"`          // load balancers are told to send no new request here; nil: they are not
	HoldLimit int      `json:"hold_limit"`
	HoldFor   float64  `json:"hold_timeout_s"`

	Answers *bool  `json:"answers,omitempty"` // whether a request would be answered now; only of a check
	Answer  string `json:"answer,omitempty"`  // the answer to the readiness probe, or why there is none; only of a check
}

// Crash is the end of a generation that served, without an operation.
type Crash struct {
	Generation int       `json:"generation"`
	Cause      string    `json:"cause"` // in words
	At         time.Time `json:"at"`
}

// Drained says since when readiness and the agent-check ask load balancers for no new request.
// Requests are served.
type Drained struct {
	By    string    `json:"by"`
	Since time.Time `json:"since"`
	Left  float64   `json:"left_s,omitempty"` // until it ends by itself; 0: until it is ended
}

// DrainingGeneration is a generation that gets no new request and finishes what it has.
type DrainingGeneration struct {
	Generation int    `json:"generation"`
	Revision   string `json:"revision,omitempty"`
	InFlight   int    `json:"in_flight"`
	Tunnels    int    `json:"tunnels"`
}

// Operation is an operation that runs. Its result is AppStatus.LastReload when it has ended, but for
// the drain of a reload.
type Operation struct {
	Verb       Verb           `json:"verb"`
	By         Caller         `json:"by,omitzero"`
	Generation GenerationPair `json:"generation"`        // To is From until a new one is being started
	Revision   RevisionPair   `json:"revision,omitzero"` // of these generations
	Pid        int            `json:"pid,omitempty"`     // the main process of the generation that is being started, 0: none yet
	Phases     []PhaseResult  `json:"phases"`            // that have ended
	Phase      string         `json:"phase"`             // that runs; empty: the operation is between two
	PhaseTime  float64        `json:"phase_s"`           // since that phase began
	Duration   float64        `json:"duration_s"`        // since the operation began
}

// Counters count the endings of requests since the daemon started; every
// request ends in exactly one.
type Counters struct {
	Requests   uint64 `json:"requests"`
	Answered   uint64 `json:"answered"`
	Held       uint64 `json:"held"` // of all: waited at the gate; not an ending
	Expired    uint64 `json:"expired"`
	Overflowed uint64 `json:"overflowed"`
	ClientLeft uint64 `json:"client_left"`
	Resent     uint64 `json:"resent"`   // of all: sent again; not an ending
	Streamed   uint64 `json:"streamed"` // of all: reached a worker before their body was complete, although it is to be buffered
	Blocked    uint64 `json:"blocked"`  // of all: their worker had to wait for the client, although responses are taken off it
	Evicted    uint64 `json:"evicted"`  // of those that left: disconnected, because they read too slowly while the spool was full
	Cut        uint64 `json:"cut"`
	BadRequest uint64 `json:"bad_request"`
	BadGateway uint64 `json:"bad_gateway"`
	TimedOut   uint64 `json:"timed_out"`
	Refused    uint64 `json:"refused"`
}

// Seconds is d as JSON has durations, rounded to milliseconds.
func Seconds(d time.Duration) float64 { return d.Round(time.Millisecond).Seconds() }
