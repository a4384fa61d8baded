package process

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The test binary is also the shim and, called with "testprogram NAME", one of the test programs. One
// that no test uses fails a whole run.
func TestMain(m *testing.M) {
	Shim()
	if len(os.Args) > 2 && os.Args[1] == "testprogram" {
		args := os.Args[2:]
		if name, ok := strings.CutPrefix(args[0], "name="); ok { // of this process
			os.WriteFile("/proc/self/comm", []byte(name), 0)
			args = args[1:]
		}
		program, ok := testPrograms[args[0]]
		if !ok {
			fmt.Fprintln(os.Stderr, "no such test program:", args[0])
			os.Exit(99)
		}
		program(args[1:])
		unix.Exit(0) // at once: os.Exit waits for a second under the race detector
	}
	flag.Parse()
	code := m.Run()
	if whole := flag.Lookup("test.run").Value.String() == ""; whole && code == 0 {
		for name := range testPrograms {
			if _, used := usedPrograms.Load(name); !used {
				fmt.Println("FAIL: no test uses the test program", name)
				code = 1
			}
		}
	}
	os.Exit(code)
}

var usedPrograms sync.Map

// testPrograms has every program by name.
var testPrograms = map[string]func(args []string){
	"sleep":          func([]string) { ready(); forever() },
	"exit":           func(args []string) { unix.Exit(number1(args)) },
	"deaf":           func([]string) { signal.Ignore(unix.SIGTERM, unix.SIGINT); ready(); forever() },
	"exit-on-term":   exitOnTerm,
	"helper":         helper,
	"master":         master,
	"leave-session":  leaveSession,
	"leave-cgroup":   leaveCgroup,
	"frozen":         func([]string) { ready(); unix.Kill(os.Getpid(), unix.SIGSTOP); forever() },
	"flood":          func([]string) { flood(os.Stdout) },
	"facts":          func([]string) { facts() },
	"accept":         func([]string) { acceptOn3() },
	"masked":         func([]string) { masked() },
	"no-descriptors": func([]string) { withoutDescriptors() },
	"daemon":         daemon,
	"reaper":         reaper,
	"descendants":    descendants,
	"between":        between,
	"supervise":      supervise,
	"role":           role,
	"hop":            hop,
	"threads":        threads,
	"take-pid":       takePid,
}

func ready() { fmt.Println("ready") }

// forever is longer than any test.
func forever() { <-time.After(10 * time.Minute) }

func number1(args []string) int {
	n, err := strconv.Atoi(args[0])
	if err != nil {
		panic(err)
	}
	return n
}

func exitOnTerm([]string) {
	term := make(chan os.Signal, 1)
	signal.Notify(term, unix.SIGTERM)
	ready()
	<-term
	fmt.Println("bye")
}

// helper lives as long as its standard input: like Python's resource tracker it follows its parent by itself, and cleans up
// for a while.
func helper([]string) {
	signal.Ignore(unix.SIGTERM)
	ready()
	io.Copy(io.Discard, os.Stdin)
	<-time.After(helperGrace / 10)
}

// startProgram starts another test program and waits until it is ready.
func startProgram(attr *syscall.SysProcAttr, env []string, stdin io.Reader, args ...string) (*exec.Cmd, string) {
	cmd := exec.Command("/proc/self/exe", append([]string{"testprogram"}, args...)...)
	cmd.SysProcAttr, cmd.Env, cmd.Stdin, cmd.Stderr = attr, env, stdin, os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		panic(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		panic(fmt.Sprint(args, ": ", err))
	}
	return cmd, strings.TrimSpace(line)
}

// master starts workers that outlive it, or with "helper" one that ends with it, and exits at
// SIGTERM.
func master(args []string) {
	term := make(chan os.Signal, 1)
	signal.Notify(term, unix.SIGTERM)
	var names []string
	for _, kind := range args {
		var stdin io.Reader
		if kind == "helper" {
			r, w, _ := os.Pipe()
			stdin = r
			defer w.Close()
		}
		cmd, _ := startProgram(nil, os.Environ(), stdin, kind)
		names = append(names, strconv.Itoa(cmd.Process.Pid))
	}
	fmt.Println("ready", strings.Join(names, " "))
	<-term
}

