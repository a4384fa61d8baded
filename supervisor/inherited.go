package supervisor

import (
	"errors"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"

	"tideover/listener"
	"tideover/supervisor/handoff"
)

// passed is how the configuration spells a socket that a service manager has
// opened.
const passed = "systemd:"

// inheritance is what a service manager has passed. It stays open for the
// daemon's life, so that an app that is removed and added again finds its
// socket, with everybody who waits there.
type inheritance struct {
	files map[string][]*os.File
	doors map[string]*os.File // by address: what a former program of this process has opened, once

	mu        sync.Mutex        // guards doors and addresses
	addresses map[string]string // by name: where the sockets that were opened listen
}

// open opens a public address: one socket, or as many as a service manager
// has passed under its name.
func (in *inheritance) open(address string, mode os.FileMode) ([]*listener.Public, error) {
	if name, ok := strings.CutPrefix(address, passed); ok {
		return in.adopt(name)
	}
	parsed, err := listener.Parse(address)
	if err != nil {
		return nil, err
	}
	public, err := in.door(address, parsed)
	if public == nil && err == nil {
		public, err = listener.Open(parsed, listener.Options{Mode: mode})
	}
	if err != nil {
		return nil, err
	}
	return []*listener.Public{public}, nil
}

// door is the open one at an address, if there is one.
func (in *inheritance) door(address string, parsed listener.Address) (*listener.Public, error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	f := in.doors[address]
	if f == nil {
		return nil, nil
	}
	delete(in.doors, address)
	defer f.Close()
	return listener.Inherit(f, parsed)
}

func (in *inheritance) adopt(name string) ([]*listener.Public, error) {
	if len(in.files[name]) == 0 {
		return nil, in.missing(name)
	}
	var open []*listener.Public
	var where []string
	for _, f := range in.files[name] {
		public, err := listener.Adopt(f)
		if err != nil {
			for _, p := range open {
				p.Close()
			}
			return nil, err
		}
		open, where = append(open, public), append(where, public.Address().String())
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	in.addresses[name] = strings.Join(where, ", ")
	return open, nil
}

// missing says what there is instead.
func (in *inheritance) missing(name string) error {
	if len(in.files) == 0 {
		return errors.New("no socket was passed to tideover, so there is none named " + strconv.Quote(name) +
			": start the .socket unit, whose Service= is tideover's, with FileDescriptorName=" + name)
	}
	var there []string
	for _, n := range slices.Sorted(maps.Keys(in.files)) {
		there = append(there, strconv.Quote(n))
	}
	return errors.New("no socket named " + strconv.Quote(name) + " was passed to tideover (FileDescriptorName= of its .socket unit); there is " +
		strings.Join(there, ", "))
}

// real is where a public address really is: of several sockets the first.
func (in *inheritance) real(address string) string {
	name, ok := strings.CutPrefix(address, passed)
	if !ok {
		return address
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	first, _, _ := strings.Cut(in.addresses[name], ", ")
	return first
}

// shown are public addresses as people are told of them.
func (in *inheritance) shown(addresses []string) []string {
	in.mu.Lock()
	defer in.mu.Unlock()
	all := make([]string, len(addresses))
	for i, address := range addresses {
		all[i] = address
		if where := in.addresses[strings.TrimPrefix(address, passed)]; where != "" && strings.HasPrefix(address, passed) {
			all[i] += " (" + where + ")"
		}
	}
	return all
}

// unused are the names of sockets that no app has opened.
func (in *inheritance) unused() []string {
	in.mu.Lock()
	defer in.mu.Unlock()
	return slices.DeleteFunc(slices.Sorted(maps.Keys(in.files)), func(name string) bool { return in.addresses[name] != "" })
}

// newInheritance is what there is of a service manager's, and of a former
// program of this process; nil: there was none.
func newInheritance(files map[string][]*os.File, left *handoff.State) *inheritance {
	in := &inheritance{files: files, doors: map[string]*os.File{}, addresses: map[string]string{}}
	if left != nil {
		in.files = left.SystemdSockets()
		for address, fd := range left.Listeners {
			in.doors[address] = os.NewFile(uintptr(fd), address)
		}
	}
	return in
}
