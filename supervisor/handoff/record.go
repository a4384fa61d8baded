package handoff

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"tideover/proxy/remote"
	"tideover/supervisor/api"
	"tideover/supervisor/config"
	"tideover/supervisor/gunicorn"
	"tideover/supervisor/process"
)

// RecordVersion is the version of Record. Fields are only added, so that a program reads what an
// earlier one and a later one have written; the version changes when a field has to mean something
// else.
const RecordVersion = 1

// A Record is what a supervisor intends, for the one that takes its place after its death: the
// processes, the descriptors and the relay have outlived it. It is committed before each step that
// cannot be taken back, so it may be ahead of the truth by one step; Restore compares the two.
//
// Descriptors are named as in the Store. Those that no record names are dropped, and processes that
// no record names are ended.
type Record struct {
	Version int `json:"version"`
	// Epoch is that of the supervisor. Each one has a higher one than those before it.
	Epoch  uint64       `json:"epoch"`
	Daemon DaemonRecord `json:"daemon"`
	// Configurations are those that the daemon and the apps use, by name: the files may have changed
	// since, or be faulty.
	Configurations map[string]*config.Snapshot `json:"configurations,omitempty"`
	Relays         []RelayRecord               `json:"relays,omitempty"`
	// Apps have their numbers as keys: while an app is replaced there are two of one name.
	Apps map[string]*AppRecord `json:"apps"`
}

// DaemonRecord is what is no part of an app.
type DaemonRecord struct {
	Program string `json:"program"` // its version
	// Configuration is the name of the one in force; empty: that of the command line.
	Configuration string       `json:"configuration,omitempty"`
	Apps          []string     `json:"apps,omitempty"`        // names of all apps, in their order
	Applying      *Operation   `json:"applying,omitempty"`    // nil: no configuration is being applied
	Applied       *Applied     `json:"applied,omitempty"`     // last; nil: none was
	Announced     time.Time    `json:"announced,omitzero"`    // when the shutdown was announced
	Leaving       bool         `json:"leaving,omitempty"`     // the apps are being stopped
	Began         time.Time    `json:"began,omitzero"`        // when the first supervisor did
	LastApp       remote.AppID `json:"last_app"`              // number of the app that was made last
	Descriptors   []string     `json:"descriptors,omitempty"` // control socket, locks, sockets of a service manager
	Upgrade       *Upgrade     `json:"upgrade,omitempty"`     // the last one; nil: none
}

// Upgrade is a replacement of the program. The supervisor that comes next says whether it is the new one.
type Upgrade struct {
	api.Upgrade
	Executable string `json:"executable"` // that of the new program: see Executable
}

// Executable is the device and inode of a program's file; empty: they cannot be read. While a process of it
// runs no other file gets the inode.
func Executable(path string) string {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return ""
	}
	return fmt.Sprintf("%d:%d", st.Dev, st.Ino)
}

// OwnExecutable is that of this process.
func OwnExecutable() string { return Executable("/proc/self/exe") }

// PagePrefix begins the name of each page of counters. They are kept although no relay that lives has
// them: what relays have counted that have died stays counted.
const PagePrefix = "page/"

// RelayRecord is one process that relays.
type RelayRecord struct {
	Number   uint64         `json:"number"`
	Tree     process.Record `json:"tree"`
	Page     int            `json:"page"` // index of its page of counters
	Draining bool           `json:"draining,omitempty"`
	Program  string         `json:"program,omitempty"` // device and inode of its executable
	// UID and GID are those of its user, if it has one of its own: private sockets belong to the group.
	UID int `json:"uid,omitempty"`
	GID int `json:"gid,omitempty"`
	// Names of descriptors: the socket by which a supervisor attaches to it, its page, and the read end
	// of its log.
	Attach string `json:"attach"`
	Counts string `json:"counts"`
	Log    string `json:"log"`
}

