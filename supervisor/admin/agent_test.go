package admin

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"tideover/supervisor/api"
)

func TestTheAgentSaysWhetherToSendRequests(t *testing.T) {
	status := func(a api.AppStatus) api.Status {
		a.Name = "shop"
		return api.Status{Apps: []api.AppStatus{{Name: "blog"}, a}}
	}
	leaving := status(api.AppStatus{State: api.Running, Generation: 1})
	leaving.ShuttingDown = true
	for _, c := range []struct {
		st   api.Status
		want string
	}{
		{status(api.AppStatus{State: api.Running, Generation: 1}), "up ready"},
		{status(api.AppStatus{State: api.Running, Generation: 1, Drained: &api.Drained{}}), "up drain"},
		{leaving, "up drain"},
		{status(api.AppStatus{State: api.Holding, Generation: 1}), "up ready"},
		{status(api.AppStatus{State: api.Backoff}), "up ready"},
		{status(api.AppStatus{State: api.Reloading}), "up ready"},
		{status(api.AppStatus{State: api.Stopped}), "down#it is stopped"},
		{status(api.AppStatus{State: api.Failed, Drained: &api.Drained{}}), "down#it is failed"},
		{api.Status{}, "down#no such app"},
	} {
		if got := agentLine(c.st, "shop"); got != c.want {
			t.Errorf("%+v: %q, want %q", c.st, got, c.want)
		}
	}
}

func TestTheAgentAnswersEachConnectionOnce(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	fake := &supervisor{status: api.Status{Apps: []api.AppStatus{{Name: "shop", State: api.Running}}}}
	served := make(chan error, 1)
	go func() { served <- agent{newSource(fake), "shop"}.serve(newConnections(l)) }()
	for _, sent := range []string{"", "agent-send\n", strings.Repeat("x", maxHead)} {
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(conn, sent)
		conn.SetDeadline(time.Now().Add(time.Minute))
		text, err := io.ReadAll(conn)
		if string(text) != "up ready\n" || err != nil {
			t.Errorf("%d bytes: %q, %v", len(sent), text, err)
		}
		conn.Close()
	}
	l.Close()
	<-served
}

func TestTheAgentSaysNothingWithoutTheSupervisor(t *testing.T) {
	ours, theirs := net.Pipe()
	go agent{newSource(&supervisor{err: io.EOF}), "shop"}.answer(theirs)
	if text, err := io.ReadAll(ours); len(text) > 0 || err != nil {
		t.Errorf("%q, %v", text, err)
	}
}
