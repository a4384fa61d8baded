package process

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Listening is a socket in LISTEN state.
type Listening struct {
	PID     int    // the lowest pid that holds it; 0: not looked for
	UID     uint32 // the user that made it; of tcp only
	Network string // "tcp" or "unix"
	Address string // host:port, a path, or @name for an abstract one
	Inode   uint64
}

// Ephemeral reports whether the port is in the range from which the kernel chooses.
func (l Listening) Ephemeral() bool {
	_, text, err := net.SplitHostPort(l.Address)
	limits, rerr := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if errors.Join(err, rerr) != nil {
		return false
	}
	var low, high int
	port, err := strconv.Atoi(text)
	if _, serr := fmt.Sscan(string(limits), &low, &high); errors.Join(err, serr) != nil {
		return false
	}
	return low <= port && port <= high
}

// listeningOf returns the listening sockets among the descriptors of these processes. pids
// must be in ascending order.
func listeningOf(pids []int) ([]Listening, error) {
	if len(pids) == 0 {
		return nil, nil
	}
	table := listenTable(pids[0])
	var found []Listening
	var refused error
	for _, pid := range pids {
		fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
		for _, fd := range fds {
			var inode uint64
			var ok bool
			if inode, ok, err = socketInode(fmt.Sprintf("/proc/%d/fd/%s", pid, fd.Name())); errors.Is(err, fs.ErrPermission) {
				break
			}
			if l, listens := table[inode]; ok && listens {
				l.PID = pid
				l.Address = absolute(l)
				found = append(found, l)
				delete(table, inode)
			}
		}
		if errors.Is(err, fs.ErrPermission) { // of the directory, or of what is in it
			refused = fmt.Errorf("descriptors of pid %d: %w", pid, err)
		}
	}
	return found, refused
}

// absolute returns the address of a socket that a process holds. A relative path begins in its
// working directory.
func absolute(l Listening) string {
	if l.Network != "unix" || l.Address == "" || l.Address[0] == '/' || l.Address[0] == '@' {
		return l.Address
	}
	dir, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", l.PID))
	if err != nil {
		return l.Address
	}
	return filepath.Join(dir, l.Address)
}

// socketInode parses a link such as "socket:[12345]".
func socketInode(link string) (inode uint64, ok bool, err error) {
	target, err := os.Readlink(link)
	number, ok := strings.CutPrefix(target, "socket:[")
	if err != nil || !ok {
		return 0, false, err
	}
	inode, err = strconv.ParseUint(strings.TrimSuffix(number, "]"), 10, 64)
	return inode, err == nil, nil
}

// listenTable returns all listening sockets of the network namespace of a process, by inode.
func listenTable(pid int) map[uint64]Listening {
	table := map[uint64]Listening{}
	add := func(network, address, inode string) {
		if n, err := strconv.ParseUint(inode, 10, 64); err == nil {
			table[n] = Listening{Network: network, Address: address, Inode: n}
		}
	}
	dir := fmt.Sprintf("/proc/%d/net", pid)
	for _, name := range []string{"tcp", "tcp6"} {
		eachLine(filepath.Join(dir, name), func(line string) {
			if f := strings.Fields(line); len(f) > 9 && f[3] == "0A" {
				if address, ok := decodeAddress(f[1]); ok {
					add("tcp", address, f[9])
				}
			}
		})
	}
	eachLine(filepath.Join(dir, "unix"), func(line string) {
		s := parseUnix(line)
		if !s.listens() {
			return
		}
		add("unix", s.path, s.inode)
	})
	return table
}

// unixLine is a line of /proc/net/unix. It is zero for the header.
type unixLine struct{ flags, inode, path string }

func (l unixLine) listens() bool {
	const acceptsConnections = 0x10000
	flags, err := strconv.ParseUint(l.flags, 16, 32)
	return err == nil && flags&acceptsConnections != 0
}

// parseUnix parses a line such as
//
//	0000000083b9fc53: 00000002 00000000 00010000 0001 01  1190 /path
//
// The path may contain blanks; an unnamed socket has none.
func parseUnix(line string) unixLine {
	var fields [7]string
	for i := range fields {
		line = strings.TrimLeft(line, " ")
		fields[i], line, _ = strings.Cut(line, " ")
	}
	return unixLine{flags: fields[3], inode: fields[6], path: line}
}

