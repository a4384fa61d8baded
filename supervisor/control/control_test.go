package control

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"tideover/supervisor/api"
	"tideover/supervisor/logs"
)

func TestOperationTellsPhasesThenTheResult(t *testing.T) {
	t.Parallel()
	d := newFake("shop")
	d.phases = []api.Phase{
		{App: "shop", Name: "start"},
		{App: "shop", Name: "start", Result: "ok", Duration: time.Second, Attrs: []api.Attr{{Key: "pid", Value: "4711"}}},
	}
	d.result.Requests.Held = 17
	client := NewClient(serve(t, d, SocketOptions{}).Path())

	var seen []api.Phase
	result, err := client.Do(t.Context(), api.Request{Verb: api.Reload, App: "shop", By: api.Caller{Via: "a liar"}}, func(p api.Phase) {
		seen = append(seen, p)
		if len(seen) == 2 { // phases come as they happen, not with the result
			close(d.finish)
		}
	})
	must(t, err)
	if result.Requests.Held != 17 || result.Result != "ok" {
		t.Errorf("result %+v", result)
	}
	if len(seen) != 2 || seen[1].Attrs[0].Value != "4711" || seen[1].Duration != time.Second {
		t.Errorf("phases %+v", seen)
	}
	if want := fmt.Sprintf("reload shop by cli uid %d, pid %d: control.test ", os.Geteuid(), os.Getpid()); len(d.notes()) != 1 || !strings.HasPrefix(d.notes()[0], want) {
		t.Errorf("asked %q, want %q", d.notes(), want)
	}
}

func TestApplyTellsPhasesThenTheDifference(t *testing.T) {
	t.Parallel()
	d := newFake("shop")
	d.phases = []api.Phase{{App: "shop", Name: "start"}, {App: "shop", Name: "start", Result: "ok"}}
	client := NewClient(serve(t, d, SocketOptions{}).Path())
	seen := 0
	result, err := client.Apply(t.Context(), api.ApplyRequest{By: api.Caller{Via: "a liar"}}, func(api.Phase) { seen++ })
	must(t, err)
	if seen != 2 || result.Result != "ok" || len(result.Apps) != 1 || result.Apps[0].Change != api.Added {
		t.Errorf("%d phases, %+v", seen, result)
	}
	if want := fmt.Sprintf("apply by cli uid %d, pid ", os.Geteuid()); len(d.notes()) != 1 || !strings.HasPrefix(d.notes()[0], want) {
		t.Errorf("asked %q, want %q", d.notes(), want)
	}
}

func TestCallerThatLeavesStopsWaiting(t *testing.T) {
	t.Parallel()
	d := newFake("shop")
	client := NewClient(serve(t, d, SocketOptions{}).Path())
	ctx, leave := context.WithCancel(t.Context())
	go func() {
		<-d.waiting
		leave()
	}()
	_, err := client.Do(ctx, api.Request{Verb: api.Restart, App: "shop"}, nil)
	if exitOf(err) != api.ExitTimeout {
		t.Errorf("exit %d (%v), want %d", exitOf(err), err, api.ExitTimeout)
	}
	<-d.left // the daemon noticed
}

func TestDaemonThatDiesIsAnError(t *testing.T) {
	t.Parallel()
	path := privateDir(t) + "/control.sock"
	listener, err := net.Listen("unix", path)
	must(t, err)
	defer listener.Close()
	go func() {
		conn, err := listener.Accept()
		if err == nil {
			http.ReadRequest(bufio.NewReader(conn))
			fmt.Fprint(conn, "HTTP/1.1 200 OK\r\n\r\n"+`{"phase":{"name":"start"}}`+"\n")
			listener.Close()
			conn.Close()
		}
	}()
	_, err = NewClient(path).Do(t.Context(), api.Request{Verb: api.Reload}, nil)
	if exitOf(err) != api.ExitNotRunning || !strings.Contains(err.Error(), "went away") {
		t.Errorf("exit %d (%v), want %d", exitOf(err), err, api.ExitNotRunning)
	}
}

// dyingDaemon is a socket whose supervisor dies with each of the first connections, once it has read a request
// and begun to answer. It returns the bodies of the POST requests.
func dyingDaemon(t *testing.T, deaths int, begin, end string) (path string, asked func() []string) {
	path = privateDir(t) + "/control.sock"
	listener, err := net.Listen("unix", path)
	must(t, err)
	var bodies []string
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for n := 0; ; {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			r, err := http.ReadRequest(bufio.NewReader(conn))
			switch {
			case err != nil:
			case r.Method == http.MethodGet:
				fmt.Fprint(conn, "HTTP/1.1 200 OK\r\n\r\n{}\n")
			default:
				body := make([]byte, 1000) // an attached request's body stays open
				size, _ := r.Body.Read(body)
				bodies = append(bodies, string(body[:size]))
				switch n++; {
				case n > deaths:
					fmt.Fprint(conn, "HTTP/1.1 200 OK\r\n\r\n", end)
				case begin != "":
					fmt.Fprint(conn, "HTTP/1.1 200 OK\r\n\r\n", begin)
				}
			}
			conn.Close()
		}
	}()
	return path, func() []string {
		listener.Close()
		<-ended
		return bodies
	}
}

