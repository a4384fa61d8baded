package supervisor

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tideover/listener"
	"tideover/supervisor/api"
	"tideover/supervisor/handoff"
)

// oldServer answers "old" on an address, as the process of another supervisor does. end closes its socket.
func oldServer(t *testing.T, network, address string) (end func()) {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "old") })}
	go server.Serve(l)
	end = func() {
		server.Close()
		l.Close() // Serve may not have begun yet
	}
	t.Cleanup(end)
	return end
}

// takeOver opens a supervisor with Options.TakeOver.
func takeOver(t *testing.T, end func(address string) func(), options ...appOption) (*harness, func()) {
	t.Helper()
	r := prepare(t)
	r.tune = func(o *Options) { o.TakeOver = true }
	stop := end(r.address)
	r.open("web", options...)
	return r, stop
}

func TestATakeOverOpensNothingAndStartsNothingByItself(t *testing.T) {
	r, _ := takeOver(t, func(address string) func() { return oldServer(t, "tcp", address) })
	if got := r.body(); got != "old" {
		t.Error(got)
	}
	status := r.until("waiting", func(s api.AppStatus) bool { return strings.Contains(s.Reason, "tideover start") })
	if status.Pid != 0 || status.Generation != 0 {
		t.Errorf("%+v", status)
	}
}

func TestADuplicatedSocketServesBesideTheOldProcessAndAfterIt(t *testing.T) {
	r, end := takeOver(t, func(address string) func() { return oldServer(t, "tcp", address) })
	r.want(r.do(api.Start), api.ExitOK)
	if got := r.body(); got != "old" {
		t.Errorf("before the sockets are opened: %q", got)
	}
	if err := r.s.Listen(t.Context(), api.ListenRequest{App: "shop", Pid: os.Getpid()}); err != nil {
		t.Fatal(err)
	}
	if err := r.s.Listen(t.Context(), api.ListenRequest{App: "shop", Pid: os.Getpid()}); err == nil || !strings.Contains(err.Error(), "listens already") {
		t.Errorf("a second time: %v", err)
	}
	end()
	for range 20 {
		if got := r.body(); got == "old" || got == "" {
			t.Fatalf("after the end of the old process: %q", got)
		}
	}
}

func TestRequestsAreHeldBetweenTheOldProcessAndTheStartOfTheApp(t *testing.T) {
	r, end := takeOver(t, func(address string) func() { return oldServer(t, "tcp", address) })
	if err := r.s.Listen(t.Context(), api.ListenRequest{App: "shop", Pid: os.Getpid()}); err != nil {
		t.Fatal(err)
	}
	end()
	answered := make(chan string)
	go func() { answered <- r.body() }()
	r.until("held", func(s api.AppStatus) bool { return s.Held == 1 })
	r.want(r.do(api.Start), api.ExitOK)
	if got := <-answered; got == "" || got == "old" {
		t.Errorf("%q", got)
	}
}

func TestWithoutADuplicateTheAddressIsBoundWhenItIsFree(t *testing.T) {
	r, end := takeOver(t, func(address string) func() { return oldServer(t, "tcp", address) })
	r.want(r.do(api.Start), api.ExitOK)
	if err := r.s.Listen(t.Context(), api.ListenRequest{App: "shop", Pid: 1 << 22}); err == nil {
		t.Fatal("a process that does not exist has the socket")
	}
	if err := r.s.Listen(t.Context(), api.ListenRequest{App: "shop"}); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Fatalf("an address in use: %v", err)
	}
	bound := make(chan error)
	go func() {
		bound <- r.s.Listen(context.WithoutCancel(t.Context()), api.ListenRequest{App: "shop", For: time.Minute})
	}()
	end()
	if err := <-bound; err != nil {
		t.Fatal(err)
	}
	if got := r.body(); got == "" || got == "old" {
		t.Errorf("%q", got)
	}
}

