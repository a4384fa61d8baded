package supervisor

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"tideover/proxy"
	"tideover/supervisor/api"
	"tideover/supervisor/gunicorn"
	"tideover/supervisor/logs"
	"tideover/supervisor/process"
)

// EstateVersion names the form of what one build of tideover leaves to the
// next. A build of another version cannot take over.
const EstateVersion = 1

// estateVariable names the descriptor at which the estate can be read.
const estateVariable = "TIDEOVER_ESTATE"

// Estate is everything that outlives a change of the binary: descriptors, and
// what they are. It is written by Upgrade, and read once by the program that
// this process becomes, in which the descriptors have the same numbers.
type Estate struct {
	Version int                        `json:"version"`
	Passed  map[string][]int           `json:"passed"`  // by a service manager, by name
	Doors   map[string]int             `json:"doors"`   // public sockets, by address as the configuration says it
	Control map[string]int             `json:"control"` // the control socket, by its path
	Apps    map[string]*bequest        `json:"apps"`
	Hearsay map[string]gunicorn.Report `json:"hearsay"` // what gunicorns have said
}

// gunicornReports are the reports of the apps' gunicorns; e may be nil.
func (e *Estate) gunicornReports() map[string]gunicorn.Report {
	if e == nil {
		return nil
	}
	return e.Hearsay
}

// bequest is what there is of one app.
type bequest struct {
	app         string
	Current     *bequestedGeneration `json:"current,omitempty"` // nil: nothing serves
	Ended       bool                 `json:"ended,omitempty"`   // it lies, and not by the operator's wish
	Failed      bool                 `json:"failed,omitempty"`
	Reason      string               `json:"reason,omitempty"`
	Last        *api.Result          `json:"last,omitempty"`
	Counters    proxy.Counters       `json:"counters"`
	Connections []proxy.Connection   `json:"connections,omitempty"`
	Pipes       []bequestedPipe      `json:"pipes,omitempty"`
}

type bequestedPipe struct {
	Generation int         `json:"generation"`
	Stream     logs.Stream `json:"stream"`
	FD         int         `json:"fd"`
}

// pipes are those that the next program reads.
func (b *bequest) pipes() []logs.Pipe {
	var all []logs.Pipe
	for _, p := range b.Pipes {
		name := fmt.Sprintf("%s.%d %s", b.app, p.Generation, p.Stream)
		all = append(all, logs.Pipe{Generation: p.Generation, Stream: p.Stream, File: os.NewFile(uintptr(p.FD), name)})
	}
	return all
}

type bequestedGeneration struct {
	Number  int            `json:"number"`
	Dir     string         `json:"dir"`
	Scratch string         `json:"scratch"`
	Started time.Time      `json:"started"`
	Ready   time.Time      `json:"ready"`
	Lenient bool           `json:"lenient,omitempty"`
	Hooked  bool           `json:"hooked,omitempty"` // its after_ready runs
	Tree    process.Record `json:"tree"`
	Network string         `json:"network,omitempty"` // where it is reached
	Address string         `json:"address,omitempty"`
	Private *int           `json:"private,omitempty"` // the listening socket, if we opened it
	Notices *int           `json:"notices,omitempty"` // where it says how it is
}

// descriptors are all of them.
func (e *Estate) descriptors() []int {
	var all []int
	for _, fds := range e.Passed {
		all = append(all, fds...)
	}
	for _, sockets := range []map[string]int{e.Doors, e.Control} {
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
			for _, fd := range []*int{g.Private, g.Notices} {
				if fd != nil {
					all = append(all, *fd)
				}
			}
		}
	}
	return all
}

// write puts the estate where the next program will read it.
func (e *Estate) write() (*os.File, error) {
	text, err := json.Marshal(e)
	if err != nil {
		return nil, err
	}
	fd, err := unix.MemfdCreate("estate", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), "estate")
	if _, err := f.WriteAt(text, 0); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// TakeEstate reads what the program that this process was before has left, and
// takes it out of the environment; nil: nothing. It must be called before
// anything is started, because nobody else may get the descriptors.
func TakeEstate() (*Estate, error) {
	number := os.Getenv(estateVariable)
	os.Unsetenv(estateVariable)
	if number == "" {
		return nil, nil
	}
	fd, err := strconv.ParseUint(number, 10, 31)
	if err != nil {
		return nil, fmt.Errorf("%s=%q is no descriptor", estateVariable, number)
	}
	f := os.NewFile(uintptr(fd), "estate")
	defer f.Close()
	text, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<40))
	if err != nil {
		return nil, fmt.Errorf("cannot read what the former tideover has left: %w", err)
	}
	e := &Estate{}
	if err := json.Unmarshal(text, e); err != nil {
		return nil, fmt.Errorf("cannot understand what the former tideover has left: %w", err)
	}
	for _, fd := range e.descriptors() {
		unix.CloseOnExec(fd)
	}
	if e.Version != EstateVersion {
		return nil, fmt.Errorf("the former tideover has left version %d of its estate, this one reads version %d", e.Version, EstateVersion)
	}
	return e, nil
}

// sockets are those of a service manager.
func (e *Estate) sockets() map[string][]*os.File {
	files := map[string][]*os.File{}
	for name, fds := range e.Passed {
		for _, fd := range fds {
			files[name] = append(files[name], os.NewFile(uintptr(fd), name))
		}
	}
	return files
}

// ControlSocket is the one that listens at a path, once; nil: none does. One
// that was elsewhere is closed: nobody would answer there any more.
func (e *Estate) ControlSocket(path string) (socket *os.File) {
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

// become calls exec while the descriptors of the estate and the control socket
// at a path are passed on by it, and no child can be started that would get
// them. It returns exec's error: then nothing is passed on any more.
func (e *Estate) become(path string, control syscall.Conn, exec func(variable string) error) error {
	socket, err := descriptorOf(control)
	if err != nil {
		return err
	}
	e.Control = map[string]int{path: socket}
	f, err := e.write()
	if err != nil {
		return err
	}
	defer f.Close()
	own, err := descriptorOf(f)
	if err != nil {
		return err
	}
	all := append(e.descriptors(), own)
	syscall.ForkLock.Lock()
	defer syscall.ForkLock.Unlock()
	defer func() {
		for _, fd := range all {
			unix.CloseOnExec(fd)
		}
	}()
	for _, fd := range all {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0); err != nil {
			return fmt.Errorf("cannot pass descriptor %d on: %w", fd, err)
		}
	}
	return exec(estateVariable + "=" + strconv.Itoa(own))
}

// descriptorOf is the number of what is open, whose blocking mode it leaves
// alone.
func descriptorOf(open syscall.Conn) (int, error) {
	raw, err := open.SyscallConn()
	if err != nil {
		return -1, err
	}
	number := -1
	err = raw.Control(func(fd uintptr) { number = int(fd) })
	return number, err
}
