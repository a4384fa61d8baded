package control

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"tideover/supervisor/api"
	"tideover/supervisor/logs"
)

// Users of the tests: members of the group deploy, and one that is not.
const (
	deployGroup = 4711
	memberUser  = 4721
	otherMember = 4722
	strangeUser = 4723
)

// crowd is the client of another user that has many connections: it opens them, sends a
// text on each, prints "connected", and when its standard input ends how many got which
// status.
func crowd(arguments string) {
	socket, rest, _ := strings.Cut(arguments, " ")
	count, text, _ := strings.Cut(rest, " ")
	n, _ := strconv.Atoi(count)
	text, _ = strconv.Unquote(text)
	conns := make([]net.Conn, n)
	for i := range conns {
		conn, err := net.Dial("unix", socket)
		if err != nil {
			fmt.Println(err)
			return
		}
		io.WriteString(conn, text)
		conns[i] = conn
	}
	fmt.Println("connected")
	io.Copy(io.Discard, os.Stdin)
	statuses := map[string]int{}
	for _, conn := range conns {
		line, _ := bufio.NewReader(conn).ReadString('\n')
		_, status, _ := strings.Cut(strings.TrimSpace(line), " ")
		statuses[status]++
		conn.Close()
	}
	fmt.Println(statuses)
}

// startCrowd runs crowd as a user and returns when all connections are open. end returns
// what it prints in the end.
func startCrowd(t *testing.T, socket *Socket, uid, gid uint32, n int, text string) (end func() string) {
	t.Helper()
	command := exec.Command("/proc/self/exe")
	command.Env = []string{fmt.Sprintf("TIDEOVER_TEST_CROWD=%s %d %q", socket.Path(), n, text)}
	if os.Geteuid() == 0 {
		command = asUser(t, command.Env[0], uid, gid)
	}
	stdin, err := command.StdinPipe()
	must(t, err)
	stdout, err := command.StdoutPipe()
	must(t, err)
	must(t, command.Start())
	lines := bufio.NewScanner(stdout)
	if lines.Scan(); lines.Text() != "connected" {
		t.Fatal(lines.Text())
	}
	end = sync.OnceValue(func() string {
		stdin.Close()
		lines.Scan()
		command.Wait()
		return lines.Text()
	})
	t.Cleanup(func() {
		command.Process.Kill()
		end()
	})
	return end
}

func message(method, path, body string) string {
	return fmt.Sprintf("%s %s HTTP/1.1\r\nHost: tideover\r\nContent-Length: %d\r\n\r\n%s", method, path, len(body), body)
}

// serveGroup is serve with the socket_group deploy, in a directory that every user can
// enter.
func serveGroup(t *testing.T, d Backend, fake *fakeBackend) *Socket {
	t.Helper()
	dir := privateDir(t)
	must(t, os.Chmod(dir, 0o755))
	o := SocketOptions{Path: filepath.Join(dir, "control.sock")}
	if os.Geteuid() == 0 {
		o.Group = strconv.Itoa(deployGroup)
	}
	return serveBackend(t, d, fake, o)
}

func followLogs() string { return message("POST", "/v1/logs", `{"follow":true}`) }

// e7 of the audit: with 256 streams of a member, root's restart, shutdown and logs were
// "too many requests".
func TestAMemberTakesNoPlaceOfRootOrOfAnotherMember(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can become several users; TestConnectionsAreBounded has one")
	}
	t.Parallel()
	for name, text := range map[string]string{
		"following logs": followLogs(), "silent": "", "in the middle of a head": "POST /v1/logs HTTP/1.1\r\nHost:",
		"in the middle of a body": strings.TrimSuffix(message("POST", "/v1/hold", `{"app":"shop"}`), "}"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newFake("shop")
			close(d.finish)
			socket := serveGroup(t, d, d)
			startCrowd(t, socket, memberUser, deployGroup, 300, text)
			soon, cancel := context.WithTimeout(t.Context(), time.Minute) // in the queue it would get an error after queueTimeout
			defer cancel()
			root := NewClient(socket.Path())
			_, status := root.Status(soon)
			_, restart := root.Do(soon, api.Request{Verb: api.Restart, App: "shop"}, nil)
			must(t, status, restart, root.Signal(soon, "shop", 15))
			for _, text := range []string{message("GET", "/v1/status", ""), message("POST", "/v1/release", `{"app":"shop"}`)} {
				if got := startCrowd(t, socket, otherMember, deployGroup, 1, text)(); got != "map[200 OK:1]" {
					t.Errorf("another member: %s for %s", got, text)
				}
			}
			must(t, root.Shutdown(soon, false))
		})
	}
}

