package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"tideover/cmd/tideover/internal/daemon"
	"tideover/listener"
	"tideover/supervisor/admin"
	"tideover/supervisor/monitor"
	"tideover/supervisor/process"
	"tideover/supervisor/safepath"
)

// TestMain makes this binary several programs: the tests, tideover itself and its roles, and the
// web app and the plain process that tideover runs in the scripts.
func TestMain(m *testing.M) {
	process.Shim()
	admin.Role()
	daemon.RelayRole()
	safepath.Helper()
	listener.Helper()
	if os.Args[0] == monitor.RoleName {
		main()
	}
	testscript.Main(m, map[string]func(){"tideover": main, "supervisorctl": main, "webapp": webapp, "worker": worker})
}

// TestScripts runs the specification: each file in testdata is a session at a
// shell, with a real daemon and real apps.
//
//	daemon ARGS...        start `tideover ARGS...` and wait until it listens for commands
//	daemon-exits CODE     wait for its end
//	daemon-log WORDS      wait until WORDS stand in what it wrote
//	signal-daemon NAME    send the daemon a signal
//	get PATH              a request to the app on $SOCKET; the answer is stdout
//	getting PATH          the same in the background
//	got                   wait for it; its answer is stdout
//	expand FILE           put the values of $VARIABLES into a file
//	[root]                the tests run as root
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(env *testscript.Env) error {
			// Short paths: sockets have at most 107 bytes.
			run, err := os.MkdirTemp("", "ts")
			if err != nil {
				return err
			}
			s := &session{}
			env.Defer(func() { s.end(); os.RemoveAll(run) })
			env.Values[session{}] = s
			env.Setenv("RUN", run)
			env.Setenv("SOCKET", filepath.Join(run, "shop"))
			env.Setenv("TIDEOVER_SOCKET", filepath.Join(run, "control.sock"))
			env.Setenv("TIDEOVER_LOG_LEVEL", "debug")
			env.Setenv("GORACE", os.Getenv("GORACE"))
			env.Setenv("UID", strconv.Itoa(os.Geteuid()))
			return nil
		},
		Condition: func(name string) (bool, error) {
			if name == "root" {
				return os.Geteuid() == 0, nil
			}
			return false, fmt.Errorf("unknown condition %s", name)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"daemon": startDaemon, "daemon-exits": daemonExits, "daemon-log": daemonLog,
			"signal-daemon": signalDaemon,
			"get":           get, "getting": getting, "got": got, "expand": expand,
		},
	})
}

// session is what one script has running.
type session struct {
	daemon *exec.Cmd
	log    *watchedLog
	ended  chan error
	answer chan answered
}

type answered struct {
	text string
	err  error
}

func of(ts *testscript.TestScript) *session { return ts.Value(session{}).(*session) }

func (s *session) end() {
	if s.daemon != nil && s.ended != nil {
		s.daemon.Process.Signal(syscall.SIGQUIT)
		<-s.ended
	}
}

func startDaemon(ts *testscript.TestScript, neg bool, args []string) {
	s := of(ts)
	s.daemon = exec.Command("tideover", args...)
	s.daemon.Dir = ts.MkAbs(".")
	s.daemon.Env = environment(ts)
	s.log = newWatchedLog()
	s.daemon.Stdout, s.daemon.Stderr = s.log, s.log
	path, err := exec.LookPath("tideover")
	ts.Check(err)
	s.daemon.Path, s.daemon.Err = path, nil
	ts.Check(s.daemon.Start())
	ended, log, daemon := make(chan error, 1), s.log, s.daemon
	s.ended = ended
	go func() {
		err := daemon.Wait()
		log.close()
		ended <- err
	}()
	if !s.log.await("control socket opened") {
		ts.Fatalf("the daemon ended:\n%s", s.log)
	}
}

// environment is the script's, as far as a daemon needs it.
func environment(ts *testscript.TestScript) []string {
	env := []string{}
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "RUN", "SOCKET", "TIDEOVER_SOCKET", "TIDEOVER_LOG_LEVEL", "PORT", "WORK", "GOCOVERDIR", "GORACE"} {
		if value := ts.Getenv(name); value != "" {
			env = append(env, name+"="+value)
		}
	}
	return append(env, "PWD="+ts.MkAbs("."))
}

func daemonExits(ts *testscript.TestScript, neg bool, args []string) {
	s := of(ts)
	<-s.ended
	s.ended = nil
	if code := strconv.Itoa(s.daemon.ProcessState.ExitCode()); len(args) != 1 || code != args[0] {
		ts.Fatalf("the daemon's exit code is %s:\n%s", code, s.log)
	}
}

func daemonLog(ts *testscript.TestScript, neg bool, args []string) {
	words := strings.Join(args, " ")
	if neg {
		if strings.Contains(of(ts).log.String(), words) {
			ts.Fatalf("%q stands in the daemon's output", words)
		}
		return
	}
	if !of(ts).log.await(words) {
		ts.Fatalf("no %q in the daemon's output:\n%s", words, of(ts).log)
	}
}

