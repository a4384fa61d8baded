//go:build e2e

package e2e

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"tideover/scripts/testenv"
)

// attackProgram is the name of the copy of the test binary that is run as the app
// of a row, or as an attacker. Its first argument is a key of attackPrograms.
const attackProgram = "attack-program"

func attackPrograms() map[string]func(args []string) {
	return map[string]func([]string){"web": serveApp, "say": sayLines, "thief": stealPort, "flood": floodOutput}
}

// runAttackProgram runs the program if this process is a copy with its name. It
// does not return then.
func runAttackProgram() {
	if filepath.Base(os.Args[0]) == attackProgram {
		attackPrograms()[os.Args[1]](os.Args[2:])
		os.Exit(0)
	}
}

// argument returns the value of NAME=VALUE in args.
func argument(args []string, name string) string {
	for _, arg := range args {
		if value, ok := strings.CutPrefix(arg, name+"="); ok {
			return value
		}
	}
	return ""
}

// serveApp serves on fd=N, socket=PATH or port=N, after delay=DURATION. It answers
// "app", or what its path asks about the process, and prints a line per request.
func serveApp(args []string) {
	delay, _ := time.ParseDuration(argument(args, "delay"))
	<-time.After(delay) // as long as the import of a framework takes
	var l net.Listener
	var err error
	switch fd, _ := strconv.Atoi(argument(args, "fd")); {
	case fd > 0:
		l, err = net.FileListener(os.NewFile(uintptr(fd), "listener"))
	case argument(args, "socket") != "":
		l, err = net.Listen("unix", argument(args, "socket"))
	default:
		l, err = net.Listen("tcp", "127.0.0.1:"+argument(args, "port"))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	var requests atomic.Int64
	server := &http.Server{}
	server.SetKeepAlivesEnabled(false) // every request is a connection of its own
	server.Handler = http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		fmt.Printf("request %d %s %s\n", requests.Add(1), q.URL.Path, strings.Repeat("x", 150))
		switch q.URL.Path {
		case "/env":
			fmt.Fprintln(w, strings.Join(os.Environ(), "\n"))
		case "/descriptors":
			fmt.Fprint(w, strings.Join(openDescriptors(), "\n"))
		case "/where":
			fmt.Fprint(w, strings.Join(args, "\n"))
		case "/release":
			text, _ := os.ReadFile("release")
			w.Write(text)
		case "/exit":
			os.Exit(1)
		default:
			fmt.Fprintln(w, "app")
		}
	})
	server.Serve(l)
}

// openDescriptors lists the descriptors of this process as NUMBER TARGET, without
// those that the runtime of Go opened: epoll, eventfd, and the CPU limit of the cgroup.
func openDescriptors() (all []string) {
	entries, _ := os.ReadDir("/proc/self/fd")
	for _, e := range entries {
		target, err := os.Readlink("/proc/self/fd/" + e.Name())
		ofRuntime := strings.HasPrefix(target, "anon_inode:[event") || strings.Contains(target, "/cpu.cfs_") || strings.HasSuffix(target, "/cpu.max")
		if err == nil && !ofRuntime && !strings.HasPrefix(target, "/proc/") {
			all = append(all, e.Name()+" "+target)
		}
	}
	return all
}

// sayLines prints numbered lines for ever.
func sayLines(args []string) {
	text, n := strings.Join(args, " "), 0
	for range time.Tick(4 * time.Millisecond) {
		n++
		fmt.Printf("line %d %s\n", n, text)
	}
}

// stealPort listens on the port that the command line of another process names as
// port=N beside mark=MARK, and prints what the clients of that process send. How
// often it does so is times=N. With wait=yes it waits until that process listens, and
// takes the port when it is free again.
func stealPort(args []string) {
	count, _ := strconv.Atoi(argument(args, "times"))
	seen := map[string]bool{}
	stolen := 0
	for range time.Tick(time.Millisecond) {
		if stolen == count {
			break
		}
		for _, port := range portsOf("mark=" + argument(args, "mark")) {
			if seen[port] {
				continue
			}
			seen[port] = true
			if argument(args, "wait") != "" {
				go stealAfter(port)
				continue
			}
			if steal(port) {
				stolen++
			}
		}
	}
	select {}
}

// stealAfter serves on a port when its owner has ended.
func stealAfter(port string) {
	for range time.Tick(time.Millisecond) {
		if c, err := net.Dial("tcp", "127.0.0.1:"+port); err == nil {
			c.Close()
			break
		}
	}
	for range time.Tick(100 * time.Microsecond) {
		if steal(port) {
			break
		}
	}
}

// steal serves on a port, and reports whether it was free.
func steal(port string) bool {
	l, err := net.Listen("tcp", "127.0.0.1:"+port)
	if err != nil {
		return false
	}
	fmt.Println("stole", port, "as", os.Getuid())
	go http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		fmt.Println("request", q.URL.Path, q.Header.Get("Cookie"))
		fmt.Fprintln(w, "stolen")
	}))
	return true
}

// portsOf returns the value of port=N in each command line that has the word mark.
func portsOf(mark string) (ports []string) {
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		line, err := os.ReadFile("/proc/" + e.Name() + "/cmdline")
		if err != nil || e.Name() == strconv.Itoa(os.Getpid()) {
			continue
		}
		words := strings.Split(string(line), "\x00")
		if port := argument(words, "port"); port != "" && words[len(words)-1] == "" && argument(words, "mark") == strings.TrimPrefix(mark, "mark=") {
			ports = append(ports, port)
		}
	}
	return ports
}

// floodOutput writes as much as it can, of the given kind, once the file of its
// second argument exists.
func floodOutput(args []string) {
	for range time.Tick(10 * time.Millisecond) {
		if _, err := os.Stat(args[1]); err == nil {
			break
		}
	}
	piece := map[string][]byte{
		"lines":   bytes.Repeat(append(bytes.Repeat([]byte("x"), 63), '\n'), 1000),
		"endless": bytes.Repeat([]byte("x"), 64_000),
		"empty":   bytes.Repeat([]byte("\n"), 64_000),
	}[args[0]]
	out := bufio.NewWriterSize(os.Stdout, len(piece))
	for {
		if _, err := out.Write(piece); err != nil {
			return
		}
	}
}

// shared makes a directory with attackProgram and tideover that every user can enter:
// where they were built may be closed to others.
var shared = sync.OnceValues(makeShared)

// sharedDir is the directory of shared, for removeShared.
var sharedDir atomic.Value

func removeShared() {
	if dir, ok := sharedDir.Load().(string); ok {
		os.RemoveAll(dir)
	}
}

func copyProgram(from, to string) error {
	content, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, content, 0o755)
}

func makeShared() (string, error) {
	dir, err := os.MkdirTemp("", "tideover-programs-")
	if err != nil {
		return "", err
	}
	sharedDir.Store(dir)
	own, err := os.Executable()
	if err != nil {
		return "", err
	}
	root, err := testenv.Repository()
	if err != nil {
		return "", err
	}
	for from, to := range map[string]string{own: attackProgram, testenv.Binary(root): "tideover"} {
		if err := copyProgram(from, filepath.Join(dir, to)); err != nil {
			return "", err
		}
	}
	return dir, os.Chmod(dir, 0o755)
}
