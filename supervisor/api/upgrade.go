package api

import "time"

// UpgradeRequest asks for another program in the place of the daemon's.
type UpgradeRequest struct {
	ID      string `json:"id"`                // chosen by the caller; the outcome has it, too
	Program string `json:"program,omitempty"` // absolute path; empty: what the command line of the daemon means now
	By      Caller `json:"by,omitzero"`
}

// Upgrade is a replacement of the daemon's program. The apps go on meanwhile.
type Upgrade struct {
	ID      string    `json:"id"`
	Program string    `json:"program"` // path of the new one
	From    string    `json:"from"`    // version
	To      string    `json:"to,omitempty"`
	By      Caller    `json:"by,omitzero"`
	Began   time.Time `json:"began"`
	Ended   time.Time `json:"ended,omitzero"`   // zero: it is under way
	Result  string    `json:"result,omitempty"` // "ok", or "kept old": the former program goes on
	Exit    Exit      `json:"exit"`
	Error   string    `json:"error,omitempty"`
}