// An operation whose supervisor dies is asked for again by its id, and its caller gets the one result.
func TestTheNextSupervisorIsAskedForTheOperation(t *testing.T) {
	t.Parallel()
	path, asked := dyingDaemon(t, 2, `{"phase":{"name":"start"}}`+"\n", `{"result":{"app":"shop","result":"kept old","exit":7}}`+"\n")
	var phases []string
	result, err := NewClient(path).Do(t.Context(), api.Request{Verb: api.Reload, App: "shop"}, func(p api.Phase) { phases = append(phases, p.Name) })
	if err != nil || result.Exit != api.ExitKeptOld || len(phases) != 2 {
		t.Errorf("%+v, %v, phases %v", result, err, phases)
	}
	all := asked()
	if len(all) != 3 || all[0] != all[1] || all[0] != all[2] || !strings.Contains(all[0], `"id":"`) {
		t.Errorf("asked %q", all)
	}
}

// A daemon whose supervisors all die of a request is asked a bounded number of times.
func TestADaemonThatAlwaysDiesIsAskedABoundedNumberOfTimes(t *testing.T) {
	t.Parallel()
	path, asked := dyingDaemon(t, maxAgain+1, "", "")
	_, err := NewClient(path).Do(t.Context(), api.Request{Verb: api.Reload, App: "shop"}, nil)
	if exitOf(err) != api.ExitError || !strings.Contains(err.Error(), "is not known") {
		t.Errorf("exit %d: %v", exitOf(err), err)
	}
	if n := len(asked()); n != maxAgain+1 {
		t.Errorf("asked %d times", n)
	}
}

// A signal may have been sent by the supervisor that has died: it is not sent again.
func TestASignalIsNotSentAgain(t *testing.T) {
	t.Parallel()
	path, asked := dyingDaemon(t, 1, "", "{}")
	if err := NewClient(path).Signal(t.Context(), "shop", 10); err == nil {
		t.Error("no error")
	}
	if n := len(asked()); n != 1 {
		t.Errorf("asked %d times", n)
	}
}

// The hold of a command goes on with the next supervisor, by its id and with the time that is left. A report
// that does not say since when it has been held is of a new one.
func TestTheHoldOfACommandGoesOnWithTheNextSupervisor(t *testing.T) {
	t.Parallel()
	for name, held := range map[string]string{"in time": "1.5", "too late": "0", "before it has begun": "1.5"} {
		begin := `{"held":{"app":"shop","drained":true,"for_s":30}}` + "\n"
		if name == "before it has begun" {
			begin = ""
		}
		path, asked := dyingDaemon(t, 1, begin,
			`{"held":{"app":"shop","drained":true,"for_s":30,"held_for_s":`+held+`}}`+"\n"+`{"ended":{"app":"shop","held_for_s":2}}`+"\n")
		h, err := NewClient(path).OpenHold(t.Context(), "shop", api.HoldRequest{For: time.Minute})
		must(t, err)
		report, err := h.End()
		if err != nil || report.Held != 2 || h.Interrupted != (held == "0") {
			t.Errorf("%s: %+v, %v, interrupted %v", name, report, err, h.Interrupted)
		}
		all := asked()
		id := func(body string) string { return regexp.MustCompile(`"id":"([^"]+)"`).FindString(body) }
		if len(all) != 2 || id(all[0]) == "" || id(all[0]) != id(all[1]) {
			t.Errorf("%s: asked %q", name, all)
		}
	}
}

func TestBriefRequests(t *testing.T) {
	t.Parallel()
	d := newFake("shop")
	client := NewClient(serve(t, d, SocketOptions{}).Path())

	status, err := client.Status(t.Context(), "shop")
	must(t, err)
	if len(status.Apps) != 1 || status.Apps[0].Generation != 7 {
		t.Errorf("status %+v", status)
	}
	var unknown *api.Error
	if _, err := client.Status(t.Context(), "shpo"); !errors.As(err, &unknown) || unknown.Exit != api.ExitNoSuchApp || unknown.Hint != "did you mean shop?" {
		t.Errorf("unknown app: %#v", err)
	}
	report, err := client.Release(t.Context(), "shop")
	if err != nil || report.Held != 3.1 {
		t.Errorf("release: %+v, %v", report, err)
	}
	must(t, client.Signal(t.Context(), "shop", syscall.SIGTTIN))
	if want := []string{"release shop", "signal shop " + syscall.SIGTTIN.String()}; !slices.Equal(d.notes(), want) {
		t.Errorf("asked %q, want %q", d.notes(), want)
	}
}

func TestLogsComeOneByOneAndEnd(t *testing.T) {
	t.Parallel()
	d := newFake("shop")
	client := NewClient(serve(t, d, SocketOptions{}).Path())
	d.lines <- logs.Line{App: "shop", Generation: 8, Text: "one"}
	var texts []string
	err := client.Logs(t.Context(), api.LogQuery{Follow: true}, func(l logs.Line) bool {
		texts = append(texts, l.Text)
		if len(texts) == 1 {
			d.lines <- logs.Line{App: "shop", Text: "two"}
			close(d.lines)
		}
		return true
	})
	if err != nil || !slices.Equal(texts, []string{"one", "two"}) {
		t.Errorf("%q, %v", texts, err)
	}
}

