package control

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"tideover/supervisor/api"
	"tideover/supervisor/logs"
)

// TestMain makes this test binary the client of another user: it asks the
// socket for each thing in turn and prints the exit code of each.
func TestMain(m *testing.M) {
	if os.Getenv("TIDEOVER_TEST_WAIT") != "" { // with any arguments, until standard input ends
		os.Stdout.WriteString("ready")
		io.Copy(io.Discard, os.Stdin)
		return
	}
	if socket := os.Getenv("TIDEOVER_TEST_ASK"); socket != "" {
		askAll(socket)
		return
	}
	if arguments := os.Getenv("TIDEOVER_TEST_CROWD"); arguments != "" {
		crowd(arguments)
		return
	}
	if socket := os.Getenv("TIDEOVER_TEST_LISTEN"); socket != "" {
		answerOne(socket)
		return
	}
	os.Exit(m.Run())
}

func askAll(socket string) {
	ctx := context.Background()
	client := NewClient(socket)
	do := func(verb api.Verb) error {
		result, err := client.Do(ctx, api.Request{Verb: verb, App: "shop"}, nil)
		if err == nil && result.Exit != api.ExitOK {
			err = errorf(result.Exit, "", "%s", result.Error)
		}
		return err
	}
	_, status := client.Status(ctx)
	_, hold := client.Hold(ctx, "shop", api.HoldRequest{})
	_, release := client.Release(ctx, "shop")
	for _, asked := range []struct {
		what string
		err  error
	}{
		{"status", status},
		{"logs", client.Logs(ctx, api.LogQuery{}, func(logs.Line) bool { return true })},
		{"hold", hold},
		{"release", release},
		{"reload", do(api.Reload)},
		{"restart", do(api.Restart)},
		{"start", do(api.Start)},
		{"stop", do(api.Stop)},
		{"signal", client.Signal(ctx, "shop", syscall.SIGTTIN)},
		{"shutdown", client.Shutdown(ctx, false)},
	} {
		fmt.Printf("%s %d\n", asked.what, exitOf(asked.err))
	}
}

// answerOne is a daemon without apps that answers one request. It prints "listening", and
// "asked" if a request came.
func answerOne(socket string) {
	listener, err := net.Listen("unix", socket)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("listening")
	conn, err := listener.Accept()
	if err != nil {
		return
	}
	if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
		fmt.Println("asked")
		fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n{\"apps\":[]}")
	}
	conn.Close()
}

// listenAs runs answerOne as another user. heard ends it and returns what it printed
// after "listening".
func listenAs(t *testing.T, uid uint32, socket string) (heard func() string) {
	t.Helper()
	command := asUser(t, "TIDEOVER_TEST_LISTEN="+socket, uid, uid)
	output, err := command.StdoutPipe()
	must(t, err)
	must(t, command.Start())
	lines := bufio.NewScanner(output)
	if lines.Scan(); lines.Text() != "listening" {
		t.Fatal(lines.Text())
	}
	return func() string {
		// The end of the listener is noticed in Accept: a last connection without a request.
		if conn, err := net.Dial("unix", socket); err == nil {
			conn.Close()
		}
		text := ""
		for lines.Scan() {
			text += lines.Text()
		}
		command.Wait()
		return text
	}
}

// asUser is this test binary as another user, with one variable.
func asUser(t *testing.T, variable string, uid, gid uint32, groups ...uint32) *exec.Cmd {
	t.Helper()
	self, err := os.ReadFile("/proc/self/exe")
	must(t, err)
	// The build's directory is root's alone; the other user needs a copy.
	public, err := os.MkdirTemp("", "tc")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(public) })
	must(t, os.Chmod(public, 0o755))
	binary := filepath.Join(public, "ask")
	// A child that is forked meanwhile has the file open for writing until its exec: ETXTBSY.
	syscall.ForkLock.RLock()
	err = os.WriteFile(binary, self, 0o755)
	syscall.ForkLock.RUnlock()
	must(t, err)
	must(t, os.Chmod(binary, 0o755))
	command := exec.Command(binary)
	command.Dir = "/"
	command.Env = []string{variable}
	command.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: gid, Groups: groups}}
	command.Stderr = os.Stderr
	return command
}

// askAs runs askAll as another user and returns its answers.
func askAs(t *testing.T, socket string, uid, gid uint32, groups ...uint32) map[string]string {
	t.Helper()
	output, err := asUser(t, "TIDEOVER_TEST_ASK="+socket, uid, gid, groups...).Output()
	must(t, err)
	answers := map[string]string{}
	for line := range strings.Lines(string(output)) {
		what, exit, _ := strings.Cut(strings.TrimSpace(line), " ")
		answers[what] = exit
	}
	return answers
}

