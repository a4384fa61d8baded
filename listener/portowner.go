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
	names := listeningSockets(a)
	if len(names) == 0 {
		return ""
	}
	self := ""
	links, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, link := range links {
		target, err := os.Readlink(link)
		name, listens := names[target]
		pid := strings.Split(link, "/")[2]
		if err != nil || !listens || !isAtPath(pid, name, a) {
			continue
		}
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

// listeningSockets returns the sockets that conflict with a, as the links in /proc/PID/fd name
// them: "socket:[12345]", and the paths to which they are bound, empty for TCP. A relative path may
// be a's: isAtPath knows.
func listeningSockets(a Address) map[string]string {
	found := map[string]string{}
	if a.Network == "unix" {
		eachLine("/proc/net/unix", func(line string) {
			f := strings.Fields(line)
			if len(f) < 8 || f[3] != unixListens {
				return
			}
			path := line[strings.LastIndex(line, " "+f[6]+" ")+len(f[6])+2:] // it may contain blanks
			if path == a.Address || strings.HasSuffix(a.Address, "/"+strings.TrimPrefix(path, "./")) {
				found["socket:["+f[6]+"]"] = path
			}
		})
		return found
	}
	host, port, _ := net.SplitHostPort(a.Address)
	want := net.ParseIP(host) // nil for a host name or every interface: only the port is compared
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		eachLine(table, func(line string) {
			f := strings.Fields(line)
			if len(f) < 10 || f[3] != "0A" {
				return
			}
			ip, p, ok := decodeAddress(f[1])
			clash := want == nil || want.IsUnspecified() || ip.IsUnspecified() || ip.Equal(want)
			if ok && clash && strconv.Itoa(p) == port {
				found["socket:["+f[9]+"]"] = ""
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

// isAtPath reports whether the path to which a process has bound a unix socket is a's. A relative
// one begins in its working directory: a server is asked for "app.sock" and stays there.
func isAtPath(pid, path string, a Address) bool {
	if a.Network != "unix" || path == a.Address {
		return true
	}
	dir, err := os.Readlink("/proc/" + pid + "/cwd")
	return err == nil && !filepath.IsAbs(path) && filepath.Join(dir, path) == a.Address
}

// eachLine calls f for every line of a table in /proc.
func eachLine(path string, f func(line string)) {
	file, err := os.Open(path)
	if err != nil {
		return
	}
	defer file.Close()
	for s := bufio.NewScanner(file); s.Scan(); {
		f(s.Text())
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