func TestReaderOfLogsMayLeave(t *testing.T) {
	t.Parallel()
	d := newFake("shop")
	client := NewClient(serve(t, d, SocketOptions{}).Path())
	d.lines <- logs.Line{Text: "one"}
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	err := client.Logs(ctx, api.LogQuery{Follow: true}, func(logs.Line) bool {
		leave()
		return true
	})
	if err != nil {
		t.Errorf("leaving is no error, got %v", err)
	}
}

func TestShutdownAnswersWhenAllIsStopped(t *testing.T) {
	t.Parallel()
	d := newFake("shop")
	socket := serve(t, d, SocketOptions{})
	if err := NewClient(socket.Path()).Shutdown(t.Context(), false); err != nil {
		t.Error(err)
	}
	if !slices.Equal(d.notes(), []string{"shutdown"}) {
		t.Errorf("asked %q", d.notes())
	}
}

func TestAttachedHoldEndsWithItsCommand(t *testing.T) {
	t.Parallel()
	d := newFake("shop")
	client := NewClient(serve(t, d, SocketOptions{}).Path())
	hold, err := client.OpenHold(t.Context(), "shop", api.HoldRequest{For: time.Minute})
	must(t, err)
	if hold.Started.InFlight != 9 {
		t.Errorf("begun %+v", hold.Started)
	}
	select {
	case <-d.hold.ended:
		t.Fatal("released before the command was done")
	default:
	}
	report, err := hold.End()
	must(t, err)
	if report.Requests.Held != 88 {
		t.Errorf("report %+v", report)
	}
	<-d.hold.ended
}

func TestAttachedHoldEndsWithItsCaller(t *testing.T) {
	t.Parallel()
	d := newFake("shop")
	client := NewClient(serve(t, d, SocketOptions{}).Path())
	ctx, die := context.WithCancel(t.Context())
	hold, err := client.OpenHold(ctx, "shop", api.HoldRequest{})
	must(t, err)
	die()
	<-d.hold.ended // released without End
	if _, err := hold.End(); err == nil {
		t.Error("End of a hold whose caller died reports success")
	}
}

func TestDetachedHoldStays(t *testing.T) {
	t.Parallel()
	d := newFake("shop")
	client := NewClient(serve(t, d, SocketOptions{}).Path())
	report, err := client.Hold(t.Context(), "shop", api.HoldRequest{})
	must(t, err)
	if !report.Drained {
		t.Errorf("report %+v", report)
	}
	_, err = client.Status(t.Context()) // a whole exchange later
	must(t, err)
	select {
	case <-d.hold.ended:
		t.Error("the hold ended with the command that asked for it")
	default:
	}
}

func TestServerRefuses(t *testing.T) {
	t.Parallel()
	socket := serve(t, newFake("shop"), SocketOptions{})
	for _, c := range []struct {
		name, method, path, body, header string
		status                           int
	}{
		{"an unknown path", "GET", "/v2/status", "", "", 400},
		{"a wrong method", "GET", "/v1/reload", "", "", 400},
		{"a field it does not know", "POST", "/v1/reload", `{"app":"shop","argv":["sh"]}`, "", 400},
		{"two requests in one", "POST", "/v1/reload", `{"app":"shop"}{"app":"shop"}`, "", 400},
		{"no JSON", "POST", "/v1/release", "shop", "", 400},
		{"more than a megabyte", "POST", "/v1/release", `{"app":"` + strings.Repeat("x", 1<<20) + `"}`, "", 400},
		{"a browser", "POST", "/v1/release", `{"app":"shop"}`, "http://elsewhere.example", 403},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			request, err := http.NewRequestWithContext(t.Context(), c.method, "http://tideover"+c.path, strings.NewReader(c.body))
			must(t, err)
			if c.header != "" {
				request.Header.Set("Origin", c.header)
			}
			response, err := NewClient(socket.Path()).http.Do(request)
			must(t, err)
			response.Body.Close()
			if response.StatusCode != c.status {
				t.Errorf("%d, want %d", response.StatusCode, c.status)
			}
		})
	}
}

func TestSlowRequestIsCut(t *testing.T) {
	t.Parallel()
	socket := serve(t, newFake("shop"), SocketOptions{})
	conn, err := net.Dial("unix", socket.Path())
	must(t, err)
	defer conn.Close()
	fmt.Fprint(conn, "POST /v1/release HTTP/1.1\r\nHost: tideover\r\nContent-Length: 100\r\n\r\n{")
	must(t, conn.SetReadDeadline(time.Now().Add(2*requestTimeout)))
	head := make([]byte, 12)
	if _, err := conn.Read(head); err != nil || string(head) != "HTTP/1.1 400" {
		t.Errorf("%q, %v", head, err)
	}
}
