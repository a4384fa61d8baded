// Package handoff passes what outlives a change of the binary to the next program
// of this process: descriptors and one versioned record.
package handoff

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"tideover/proxy/remote"
	"tideover/supervisor/api"
	"tideover/supervisor/gunicorn"
	"tideover/supervisor/logs"
	"tideover/supervisor/process"
)

// FormatVersion is the version of State. A program that reads another version
// cannot take over.
const FormatVersion = 1

// variable is the environment variable with the descriptor from which State is
// read. Its name is fixed: two programs of different versions share it.
const variable = "TIDEOVER_ESTATE"

// State is what the next program of this process inherits: descriptors, and what
// they are. Upgrade writes it; Receive reads it, once. The descriptors keep their
// numbers over the exec.
type State struct {
	Version   int              `json:"version"`
	Passed    map[string][]int `json:"passed"`               // by a service manager, by name
	Listeners map[string]int   `json:"doors"`                // public sockets, by address as the configuration says it
	Files     map[string]int   `json:"door_files,omitempty"` // of those that are unix sockets: O_PATH descriptors
	// MoreListeners are sockets that listen on an address beside that of Listeners.
	MoreListeners map[string][]int           `json:"more_doors,omitempty"`
	Control       map[string]int             `json:"control"` // the control socket, by its path
	Apps          map[string]*AppState       `json:"apps"`
	Gunicorns     map[string]gunicorn.Report `json:"hearsay"` // the last report of each app's gunicorn
	// Restoration is where the state comes from, if it was left by a supervisor that has died; else nil.
	Restoration *Restoration `json:"-"`
}

// GunicornReports returns the reports of the apps' gunicorns; e may be nil.
func (e *State) GunicornReports() map[string]gunicorn.Report {
	if e == nil {
		return nil
	}
	return e.Gunicorns
}

// AppState is the part of one app.
type AppState struct {
	Name        string              `json:"-"`
	Current     *GenerationState    `json:"current,omitempty"` // nil: nothing serves
	Ended       bool                `json:"ended,omitempty"`   // the restart policy leaves it down
	Failed      bool                `json:"failed,omitempty"`
	Reason      string              `json:"reason,omitempty"`
	Last        *api.Result         `json:"last,omitempty"`
	Counters    remote.Counters     `json:"counters"`
	Metrics     remote.Metrics      `json:"metrics"`
	Connections []remote.Connection `json:"connections,omitempty"`
	Pipes       []Pipe              `json:"pipes,omitempty"`
	Restored    *RestoredApp        `json:"-"` // of a supervisor that has died; else nil
}

// SetPipes records the pipes that the next program reads.
func (b *AppState) SetPipes(pipes []logs.Pipe) error {
	var errs []error
	for _, p := range pipes {
		fd, err := Descriptor(p.File)
		errs = append(errs, err)
		b.Pipes = append(b.Pipes, Pipe{p.Generation, p.Stream, fd})
	}
	return errors.Join(errs...)
}

// Pipe is the reading end of one stream of a generation.
type Pipe struct {
	Generation int         `json:"generation"`
	Stream     logs.Stream `json:"stream"`
	FD         int         `json:"fd"`
}

// streams are the streams by their names in a record.
var streams = map[string]logs.Stream{logs.Stdout.String(): logs.Stdout, logs.Stderr.String(): logs.Stderr}

// LogPipes returns the pipes of the app's output.
func (b *AppState) LogPipes() []logs.Pipe {
	var all []logs.Pipe
	for _, p := range b.Pipes {
		name := fmt.Sprintf("%s.%d %s", b.Name, p.Generation, p.Stream)
		all = append(all, logs.Pipe{Generation: p.Generation, Stream: p.Stream, File: os.NewFile(uintptr(p.FD), name)})
	}
	return all
}

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
	Hooked   bool           `json:"hooked,omitempty"` // its after_ready was running
	Tree     process.Record `json:"tree"`
	Network  string         `json:"network,omitempty"` // of its socket
	Address  string         `json:"address,omitempty"`
	Peer     uint8          `json:"peer,omitempty"`         // remote.PeerPassing; of an earlier program: 0, from fields
	Single   bool           `json:"single,omitempty"`       // remote.Target.OneRequest
	Private  *int           `json:"private,omitempty"`      // the private socket, unless the child opened its own
	Path     *int           `json:"private_file,omitempty"` // of that, if it is a unix socket: an O_PATH descriptor
	Notify   *int           `json:"notices,omitempty"`      // the socket of sd_notify
}