// AppRecord is one app.
type AppRecord struct {
	Name       string       `json:"name"`
	ID         remote.AppID `json:"id"`
	Settings   string       `json:"settings,omitempty"` // name of the configuration that they are from
	NextNumber int          `json:"next_number"`        // of the next generation
	Desired    Desired      `json:"desired"`
	Restart    RestartState `json:"restart,omitzero"`
	// Generations are those that may have processes, the oldest first.
	Generations []*GenerationRecord `json:"generations,omitempty"`
	Hooks       []HookRecord        `json:"hooks,omitempty"`
	Leases      []Lease             `json:"leases,omitempty"`
	EndedHolds  []EndedHold         `json:"ended_holds,omitempty"` // the last ones, for callers that have not got their report yet
	Operation   *Operation          `json:"operation,omitempty"`   // that runs; nil: none
	// Waiting are the requests behind it whose callers do not ask again.
	Waiting []api.Request `json:"waiting,omitempty"`
	// Ended are the operations that have ended last, for callers that have not got their result yet.
	Ended     []Operation      `json:"ended,omitempty"`
	Last      *api.Result      `json:"last,omitempty"` // of the last reload or restart
	Listeners []ListenerRecord `json:"listeners,omitempty"`
	// Access are the names of the read ends of the pipes of its access log, the one in use the last.
	Access []string `json:"access,omitempty"`
	// Gunicorn is the last report of the app's gunicorn: nothing is executed to restore.
	Gunicorn *gunicorn.Report `json:"gunicorn,omitempty"`
}

// Desired is the state that an app is to have.
type Desired string

const (
	Up       Desired = "up"
	Stopped  Desired = "stopped"  // by the operator, or not started yet
	Finished Desired = "finished" // the restart policy leaves it down
)

// RestartState is what the restart policy of an app knows.
type RestartState struct {
	FailedStarts int         `json:"failed_starts,omitempty"`
	Exits        []time.Time `json:"exits,omitempty"`
	Crashes      int         `json:"crashes,omitempty"`
	Crashed      bool        `json:"crashed,omitempty"`
	Failed       bool        `json:"failed,omitempty"`
	Reason       string      `json:"reason,omitempty"`
	Waits        bool        `json:"waits,omitempty"`  // for other apps to start
	LastStatus   int         `json:"status,omitempty"` // with which the last generation was ready
}

// ListenerRecord is one public address. The last socket has the path of a unix socket.
type ListenerRecord struct {
	Address string   `json:"address"`
	Passed  bool     `json:"passed,omitempty"` // by a service manager
	Sockets []Socket `json:"sockets"`
}

// Socket is a listening socket.
type Socket struct {
	Socket string `json:"socket"`
	Path   string `json:"path,omitempty"` // O_PATH descriptor of the file of a unix socket
}

// Phase is how far a generation has come. It is committed before what it names is done, but for
// Ready and Serving, which are committed after it.
type Phase string

const (
	// Starting: its process may have been forked.
	Starting Phase = "starting"
	// Ready: its first answer has counted. It is about to get requests.
	Ready Phase = "ready"
	// Serving: the relay has it as the target of the app, and has said so.
	Serving Phase = "serving"
	// Stopping: it is out of service, and drains.
	Stopping Phase = "stopping"
)

// GenerationRecord is one generation. The descriptors of its state are named here and have no numbers.
type GenerationRecord struct {
	GenerationState
	Phase Phase `json:"phase"`
	// Token is that of its process tree, known before the fork.
	Token  string `json:"token"`
	Marker []byte `json:"marker,omitempty"`

	StopReason int       `json:"stop_reason,omitempty"`
	Drain      time.Time `json:"drain,omitzero"`   // when its drain ends at the latest
	Tunnels    time.Time `json:"tunnels,omitzero"` // and that of its tunnels
	Grace      time.Time `json:"grace,omitzero"`   // when what lives gets SIGKILL; zero: the stop signal was not sent

	// Names of descriptors; empty: it has none.
	SocketName string            `json:"socket_name,omitempty"`
	PathName   string            `json:"path_name,omitempty"`
	NotifyName string            `json:"notify_name,omitempty"`
	Output     map[string]string `json:"output,omitempty"` // read ends of its log pipes, by stream
	Spools     map[string]string `json:"spools,omitempty"` // and their spools
}

// DescriptorNames are the names of all descriptors of the generation.
func (g *GenerationRecord) DescriptorNames() (names []string) {
	for _, name := range []string{g.SocketName, g.PathName, g.NotifyName} {
		if name != "" {
			names = append(names, name)
		}
	}
	names = slices.AppendSeq(names, maps.Values(g.Output))
	return slices.AppendSeq(names, maps.Values(g.Spools))
}

// HookRecord is a hook that may run.
type HookRecord struct {
	Hook       string `json:"hook"`
	Generation int    `json:"generation"`
	Token      string `json:"token"`
}

