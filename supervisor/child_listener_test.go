package supervisor

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"tideover/supervisor/api"
	"tideover/supervisor/config"
)

const (
	appUID      = 33   // www-data
	strangerUID = 1000 // another local user
)

// listeningItself makes the app one that opens its listening socket itself, as a user of its own
// where the test may start one.
func listeningItself(placeholder, word string) appOption {
	return func(a *config.App) {
		a.Command = []string{"/proc/self/exe", placeholder, word}
		a.Directory = "/"
		if os.Geteuid() == 0 {
			a.User, a.Group = fmt.Sprint(appUID), fmt.Sprint(appUID)
		}
	}
}

// stranger is a program of another user that does not belong to the app.
type stranger struct {
	cmd   *exec.Cmd
	lines chan string // what it says
	once  sync.Once
}

func startStranger(t *testing.T, program string, args ...string) *stranger {
	t.Helper()
	usedPrograms.Store(program, true)
	s := &stranger{cmd: exec.Command("/proc/self/exe", args...), lines: make(chan string, 1000)}
	s.cmd.Env, s.cmd.Dir, s.cmd.Stderr = append(os.Environ(), "TESTPROGRAM="+program), "/", os.Stderr
	if os.Geteuid() == 0 {
		s.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: strangerUID, Gid: strangerUID}}
	}
	out, err := s.cmd.StdoutPipe()
	if err == nil {
		err = s.cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(s.lines)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			s.lines <- lines.Text()
		}
	}()
	t.Cleanup(func() { s.end() })
	return s
}

// uid is its user.
func (s *stranger) uid() int {
	if os.Geteuid() == 0 {
		return strangerUID
	}
	return os.Geteuid()
}

// end kills it and returns what it had said.
func (s *stranger) end() (said []string) {
	s.once.Do(func() { s.cmd.Process.Kill() })
	for line := range s.lines {
		said = append(said, line)
	}
	s.cmd.Wait()
	return said
}

// mainProcess is the main process of the generation that serves.
func (r *harness) mainProcess() int {
	r.t.Helper()
	return r.until("running", func(s api.AppStatus) bool { return s.State == api.Running }).Pid
}

// upstream is the address at which the generation that serves answers.
func (r *harness) upstream() (network, address string) {
	return r.s.registry.all()[0].app.snapshot.Load().current.Upstream()
}

// refused waits until nothing listens at the address of the generation.
func (r *harness) refused() {
	r.t.Helper()
	network, address := r.upstream()
	r.until("refused", func(api.AppStatus) bool {
		conn, err := net.Dial(network, address)
		if err == nil {
			conn.Close()
		}
		return err != nil
	})
}

// thief is another user that takes the port of the app before the app listens.
type thief struct {
	*stranger
	file string // see listenItself
}

// steal starts a thief; word stands behind the port in the command line of the app.
func steal(t *testing.T, file, word string) *thief {
	t.Helper()
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	return &thief{startStranger(t, "thief", word), file}
}

// end ends the thefts. It fails when the thief has got a byte.
func (s *thief) end(t *testing.T) (ports int) {
	t.Helper()
	if err := os.Remove(s.file); err != nil {
		t.Fatal(err)
	}
	for _, line := range s.stranger.end() {
		if strings.HasPrefix(line, "stole ") {
			ports++
		} else {
			t.Errorf("the thief got %s", line)
		}
	}
	return ports
}

// Another user reads the port in the command line and takes it while the app is imported.
func TestAUserThatTakesThePortBeforeTheAppGetsNoRequest(t *testing.T) {
	const rounds = 3
	r := prepare(t)
	word, file := "word-"+t.Name(), filepath.Join(openToAll(t), "thief")
	thief := steal(t, file, word)
	r.open("listener", listeningItself("{port}", word), env("TESTPROGRAM_THIEF", file))
	load := r.load(4) // the requests of the start are held
	r.until("failed", func(api.AppStatus) bool {
		return strings.Count(strings.Join(r.output(), "\n"), "another process listens on 127.0.0.1:") >= rounds
	})
	ports := thief.end(t)
	pid := r.mainProcess()
	if answered := pidOf(t, r.page()); answered != pid {
		t.Errorf("pid %d answers, want %d", answered, pid)
	}
	r.noneLost(load)
	if t.Logf("%d ports stolen", ports); ports < rounds {
		t.Errorf("%d ports stolen", ports)
	}
}

func TestAReloadWhosePortAnotherUserTakesChangesNothing(t *testing.T) {
	const rounds = 3
	r := prepare(t)
	word, file := "word-"+t.Name(), filepath.Join(openToAll(t), "thief")
	r.open("listener", listeningItself("{port}", word), env("TESTPROGRAM_THIEF", file))
	pid := r.mainProcess()
	load := r.load(4)
	thief := steal(t, file, word)
	for range rounds {
		res := r.do(api.Reload)
		if res.Exit != api.ExitKeptOld || !strings.Contains(res.Error, "another process listens on 127.0.0.1:") || !strings.Contains(res.Error, fmt.Sprint("uid ", thief.uid())) || res.Hint == "" {
			t.Errorf("exit %d, error %q, hint %q", res.Exit, res.Error, res.Hint)
		}
	}
	if ports := thief.end(t); ports != rounds {
		t.Errorf("%d ports stolen, want %d", ports, rounds)
	}
	r.noneLost(load)
	if now := pidOf(t, r.page()); now != pid {
		t.Errorf("pid %d answers, want %d", now, pid)
	}
	r.want(r.do(api.Reload), api.ExitOK)
}

