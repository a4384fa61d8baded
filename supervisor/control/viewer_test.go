package control

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"

	"tideover/supervisor/api"
	"tideover/supervisor/logs"
)

// startViewer returns a client that may look only, and what ends with its server.
func startViewer(t *testing.T, b Backend, access Access) (client *Client, end context.CancelFunc, ended <-chan struct{}) {
	t.Helper()
	return startWithRights(t, b, Rights{Access: access, Token: pageToken})
}

func startWithRights(t *testing.T, b Backend, rights Rights) (client *Client, end context.CancelFunc, ended <-chan struct{}) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	server := NewServer(&Socket{group: noGroup}, b, hclog.NewNullLogger())
	go func() {
		defer close(done)
		if err := server.ServeViewer(ctx, os.NewFile(uintptr(fds[0]), "daemon"), rights); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	client, err = NewViewerClient(os.NewFile(uintptr(fds[1]), "viewer"))
	if err != nil {
		t.Fatal(err)
	}
	return client, cancel, done
}

func TestTheViewerSeesTheStateAndMayDoNothing(t *testing.T) {
	fake := newFake("shop")
	viewer, _, _ := startViewer(t, fake, Look)
	for range 3 { // on one connection
		if st, err := viewer.Status(t.Context()); err != nil || len(st.Apps) != 1 {
			t.Fatalf("%v %v", st, err)
		}
		denied := func(err error) {
			t.Helper()
			var e *api.Error
			if !errors.As(err, &e) || e.Exit != api.ExitDenied {
				t.Errorf("%v", err)
			}
		}
		_, err := viewer.Do(t.Context(), api.Request{Verb: api.Stop, App: "shop"}, nil)
		denied(err)
		denied(viewer.Shutdown(t.Context(), true))
		denied(viewer.Signal(t.Context(), "shop", unix.SIGKILL))
		_, err = viewer.Check(t.Context())
		denied(err)
		_, err = viewer.Apply(t.Context(), api.ApplyRequest{}, nil)
		denied(err)
	}
	if asked := fake.notes(); len(asked) > 0 {
		t.Errorf("the supervisor was asked for %v", asked)
	}
}

func TestACommandComesFromAProcessOfTheDaemonThatMay(t *testing.T) {
	fake := newFake("shop")
	socket := serve(t, fake, SocketOptions{})
	close(fake.finish)
	member, _, _ := startWithRights(t, fake, Rights{Access: Operate, Fleet: true})
	page, _, _ := startWithRights(t, fake, Rights{Access: Operate, Fleet: true, Commands: true, Token: pageToken})
	for name, client := range map[string]*Client{"a peer of the socket": NewClient(socket.Path()), "a member that may not": member, "the page": page.ForPage(pageToken, "192.0.2.1")} {
		_, err := client.Do(t.Context(), api.Request{Verb: api.Reload, App: "shop", Command: []string{"id"}}, nil)
		var e *api.Error
		if !errors.As(err, &e) || e.Exit != api.ExitDenied {
			t.Errorf("%s: %v", name, err)
		}
	}
	if asked := fake.notes(); len(asked) > 0 {
		t.Errorf("the supervisor was asked for %v", asked)
	}
	if _, err := page.Do(t.Context(), api.Request{Verb: api.Reload, App: "shop", Command: []string{"id"}}, nil); err != nil {
		t.Error(err)
	}
}