// leaveSession double-forks a deaf grandchild into a session of its own; with "bare" it has no environment that could tell of it. With
// "exit" the main process then ends.
func leaveSession(args []string) {
	if slices.Contains(args, "between") { // the middle of the double fork
		cmd, _ := startProgram(&syscall.SysProcAttr{Setsid: true}, os.Environ(), nil, "deaf")
		fmt.Println(cmd.Process.Pid)
		return
	}
	env := os.Environ()
	if slices.Contains(args, "bare") {
		env = []string{"A=b"}
	}
	cmd, pid := startProgram(&syscall.SysProcAttr{Setsid: true}, env, nil, "leave-session", "between")
	cmd.Wait()
	fmt.Println("ready", pid)
	if !slices.Contains(args, "exit") {
		forever()
	}
}

// leaveCgroup leaves its cgroup, as a login session does, for the topmost one, where it can.
func leaveCgroup([]string) {
	if _, mount := cgroupMount(); mount != "" {
		(&cgroup{mount}).join()
	}
	ready()
	forever()
}

func flood(w io.Writer) {
	line := []byte(strings.Repeat("x", 4095) + "\n")
	for {
		w.Write(line)
	}
}

// Facts is what a child reports of itself.
type Facts struct {
	Pid, Session, Umask, Nice, UID, GID int
	Cwd, OOM                            string
	Args, Env                           []string
	Groups                              []int
	Core                                syscall.Rlimit
	NoNewPrivs                          int
}

func facts() {
	f := Facts{Pid: os.Getpid(), Umask: unix.Umask(0), UID: os.Getuid(), GID: os.Getgid(), Args: os.Args, Env: os.Environ()}
	f.Session, _ = unix.Getsid(0)
	f.Nice, _ = unix.Getpriority(unix.PRIO_PROCESS, 0)
	f.Nice = 20 - f.Nice // as the system call has it
	f.Cwd, _ = os.Getwd()
	oom, _ := os.ReadFile("/proc/self/oom_score_adj")
	f.OOM = strings.TrimSpace(string(oom))
	f.Groups, _ = os.Getgroups()
	syscall.Getrlimit(unix.RLIMIT_CORE, &f.Core)
	f.NoNewPrivs, _ = unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)
	json.NewEncoder(os.Stdout).Encode(f)
}

// acceptOn3 answers every connection with its pid.
func acceptOn3() {
	if os.Getenv("LISTEN_PID") != strconv.Itoa(os.Getpid()) || os.Getenv("LISTEN_FDS") != "1" {
		panic("no socket for me")
	}
	ready()
	for {
		conn, _, err := unix.Accept(3)
		if err != nil {
			panic(err)
		}
		unix.Write(conn, []byte(strconv.Itoa(os.Getpid())))
		unix.Close(conn)
	}
}

// lives looks whether a pid is a process, and no zombie.
func lives(pid int) bool {
	s, err := readStat(pid)
	return err == nil && s.alive()
}

// masked overwrites its environment as setproctitle does.
func masked() {
	raw, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		panic(err)
	}
	fields := strings.Fields(string(raw[strings.LastIndex(string(raw), ")")+1:]))
	from, _ := strconv.ParseInt(fields[47], 10, 64) // env_start and env_end
	to, _ := strconv.ParseInt(fields[48], 10, 64)
	memory, err := os.OpenFile("/proc/self/mem", os.O_WRONLY, 0)
	if err == nil {
		_, err = memory.WriteAt(make([]byte, to-from), from)
	}
	if err != nil {
		panic(err)
	}
	signal.Ignore(unix.SIGTERM)
	ready()
	forever()
}

// daemonOrder is what the program "daemon" is to start.
type daemonOrder struct {
	Argv  []string
	Sweep bool // without a cgroup
	UID   *uint32
	Token string
}

// daemonReport is what it tells: of the tree and the first line of its output, or why there is none.
type daemonReport struct {
	Record Record
	Line   string
	Err    string
}

// daemon is a process that starts a tree and then waits to be killed.
// role says its pid, and executes the test program "sleep" with a name as those of a daemon's processes.
func role([]string) {
	fmt.Println(os.Getpid())
	panic(unix.Exec("/proc/self/exe", []string{RolePrefix + "test", "testprogram", "sleep"}, os.Environ()))
}

