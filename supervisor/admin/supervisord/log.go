package supervisord

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"tideover/supervisor/api"
	"tideover/supervisor/supervisordrpc"
	"tideover/supervisor/xmlrpc"
)

// The streams of a process.
const (
	stdout = "stdout"
	stderr = "stderr"
)

// number returns a parameter that is a number.
func (c *call) number(i int) (int, error) {
	switch v := c.params[i].(type) {
	case int:
		return v, nil
	case bool:
		return map[bool]int{true: 1}[v], nil
	case string:
		if n, err := strconv.Atoi(v); err == nil {
			return n, nil
		}
	}
	return 0, fault(supervisordrpc.IncorrectParameters, "")
}

// rangeOf returns the parameters for offset and length, of which the first one is number i.
func (c *call) rangeOf(i int) (offset, length int, err error) {
	if offset, err = c.number(i); err != nil {
		return 0, 0, err
	}
	length, err = c.number(i + 1)
	return offset, length, err
}

// read returns bytes as supervisord's readFile does.
func (c *call) read(q api.LogTextQuery, offset, length int) (xmlrpc.Value, error) {
	if offset < 0 && length != 0 || length < 0 {
		return nil, fault(supervisordrpc.BadArguments, "")
	}
	q.Offset, q.Length = int64(offset), length
	defer c.request()()
	text, err := c.service.daemon.LogText(c.ctx, q)
	return string(text.Text), err
}

func (c *call) readMainLog() (xmlrpc.Value, error) {
	offset, length, err := c.rangeOf(0)
	if err != nil {
		return nil, err
	}
	return c.read(api.LogTextQuery{}, offset, length)
}

func (c *call) readStdout() (xmlrpc.Value, error) { return c.readProcess(stdout) }
func (c *call) readStderr() (xmlrpc.Value, error) { return c.readProcess(stderr) }

func (c *call) readProcess(stream string) (xmlrpc.Value, error) {
	p, err := c.program(0)
	if err != nil {
		return nil, err
	}
	if p.MergeStderr && stream == stderr {
		return nil, fault(supervisordrpc.NoFile, "")
	}
	offset, length, err := c.rangeOf(1)
	if err != nil {
		return nil, err
	}
	return c.read(api.LogTextQuery{App: p.App, Stream: stream}, offset, length)
}

func (c *call) tailStdout() (xmlrpc.Value, error) { return c.tailProcess(stdout) }
func (c *call) tailStderr() (xmlrpc.Value, error) { return c.tailProcess(stderr) }

// tailProcess returns bytes, the size of the log and whether there is more than was asked for, as
// supervisord's tailFile does.
func (c *call) tailProcess(stream string) (xmlrpc.Value, error) {
	p, err := c.program(0)
	if err != nil {
		return nil, err
	}
	offset, length, err := c.rangeOf(1)
	if err != nil {
		return nil, err
	}
	if p.MergeStderr && stream == stderr {
		return []any{"", 0, false}, nil
	}
	defer c.request()()
	q := api.LogTextQuery{App: p.App, Stream: stream, Offset: -int64(min(max(length, 1), api.MaxLogText))}
	text, err := c.service.daemon.LogText(c.ctx, q)
	if err != nil {
		return nil, err
	}
	size := int(text.Size)
	overflow := size > offset+length
	if overflow {
		offset = size - 1
	}
	if offset+length > size && offset > size-1 || length < 0 {
		length = 0
	}
	if length == 0 {
		text.Text = nil
	}
	return []any{string(text.Text), size, overflow}, nil
}

func (c *call) clearMainLog() (xmlrpc.Value, error) {
	defer c.request()()
	return true, c.service.daemon.ClearLog(c.ctx, "")
}

func clearLog(c *call, p api.Program, _ string) error {
	defer c.request()()
	return c.service.daemon.ClearLog(c.ctx, p.App)
}

func (c *call) clearLogs() (xmlrpc.Value, error) {
	p, err := c.program(0)
	if err != nil {
		return nil, err
	}
	return true, clearLog(c, p, "")
}

func (c *call) clearAllLogs() (xmlrpc.Value, error) {
	return c.all(func(processState) bool { return true }, clearLog)
}

const (
	// tailHead is how many bytes come before what is new.
	tailHead = 1024
	// tailInterval is the time between two looks for what is new, as in supervisord about 0.1 s.
	tailInterval = 200 * time.Millisecond
)

// tailLog sends the end of a log, and then what is added to it, until the client leaves.
func (s *Service) tailLog(w http.ResponseWriter, r *http.Request) {
	c := &call{service: s, ctx: r.Context()}
	q := api.LogTextQuery{Offset: -tailHead}
	if name := r.PathValue("name"); name != "" {
		all, err := c.programs()
		p, ok := find(all, name)
		q.App, q.Stream = p.App, r.PathValue("stream")
		if q.Stream == "" {
			q.Stream = stdout
		}
		if err != nil || !ok || q.Stream != stdout && q.Stream != stderr || p.MergeStderr && q.Stream == stderr {
			http.NotFound(w, r)
			return
		}
	}
	select {
	case s.followers <- struct{}{}:
		defer func() { <-s.followers }()
	default:
		http.Error(w, fmt.Sprintf("%d clients follow logs already", maxFollowers), http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/plain;charset=utf-8")
	w.Header().Set("X-Accel-Buffering", "no")
	s.follow(c, w, q)
}

// follow writes what is added to a log.
func (s *Service) follow(c *call, w http.ResponseWriter, q api.LogTextQuery) {
	out := http.NewResponseController(w)
	ticker := time.NewTicker(tailInterval)
	defer ticker.Stop()
	for {
		text, err := s.lookAt(c, q)
		if err != nil {
			return
		}
		if q.Offset > text.Size {
			io.WriteString(w, "==> File truncated <==\n")
			q.Offset = 0
			continue
		}
		out.SetWriteDeadline(time.Now().Add(bodyTimeout))
		if _, err := w.Write(text.Text); err != nil || out.Flush() != nil {
			return
		}
		q.Offset = text.Size
		select {
		case <-c.ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func (s *Service) lookAt(c *call, q api.LogTextQuery) (api.LogText, error) {
	defer c.request()()
	return s.daemon.LogText(c.ctx, q)
}
