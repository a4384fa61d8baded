package process

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// descendants starts other processes and exits at SIGTERM, without them. Each is described by words with a
// slash between them, of which the last is its test program and its arguments, "hop:7":
//
//	33           with this uid and gid
//	session      in a session of its own
//	orphan       its parent exits at once
//	bare         without an environment
//	token=TEXT   with this token of a tree
//	name=TEXT    with this name
func descendants(args []string) {
	term := make(chan os.Signal, 1)
	signal.Notify(term, unix.SIGTERM)
	fmt.Println("ready", strings.Join(startDescendants(args), " "))
	<-term
}

func startDescendants(args []string) []string {
	var pids []string
	for _, arg := range args {
		pids = append(pids, startDescendant(strings.Split(arg, "/")))
	}
	return pids
}

func startDescendant(words []string) string {
	attr := &syscall.SysProcAttr{}
	env := os.Environ()
	program := strings.Split(words[len(words)-1], ":")
	orphan := false
	for _, word := range words[:len(words)-1] {
		key, value, _ := strings.Cut(word, "=")
		switch key {
		case "session":
			attr.Setsid = true
		case "orphan":
			orphan = true
		case "bare":
			env = []string{"A=b"}
		case "token":
			env = append(env, treeVariable+"="+value)
		case "name":
			program = append([]string{"name=" + value}, program...)
		default:
			id := uint32(number1([]string{word}))
			attr.Credential = &syscall.Credential{Uid: id, Gid: id}
		}
	}
	if orphan {
		cmd, pid := startProgram(attr, env, nil, append([]string{"between"}, program...)...)
		cmd.Wait()
		return pid
	}
	cmd, _ := startProgram(attr, env, nil, program...)
	return strconv.Itoa(cmd.Process.Pid)
}

// between is the process in the middle of a double fork.
func between(args []string) {
	cmd, _ := startProgram(nil, os.Environ(), nil, args...)
	fmt.Println(cmd.Process.Pid)
}

// threads is a process whose first thread exits, while others go on: its state in /proc is that of a
// zombie.
func threads([]string) {
	for s, err := readStat(os.Getpid()); err != nil || s.state != 'Z'; s, err = readStat(os.Getpid()) {
		go func() { // sooner or later on the first thread
			runtime.LockOSThread()
			if unix.Gettid() == os.Getpid() {
				unix.Syscall(unix.SYS_EXIT, 0, 0, 0)
			}
			forever()
		}()
		<-time.After(time.Millisecond)
	}
	ready()
	forever()
}

// hop forks, makes a session in the child and exits in the parent, N times, then sleeps. N is 0: for ever.
func hop(args []string) {
	n := number1(args)
	if n == 0 {
		n = math.MaxInt
	}
	ready()
	for range n {
		// After fork the child has no other thread, so it must not enter Go's runtime.
		pid, _, _ := unix.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
		if pid != 0 {
			unix.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
		}
		unix.RawSyscall(unix.SYS_SETSID, 0, 0, 0)
	}
	for {
		unix.RawSyscall6(unix.SYS_PPOLL, 0, 0, 0, 0, 0, 0)
	}
}

// takePid starts sleep with the pid that is its argument, in a session of its own.
func takePid(args []string) {
	pid := int32(number1(args))
	arguments := struct {
		flags, pidfd, childTid, parentTid, exitSignal, stack, stackSize, tls uint64
		setTid                                                               *int32
		setTidSize                                                           uint64
	}{exitSignal: uint64(unix.SIGCHLD), setTid: &pid, setTidSize: 1}
	path, _ := unix.BytePtrFromString("/bin/sleep")
	seconds, _ := unix.BytePtrFromString("1000")
	argv := []*byte{path, seconds, nil}
	child, _, errno := unix.RawSyscall(unix.SYS_CLONE3, uintptr(unsafe.Pointer(&arguments)), unsafe.Sizeof(arguments), 0)
	if errno == unix.EPERM { // no CAP_SYS_ADMIN and no CAP_CHECKPOINT_RESTORE
		ready()
		forever()
	}
	if errno != 0 {
		panic(errno)
	}
	if child == 0 {
		unix.RawSyscall(unix.SYS_SETSID, 0, 0, 0)
		unix.RawSyscall(unix.SYS_EXECVE, uintptr(unsafe.Pointer(path)), uintptr(unsafe.Pointer(&argv[0])), 0)
		unix.RawSyscall(unix.SYS_EXIT_GROUP, 127, 0, 0)
	}
	ready()
	forever()
}

