package supervisor

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"tideover/supervisor/api"
	"tideover/supervisor/config"
)

func itoa(n int) string { return strconv.Itoa(n) }

// withoutListen makes the app a process without a public address.
func withoutListen(command ...string) appOption {
	return func(a *config.App) {
		a.Listen, a.Ready.After = nil, 50*time.Millisecond
		if len(command) > 0 {
			a.Command = command
		}
	}
}

// notifyScript is a Python worker that says how it is, as the sdnotify package does.
const notifyScript = `
import os, socket, sys, time
def say(text):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.connect(os.environ["NOTIFY_SOCKET"])
        s.sendall(text.encode())
def wait(name):
    while not os.path.exists(os.path.join(sys.argv[1], name)):
        time.sleep(0.02)
say("STATUS=loading\x1b[31m models\nEXTEND_TIMEOUT_USEC=60000000")
wait("go")
if os.fork() == 0:
    say("READY=1\nSTATUS=12 tasks")
wait("never")
`

func TestReadyWhenItSaysSo(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := open(t, "worker", withoutListen("python3", "-c", notifyScript, dir), func(a *config.App) {
		a.Ready.Notify, a.Ready.Timeout = true, 20*time.Second
	})
	st := r.until("loading", func(s api.AppStatus) bool { return s.Says != "" })
	if st.State != api.Starting || st.Says != "loading [31m models" || st.Pid == 0 {
		t.Errorf("status %+v", st)
	}
	createFile(t, filepath.Join(dir, "go"))
	st = r.until("running", func(s api.AppStatus) bool { return s.State == api.Running })
	r.until("told of its tasks", func(s api.AppStatus) bool { return s.Says == "12 tasks" })
	socket := filepath.Dir(environ(t, st.Pid)["NOTIFY_SOCKET"])
	res := r.want(r.reload(true), api.ExitOK)
	if res.Generation.To != 2 {
		t.Errorf("result %+v", res)
	}
	if _, err := os.Stat(socket); err == nil {
		t.Errorf("%s is left over", socket)
	}
}

func createFile(t *testing.T, file string) {
	t.Helper()
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
}

// environ is the environment that a process was started with.
func environ(t *testing.T, pid int) map[string]string {
	t.Helper()
	text, err := os.ReadFile("/proc/" + itoa(pid) + "/environ")
	if err != nil {
		t.Fatal(err)
	}
	env := map[string]string{}
	for entry := range bytes.SplitSeq(text, []byte{0}) {
		name, value, _ := strings.Cut(string(entry), "=")
		env[name] = value
	}
	return env
}

func TestWhoAsksForTimeGetsIt(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := open(t, "worker", withoutListen("python3", "-c", notifyScript, dir), func(a *config.App) {
		a.Ready.Notify, a.Ready.Timeout = true, 6*time.Second
	})
	r.until("loading", func(s api.AppStatus) bool { return s.Says != "" })
	began := time.Now()
	st := r.until("older than ready.timeout", func(s api.AppStatus) bool { return time.Since(began) > 7*time.Second })
	if st.State != api.Starting {
		t.Errorf("status %+v", st)
	}
	createFile(t, filepath.Join(dir, "go"))
	r.until("running", func(s api.AppStatus) bool { return s.State == api.Running && s.Generation == 1 })
}

func TestStrangersAreNotHeard(t *testing.T) {
	t.Parallel()
	r := open(t, "worker", withoutListen(), func(a *config.App) {
		a.Ready.Notify, a.Ready.Timeout, a.Restart = true, 3*time.Second, config.RestartNever
	})
	st := r.until("started", func(s api.AppStatus) bool { return s.Pid != 0 })
	conn, err := net.Dial("unixgram", environ(t, st.Pid)["NOTIFY_SOCKET"])
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("READY=1\nSTATUS=lies")); err != nil {
		t.Fatal(err)
	}
	st = r.until("given up", func(s api.AppStatus) bool { return s.State == api.Failed })
	if !strings.Contains(st.Reason, "it did not send READY=1 within 3 s") || st.Says != "" {
		t.Errorf("status %+v", st)
	}
}

