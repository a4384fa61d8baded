package process

import (
	"context"
	"errors"
	"os"
	"syscall"
	"time"
)

// Spec says what to start and how.
type Spec struct {
	Argv           []string
	Dir            string
	Env            []string
	Listen         *os.File
	Stdout, Stderr *os.File
	User           *User
	Umask          *int
	Nofile         uint64
	Limits         map[string][2]uint64
	Nice           *int
	OOMScoreAdj    *int
	NoNewPrivs     bool
	Name           string
	Token          string
}

// User is whom a process runs as.
type User struct {
	UID, GID          uint32
	Groups            []uint32
	Name, Home, Shell string
}

// Env is HOME, USER, LOGNAME and SHELL, for the child's environment.
func (u *User) Env() []string { return nil }

// ErrGone: the main process has exited.
var ErrGone = errors.New("the process is gone")

// StartError says which step of a start failed.
type StartError struct {
	Step, Path string
	Err        error
}

func (e *StartError) Error() string { return e.Step }
func (e *StartError) Unwrap() error { return e.Err }

// Outcome is how the main process ended.
type Outcome struct {
	Code     int
	Signal   syscall.Signal
	CoreDump bool
	Runtime  time.Duration
}

func (o Outcome) String() string { return "" }

// StopReport is what a stop came to.
type StopReport struct {
	Killed int           // processes that had to be killed
	Left   []int         // pids that live in spite of SIGKILL
	Took   time.Duration // all of it
}

// Empty says whether no process of the tree is left.
func (r StopReport) Empty() bool { return len(r.Left) == 0 }

// State of a process tree.
type State int

const (
	Starting State = iota
	Running
	Stopping
	Killing
	Exited
	Gone
)

func (s State) String() string { return "" }

// Listening is one socket in LISTEN state.
type Listening struct {
	PID              int
	Network, Address string
	Inode            uint64
}

// Record is what must be remembered of a tree to end it after a crash of the daemon.
type Record struct {
	Pid       int
	StartTime uint64
	Boot      string
	Token     string
	Cgroup    string
	Name      string
}

// Process is one started process tree.
type Process struct{}

func Start(s Spec) (*Process, error)               { return nil, errors.ErrUnsupported }
func (p *Process) Pid() int                        { return 0 }
func (p *Process) Exited() <-chan struct{}         { return nil }
func (p *Process) Outcome() Outcome                { return Outcome{} }
func (p *Process) Signal(sig syscall.Signal) error { return nil }
func (p *Process) Stop(ctx context.Context, sig syscall.Signal, grace time.Duration) StopReport {
	return StopReport{}
}
func (p *Process) Kill(ctx context.Context) StopReport { return StopReport{} }
func (p *Process) Empty() bool                         { return true }
func (p *Process) WaitEmpty(ctx context.Context) error { return nil }
func (p *Process) Members() []int                      { return nil }
func (p *Process) Memory() (uint64, error)             { return 0, nil }
func (p *Process) Listening() ([]Listening, error)     { return nil, nil }
func (p *Process) State() State                        { return Gone }
func (p *Process) Record() Record                      { return Record{} }

// EndStale ends a tree left by a daemon that died.
func EndStale(ctx context.Context, r Record) (StopReport, error) { return StopReport{}, nil }

// Shim must be the first thing in main.
func Shim() {}

// Reap makes this process the subreaper of its descendants and reaps strangers until ctx ends.
func Reap(ctx context.Context) error { return nil }

// ResolveUser looks a user and a group up; numeric ids are allowed, an empty group is the user's own.
func ResolveUser(name, group string) (*User, error) { return nil, errors.ErrUnsupported }

// MemoryAvailable in bytes; 0: unknown.
func MemoryAvailable() uint64 { return 0 }