// superviseRequest is a line for the program "supervise".
type superviseRequest struct {
	Do    string // "start", "members", "stop", "kill-main", "kill-all", "read-output", "quit"
	Name  string // of the tree; "stop" takes several, with a blank between them, and stops them at once
	Argv  []string
	UID   *uint32
	Sweep bool // without a cgroup
}

// superviseReply is its answer.
type superviseReply struct {
	Err     string
	Token   string
	Line    string // first line of output
	Pid     int
	Cgroup  string
	Members []int
	Killed  int
	Left    []int
}

// supervise is a daemon that reaps and starts trees as it is told. With "cgroup" it moves into a cgroup
// of its own, and mounts version 2 if it is not mounted. With "no-ptrace" it has no CAP_SYS_PTRACE,
// as root in a container.
func supervise(args []string) {
	leave := func() {}
	if len(args) > 0 && args[0] == "no-ptrace" {
		runtime.LockOSThread()
		for _, capability := range []uintptr{unix.CAP_SYS_PTRACE, unix.CAP_PERFMON, unix.CAP_SYS_ADMIN} { // each lets it read an environment since Linux 6.13
			unix.Prctl(unix.PR_CAPBSET_DROP, capability, 0, 0, 0)
		}
		panic(syscall.Exec("/proc/self/exe", []string{"/proc/self/exe", "testprogram", "supervise"}, os.Environ()))
	}
	if slices.Contains(args, "cgroup") {
		leave = enterCgroup(args[len(args)-1])
	}
	if slices.Contains(args, "proc") { // a new pid namespace
		unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
		if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
			panic(err)
		}
	}
	go Reap(context.Background())
	for !ownChildren.isSubreaper() {
		runtime.Gosched()
	}
	trees := map[string]*testChild{}
	in, out := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	for {
		var r superviseRequest
		if in.Decode(&r) != nil || r.Do == "quit" {
			leave()
			out.Encode(superviseReply{})
			return
		}
		out.Encode(superviseAnswer(trees, r))
	}
}

func superviseAnswer(trees map[string]*testChild, r superviseRequest) (reply superviseReply) {
	p := trees[r.Name]
	switch r.Do {
	case "start":
		s := Spec{Argv: r.Argv, Env: os.Environ(), Stderr: os.Stderr, Name: "test-" + r.Name, Token: fmt.Sprint(r.Name, "-", os.Getpid())}
		if r.UID != nil {
			s.User = &User{UID: *r.UID, GID: *r.UID}
		}
		cgroups := newCgroup
		if r.Sweep {
			cgroups = noCgroup
		}
		k, err := startWithOutput(s, cgroups)
		if err != nil {
			return superviseReply{Err: err.Error()}
		}
		trees[r.Name] = k
		reply.Line, _ = k.out.ReadString('\n')
		reply.Token, reply.Pid, reply.Cgroup = s.Token, k.Pid(), k.Record().Cgroup
	case "members":
		reply.Members = p.Members()
	case "await-adoption":
		AwaitAdoption()
	case "read-output": // to its end: no process has it open
		if _, err := io.Copy(io.Discard, p.out); err != nil {
			reply.Err = err.Error()
		}
	case "kill-main":
		p.Signal(unix.SIGKILL)
		<-p.Exited()
	case "kill-all":
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		reply.Left = KillAll(ctx)
	case "stop":
		var all sync.WaitGroup
		var mu sync.Mutex
		for _, name := range strings.Fields(r.Name) {
			all.Go(func() {
				report := trees[name].Stop(context.Background(), unix.SIGTERM, 10*time.Second)
				mu.Lock()
				defer mu.Unlock()
				reply.Killed += report.Killed
				reply.Left = append(reply.Left, report.Left...)
			})
		}
		all.Wait()
	}
	return reply
}

// enterCgroup moves this process into a new cgroup. It mounts the hierarchy on dir, in the mount
// namespace of this process, if there is none. Where this fails there will be no cgroups.
func enterCgroup(dir string) (leave func()) {
	if ownCgroup() == "" {
		unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
		unix.Mount("none", dir, "cgroup2", 0, "")
	}
	above := &cgroup{ownCgroup()}
	own := &cgroup{filepath.Join(above.path, "test-"+strconv.Itoa(os.Getpid()))}
	if above.path == "" || os.Mkdir(own.path, 0o755) != nil || own.join() != nil {
		return func() {}
	}
	return func() {
		above.join()
		own.remove()
	}
}