func TestWebAppIsNotAskedToSpeak(t *testing.T) {
	t.Parallel()
	r := open(t, "web", func(a *config.App) { a.Ready.Notify = true })
	if socket, set := environ(t, pidOf(t, r.page()))["NOTIFY_SOCKET"]; set {
		t.Errorf("NOTIFY_SOCKET=%s: gunicorn would say READY=1 before it is", socket)
	}
}

func TestReadyWhenACommandSaysSo(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "up")
	createFile(t, file)
	r := open(t, "worker", withoutListen(), func(a *config.App) {
		a.Reload = config.Overlap
		a.Ready.Command = shell(`test -e ` + file + ` && kill -0 $TIDEOVER_PID || { echo no broker; exit 5; }`)
		a.Ready.Timeout = 5 * time.Second
	})
	r.until("running", func(s api.AppStatus) bool { return s.State == api.Running })
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	res := r.want(r.do(api.Reload), api.ExitKeptOld)
	if res.Probe != "exit status 5: no broker" || !strings.Contains(res.Error, "ready.command did not succeed within 5 s") {
		t.Errorf("probe %q, error %q", res.Probe, res.Error)
	}
}

func TestPlainProcessThatDoesNotStayFails(t *testing.T) {
	t.Parallel()
	r := open(t, "worker", withoutListen(shell("echo no broker; exit 1")...), func(a *config.App) { a.Ready.After = 10 * time.Second })
	st := r.until("failed", func(s api.AppStatus) bool { return s.State == api.Failed })
	if st.Next <= 0 || !strings.Contains(st.Reason, "exit status 1") || !strings.Contains(st.Reason, "before it was ready") {
		t.Errorf("status %+v", st)
	}
	res := r.want(r.do(api.Start), api.ExitDown)
	if !strings.HasSuffix(res.Error, "; nothing runs") || !slices.Equal(res.ChildOutput, []string{"no broker"}) {
		t.Errorf("result %+v", res)
	}
}

func TestStopSignalIsThePlainProcesssOwn(t *testing.T) {
	t.Parallel()
	notes := newNotesFile(t)
	script := `trap '` + notes.note("QUIT") + `; exit 0' QUIT; trap '` + notes.note("INT") + `' INT; trap '` + notes.note("TERM") + `' TERM; ` + notes.note("up") + `; while :; do sleep 0.05; done`
	r := open(t, "worker", withoutListen(shell(script)...), func(a *config.App) { a.Stop.Signal, a.Ready.After = syscall.SIGQUIT, time.Minute })
	notes.until(r, "up")
	r.want(r.do(api.Stop), api.ExitOK) // it was not ready yet, and may be at work all the same
	if lines := notes.lines(); !slices.Equal(lines, []string{"up", "QUIT"}) {
		t.Errorf("it was told %q", lines)
	}
}

func TestDoneIsDone(t *testing.T) {
	t.Parallel()
	code, notes := newExitCodeFile(t), newNotesFile(t)
	job := shell(notes.note("job $TIDEOVER_GENERATION") + "; " + code.wait())
	policy := func(a *config.App) { a.Restart, a.ExitCodes = config.RestartOnFailure, []int{0, 4} }
	r := prepare(t)
	r.open("worker", withoutListen(job...), policy)
	r.until("running", func(s api.AppStatus) bool { return s.State == api.Running })
	code.set(t, "4")
	done := func(s api.AppStatus) bool {
		return s.State == api.Stopped && s.Reason == "done: exit 4" && s.Restarts == 0 && s.Next == 0
	}
	r.until("done", done)

	// That it is done is not the operator's wish: another daemon starts it.
	r.close()
	r.open("worker", withoutListen(job...), policy)
	r.until("done again", done)
	if lines := notes.lines(); !slices.Equal(lines, []string{"job 1", "job 2"}) {
		t.Errorf("it ran as %q", lines)
	}
}