// Lease is a hold with the time at which it ends by itself.
type Lease struct {
	Name     string        `json:"name"`
	By       api.Caller    `json:"by"`
	Token    string        `json:"token,omitempty"` // by which its caller asks again
	Length   time.Duration `json:"length"`
	Timeout  time.Duration `json:"timeout"`
	Began    time.Time     `json:"began"`
	Ends     time.Time     `json:"ends"`
	Attached bool          `json:"attached,omitempty"` // it ends with its client's connection
	Meter    *Meter        `json:"meter,omitempty"`    // of its requests
}

// EndedHold is a hold that has ended.
type EndedHold struct {
	ID     string         `json:"id"`
	By     api.Caller     `json:"by"` // the caller whose command has ended it
	Began  time.Time      `json:"began"`
	Ended  time.Time      `json:"ended"`
	Report api.HoldReport `json:"report"`
}

// Operation is a reload, restart, start, stop, rollback or apply.
type Operation struct {
	ID    string     `json:"id"` // unique
	Verb  api.Verb   `json:"verb"`
	By    api.Caller `json:"by"`
	From  int        `json:"from,omitempty"` // generation that served when it began
	To    int        `json:"to,omitempty"`   // generation that it has started; 0: none yet
	Phase string     `json:"phase,omitempty"`
	Began time.Time  `json:"began"`

	// IDs are those that its callers have given it, and by which they ask again.
	IDs     []string     `json:"ids,omitempty"`
	Request *api.Request `json:"request,omitempty"` // what its callers want together
	Result  *api.Result  `json:"result,omitempty"`  // as far as it has come
	Meter   *Meter       `json:"meter,omitempty"`   // of its requests
	// Strict says that the generation that it replaces was ready with an answer that counts at a reload.
	Strict bool  `json:"strict,omitempty"`
	Link   *Link `json:"link,omitempty"` // that it changes; nil: none
	// Apply is what is to be known of an apply beside that; of other operations nil.
	Apply *Apply `json:"apply,omitempty"`
}

// Apply is an apply that has begun.
type Apply struct {
	Request       api.ApplyRequest `json:"request"`
	Configuration string           `json:"configuration,omitempty"` // name of the one that is being applied
	Changes       []Change         `json:"changes,omitempty"`
	Again         int              `json:"again,omitempty"` // supervisors that have gone on with it
}

// Change is what an apply is to do with an app.
type Change struct {
	api.AppChange
	// ID is that of the app when it began; 0: there was none. Another app of its name is that in its place.
	ID         remote.AppID `json:"id,omitempty"`
	Generation int          `json:"generation,omitempty"` // that served when it began; 0: none
}

// TakesDown returns whether an app is removed or replaced; empty: neither.
func (a *Apply) TakesDown(id remote.AppID) api.Change {
	if a == nil {
		return ""
	}
	for _, c := range a.Changes {
		if c.ID == id && (c.Change == api.Removed || c.Change == api.ByReplace) {
			return c.Change
		}
	}
	return ""
}

// Applied is an apply that has ended.
type Applied struct {
	ID     string          `json:"id,omitempty"` // by which its caller asks again
	By     api.Caller      `json:"by"`
	Ended  time.Time       `json:"ended"`
	Result api.ApplyResult `json:"result"`
}

// Meter is the beginning of a count of requests.
type Meter struct {
	Before remote.Counters `json:"before"`
	Mark   remote.Mark     `json:"mark"`
}

// Link is a symlink, and its text before and after a rollback.
type Link struct {
	Path   string `json:"path"`
	Before string `json:"before"`
	After  string `json:"after"`
}

// WithoutProcesses is a record that names no process: what runs is ended and started anew. Sockets and
// settings stay.
func (r *Record) WithoutProcesses() *Record {
	bare := *r
	bare.Relays, bare.Apps = nil, map[string]*AppRecord{}
	for key, a := range r.Apps {
		kept := *a
		kept.Generations, kept.Hooks, kept.Operation = nil, nil, nil
		bare.Apps[key] = &kept
	}
	return &bare
}

// decodeRecord reads a record of this program or of another one.
func decodeRecord(text []byte) (*Record, error) {
	r := &Record{}
	if err := json.Unmarshal(text, r); err != nil {
		return nil, fmt.Errorf("cannot decode the record of the former supervisor: %w", err)
	}
	if r.Version != RecordVersion {
		return nil, fmt.Errorf("the record of the former supervisor has version %d, this tideover reads version %d", r.Version, RecordVersion)
	}
	for name, a := range r.Apps {
		if a == nil {
			delete(r.Apps, name)
		}
	}
	return r, nil
}
