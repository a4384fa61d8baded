package fleet

import "slices"

// A Wish is what the fleet is to do. There is one at a time, and a new one takes its place.
type Wish struct {
	ID         int      `json:"id"`      // counts the rollouts of the group
	Attempt    int      `json:"attempt"` // from 1; a resume begins the next one
	App        string   `json:"app"`
	Revision   string   `json:"revision,omitempty"`
	Max        int      `json:"max_unavailable"`
	MinHealthy float64  `json:"min_healthy_s"`
	Drain      float64  `json:"drain_s"`
	Canary     string   `json:"canary,omitempty"` // has its turn before all others
	Members    []string `json:"members"`          // the hosts that are to serve the revision, sorted
	Skipped    []string `json:"skipped,omitempty"`
	Command    []string `json:"command,omitempty"` // that runs before the reload, where the host allows it
	By         string   `json:"by,omitempty"`
	At         string   `json:"at,omitempty"` // for people; nothing is decided by it
}

// concerns reports whether the host is to have a turn.
func (w *Wish) concerns(host string) bool {
	_, listed := slices.BinarySearch(w.Members, host)
	return listed && !slices.Contains(w.Skipped, host)
}

// Host is a member of the fleet. Its key ends with the lease of its process.
type Host struct {
	Process string             `json:"process"` // differs for each process of each host
	Version string             `json:"version,omitempty"`
	Apps    map[string]AppHost `json:"apps"`
}

// AppHost is what a host says of one of its apps.
type AppHost struct {
	Generation int    `json:"generation"`
	Revision   string `json:"revision,omitempty"`
	State      string `json:"state"`
}

// Slot is the place of a host in the queue. Its order is the create revision of its key, which ends
// with the lease of a session.
type Slot struct {
	Session string `json:"session"` // whose lease it is
}

// Begun opens a turn, by the revision of its key. It has no lease.
type Begun struct {
	Attempt int    `json:"attempt"`
	Process string `json:"process"`
}

// Outcome is how a turn was closed.
type Outcome string

const (
	OK        Outcome = "ok"
	Failed    Outcome = "failed"
	Untouched Outcome = "untouched" // nothing was done: the host needs another turn
	Skipped   Outcome = "skipped"   // by an operator, who says that the host is down
)

// Done closes the turn that the revision Begun has opened.
type Done struct {
	Begun      int64    `json:"begun"`
	Attempt    int      `json:"attempt"`
	Outcome    Outcome  `json:"outcome"`
	Exit       int      `json:"exit"`
	Reason     string   `json:"reason,omitempty"`
	Output     []string `json:"output,omitempty"` // the last lines of the app
	Generation int      `json:"generation,omitempty"`
	Held       int      `json:"held"`
	Lost       int      `json:"lost"`
	Duration   float64  `json:"duration_s"`
}

// Halt ends an attempt: no turn begins any more.
type Halt struct {
	Host    string   `json:"host,omitempty"` // whose turn has failed
	Exit    int      `json:"exit,omitempty"`
	Reason  string   `json:"reason"`
	Output  []string `json:"output,omitempty"`
	Aborted bool     `json:"aborted,omitempty"` // by an operator: it cannot be resumed
	By      string   `json:"by,omitempty"`      // the host or the operator that has put it
}

// Past is a rollout of the history.
type Past struct {
	Wish  Wish  `json:"wish"`
	State State `json:"state"`
	Done  int   `json:"done"` // hosts
	Halt  *Halt `json:"halt,omitempty"`
}