func TestTurnsAreOfTheProcessThatTakesThem(t *testing.T) {
	fake := newFake("shop")
	member, _, _ := startWithRights(t, fake, Rights{Access: Operate, Fleet: true, Token: pageToken})
	other, _, _ := startWithRights(t, fake, Rights{Access: Drive})
	for name, client := range map[string]*Client{"another process": other, "the page": member.ForPage(pageToken, "192.0.2.1"), "a peer of the socket": NewClient(serve(t, fake, SocketOptions{}).Path())} {
		for what, err := range map[string]error{"turn": client.Turn(t.Context()), "fleet": client.SetFleet(t.Context(), api.Fleet{})} {
			var e *api.Error
			if !errors.As(err, &e) || e.Exit != api.ExitDenied {
				t.Errorf("%s, %s: %v", name, what, err)
			}
		}
	}
	if err := errors.Join(member.SetFleet(t.Context(), api.Fleet{Group: "shop"}), member.Turn(t.Context())); err != nil {
		t.Error(err)
	}
	if f, err := other.Fleet(t.Context()); err != nil || f.Group != "shop" {
		t.Errorf("%+v %v", f, err)
	}
	if asked := fake.notes(); !slices.Equal(asked, []string{"fleet shop", "turn"}) {
		t.Errorf("%q", asked)
	}
}

func TestAnAttachedRequestEndsWithItsResult(t *testing.T) {
	fake := newFake("shop")
	fake.withdrawn = nil
	close(fake.finish)
	member, _, _ := startWithRights(t, fake, Rights{Access: Operate})
	if r, err := member.DoAttached(t.Context(), api.Request{Verb: api.Reload, App: "shop"}, make(chan struct{}), nil); err != nil || r.Result != "ok" {
		t.Errorf("%+v %v", r, err)
	}
}

// History and log tell a turn in a fleet and a client of supervisord's interface from a command line.
func TestTheCallerBehindTheAdminProcessIsNamed(t *testing.T) {
	ask := map[string]func(*Client) (api.Result, error){
		"reload shop by rollout": func(c *Client) (api.Result, error) {
			return c.DoAttached(t.Context(), api.Request{Verb: api.Reload, App: "shop"}, nil, nil)
		},
		"stop shop by XML-RPC": func(c *Client) (api.Result, error) {
			return c.Do(t.Context(), api.Request{Verb: api.Stop, App: "shop"}, nil)
		},
	}
	for want, ask := range ask {
		fake := newFake("shop")
		close(fake.finish)
		member, _, _ := startWithRights(t, fake, Rights{Access: Drive, Fleet: true})
		if _, err := ask(member); err != nil {
			t.Error(err)
		}
		if asked := fake.notes(); !slices.Equal(asked, []string{want}) {
			t.Errorf("the supervisor was asked for %q, want %q", asked, want)
		}
	}
}