// decodeAddress decodes "0100007F:1F90" of /proc/net/tcp: an IP address in 32-bit words of
// native byte order, and a port.
func decodeAddress(s string) (string, bool) {
	host, port, _ := strings.Cut(s, ":")
	raw, err := hex.DecodeString(host)
	p, perr := strconv.ParseUint(port, 16, 16)
	if err != nil || perr != nil || len(raw)%4 != 0 {
		return "", false
	}
	ip := make(net.IP, 0, len(raw))
	for ; len(raw) > 0; raw = raw[4:] {
		ip = binary.NativeEndian.AppendUint32(ip, binary.BigEndian.Uint32(raw))
	}
	return net.JoinHostPort(ip.String(), strconv.FormatUint(p, 10)), true
}

// ListeningOnLoopback returns the TCP sockets that may get a connection to 127.0.0.1:port in
// the network namespace of the daemon. A socket of [::] is among them: the kernel's table
// does not show IPV6_V6ONLY.
func ListeningOnLoopback(port int) ([]Listening, error) {
	var found []Listening
	for _, table := range []string{"/proc/self/net/tcp", "/proc/self/net/tcp6"} {
		f, err := os.Open(table)
		if errors.Is(err, fs.ErrNotExist) && table != "/proc/self/net/tcp" {
			continue // a kernel without IPv6
		}
		if err != nil {
			return nil, err
		}
		lines := bufio.NewScanner(f)
		for lines.Scan() {
			if l, ok := parseLoopback(lines.Text(), port); ok {
				found = append(found, l)
			}
		}
		f.Close()
		if err := lines.Err(); err != nil {
			return nil, err
		}
	}
	return found, nil
}

func parseLoopback(line string, port int) (Listening, bool) {
	f := strings.Fields(line)
	if len(f) < 10 || f[3] != "0A" || !strings.HasSuffix(f[1], fmt.Sprintf(":%04X", port)) {
		return Listening{}, false
	}
	address, ok := decodeAddress(f[1])
	at, err := netip.ParseAddrPort(address)
	uid, uerr := strconv.ParseUint(f[7], 10, 32)
	inode, ierr := strconv.ParseUint(f[9], 10, 64)
	if ip := at.Addr().Unmap(); !ok || errors.Join(err, uerr, ierr) != nil || !ip.IsUnspecified() && ip != netip.AddrFrom4([4]byte{127, 0, 0, 1}) {
		return Listening{}, false
	}
	return Listening{UID: uint32(uid), Network: "tcp", Address: address, Inode: inode}, true
}

// Descriptor is a socket that is open in a process.
type Descriptor struct {
	PID        int
	path, link string // "/proc/PID/fd/N" and what it links to
}

// IsOpen reports whether the process still has the socket open. It costs one readlink(2).
func (d Descriptor) IsOpen() bool {
	var link [64]byte
	n, err := unix.Readlink(d.path, link[:])
	return err == nil && string(link[:n]) == d.link
}

// Holders returns, for each of these sockets that a process of the tree has open, the
// descriptor of the lowest pid. The error wraps fs.ErrPermission if the descriptors of a
// process cannot be read, which needs CAP_SYS_PTRACE for another user's.
func (p *Process) Holders(inodes []uint64) (map[uint64]Descriptor, error) {
	return holdersAmong(p.Members(), inodes)
}

// HolderOf returns the lowest pid of the machine that has a socket open; 0: none is visible.
func HolderOf(inode uint64) int {
	all, _ := listProcesses()
	numbers := pids(all)
	slices.Sort(numbers)
	found, _ := holdersAmong(numbers, []uint64{inode})
	return found[inode].PID
}

// holdersAmong looks through the descriptors of processes, in this order, until it has found
// all sockets.
func holdersAmong(pids []int, inodes []uint64) (map[uint64]Descriptor, error) {
	wanted := map[string]uint64{}
	for _, inode := range inodes {
		wanted[fmt.Sprintf("socket:[%d]", inode)] = inode
	}
	found := map[uint64]Descriptor{}
	var refused error
	for _, pid := range pids {
		dir := fmt.Sprintf("/proc/%d/fd", pid)
		fds, err := os.ReadDir(dir)
		for _, fd := range fds {
			d := Descriptor{PID: pid, path: filepath.Join(dir, fd.Name())}
			if d.link, err = os.Readlink(d.path); errors.Is(err, fs.ErrPermission) {
				break
			}
			if inode, ok := wanted[d.link]; ok {
				found[inode] = d
				delete(wanted, d.link)
			}
			if len(wanted) == 0 {
				return found, nil
			}
		}
		if errors.Is(err, fs.ErrPermission) {
			refused = fmt.Errorf("descriptors of pid %d: %w", pid, err)
		}
	}
	return found, refused
}