// ask sends n requests, every other one with a long body, and returns the answers as they come.
func (r *harness) ask(n int) <-chan string {
	answers := make(chan string, n)
	for i := range n {
		go func() {
			resp, err := r.http.Get("http://" + r.address + "/")
			if i%2 == 0 {
				resp, err = r.http.Post("http://"+r.address+"/", "text/plain", strings.NewReader(strings.Repeat("x", 20_000)))
			}
			if err != nil {
				answers <- err.Error()
				return
			}
			defer resp.Body.Close()
			text, _ := io.ReadAll(resp.Body)
			answers <- resp.Status + " " + string(text)
		}()
	}
	return answers
}

// heldFor waits until requests are held, and checks that status says why.
func (r *harness) heldFor(requests int, why string) {
	r.t.Helper()
	r.until("held because "+why, func(s api.AppStatus) bool {
		return s.Held == requests && len(s.Warnings) == 1 && strings.HasPrefix(s.Warnings[0], "requests are held: "+why)
	})
}

func (r *harness) answeredBy(pid, requests int, answers <-chan string) {
	r.t.Helper()
	for range requests {
		if answer := <-answers; !strings.Contains(answer, fmt.Sprint("200 OK pid=", pid)) {
			r.t.Errorf("answer %s", answer)
		}
	}
	if st := r.status(); len(st.Warnings) > 0 {
		r.t.Errorf("warnings %q", st.Warnings)
	}
}

// The app closes its socket and goes on; another process takes the port before the next request
// comes, so no connect fails.
func TestAProcessThatTakesThePortAfterTheAppGetsNoRequest(t *testing.T) {
	const rounds, requests = 5, 10
	r := open(t, "listener", listeningItself("{port}", "word-"+t.Name()))
	pid := r.mainProcess()
	_, address := r.upstream()
	for range rounds {
		r.page()
		kill(t, pid, syscall.SIGUSR1)
		r.refused()
		l, err := net.Listen("tcp4", address)
		if err != nil {
			t.Fatal(err)
		}
		thief := count(l)
		answers := r.ask(requests)
		r.heldFor(requests, fmt.Sprintf("another process listens on %s: pid %d ", address, os.Getpid()))
		if n := thief.end(); n != 0 {
			t.Errorf("%d bytes to another process", n)
		}
		kill(t, pid, syscall.SIGUSR2)
		r.answeredBy(pid, requests, answers)
	}
}

// counter counts the connections and the bytes that a listener gets.
type counter struct {
	net.Listener
	accepted, bytes atomic.Int64
	serving         sync.WaitGroup
}

func count(l net.Listener) *counter {
	c := &counter{Listener: l}
	c.serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			c.accepted.Add(1)
			c.serving.Go(func() {
				defer conn.Close()
				n, _ := io.Copy(io.Discard, conn)
				c.bytes.Add(n)
			})
		}
	})
	return c
}

// end closes the listener and returns the number of bytes.
func (c *counter) end() int64 {
	c.Close()
	c.serving.Wait()
	return c.bytes.Load()
}

// The app puts a symlink or a hard link to a socket of root in the place of its own.
func TestTheAppCannotHaveTheDaemonSpeakToASocketOfRoot(t *testing.T) {
	const rounds, requests = 5, 10
	r := open(t, "listener", listeningItself("{socket}", "word-"+t.Name()))
	pid := r.mainProcess()
	_, link := r.upstream()
	path := filepath.Join(filepath.Dir(link), "child", "app.sock")
	l, err := net.Listen("unix", filepath.Join(filepath.Dir(link), "root.sock"))
	if err != nil {
		t.Fatal(err)
	}
	root := count(l)
	type attack struct {
		put func(string, string) error
		why string // the requests are held
	}
	attacks := []attack{{os.Symlink, path + " is not a socket"}}
	if os.Geteuid() == 0 { // else the socket is one of the app's user, and may be connected to
		attacks = append(attacks, attack{os.Link, "another process listens on " + path + ": a process of uid 0"})
	}
	for _, attack := range attacks {
		for range rounds {
			put := func() {
				if err := attack.put(l.Addr().String(), path); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.Rename(path, path+".old"); err != nil {
				t.Fatal(err)
			}
			put()
			r.answeredBy(pid, requests, r.ask(requests))
			kill(t, pid, syscall.SIGUSR1) // it closes its socket, too, and removes what has its name
			r.refused()
			put()
			answers := r.ask(requests)
			r.heldFor(requests, attack.why)
			os.Remove(path)
			kill(t, pid, syscall.SIGUSR2)
			r.answeredBy(pid, requests, answers)
			os.Remove(path + ".old")
		}
	}
	root.end()
	if root.accepted.Load() != 0 {
		t.Errorf("%d connections to the socket of root", root.accepted.Load())
	}
}