// Each worker of gunicorn --reuse-port has a socket of its own. After a move an upgrade passes all of them on: the
// kernel spreads connections over them.
func TestAnUpgradePassesOnEverySocketOfAnAddress(t *testing.T) {
	r, end := takeOver(t, func(address string) func() { return oldServers(t, address, 3) })
	r.want(r.do(api.Start), api.ExitOK)
	if err := r.s.Listen(t.Context(), api.ListenRequest{App: "shop", Pid: os.Getpid()}); err != nil {
		t.Fatal(err)
	}
	end()
	err := r.upgrade(func(variable string) error {
		left := duplicateDescriptors(t, readHandoff(t, variable))
		sockets, _, err := newListeners(nil, left).open(r.address, listener.Options{})
		if err != nil || len(sockets) != 3 {
			t.Errorf("the next program has %d sockets, %v", len(sockets), err)
		}
		const clients = 30
		for range clients {
			conn, err := net.Dial("tcp", r.address)
			if err != nil {
				t.Error(err)
				continue
			}
			defer conn.Close()
		}
		n := 0
		for _, s := range sockets {
			f, err := s.File()
			if err != nil {
				t.Fatal(err)
			}
			l, err := net.FileListener(f)
			f.Close()
			for err == nil && s.Pending() {
				conn, err := l.Accept()
				if err != nil {
					t.Error(err)
					break
				}
				n++
				conn.Close()
			}
			l.Close()
			s.Close()
		}
		if n != clients {
			t.Errorf("the next program accepts %d of %d connections", n, clients)
		}
		return syscall.ENOEXEC
	})
	if !errors.Is(err, syscall.ENOEXEC) {
		t.Fatal(err)
	}
	for range 20 {
		if got := r.body(); got == "old" || got == "" {
			t.Fatalf("after an upgrade that failed: %q", got)
		}
	}
}

// oldServers is oldServer with several sockets at one address (SO_REUSEPORT).
func oldServers(t *testing.T, address string, n int) (end func()) {
	t.Helper()
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		return errors.Join(c.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
		}), err)
	}}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "old") })}
	var all []net.Listener
	for range n {
		l, err := config.Listen(t.Context(), "tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, l)
		go server.Serve(l)
	}
	end = func() {
		server.Close()
		for _, l := range all {
			l.Close() // Serve may not have begun yet
		}
	}
	t.Cleanup(end)
	return end
}

// duplicateDescriptors is the public sockets of a state with descriptors of their own, as the next program has them.
func duplicateDescriptors(t *testing.T, e *handoff.State) *handoff.State {
	t.Helper()
	duplicate := func(fd int) int {
		own, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
		if err != nil {
			t.Fatal(err)
		}
		return own
	}
	left := &handoff.State{Listeners: map[string]int{}, MoreListeners: map[string][]int{}, Files: map[string]int{}}
	for address, fd := range e.Listeners {
		left.Listeners[address] = duplicate(fd)
	}
	for address, fd := range e.Files {
		left.Files[address] = duplicate(fd)
	}
	for address, fds := range e.MoreListeners {
		for _, fd := range fds {
			left.MoreListeners[address] = append(left.MoreListeners[address], duplicate(fd))
		}
	}
	return left
}

func TestAnAppThatGivesItsAddressUpFinishesWhatItHas(t *testing.T) {
	r, end := takeOver(t, func(address string) func() { return oldServer(t, "tcp", address) })
	end()
	if err := r.s.Listen(t.Context(), api.ListenRequest{App: "shop"}); err != nil {
		t.Fatal(err)
	}
	answered := make(chan string)
	go func() { answered <- r.body() }()
	r.until("held", func(s api.AppStatus) bool { return s.Held == 1 })
	if err := r.s.Unlisten("shop", false); err != nil {
		t.Fatal(err)
	}
	oldServer(t, "tcp", r.address) // its address is free
	if got := r.body(); got != "old" {
		t.Errorf("%q", got)
	}
	r.want(r.do(api.Start), api.ExitOK)
	if got := <-answered; got == "" || got == "old" {
		t.Errorf("the request that was accepted before: %q", got)
	}
}

func TestAStopThatIsNotRecordedDoesNotOutliveTheDaemon(t *testing.T) {
	r := open(t, "web")
	r.s.Do(t.Context(), api.Request{Verb: api.Stop, Unrecorded: true}, func(api.Phase) {})
	if r.s.shared.state.Stopped("shop") {
		t.Error("it is recorded")
	}
	r.s.Do(t.Context(), api.Request{Verb: api.Stop}, func(api.Phase) {})
	if !r.s.shared.state.Stopped("shop") {
		t.Error("a stop by the operator is not recorded")
	}
}

// body is the response to a GET; empty: there is none.
func (r *harness) body() string {
	response, err := r.http.Get("http://" + r.address + "/")
	if err != nil {
		return ""
	}
	defer response.Body.Close()
	text, _ := io.ReadAll(response.Body)
	return string(text)
}