func TestWhatIsDoneEarlyIsDone(t *testing.T) {
	t.Parallel()
	code, notes := newExitCodeFile(t), newNotesFile(t)
	code.set(t, "0")
	r := open(t, "worker", withoutListen(shell(notes.note("job $TIDEOVER_GENERATION")+"; "+code.wait())...), func(a *config.App) {
		a.Restart, a.Ready.After = config.RestartOnFailure, time.Minute
	})
	done := func(s api.AppStatus) bool { return s.State == api.Stopped && s.Reason == "done: exit 0" }
	r.until("done", done)
	r.want(r.do(api.Start), api.ExitOK)
	r.want(r.do(api.Reload), api.ExitOK)
	r.until("done as before", done)
	code.set(t, "5")
	r.want(r.do(api.Reload), api.ExitDown)
	notes.until(r, "job 5") // again, by itself
	r.want(r.do(api.Stop), api.ExitOK)
	r.want(r.do(api.Reload), api.ExitNotRunning)
	code.set(t, "0")
	r.want(r.do(api.Start), api.ExitOK)
	r.until("done at last", done)
}

func TestNeverIsNever(t *testing.T) {
	t.Parallel()
	notes := newNotesFile(t)
	r := open(t, "web", func(a *config.App) {
		a.Restart = config.RestartNever
		a.Hooks.OnFailure = shell(notes.note("$TIDEOVER_REASON: $TIDEOVER_ERROR"))
	})
	kill(t, pidOf(t, r.page()), syscall.SIGKILL)
	st := r.until("failed", func(s api.AppStatus) bool { return s.State == api.Failed })
	if st.Next != 0 || st.Reason != `the main process ended: killed by SIGKILL; restart = "never"` {
		t.Errorf("status %+v", st)
	}
	notes.until(r, "crash: the main process ended: killed by SIGKILL")
	if status, body := r.get("/"); status != 503 {
		t.Errorf("it answers %d %s", status, body)
	}
	r.want(r.do(api.Reload), api.ExitOK)
	r.page()
}

func TestExitWhenAnAppHasFailed(t *testing.T) {
	t.Parallel()
	notes := newNotesFile(t)
	r := prepare(t)
	r.ends = true
	worker := r.settings("worker", withoutListen(shell("sleep 0.2; exit 3")...))
	worker.Name, worker.Restart = "worker", config.RestartNever
	worker.Hooks.OnFailure = shell("sleep 0.3; " + notes.note("told"))
	r.run(&config.File{Daemon: config.Daemon{ExitWhen: "failed"}, Apps: []*config.App{r.settings("web"), worker}}, nil)
	<-r.stopped
	e, ok := r.verdict.(*api.Error)
	if !ok || e.Exit != api.ExitError || !strings.HasPrefix(e.Message, "worker has failed: the main process ended: exit status 3") || !strings.Contains(e.Message, `exit_when = "failed"`) {
		t.Errorf("Run says %v", r.verdict)
	}
	if pids := r.processes(); len(pids) != 0 {
		t.Errorf("processes %v", pids)
	}
	if !slices.Equal(notes.lines(), []string{"told"}) {
		t.Error("on_failure was not waited for")
	}
}

func TestExitWhenAllIsDone(t *testing.T) {
	t.Parallel()
	for second, verdict := range map[string]string{"exit 0": "<nil>", "exit 9": "two has failed: "} {
		t.Run(second, func(t *testing.T) {
			t.Parallel()
			r := prepare(t)
			r.ends = true
			one := r.settings("worker", withoutListen(shell("sleep 0.5")...))
			two := r.settings("worker", withoutListen(shell(second)...))
			idle := r.settings("web", func(a *config.App) { a.Autostart = false })
			one.Name, two.Name, one.Restart, two.Restart = "one", "two", config.RestartOnFailure, config.RestartNever
			r.run(&config.File{Daemon: config.Daemon{ExitWhen: "done"}, Apps: []*config.App{idle, one, two}}, nil)
			<-r.stopped
			said := fmt.Sprint(r.verdict)
			if !strings.HasPrefix(said, verdict) || verdict == "<nil>" != (r.verdict == nil) {
				t.Errorf("Run says %s, want %s", said, verdict)
			}
		})
	}
}

