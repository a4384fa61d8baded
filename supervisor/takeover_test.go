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

// Each worker of gunicorn --reuse-port has a socket of its own. After a move the next supervisor has all of
// them: the kernel spreads connections over them.
func TestTheNextSupervisorHasEverySocketOfAnAddress(t *testing.T) {
	r := prepare(t)
	r.tune = func(o *Options) { o.TakeOver = true }
	store, file := r.record()
	end := oldServers(t, r.address, 3)
	r.open("web")
	r.want(r.do(api.Start), api.ExitOK)
	if err := r.s.Listen(t.Context(), api.ListenRequest{App: "shop", Pid: os.Getpid()}); err != nil {
		t.Fatal(err)
	}
	end()
	sockets, _, err := newListeners(nil, leftBehind(t, store, file)).open(r.address, listener.Options{})
	if err != nil || len(sockets) != 3 {
		t.Fatalf("the next supervisor has %d sockets, %v", len(sockets), err)
	}
	mine := map[uint64]bool{}
	for _, l := range r.s.registry.all()[0].listeners[0].all() {
		mine[l.Inode()] = true
	}
	for _, s := range sockets {
		if !mine[s.Inode()] {
			t.Error("it is another socket")
		}
		s.Close()
	}
	for range 20 {
		if got := r.body(); got == "old" || got == "" {
			t.Fatalf("%q", got)
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
