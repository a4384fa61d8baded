package process

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"
)

// ClockTick is the resolution of CPU time in /proc: 1/USER_HZ, which is 100 on every architecture
// that Go supports.
const ClockTick = 10 * time.Millisecond

// Activity is what the processes of a tree do at one moment.
type Activity struct {
	// Stopped says that there are processes, and that all of them are stopped by a signal (state T).
	Stopped bool
	members []stat
}

// Activity returns what the processes of the tree do.
func (p *Process) Activity() (Activity, error) {
	found, err := p.members()
	return activityOf(found), err
}

// MainStopped reports whether the main process is stopped by a signal. It costs one read.
func (p *Process) MainStopped() bool {
	s, err := readStat(p.tree.main.pid)
	return err == nil && p.tree.isMain(s) && s.state == 'T'
}

func activityOf(members []stat) Activity {
	awake := slices.ContainsFunc(members, func(s stat) bool { return s.state != 'T' })
	return Activity{Stopped: len(members) > 0 && !awake, members: members}
}

// Since returns the CPU time that the tree has used since an earlier Activity. same is false if a
// process was started or has ended meanwhile: then that time is not known.
func (a Activity) Since(before Activity) (cpu time.Duration, same bool) {
	if len(a.members) != len(before.members) {
		return 0, false
	}
	var ticks uint64
	for i, now := range a.members {
		then := before.members[i]
		if now.pid != then.pid || now.start != then.start {
			return 0, false
		}
		ticks += now.ticks - then.ticks
	}
	return time.Duration(ticks) * ClockTick, true
}

// AcceptedConnections returns how many connections of a listening socket are accepted and open on
// the side of the process that has accepted them: its peer may have closed them. One that waits in
// the backlog does not count: the kernel lists it with the inode 0. The socket must be in the
// network namespace of the daemon.
func AcceptedConnections(network, address string) (int, error) {
	if network == "unix" {
		return acceptedUnix("/proc/self/net/unix", address)
	}
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return 0, err
	}
	n, err := acceptedTCP("/proc/self/net/tcp", at)
	m, err6 := acceptedTCP("/proc/self/net/tcp6", at)
	if errors.Is(err6, fs.ErrNotExist) { // a kernel without IPv6
		err6 = nil
	}
	return n + m, cmp.Or(err, err6)
}

// acceptedUnix counts the connections in a table such as /proc/net/unix. One has the path of its
// listening socket.
func acceptedUnix(table, path string) (int, error) {
	found := inodes{}
	err := eachLineWith(table, path, func(line string) {
		if s := parseUnix(line); s.path == path && s.inode != "0" && !s.listens() {
			found[s.inode] = struct{}{}
		}
	})
	return len(found), err
}

// acceptedTCP counts the connections in a table such as /proc/net/tcp. One of a listening socket
// that is bound to all addresses may have any of them.
func acceptedTCP(table string, at netip.AddrPort) (int, error) {
	const listens = "0A"
	found := inodes{}
	err := eachLineWith(table, fmt.Sprintf(":%04X ", at.Port()), func(line string) {
		f := strings.Fields(line)
		if len(f) < 10 || f[3] == listens || f[9] == "0" {
			return
		}
		text, ok := decodeAddress(f[1])
		local, err := netip.ParseAddrPort(text)
		if ok && err == nil && local.Port() == at.Port() && (at.Addr().IsUnspecified() || local.Addr().Unmap() == at.Addr().Unmap()) {
			found[f[9]] = struct{}{}
		}
	})
	return len(found), err
}

// inodes are those of sockets. The kernel lists one twice when others come or go while a table is read.
type inodes map[string]struct{}

// eachLineWith calls f with every line of a file that contains a text. A table of sockets has a line
// for each connection of the machine.
func eachLineWith(path, text string, f func(line string)) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	lines := bufio.NewReaderSize(file, 64<<10)
	for {
		line, err := lines.ReadSlice('\n')
		if bytes.Contains(line, []byte(text)) {
			f(strings.TrimSuffix(string(line), "\n"))
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