func daemon(args []string) {
	var o daemonOrder
	if err := json.Unmarshal([]byte(args[0]), &o); err != nil {
		panic(err)
	}
	s := Spec{Argv: o.Argv, Env: os.Environ(), Stderr: os.Stderr, Name: "test.1", Token: o.Token}
	if o.UID != nil {
		s.User = &User{UID: *o.UID, GID: *o.UID}
	}
	cgroups := newCgroup
	if o.Sweep {
		cgroups = noCgroup
	}
	r, w, err := os.Pipe()
	if err != nil {
		panic(err)
	}
	s.Stdout = w
	var report daemonReport
	p, err := start(s, cgroups)
	if err != nil {
		report.Err = err.Error()
	} else {
		report.Record = p.Record()
		report.Line, _ = bufio.NewReader(r).ReadString('\n')
	}
	json.NewEncoder(os.Stdout).Encode(report)
	forever()
}

// reaper starts trees that leave orphans behind, and others by os/exec, while Reap runs, and counts what went wrong.
func reaper([]string) {
	ctx, stop := context.WithCancel(context.Background())
	var reaping sync.WaitGroup
	reaping.Go(func() { Reap(ctx) })
	var all sync.WaitGroup
	var wrong atomic.Int32
	check := func(ok bool) {
		if !ok {
			wrong.Add(1)
		}
	}
	for i := range 40 {
		all.Go(func() {
			p, err := start(Spec{Argv: []string{"/proc/self/exe", "testprogram", "exit", strconv.Itoa(i)}, Env: os.Environ()}, noCgroup)
			if check(err == nil); err == nil {
				<-p.Exited()
				check(p.Outcome().Code == i)
			}
		})
		all.Go(func() {
			err := exec.Command("/bin/sh", "-c", "exit "+strconv.Itoa(i)).Run()
			var exit *exec.ExitError
			check(i == 0 && err == nil || errors.As(err, &exit) && exit.ExitCode() == i)
		})
	}
	for i := range 5 {
		all.Go(func() {
			token := fmt.Sprint("reaped-", os.Getpid(), "-", i)
			p, err := start(Spec{Argv: []string{"/proc/self/exe", "testprogram", "leave-session", "exit"}, Env: os.Environ(), Token: token}, noCgroup)
			if check(err == nil); err == nil {
				<-p.Exited()
				report := p.Kill(context.Background())
				check(report.Killed == 1 && report.Empty())
			}
		})
	}
	all.Wait()
	for zombies, end := 1, time.After(waitLimit/3); zombies > 0; {
		err := unix.Waitid(unix.P_ALL, 0, nil, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
		if zombies = 0; err == nil { // ECHILD: no children at all are left
			zombies = 1
			select {
			case <-end:
				check(false)
				zombies = 0
			case <-time.After(time.Millisecond):
			}
		}
	}
	stop()
	reaping.Wait()
	fmt.Println("ready", wrong.Load())
}

// withoutDescriptors has a tree and no descriptors left to look at it with.
func withoutDescriptors() {
	p, err := start(Spec{Argv: []string{"/proc/self/exe", "testprogram", "sleep"}, Token: "no-descriptors"}, noCgroup)
	if err != nil {
		panic(err)
	}
	var before syscall.Rlimit
	syscall.Getrlimit(unix.RLIMIT_NOFILE, &before)
	syscall.Setrlimit(unix.RLIMIT_NOFILE, &syscall.Rlimit{Cur: 3, Max: before.Max})
	empty, waiting := p.Empty(), make(chan error)
	short, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	report := p.Kill(short) // reaches the group without looking
	syscall.Setrlimit(unix.RLIMIT_NOFILE, &before)
	go func() { waiting <- p.WaitEmpty(context.Background()) }()
	fmt.Println(empty, report.Empty(), <-waiting, p.Outcome())
}

// program is the name of the test program in the command; empty: another command.
func (o daemonOrder) program() string {
	if len(o.Argv) > 2 {
		return o.Argv[2]
	}
	return ""
}