func TestWhoMayAskWhat(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can become other users")
	}
	t.Parallel()
	const deploy, other, user = 4711, 4712, 65534
	for _, c := range []struct {
		name         string
		gid          uint32
		groups       []uint32
		open         bool // the socket's mode lets every user connect, which must give no role
		look, act    string
		restartAndCo string
	}{
		{name: "first group is socket_group", gid: deploy, look: "0", act: "0", restartAndCo: "4"},
		{name: "supplementary group is socket_group", gid: other, groups: []uint32{1, 2, deploy}, look: "0", act: "0", restartAndCo: "4"},
		{name: "another group", gid: other, look: "4", act: "4", restartAndCo: "4"},
		{name: "another group past the file mode", gid: other, open: true, look: "4", act: "4", restartAndCo: "4"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d := newFake("shop")
			close(d.finish)
			close(d.lines)
			socket := serve(t, d, SocketOptions{Path: privateDir(t) + "/run/control.sock", Group: strconv.Itoa(deploy)})
			must(t, os.Chmod(filepath.Dir(filepath.Dir(socket.Path())), 0o755))
			if c.open {
				must(t, os.Chmod(filepath.Dir(socket.Path()), 0o755))
				must(t, os.Chmod(socket.Path(), 0o666))
			}
			answers := askAs(t, socket.Path(), user, c.gid, c.groups...)
			for what, want := range map[string]string{
				"status": c.look, "logs": c.look, "hold": c.act, "release": c.act, "reload": c.act,
				"restart": c.restartAndCo, "start": c.restartAndCo, "stop": c.restartAndCo,
				"signal": c.restartAndCo, "shutdown": c.restartAndCo,
			} {
				if answers[what] != want {
					t.Errorf("%s: exit %s, want %s", what, answers[what], want)
				}
			}
		})
	}
}

func TestRoles(t *testing.T) {
	t.Parallel()
	self := uint32(os.Geteuid())
	for _, c := range []struct {
		p     peer
		group int
		want  role
	}{
		{peer{uid: 0}, noGroup, roleAdmin},
		{peer{uid: self}, noGroup, roleAdmin},
		{peer{uid: 4242, gid: 7}, noGroup, roleNone},
		{peer{uid: 4242, gid: 7}, 7, roleOperator},
		{peer{uid: 4242, gid: 8, groups: []uint32{9, 7}}, 7, roleOperator},
		{peer{uid: 4242, gid: 8, groups: []uint32{9}}, 7, roleNone},
		{peer{uid: 4242, gid: 0}, noGroup, roleNone},
	} {
		if got := c.p.roleOf(c.group); got != c.want {
			t.Errorf("%+v with group %d: %d, want %d", c.p, c.group, got, c.want)
		}
	}
}

// The role of a new route is given here as well as in the table.
func TestRolesOfRoutes(t *testing.T) {
	t.Parallel()
	lowest := map[string]role{
		"/v1/status": roleViewer, "/metrics": roleViewer,
		"/v1/logs": roleReader, "/v1/history": roleViewer, "/v1/log-text": roleReader, "/v1/programs": roleReader,
		"/v1/check": roleOperator, "/v1/reload": roleOperator, "/v1/rollback": roleOperator, "/v1/hold": roleOperator, "/v1/release": roleOperator, "/v1/drain": roleOperator, "/v1/undrain": roleOperator,
		"/v1/restart": roleSupervisor, "/v1/start": roleSupervisor, "/v1/stop": roleSupervisor, "/v1/apply": roleSupervisor,
		"/v1/signal": roleSupervisor, "/v1/clear-log": roleSupervisor, "/v1/reread": roleSupervisor, "/v1/add-group": roleSupervisor,
		"/v1/remove-group": roleSupervisor, "/v1/renew": roleSupervisor, "/v1/upgrade": roleAdmin, "/v1/shutdown": roleSupervisor,
		"/v1/listen": roleAdmin, "/v1/unlisten": roleAdmin,
		"/v1/fleet": roleViewer, "/v1/fleet-report": roleOperator, "/v1/turn": roleOperator,
	}
	looks := []string{"/v1/status", "/metrics", "/v1/check", "/v1/logs", "/v1/history", "/v1/log-text", "/v1/programs", "/v1/reread", "/v1/fleet", "/v1/fleet-report"}
	page := []string{"/v1/logs", "/v1/reload", "/v1/restart", "/v1/start", "/v1/stop", "/v1/hold", "/v1/release", "/v1/drain", "/v1/undrain"}
	for _, r := range routes() {
		if r.minRole != lowest[r.path] {
			t.Errorf("%s is for role %d, want %d", r.path, r.minRole, lowest[r.path])
		}
		if r.marks&forPage != 0 != slices.Contains(page, r.path) {
			t.Errorf("%s: for the page is %v", r.path, r.marks&forPage != 0)
		}
		if r.marks&changes != 0 == slices.Contains(looks, r.path) {
			t.Errorf("%s: acts is %v", r.path, r.marks&changes != 0)
		}
	}
}

// What a client is called by decides no line of the log: its command line is its own choice.
func TestACommandIsLoggedWithoutControlCharactersAndSecrets(t *testing.T) {
	t.Parallel()
	for want, argv := range map[string][]string{
		"tideover hold shop -- manage.py":       {"/usr/bin/tideover", "hold", "shop", "--", "/srv/manage.py", "--password", "x"},
		"a?b ?[31m":                             {"a\nb", "\x1b[31m"},
		strings.Repeat("x", maxCommand-1) + "…": {strings.Repeat("x", 2*maxCommand)},
	} {
		child := exec.Command("/proc/self/exe")
		child.Args, child.Env = argv, append(os.Environ(), "TIDEOVER_TEST_WAIT=1")
		input, err := child.StdinPipe()
		must(t, err)
		output, err := child.StdoutPipe()
		must(t, err, child.Start())
		io.ReadFull(output, make([]byte, len("ready")))
		if got := (peer{pid: int32(child.Process.Pid)}).command(); got != want {
			t.Errorf("%q: %q, want %q", argv, got, want)
		}
		input.Close()
		child.Wait()
	}
	if got := (peer{pid: 0}).command() + (peer{pid: 1 << 30}).command(); got != "" {
		t.Errorf("a process that is not there: %q", got)
	}
}
