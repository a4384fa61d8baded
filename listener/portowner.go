package listener

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// portOwner returns a process that listens on an address that conflicts with a, as
// "pid 4711 (gunicorn: master)", this process only if there is no other. It is empty if /proc
// does not show one: only root can see the descriptors of other users' processes.
func portOwner(a Address) string {
	inodes := listeningInodes(a)
	if len(inodes) == 0 {
		return ""
	}
	self := ""
	links, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, link := range links {
		target, err := os.Readlink(link)
		if err != nil || !inodes[target] {
			continue
		}
		pid := strings.Split(link, "/")[2]
		holder := fmt.Sprintf("pid %s (%s)", pid, commandLine(pid))
		if pid != strconv.Itoa(os.Getpid()) {
			return holder
		}
		self = holder
	}
	return self
}

// Holder returns a process that listens on an address that conflicts with a, as portOwner does.
func Holder(a Address) string { return portOwner(a) }

// unixListens are the flags of a listening socket in /proc/net/unix (SO_ACCEPTCON). A connection
// that it has accepted has the same path.
const unixListens = "00010000"

// listeningInodes returns the sockets that conflict with a, as the links in /proc/PID/fd
// name them: "socket:[12345]".
func listeningInodes(a Address) map[string]bool {
	found := map[string]bool{}
	if a.Network == "unix" {
		eachRow("/proc/net/unix", func(f []string) {
			if len(f) == 8 && f[3] == unixListens && f[7] == a.Address {
				found["socket:["+f[6]+"]"] = true
			}
		})
		return found
	}
	host, port, _ := net.SplitHostPort(a.Address)
	want := net.ParseIP(host) // nil for a host name or every interface: only the port is compared
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		eachRow(table, func(f []string) {
			if len(f) < 10 || f[3] != "0A" {
				return
			}
			ip, p, ok := decodeAddress(f[1])
			clash := want == nil || want.IsUnspecified() || ip.IsUnspecified() || ip.Equal(want)
			if ok && clash && strconv.Itoa(p) == port {
				found["socket:["+f[9]+"]"] = true
			}
		})
	}
	return found
}

// decodeAddress decodes "0100007F:1F90" of /proc/net/tcp: an IP address in 32-bit words
// of native byte order, and a port.
func decodeAddress(s string) (net.IP, int, bool) {
	host, port, _ := strings.Cut(s, ":")
	raw, err := hex.DecodeString(host)
	p, perr := strconv.ParseUint(port, 16, 16)
	if err != nil || perr != nil || len(raw)%4 != 0 {
		return nil, 0, false
	}
	ip := make(net.IP, 0, len(raw))
	for ; len(raw) > 0; raw = raw[4:] {
		ip = binary.NativeEndian.AppendUint32(ip, binary.BigEndian.Uint32(raw))
	}
	return ip, int(p), true
}

// eachRow calls f with the fields of every line of a table in /proc.
func eachRow(path string, f func(fields []string)) {
	file, err := os.Open(path)
	if err != nil {
		return
	}
	defer file.Close()
	for s := bufio.NewScanner(file); s.Scan(); {
		f(strings.Fields(s.Text()))
	}
}

// commandLine returns the command line of a process, shortened, or the name in
// /proc/PID/comm if it has none.
func commandLine(pid string) string {
	line, _ := os.ReadFile("/proc/" + pid + "/cmdline")
	words := strings.Join(strings.Fields(string(bytes.ReplaceAll(line, []byte{0}, []byte{' '}))), " ")
	if words == "" {
		comm, _ := os.ReadFile("/proc/" + pid + "/comm")
		words = strings.TrimSpace(string(comm))
	}
	if r := []rune(words); len(r) > 60 {
		words = string(r[:57]) + "..."
	}
	return words
}