func signalDaemon(ts *testscript.TestScript, neg bool, args []string) {
	ts.Check(of(ts).daemon.Process.Signal(unix.SignalNum("SIG" + args[0])))
}

func get(ts *testscript.TestScript, neg bool, args []string) {
	text, err := request(ts.Getenv("SOCKET"), args[0])
	if (err != nil) != neg {
		ts.Fatalf("get: %q, %v", text, err)
	}
	fmt.Fprint(ts.Stdout(), text)
}

func getting(ts *testscript.TestScript, neg bool, args []string) {
	answer := make(chan answered, 1)
	of(ts).answer = answer
	socket, path := ts.Getenv("SOCKET"), args[0]
	go func() {
		text, err := request(socket, path)
		answer <- answered{text, err}
	}()
}

func got(ts *testscript.TestScript, neg bool, args []string) {
	a := <-of(ts).answer
	ts.Check(a.err)
	fmt.Fprint(ts.Stdout(), a.text)
}

func expand(ts *testscript.TestScript, neg bool, args []string) {
	for _, name := range args {
		ts.Check(os.WriteFile(ts.MkAbs(name), []byte(os.Expand(ts.ReadFile(name), ts.Getenv)), 0o644))
	}
}

// request is one GET on a unix socket; the answer is its status and body.
func request(socket, path string) (string, error) {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}
	client := &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}
	response, err := client.Get("http://shop.example" + path)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return fmt.Sprintf("%d %s\n", response.StatusCode, body), err
}

// webapp is the app of the scripts: it answers on the socket it is given with
// its generation and the release it was started with.
//
//	/           the release, at once
//	/slow       the same, after the file "finish" has appeared in its directory
//
// A release named "broken" does not start; "sick" starts and answers 500.
func webapp() {
	release := read("release")
	fmt.Printf("webapp: release %s, generation %s\n", release, os.Getenv("TIDEOVER_GENERATION"))
	if release == "broken" {
		fmt.Fprintln(os.Stderr, "ModuleNotFoundError: No module named 'shop'")
		os.Exit(3)
	}
	listener, err := net.FileListener(os.NewFile(3, "listener"))
	if err != nil || os.Getenv("LISTEN_PID") != strconv.Itoa(os.Getpid()) {
		fmt.Fprintln(os.Stderr, "no socket was passed:", err)
		os.Exit(1)
	}
	answer := func(w http.ResponseWriter, _ *http.Request) {
		if release == "sick" {
			w.WriteHeader(http.StatusInternalServerError)
		}
		fmt.Fprintf(w, "release %s", release)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/", answer)
	mux.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) {
		fmt.Println("webapp: slow request begun")
		untilExists("finish")
		answer(w, r)
	})
	server := &http.Server{Handler: mux}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals)
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for s := range signals {
			switch s {
			case syscall.SIGURG, syscall.SIGPIPE, syscall.SIGCHLD:
			case syscall.SIGCONT: // sent with every stop, in case the process is stopped
			case syscall.SIGTERM:
				server.Shutdown(context.Background())
				return
			default:
				fmt.Println("webapp: got", unix.SignalName(s.(syscall.Signal)))
			}
		}
	}()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	<-stopped
}

// worker is the plain process of the scripts: it says that it works, and which
// signals it gets; TERM ends it. A release named "broken" does not start.
func worker() {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals)
	release := read("release")
	fmt.Printf("%s: release %s\n", os.Getenv("TIDEOVER_APP"), release)
	if release == "broken" {
		os.Exit(3)
	}
	for s := range signals {
		switch s {
		case syscall.SIGURG, syscall.SIGPIPE, syscall.SIGCHLD:
		case syscall.SIGCONT: // sent with every stop, in case the process is stopped
		case syscall.SIGTERM:
			return
		default:
			fmt.Printf("%s: got %s\n", os.Getenv("TIDEOVER_APP"), unix.SignalName(s.(syscall.Signal)))
		}
	}
}

func read(file string) string {
	content, _ := os.ReadFile(file)
	return strings.TrimSpace(string(content))
}

// untilExists returns when the file is there.
func untilExists(file string) {
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for range ticker.C {
		if _, err := os.Stat(file); err == nil {
			return
		}
	}
}

// Every verb has a script that reads as its specification.
func TestEveryVerbHasAScript(t *testing.T) {
	t.Parallel()
	c := newCLI([]string{t.TempDir()}, nil, nil, nil, nil)
	for _, verb := range c.rootCommand().Commands() {
		if !verb.Runnable() || verb.Hidden {
			continue // words of supervisorctl are in aliases.txt
		}
		script, err := os.ReadFile(filepath.Join("testdata", verb.Name()+".txt"))
		if err != nil {
			t.Error(err)
		} else if !strings.Contains(string(script), "tideover "+verb.Name()) && !strings.Contains(string(script), "daemon "+verb.Name()) {
			t.Errorf("%s.txt does not use it", verb.Name())
		}
	}
}
