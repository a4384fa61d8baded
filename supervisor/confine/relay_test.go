package confine

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tideover/proxy"
	"tideover/proxy/gate"
)

// channelFD is where a role of a test receives descriptors.
const channelFD = 3

// receive returns a listening socket that the test sends.
func receive() (net.Listener, error) {
	data, control := make([]byte, 1), make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(channelFD, data, control, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return nil, err
	}
	messages, err := unix.ParseSocketControlMessage(control[:n])
	if err != nil || len(messages) == 0 {
		return nil, fmt.Errorf("no descriptor: %v", err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fds[0]), "listener")
	defer f.Close()
	return net.FileListener(f)
}

// relayRequests serves a received socket with proxy.Server. args: network and address of the app.
func relayRequests(r *report, args []string) {
	l, err := receive()
	r.note("receive", err)
	if err != nil {
		return
	}
	target := gate.NewTarget(gate.TargetOptions{Network: args[0], Address: args[1], OneRequest: true})
	g := gate.New(gate.Settings{Limit: 1000, Timeout: 10 * time.Second})
	g.Swap(target)
	server := proxy.NewServer(proxy.Options{App: "shop", Gate: g})
	go server.Serve(context.Background(), l.(proxy.Listener))
}

// serveReceived serves a received socket with net/http.
func serveReceived(r *report, _ []string) {
	l, err := receive()
	r.note("receive", err)
	if err == nil {
		go http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "from inside") }))
	}
}

// sendTo starts a role with one end of a socket pair, and sends a listening TCP socket to it once
// the supervisor's check has passed. It returns the address of that.
func sendTo(t *testing.T, role testRole) string {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "supervisor"), os.NewFile(uintptr(fds[1]), "role")
	defer theirs.Close()
	t.Cleanup(func() { ours.Close() })
	p := start(t, role, func(c *exec.Cmd) { c.ExtraFiles = []*os.File{theirs} }, as(role.Options.User))
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(p.log.String())
		}
	})
	if r := p.next(t); r.Err != "" {
		t.Fatal(r.Err)
	}
	if err := Verify(p.cmd.Process.Pid, role.Options); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	defer f.Close()
	if err := unix.Sendmsg(int(ours.Fd()), []byte{0}, unix.UnixRights(int(f.Fd())), nil, 0); err != nil {
		t.Fatal(err)
	}
	if r := p.next(t); r.Found["receive"] != "" {
		t.Fatal(r.Found)
	}
	return l.Addr().String()
}

// serveApp echoes bodies.
func serveApp(t *testing.T, l net.Listener) {
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Write(body)
	})}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
}

func TestTheRelayServesFromInside(t *testing.T) {
	for name, user := range map[string]*User{"own user": rolesUser(), "without root": nil} {
		t.Run(name+"/unix", func(t *testing.T) {
			dir := jail(t)
			l, path := listenIn(t, dir)
			serveApp(t, l)
			load(t, sendTo(t, testRole{Options: Options{User: user, Root: dir, Sockets: UnixAndTCP}, Do: "relay", Args: []string{"unix", path}}))
		})
		for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
			t.Run(name+"/"+address, func(t *testing.T) {
				l, err := net.Listen("tcp", address)
				if err != nil {
					t.Logf("this machine has no such address: %v", err)
					return
				}
				serveApp(t, l)
				load(t, sendTo(t, testRole{Options: Options{User: user, Root: jail(t), Sockets: UnixAndTCP}, Do: "relay", Args: []string{"tcp", l.Addr().String()}}))
			})
		}
	}
}

// load sends requests from several clients, with bodies of several sizes.
func load(t *testing.T, address string) {
	t.Helper()
	var clients sync.WaitGroup
	for i := range 8 {
		clients.Go(func() {
			client := &http.Client{Transport: &http.Transport{DisableKeepAlives: i%2 == 0}, Timeout: 20 * time.Second}
			defer client.CloseIdleConnections()
			for _, size := range []int{0, 10, 70_000, 10, 3 << 20, 0} {
				body := bytes.Repeat([]byte{'x'}, size)
				answer, err := client.Post("http://"+address+"/", "text/plain", bytes.NewReader(body))
				if err != nil {
					t.Error(err)
					return
				}
				back, err := io.ReadAll(answer.Body)
				answer.Body.Close()
				if err != nil || answer.StatusCode != 200 || !bytes.Equal(back, body) {
					t.Errorf("%d bytes: %d, %d bytes back: %v", size, answer.StatusCode, len(back), err)
				}
			}
		})
	}
	clients.Wait()
}

func TestNetHTTPServesFromInsideWithoutMakingASocket(t *testing.T) {
	for name, user := range map[string]*User{"own user": rolesUser(), "without root": nil} {
		t.Run(name, func(t *testing.T) {
			address := sendTo(t, testRole{Options: Options{User: user, Root: jail(t)}, Do: "serve received"})
			for range 20 {
				answer, err := http.Get("http://" + address + "/")
				if err != nil {
					t.Fatal(err)
				}
				text, _ := io.ReadAll(answer.Body)
				answer.Body.Close()
				if string(text) != "from inside" {
					t.Fatalf("%q", text)
				}
			}
		})
	}
}
