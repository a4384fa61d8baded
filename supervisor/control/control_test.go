package control

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
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
			conn.Close()
		}
	}()
	_, err = NewClient(path).Do(t.Context(), api.Request{Verb: api.Reload}, nil)
	if exitOf(err) != api.ExitNotRunning {
		t.Errorf("exit %d (%v), want %d", exitOf(err), err, api.ExitNotRunning)
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