// Descriptors returns every descriptor of the state.
func (e *State) Descriptors() []int {
	var all []int
	for _, sockets := range []map[string][]int{e.Passed, e.MoreListeners} {
		for _, fds := range sockets {
			all = append(all, fds...)
		}
	}
	for _, sockets := range []map[string]int{e.Listeners, e.Files, e.Control} {
		for _, fd := range sockets {
			all = append(all, fd)
		}
	}
	for _, b := range e.Apps {
		for _, c := range b.Connections {
			all = append(all, c.FD)
		}
		for _, p := range b.Pipes {
			all = append(all, p.FD)
		}
		if g := b.Current; g != nil {
			for _, fd := range []*int{g.Private, g.Path, g.Notify} {
				if fd != nil {
					all = append(all, *fd)
				}
			}
		}
	}
	return all
}

// write puts the state into a memfd.
func (e *State) write() (*os.File, error) {
	text, err := json.Marshal(e)
	if err != nil {
		return nil, err
	}
	fd, err := unix.MemfdCreate("handoff", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), "handoff")
	if _, err := f.WriteAt(text, 0); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// Receive reads the state that the program before the exec has left and removes
// its variable from the environment; nil: there is none. It must be called before
// any child is started: no child may inherit the descriptors.
func Receive() (*State, error) {
	number := os.Getenv(variable)
	os.Unsetenv(variable)
	if number == "" {
		return nil, nil
	}
	fd, err := strconv.ParseUint(number, 10, 31)
	if err != nil {
		return nil, fmt.Errorf("%s=%q is no descriptor", variable, number)
	}
	f := os.NewFile(uintptr(fd), "handoff")
	defer f.Close()
	text, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<40))
	if err != nil {
		return nil, fmt.Errorf("cannot read the state that the previous tideover passed on: %w", err)
	}
	e := &State{}
	if err := json.Unmarshal(text, e); err != nil {
		return nil, fmt.Errorf("cannot decode the state that the previous tideover passed on: %w", err)
	}
	for _, fd := range e.Descriptors() {
		unix.CloseOnExec(fd)
	}
	if e.Version != FormatVersion {
		return nil, fmt.Errorf("the previous tideover passed on state of version %d, this one reads version %d", e.Version, FormatVersion)
	}
	return e, nil
}

// SystemdSockets returns the sockets of the service manager.
func (e *State) SystemdSockets() map[string][]*os.File {
	files := map[string][]*os.File{}
	for name, fds := range e.Passed {
		for _, fd := range fds {
			files[name] = append(files[name], os.NewFile(uintptr(fd), name))
		}
	}
	return files
}

// ControlSocket returns the socket that listens at path, once; nil: there is none.
// Control sockets at other paths are closed and removed.
func (e *State) ControlSocket(path string) (socket *os.File) {
	if e == nil {
		return nil
	}
	for at, fd := range e.Control {
		if at == path {
			socket = os.NewFile(uintptr(fd), path)
			continue
		}
		unix.Close(fd)
		os.Remove(at)
	}
	return socket
}

// Exec calls exec with FD_CLOEXEC cleared on every descriptor of the state and on
// the control socket at path. No child can be forked meanwhile. It returns only
// when exec failed; FD_CLOEXEC is set again then.
func (e *State) Exec(path string, control syscall.Conn, exec func(variable string) error) error {
	socket, err := Descriptor(control)
	if err != nil {
		return err
	}
	e.Control = map[string]int{path: socket}
	f, err := e.write()
	if err != nil {
		return err
	}
	defer f.Close()
	own, err := Descriptor(f)
	if err != nil {
		return err
	}
	all := append(e.Descriptors(), own)
	syscall.ForkLock.Lock()
	defer syscall.ForkLock.Unlock()
	defer func() {
		for _, fd := range all {
			unix.CloseOnExec(fd)
		}
	}()
	for _, fd := range all {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0); err != nil {
			return fmt.Errorf("cannot pass on descriptor %d: %w", fd, err)
		}
	}
	return exec(variable + "=" + strconv.Itoa(own))
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
