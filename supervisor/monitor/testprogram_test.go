package monitor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The test binary is also the monitor, the supervisor that it starts, and their children.
func TestMain(m *testing.M) {
	switch {
	case os.Args[0] == RoleName:
		testSupervisor()
	case os.Args[0] == "testchild":
		testChild()
	case len(os.Args) == 4 && os.Args[1] == "limit": // RLIMIT_NPROC of another process of this user
		pid, _ := strconv.Atoi(os.Args[2])
		n, _ := strconv.ParseUint(os.Args[3], 10, 32)
		if err := unix.Prlimit(pid, unix.RLIMIT_NPROC, &unix.Rlimit{Cur: n, Max: 1000}, nil); err != nil {
			fmt.Println(err)
			unix.Exit(1)
		}
		unix.Exit(0)
	case len(os.Args) == 2 && os.Args[1] == "monitor":
		exit, err := Run(Options{Env: os.Environ(), Getenv: os.Getenv, Stderr: os.Stderr, Args: []string{"run"}})
		if err != nil {
			fmt.Println("monitor:", err)
			unix.Exit(99)
		}
		unix.Exit(exit)
	}
	os.Exit(m.Run())
}

// testSupervisor does what its standard input says, a command a line, and writes an answer a line
// to standard output. Both are those of the monitor, so that the next one goes on. It begins with
// "begun".
func testSupervisor() {
	signal.Ignore(unix.SIGTERM)
	c, err := Dial()
	if err != nil || c == nil {
		fmt.Println("no channel:", err)
		unix.Exit(98)
	}
	fmt.Println("begun")
	ctx, stopBeat := context.WithCancel(context.Background())
	go c.Beat(ctx)
	var resume func()
	var stored map[string]*os.File
	for {
		words := strings.Fields(readLine())
		if len(words) == 0 {
			unix.Exit(97)
		}
		var answer any = "ok"
		var err error
		switch args := words[1:]; words[0] {
		case "hello":
			var s State
			s, err = c.Hello(func(s Signal) { fmt.Println("signal", unix.SignalName(s.Signal)) })
			stored = s.Stored
			answer = describe(s)
		case "up":
			err = c.Up()
		case "mute":
			stopBeat()
		case "pids":
			answer = fmt.Sprint(os.Getpid(), " ", c.Pid(), " ", os.Getppid())
		case "oom":
			answer = *c.OOMScoreAdj()
		case "environ":
			answer = fmt.Sprint(os.Getenv(args[0]) == strconv.Itoa(os.Getpid()))
		case "spawn":
			answer, err = c.Spawn(args[0], "testchild", append(os.Environ(), "DO="+strings.Join(args[1:], " ")), []*os.File{os.Stdin, os.Stdout, os.Stderr})
		case "collect":
			var status syscall.WaitStatus
			status, err = c.Collect(args[0])
			answer = fmt.Sprint(status.ExitStatus(), " ", int(status.Signal()))
		case "put":
			var r, w *os.File
			r, w, err = os.Pipe()
			w.WriteString(args[1])
			w.Close()
			err = errors.Join(err, c.Put(context.Background(), args[0], r))
			r.Close()
		case "drop":
			err = c.Drop(context.Background(), args...)
		case "take":
			text := make([]byte, 100)
			n, _ := stored[args[0]].Read(text)
			answer = string(text[:n])
		case "inherited": // reads a descriptor that the monitor has inherited
			fd, _ := strconv.Atoi(args[0])
			text := make([]byte, 1)
			n, _ := unix.Read(fd, text)
			answer = string(text[:n])
		case "hold":
			resume = c.HoldReaping()
		case "release":
			resume()
		case "notify":
			err = c.Notify(strings.Join(args, " "))
		case "replace":
			program, err := os.Open(args[0])
			if err == nil {
				err = c.Replace(program)
			}
			if err != nil {
				fmt.Println("error:", err)
				continue
			}
			unix.Exit(0)
		case "exit":
			code, _ := strconv.Atoi(args[0])
			unix.Exit(code)
		case "done":
			code, _ := strconv.Atoi(args[0])
			c.Done(code)
			unix.Exit(96)
		default:
			answer = "what?"
		}
		if err != nil {
			answer = "error: " + err.Error()
		}
		fmt.Println(answer)
	}
}

func describe(s State) string {
	var lines []string
	for _, k := range s.Children {
		text := k.Token
		if k.Exited {
			text += fmt.Sprint("=", k.Status.ExitStatus())
		}
		lines = append(lines, text)
	}
	for name := range s.Stored {
		lines = append(lines, "fd:"+name)
	}
	slices.Sort(lines)
	former := "none"
	if s.Former != nil {
		if former = strconv.Itoa(s.Former.ExitStatus()); s.Former.Signaled() {
			former = s.Former.Signal().String()
		}
	}
	text, _ := json.Marshal([]any{s.Starts, former, lines})
	return string(text)
}

// readLine reads no byte too much: the next supervisor reads the rest.
func readLine() string {
	var line []byte
	for b := make([]byte, 1); ; {
		n, err := unix.Read(0, b)
		if err == unix.EINTR {
			continue
		}
		if n != 1 || b[0] == '\n' {
			return string(line)
		}
		line = append(line, b[0])
	}
}

// testChild does what DO says.
func testChild() {
	words := strings.Fields(os.Getenv("DO"))
	switch words[0] {
	case "exit":
		code, _ := strconv.Atoi(words[1])
		unix.Exit(code)
	case "wait": // for its end by a signal
		if len(words) > 1 {
			runtime.LockOSThread()
			unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0)
		}
		for {
			unix.Pause()
		}
	case "orphan": // starts a process that outlives it, which exits when a file exists
		env := []string{"DO=until " + words[1]}
		pid, err := syscall.ForkExec("/proc/self/exe", []string{"testchild"}, &syscall.ProcAttr{Env: env, Files: []uintptr{0, 1, 2}})
		fmt.Println("orphan", pid, err)
		unix.Exit(0)
	case "until":
		for {
			_, err := os.Stat(words[1])
			if _, gone := os.Stat(filepath.Dir(words[1])); err == nil || gone != nil {
				unix.Exit(0)
			}
			<-time.After(time.Millisecond)
		}
	}
	unix.Exit(95)
}
