package api

// Fleet is what this host knows of the other hosts with which it takes turns.
type Fleet struct {
	Group string `json:"group"`
	Host  string `json:"host"`            // the name of this one
	Error string `json:"error,omitempty"` // why this host is no member; the rest is what was known last
	// Behind is what a reload of this host's own waits for (fleet.local), in words; empty: for nothing.
	Behind  string        `json:"behind,omitempty"`
	Rollout *FleetRollout `json:"rollout,omitempty"` // the last one; nil: there was none
	Hosts   []FleetHost   `json:"hosts"`             // at most MaxFleetHosts
	Members int           `json:"members"`           // how many hosts there are
}

// MaxFleetHosts is how many hosts a Fleet has: first those that are not done.
const MaxFleetHosts = 200

// FleetRollout is the last rollout of a fleet.
type FleetRollout struct {
	ID       int    `json:"id"`
	App      string `json:"app"`
	Revision string `json:"revision,omitempty"`
	State    string `json:"state"`
	Done     int    `json:"done"` // hosts that serve what is wished
	Of       int    `json:"of"`
	Halted   string `json:"halted,omitempty"` // the host at which it has halted, and why
}

// FleetHost is a host of a fleet.
type FleetHost struct {
	Name string    `json:"name"`
	Here bool      `json:"here"`           // its tideover is there
	Turn string    `json:"turn,omitempty"` // in the last rollout, as `rollout status` has it; empty: it has no part in it
	App  *FleetApp `json:"app,omitempty"`  // that of the last rollout, or its first; nil: it is not here, or has none
	Apps int       `json:"apps"`           // how many it has
}

// FleetApp is an app of such a host.
type FleetApp struct {
	Name       string `json:"name"`
	State      string `json:"state"`
	Generation int    `json:"generation"`
	Revision   string `json:"revision,omitempty"`
}

// Turns are the reloads of this host's own that take turns with other hosts.
type Turns struct {
	Waiting int `json:"waiting"` // for a turn
	Running int `json:"running"` // in it
}