// Whatever one user does, the daemon has a bounded number of its connections.
func TestConnectionsAreBounded(t *testing.T) {
	d := newFake("shop")
	socket := serveGroup(t, d, d)
	before := countDescriptors(t)
	end := startCrowd(t, socket, memberUser, deployGroup, 1000, followLogs())
	NewClient(socket.Path()).Status(t.Context()) // is accepted after the others
	const bound = maxUser + maxQueuedUser + maxTurnedAway
	if n := countDescriptors(t) - before; n > bound+20 {
		t.Errorf("%d descriptors for 1000 connections of one user, want %d at most", n, bound)
	}
	close(d.lines)
	statuses := end()
	if !strings.Contains(statuses, fmt.Sprintf("200 OK:%d", maxUser+maxQueuedUser)) {
		t.Errorf("%s, want %d of 200", statuses, maxUser+maxQueuedUser)
	}
}

func countDescriptors(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	return len(all)
}

// barrierBackend lets no operation end before as many as it wants have begun.
type barrierBackend struct {
	*fakeBackend
	want  int
	begun sync.WaitGroup
}

func (b *barrierBackend) Do(ctx context.Context, r api.Request, _ func(api.Phase)) api.Result {
	b.begun.Done()
	b.begun.Wait()
	return api.Result{App: r.App, Result: "ok"}
}

// A hundred deploys of one user at the same moment are one or two generations, because the
// daemon hears of all of them before the first one ends.
func TestAHundredReloadsOfAMemberAreServedTogether(t *testing.T) {
	t.Parallel()
	d := newFake("shop")
	b := &barrierBackend{fakeBackend: d, want: 100}
	b.begun.Add(b.want)
	socket := serveGroup(t, b, d)
	end := startCrowd(t, socket, memberUser, deployGroup, b.want, message("POST", "/v1/reload", `{"verb":"reload","app":"shop"}`))
	b.begun.Wait()
	if got := end(); got != "map[200 OK:100]" {
		t.Error(got)
	}
}

// A connection that waits in the queue is served when one of its user ends, and after
// queueTimeout it gets an error.
func TestAQueuedConnectionIsServedWhenAnotherOneEnds(t *testing.T) {
	t.Parallel()
	d := newFake("shop")
	socket := serveGroup(t, d, d)
	end := startCrowd(t, socket, memberUser, deployGroup, maxUser+1, followLogs())
	d.lines <- logs.Line{Text: "one"} // goes to any of those that are served
	close(d.lines)
	if got, want := end(), fmt.Sprintf("map[200 OK:%d]", maxUser+1); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestAQueuedConnectionGetsAnErrorInTheEnd(t *testing.T) {
	t.Parallel()
	d := newFake("shop")
	socket := serveGroup(t, d, d)
	end := startCrowd(t, socket, memberUser, deployGroup, maxUser, followLogs())
	waits := startCrowd(t, socket, memberUser, deployGroup, 1, followLogs())
	if got := waits(); got != "map[500 Internal Server Error:1]" {
		t.Errorf("%s, want an error", got)
	}
	close(d.lines)
	end()
}

// What a stranger sends is not parsed, whatever the mode of the socket says.
func TestARequestOfAStrangerIsNotParsed(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can become a stranger; TestRoles has the roles")
	}
	t.Parallel()
	d := newFake("shop")
	socket := serveGroup(t, d, d)
	must(t, os.Chmod(socket.Path(), 0o666))
	for _, text := range []string{message("GET", "/v1/status", ""), "\x00\xff", message("POST", "/v1/release", `{"app":"shop"}`), strings.Repeat("x", 100000)} {
		if got := startCrowd(t, socket, strangeUser, strangeUser, 1, text)(); got != "map[403 Forbidden:1]" {
			t.Errorf("%.20q: %s", text, got)
		}
	}
	if got := startCrowd(t, socket, strangeUser, strangeUser, 3*maxTurnedAway, "")(); got != fmt.Sprintf("map[:%d]", 3*maxTurnedAway) {
		t.Errorf("silent: %s", got)
	}
	must(t, func() error { _, err := NewClient(socket.Path()).Status(t.Context()); return err }())
	if notes := d.notes(); len(notes) > 0 {
		t.Errorf("the daemon was asked %q", notes)
	}
}

// A server that ends closes the connections in its queue.
func TestTheQueueEndsWithTheServer(t *testing.T) {
	t.Parallel()
	d := newFake("shop")
	socket := serveGroup(t, d, d)
	end := startCrowd(t, socket, memberUser, deployGroup, maxUser+5, "")
	d.shutdown()
	if got, want := end(), fmt.Sprintf("map[:%d]", maxUser+5); got != want {
		t.Errorf("%s, want %s: closed without an answer", got, want)
	}
}
