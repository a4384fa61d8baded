package api

import "time"

// Program is an app as clients of supervisord see it: a process of a group.
type Program struct {
	App   string `json:"app"`
	Group string `json:"group"`
	Name  string `json:"name"`

	State      State     `json:"state"`
	Finished   bool      `json:"finished,omitempty"` // stopped, because the process has ended and the restart policy leaves it down
	Failed     bool      `json:"failed,omitempty"`   // its last start has failed
	Pid        int       `json:"pid"`
	Started    time.Time `json:"started"` // the last process; zero: none yet
	Stopped    time.Time `json:"stopped"` // the last end of a process; zero: none yet
	ExitStatus int       `json:"exit_status"`
	Reason     string    `json:"reason,omitempty"` // why it is down, in words

	InUse bool `json:"in_use"` // the daemon has it; else it is in the file alone

	Command     string  `json:"command"`
	Directory   string  `json:"directory"`
	User        string  `json:"user,omitempty"`
	Autostart   bool    `json:"autostart"`
	ExitCodes   []int   `json:"exit_codes"`
	StopSignal  int     `json:"stop_signal"`
	StopTimeout float64 `json:"stop_timeout_s"`
	LogFile     string  `json:"log_file,omitempty"`
	LogMaxSize  int64   `json:"log_max_bytes"`
	LogBackups  int     `json:"log_backups"`
	MergeStderr bool    `json:"merge_stderr,omitempty"` // log.merge_stderr
}

// Reread is what an apply would change, as groups of supervisord.
type Reread struct {
	Added   []string `json:"added"`
	Changed []string `json:"changed"`
	Removed []string `json:"removed"`
}

// LogTextQuery selects bytes of the output that is kept in memory. Offsets count from the start of
// the daemon, or from the last time the log was cleared.
type LogTextQuery struct {
	App    string `json:"app"` // empty: the daemon's own log
	Stream string `json:"stream,omitempty"`
	Offset int64  `json:"offset"` // negative: this many before the end
	Length int    `json:"length"` // 0: to the end, as far as MaxLogText
}

// MaxLogText is how many bytes one LogText has at most.
const MaxLogText = 512 << 10

// LogText is the answer.
type LogText struct {
	Text []byte `json:"text"`
	Size int64  `json:"size"` // of the log in all: the offset of what comes next
}
