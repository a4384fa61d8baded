// Package handoff is what a supervisor takes over from the one before it, which was killed or has made
// place for another program: a record of what that one intended, the processes, and the descriptors.
package handoff

import (
	"os"
	"syscall"
	"time"

	"tideover/proxy/remote"
	"tideover/supervisor/gunicorn"
	"tideover/supervisor/logs"
	"tideover/supervisor/process"
)

// State is what a supervisor takes over. Its files belong to the caller.
type State struct {
	*Restoration
	Listeners map[string]Listener        // public sockets, by address as the configuration says it
	Apps      map[string]*RestoredApp    // by name. Of several, the last one is meant: the others were being removed
	Gunicorns map[string]gunicorn.Report // the last report of each app's gunicorn
}

// GunicornReports returns the reports of the apps' gunicorns; s may be nil.
func (s *State) GunicornReports() map[string]gunicorn.Report {
	if s == nil {
		return nil
	}
	return s.Gunicorns
}

// Listener has the sockets of a public address.
type Listener struct {
	Sockets []*os.File
	Path    *os.File // of a unix socket, the last of them: an O_PATH descriptor
}

// RestoredApp is an app of the former supervisor.
type RestoredApp struct {
	Record   *AppRecord
	Plan     *AppPlan
	Relay    *remote.AppDescription // nil: the relay does not have it
	Current  *GenerationState       // nil: nothing serves
	Hooked   bool                   // after_ready of the current one was running
	Stopping []*RestoredStop
	Pipes    []logs.Pipe
	Access   []*os.File // read ends of pipes of the access log
}

// RestoredStop is a generation that is out of service.
type RestoredStop struct {
	StopPlan
	Record *GenerationRecord
	State  *GenerationState
}

// streams are the streams by their names in a record.
var streams = map[string]logs.Stream{logs.Stdout.String(): logs.Stdout, logs.Stderr.String(): logs.Stderr}

// GenerationState is one generation.
type GenerationState struct {
	Number   int            `json:"number"`
	Dir      string         `json:"dir"`
	Revision string         `json:"revision,omitempty"`
	Scratch  string         `json:"scratch"`
	Started  time.Time      `json:"started"`
	Ready    time.Time      `json:"ready"`
	Lenient  bool           `json:"lenient,omitempty"`
	Status   int            `json:"status,omitempty"` // of its first answer
	Tree     process.Record `json:"tree"`
	Network  string         `json:"network,omitempty"` // of its socket
	Address  string         `json:"address,omitempty"`
	Peer     uint8          `json:"peer,omitempty"`   // remote.PeerPassing
	Single   bool           `json:"single,omitempty"` // remote.Target.OneRequest

	Private *os.File `json:"-"` // the private socket, unless the child opened its own
	Path    *os.File `json:"-"` // of that, if it is a unix socket: an O_PATH descriptor
	Notify  *os.File `json:"-"` // the socket of sd_notify
}

// Descriptor returns the number of an open file or socket and leaves its blocking
// mode alone.
func Descriptor(open syscall.Conn) (int, error) {
	raw, err := open.SyscallConn()
	if err != nil {
		return -1, err
	}
	number := -1
	err = raw.Control(func(fd uintptr) { number = int(fd) })
	return number, err
}
