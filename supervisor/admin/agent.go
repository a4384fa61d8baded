package admin

import (
	"context"
	"io"
	"net"
	"slices"
	"time"

	"tideover/supervisor/api"
)

// agent answers HAProxy's agent-check of an app: a connection gets one line, and is closed. What
// HAProxy may send before (agent-send) means nothing.
type agent struct {
	source *source
	app    string
}

// lingerTimeout is how long the client may take to close: a connection that is closed with unread
// bytes is reset, and the client may not read the line.
const lingerTimeout = time.Second

func (a agent) serve(l net.Listener) error {
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		go a.answer(conn)
	}
}

// answer says nothing if the supervisor does not answer: HAProxy then keeps the state that the
// server has, which is right while the apps go on without it.
func (a agent) answer(conn net.Conn) {
	defer conn.Close()
	st, err := a.source.status.answer(context.Background())
	if err != nil {
		return
	}
	conn.SetDeadline(time.Now().Add(lingerTimeout))
	if _, err := io.WriteString(conn, agentLine(st, a.app)+"\n"); err != nil {
		return
	}
	if c, ok := conn.(*connection); ok {
		if tcp, ok := c.Conn.(*net.TCPConn); ok {
			tcp.CloseWrite()
		}
	}
	io.Copy(io.Discard, io.LimitReader(conn, maxHead))
}

// agentLine is the answer. A server whose requests are held is up: they wait for the next generation.
func agentLine(st api.Status, name string) string {
	i := slices.IndexFunc(st.Apps, func(app api.AppStatus) bool { return app.Name == name })
	if i < 0 {
		return "down#no such app"
	}
	switch app := st.Apps[i]; {
	case app.State == api.Stopped, app.State == api.Stopping, app.State == api.Failed:
		return "down#it is " + string(app.State)
	case st.ShuttingDown, app.Drained != nil:
		return "up drain"
	}
	return "up ready"
}