func TestCommandThatCanNeverHaveWorked(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spoil appOption
		says  string
	}{
		"program":    {func(a *config.App) { a.Command = []string{"gunicron"} }, "exec gunicron: not found in PATH"},
		"executable": {func(a *config.App) { a.Command = []string{"/etc/passwd"} }, "it is not executable"},
		"directory":  {func(a *config.App) { a.Directory = "/nowhere" }, "directory /nowhere: no such file"},
		"user":       {func(a *config.App) { a.User = "nobody-at-all" }, `there is no user "nobody-at-all"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			alone := prepare(t)
			alone.ends, alone.tune = true, func(o *Options) { o.Alone = true }
			alone.open("web", c.spoil)
			<-alone.stopped
			if e, ok := alone.verdict.(*api.Error); !ok || e.Exit != api.ExitError || !strings.Contains(e.Message, c.says) {
				t.Errorf("alone, Run says %v", alone.verdict)
			}
			r := open(t, "web", c.spoil)
			st := r.until("tried again", func(s api.AppStatus) bool { return s.State == api.Backoff })
			if !strings.Contains(st.Reason, c.says) {
				t.Errorf("status %+v", st)
			}
		})
	}
}

// The command of `run -- COMMAND` opens an address of its own: the daemon says so as soon as the
// process listens there, names the address and what to write, and does not start it again.
func TestACommandThatListensElsewhereIsToldSoAtOnce(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ public, says, hint string }{
		"on another address":    {"", "the command listens on ADDRESS itself and not on the socket it was given", "--listen ADDRESS -- "},
		"on the public address": {"ADDRESS", "it ended with exit status 1", "{port}"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := prepare(t)
			r.ends, r.tune = true, func(o *Options) { o.Alone = true }
			own := freeAddress(t)
			_, port, _ := net.SplitHostPort(own)
			r.open("listener", func(a *config.App) {
				a.Command, a.Ready.Timeout = append(a.Command, port), time.Hour
				if c.public != "" {
					a.Listen = []string{own}
				}
			})
			<-r.stopped
			says, hint := strings.ReplaceAll(c.says, "ADDRESS", own), strings.ReplaceAll(c.hint, "ADDRESS", own)
			if e, ok := r.verdict.(*api.Error); !ok || !strings.Contains(e.Message, says) || !strings.Contains(e.Hint, hint) {
				t.Errorf("Run says %#v", r.verdict)
			}
		})
	}
}

// A command that takes its socket may open others, before and after.
func TestACommandThatTakesItsSocketMayListenElsewhere(t *testing.T) {
	t.Parallel()
	r := prepare(t)
	other := freeAddress(t)
	r.tune = func(o *Options) { o.Alone = true }
	r.open("web", env("TESTPROGRAM_ALSO", other))
	r.page()
	conn, err := net.Dial("tcp", other)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
}

// phaseNames are the phases of an operation, in order.
func phaseNames(r api.Result) (names []string) {
	for _, p := range r.Phases {
		names = append(names, p.Name)
	}
	return names
}

func TestOneCopyOfAPlainProcessRunsUnlessToldOtherwise(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		mode   config.ReloadMode
		phases []string
		lines  []string
	}{
		{"", []string{"stop", "start", "ready", "done"}, []string{"start 1", "end 1", "start 2"}},
		{config.Overlap, []string{"start", "ready", "done"}, []string{"start 1", "start 2", "end 1"}},
	} {
		t.Run(string(c.mode), func(t *testing.T) {
			t.Parallel()
			notes := newNotesFile(t)
			script := `trap '` + notes.note("end $TIDEOVER_GENERATION") + `; exit 0' TERM; ` + notes.note("start $TIDEOVER_GENERATION") + `; while :; do sleep 0.05; done`
			r := open(t, "worker", withoutListen(shell(script)...), func(a *config.App) { a.Reload, a.Ready.After = c.mode, 300*time.Millisecond })
			r.until("running", func(s api.AppStatus) bool { return s.State == api.Running })
			res := r.want(r.do(api.Reload), api.ExitOK)
			if !slices.Equal(phaseNames(res), c.phases) || !res.Plain {
				t.Errorf("phases %v, plain %v", phaseNames(res), res.Plain)
			}
			notes.until(r, "end 1") // with overlap the old one is stopped after the result
			if lines := notes.lines(); !slices.Equal(lines, c.lines) {
				t.Errorf("it ran as %q", lines)
			}
		})
	}
}

func TestADeathWithinReadyAfterIsTheResultOfTheReload(t *testing.T) {
	t.Parallel()
	const script = `import os, socket, sys, time
if "NOTIFY_SOCKET" in os.environ:
    s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    s.connect(os.environ["NOTIFY_SOCKET"])
    s.sendall(b"READY=1")
if os.path.exists(sys.argv[1]):
    sys.exit("no module named jobs")
time.sleep(1000)`
	for name, probe := range map[string]appOption{
		"alive":   func(*config.App) {},
		"command": func(a *config.App) { a.Ready.Command = []string{"true"} },
		"notify":  func(a *config.App) { a.Ready.Notify = true },
	} {
		for mode, exit := range map[config.ReloadMode]api.Exit{config.Overlap: api.ExitKeptOld, config.Replace: api.ExitDown} {
			t.Run(name+" "+string(mode), func(t *testing.T) {
				t.Parallel()
				broken := filepath.Join(t.TempDir(), "broken")
				r := open(t, "worker", withoutListen("python3", "-c", script, broken), probe, func(a *config.App) {
					a.Reload, a.Ready.After = mode, 2*time.Second
				})
				before := r.until("running", func(s api.AppStatus) bool { return s.State == api.Running })
				createFile(t, broken)
				res := r.want(r.do(api.Reload), exit)
				if !strings.Contains(res.Error, "exit status 1") || !slices.Equal(res.ChildOutput, []string{"no module named jobs"}) {
					t.Errorf("result %+v", res)
				}
				if after := r.status(); (exit == api.ExitKeptOld) != (after.Pid == before.Pid) {
					t.Errorf("pid %d, before %d", after.Pid, before.Pid)
				}
			})
		}
	}
}

func TestASecondCopyOfAProcessThatListensItselfIsRefused(t *testing.T) {
	t.Parallel()
	port := fixedPort(t)
	r := open(t, "listener", withoutListen(), func(a *config.App) { a.Command, a.Reload = append(a.Command, itoa(port)), config.Overlap })
	before := r.until("running", func(s api.AppStatus) bool { return s.State == api.Running })
	address := "127.0.0.1:" + itoa(port)
	r.until("listening", func(api.AppStatus) bool {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	res := r.want(r.do(api.Reload), api.ExitKeptOld)
	if !strings.Contains(res.Error, address) || !strings.Contains(res.Hint, `reload = "replace"`) {
		t.Errorf("error %q, hint %q", res.Error, res.Hint)
	}
	plan := r.s.Do(t.Context(), api.Request{Verb: api.Reload, DryRun: true}, func(api.Phase) {})
	if !strings.Contains(strings.Join(plan.Plan, "\n"), "refused    it listens on "+address) {
		t.Errorf("plan %q", plan.Plan)
	}
	if st := r.status(); st.Pid != before.Pid {
		t.Errorf("pid %d, before %d", st.Pid, before.Pid)
	}
	r.want(r.do(api.Restart), api.ExitOK)
}

// fixedPort is a free port that the kernel chooses for no socket.
func fixedPort(t *testing.T) int {
	t.Helper()
	for port := 21000; port < 22000; port++ {
		l, err := net.Listen("tcp", "127.0.0.1:"+itoa(port))
		if err == nil {
			l.Close()
			return port
		}
	}
	t.Fatal("no port is free")
	return 0
}
