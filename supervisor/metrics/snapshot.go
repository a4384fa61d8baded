package metrics

import (
	"time"

	"tideover/proxy"
	"tideover/proxy/remote"
	"tideover/supervisor/api"
)

// Snapshot is a daemon at one moment.
type Snapshot struct {
	Version         string
	Began           time.Time
	ConfigChanged   bool // the configuration on disk is not the one that was applied
	Connections     int  // of clients
	ConnectionLimit int  // 0: without bound
	Processes       []Process
	Apps            []App
}

// Process is one of the daemon's own.
type Process struct {
	Role string // supervisor, relay, admin
	Pid  int
}

// App is an app at one moment.
type App struct {
	Name         string
	State        api.State
	Generation   int    // that serves; 0: none, and what follows of it is zero
	Revision     string // that it runs; empty: unknown
	Directory    string // that it was started in
	Ready        time.Time
	Capacity     int // requests that its workers handle at once; 0: unknown
	InFlight     int
	Tunnels      int
	Draining     int // generations that are being stopped
	Processes    int
	Memory       uint64
	CPU          time.Duration
	MemoryMax    uint64 // 0: no limit
	Starts       uint64 // generations that became ready
	StartsFailed uint64
	Crashes      uint64
	LastReload   *api.Result // nil: none yet
	Operations   []Operation
	Phases       []Phase
	LinesDropped uint64 // of the output of its processes

	Web         bool // requests are relayed to it; else what follows is zero
	Connections int
	Sending     int
	Held        int
	HeldOldest  time.Duration
	HoldLimit   int
	Holds       int  // that are in force
	Drained     bool // load balancers are told to send nothing
	Requests    remote.Metrics
	Counters    remote.Counters
}

// Operation is how often an operation has ended in one way.
type Operation struct {
	Verb   api.Verb
	Result string
	Count  uint64
}

// Phase is how often a phase of an operation has ended, and how long all of them took.
type Phase struct {
	Verb  api.Verb
	Name  string
	Count uint64
	Took  time.Duration
}

// DurationBounds are the upper bounds of the buckets of durations, in seconds.
func DurationBounds() (seconds []float64) {
	for _, d := range proxy.Buckets() {
		seconds = append(seconds, d.Seconds())
	}
	return seconds
}