// A request that is withdrawn still gets its result.
func TestAnAttachedRequestIsWithdrawnWithItsBody(t *testing.T) {
	fake := newFake("shop")
	fake.withdrawn = make(chan struct{}, 1)
	fake.result = api.Result{App: "shop", Result: "ok"}
	member, _, _ := startWithRights(t, fake, Rights{Access: Operate})
	withdrawn, done := make(chan struct{}), make(chan error, 1)
	go func() {
		r, err := member.DoAttached(t.Context(), api.Request{Verb: api.Reload, App: "shop"}, withdrawn, nil)
		if err == nil && r.Result != "ok" {
			err = errors.New(r.Result)
		}
		done <- err
	}()
	<-fake.waiting
	close(withdrawn)
	<-fake.withdrawn
	close(fake.finish)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestTheViewersServerEndsWithEitherEnd(t *testing.T) {
	viewer, end, ended := startViewer(t, newFake("shop"), Look)
	if _, err := viewer.Status(t.Context()); err != nil {
		t.Fatal(err)
	}
	end()
	<-ended
	if _, err := viewer.Status(t.Context()); err == nil {
		t.Error("answered without a server")
	}
	viewer, _, ended = startViewer(t, newFake("shop"), Look)
	if _, err := viewer.Status(t.Context()); err != nil {
		t.Fatal(err)
	}
	viewer.http.CloseIdleConnections()
	select {
	case <-ended:
	case <-time.After(time.Minute):
		t.Error("the server goes on without its peer")
	}
}

func TestAProcessOfTheDaemonMayDoWhatItsAccessSays(t *testing.T) {
	for access, may := range map[Access]map[string]bool{
		Look:    {},
		Read:    {"programs": true, "text": true},
		Operate: {"programs": true, "text": true, "release": true},
		Drive:   {"release": true, "programs": true, "text": true, "stop": true, "apply": true, "signal": true, "clear": true, "reread": true, "add": true, "remove": true, "renew": true},
	} {
		fake := newFake("shop")
		close(fake.finish)
		client, _, _ := startViewer(t, fake, access)
		ctx := t.Context()
		for name, ask := range map[string]func() error{
			"programs": func() error { _, err := client.Programs(ctx, false); return err },
			"text":     func() error { _, err := client.LogText(ctx, api.LogTextQuery{App: "shop"}); return err },
			"release":  func() error { _, err := client.Release(ctx, "shop"); return err },
			"stop":     func() error { _, err := client.Do(ctx, api.Request{Verb: api.Stop, App: "shop"}, nil); return err },
			"apply":    func() error { _, err := client.Apply(ctx, api.ApplyRequest{}, nil); return err },
			"signal":   func() error { return client.Signal(ctx, "shop", unix.SIGUSR1) },
			"clear":    func() error { return client.ClearLog(ctx, "shop") },
			"reread":   func() error { _, err := client.Reread(ctx); return err },
			"add":      func() error { return client.AddGroup(ctx, "shop") },
			"remove":   func() error { return client.RemoveGroup(ctx, "shop") },
			"renew":    func() error { return client.Renew(ctx) },
			"listen":   func() error { return client.Listen(ctx, api.ListenRequest{App: "shop"}) },
			"unlisten": func() error { return client.Unlisten(ctx, "shop", false) },
		} {
			err := ask()
			var e *api.Error
			if denied := errors.As(err, &e) && e.Exit == api.ExitDenied; denied == may[name] || err != nil && !denied {
				t.Errorf("access %d: %s: %v", access, name, err)
			}
		}
	}
}

const pageToken = "0123456789abcdef"

// The token of the page's user, and nothing else, lets a request do what the page can do, and only that.
func TestARequestOfThePageMayDoWhatIsMarkedForItWithTheToken(t *testing.T) {
	for _, access := range []Access{Look, Drive} {
		fake := newFake("shop")
		close(fake.finish)
		client, _, _ := startViewer(t, fake, access)
		denied := func(err error) bool {
			var e *api.Error
			return errors.As(err, &e) && e.Exit == api.ExitDenied
		}
		ctx := t.Context()
		for _, token := range []string{"", "wrong", pageToken + "0", pageToken[1:]} {
			page := client.ForPage(token, "10.0.0.7")
			if _, err := page.Do(ctx, api.Request{Verb: api.Stop, App: "shop"}, nil); !denied(err) {
				t.Errorf("token %q: %v", token, err)
			}
			if err := page.Logs(ctx, api.LogQuery{}, nil); !denied(err) {
				t.Errorf("token %q: %v", token, err)
			}
		}
		if asked := fake.notes(); len(asked) > 0 {
			t.Errorf("the supervisor was asked for %v", asked)
		}
		page := client.ForPage(pageToken, "10.0.0.7")
		if _, err := page.Do(ctx, api.Request{Verb: api.Restart, App: "shop"}, nil); err != nil {
			t.Error(err)
		}
		if asked := fake.notes(); len(asked) != 1 || asked[0] != "restart shop by page from 10.0.0.7" {
			t.Errorf("the supervisor was asked for %v", asked)
		}
		for name, err := range map[string]error{"signal": page.Signal(ctx, "shop", unix.SIGUSR1), "shutdown": page.Shutdown(ctx, true), "clear": page.ClearLog(ctx, "shop"), "unlisten": page.Unlisten(ctx, "shop", false)} {
			if !denied(err) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

func TestWithoutATokenThePageDoesNothing(t *testing.T) {
	c := &call{viewer: &viewerConn{role: roleSupervisor}, role: roleSupervisor}
	c.request, _ = http.NewRequest("POST", "/v1/stop", nil)
	for _, shown := range []string{"Bearer ", "Bearer", "Basic x"} {
		c.request.Header.Set("Authorization", shown)
		if err := c.authorize(route{path: "/v1/stop", minRole: roleSupervisor, marks: forPage}); err == nil {
			t.Errorf("%q is enough", shown)
		}
	}
}

// A client of the page can send any number of wrong tokens.
func TestWrongTokensAreLoggedOnceASecond(t *testing.T) {
	now, c := time.Now(), &call{viewer: &viewerConn{}}
	logged := 0
	for i := range 1000 {
		if c.isToBeLogged(now.Add(time.Duration(i) * 10 * time.Millisecond)) {
			logged++
		}
	}
	if logged != 10 {
		t.Errorf("logged %d times in 10 s", logged)
	}
}

// An operation takes as long as the app needs: others are answered meanwhile on the one connection.
func TestRequestsOfTheAdminProcessAreAnsweredSideBySide(t *testing.T) {
	fake := newFake("shop")
	client, _, _ := startViewer(t, fake, Drive)
	stopped := make(chan error, 1)
	go func() {
		_, err := client.Do(t.Context(), api.Request{Verb: api.Stop, App: "shop"}, nil)
		stopped <- err
	}()
	<-fake.waiting
	for range 100 {
		if _, err := client.Status(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	ctx, leave := context.WithCancel(t.Context())
	leave()
	if _, err := client.Status(ctx); err == nil {
		t.Error("answered without a client")
	}
	if _, err := client.Status(t.Context()); err != nil {
		t.Errorf("a request that is given up breaks the connection: %v", err)
	}
	close(fake.finish)
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

// The admin process sends the history to every client, so it gets no output and no command line.
func TestAViewerGetsRecordsWithoutWhatTheAppHasWritten(t *testing.T) {
	for access, private := range map[Access]bool{Look: false, Read: true} {
		fake := newFake("shop")
		close(fake.finish)
		fake.records = []api.Record{{ID: 7, Kind: api.OperationEnded, App: "shop", Probe: "500: secret", Output: []string{"secret"}, Error: "it did not answer", By: api.Caller{Via: "cli", UID: 3, Command: "deploy --key secret"}}}
		client, _, _ := startViewer(t, fake, access)
		var got []api.Record
		must(t, client.History(t.Context(), api.HistoryQuery{}, func(r api.Record) bool { got = append(got, r); return true }))
		text, err := json.Marshal(got)
		must(t, err)
		if len(got) != 1 || got[0].ID != 7 || got[0].Error == "" || got[0].By.UID != 3 || strings.Contains(string(text), "secret") != private {
			t.Errorf("access %d: %s", access, text)
		}
	}
}

// Requests that are made before there is a connection share the one that there is.
func TestFirstRequestsOfTheAdminProcessMayBeMadeAtOnce(t *testing.T) {
	for range 20 {
		client, _, _ := startViewer(t, newFake("shop"), Look)
		var asked sync.WaitGroup
		for range 8 {
			asked.Go(func() {
				if _, err := client.Status(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		asked.Wait()
	}
}

// A stream in which nothing happens for longer than writeTimeout goes on.
func TestAQuietStreamOfTheAdminProcessGoesOn(t *testing.T) {
	t.Parallel()
	fake := newFake("shop")
	fake.lines = make(chan logs.Line)
	client, _, _ := startViewer(t, fake, Read)
	got := make(chan string)
	go client.Logs(t.Context(), api.LogQuery{Follow: true}, func(l logs.Line) bool { got <- l.Text; return true })
	fake.lines <- logs.Line{Text: "first"}
	<-got
	<-time.After(writeTimeout + time.Second)
	fake.lines <- logs.Line{Text: "second"}
	select {
	case text := <-got:
		if text != "second" {
			t.Error(text)
		}
	case <-time.After(time.Minute):
		t.Error("the stream has ended")
	}
}
