package process

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Listening is a socket in LISTEN state.
type Listening struct {
	PID     int    // the lowest pid that holds it
	Network string // "tcp" or "unix"
	Address string // host:port, a path, or @name for an abstract one
	Inode   uint64
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
		if errors.Is(err, fs.ErrPermission) {
			refused = fmt.Errorf("descriptors of pid %d: %w", pid, err)
		}
		for _, fd := range fds {
			inode, ok := socketInode(fmt.Sprintf("/proc/%d/fd/%s", pid, fd.Name()))
			if l, listens := table[inode]; ok && listens {
				l.PID = pid
				found = append(found, l)
				delete(table, inode)
			}
		}
	}
	return found, refused
}

// socketInode parses a link such as "socket:[12345]".
func socketInode(link string) (uint64, bool) {
	target, err := os.Readlink(link)
	number, ok := strings.CutPrefix(target, "socket:[")
	if err != nil || !ok {
		return 0, false
	}
	inode, err := strconv.ParseUint(strings.TrimSuffix(number, "]"), 10, 64)
	return inode, err == nil
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
		const acceptsConnections = 0x10000
		f := strings.Fields(line)
		if len(f) < 7 {
			return
		}
		flags, err := strconv.ParseUint(f[3], 16, 32)
		if err != nil || flags&acceptsConnections == 0 {
			return
		}
		path := ""
		if len(f) > 7 {
			path = line[strings.LastIndex(line, " "+f[6]+" ")+len(f[6])+2:] // the path may contain blanks
		}
		add("unix", path, f[6])
	})
	return table
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
