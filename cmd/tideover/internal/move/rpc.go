package move

import (
	"bytes"
	"context"
	"encoding/xml"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"

	"tideover/supervisor/supervisordconf"
	"tideover/supervisor/supervisordrpc"
)

// supervisord is a client of a running supervisord.
type supervisord struct {
	server supervisordconf.Server
	http   *http.Client
}

func newSupervisord(server supervisordconf.Server) *supervisord {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, server.Network, server.Address)
	}
	return &supervisord{server, &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}}
}

// processInfo is one process of supervisord. Its name is "shop", or GROUP:PROCESS.
type processInfo struct {
	name  string
	state string // RUNNING, STARTING, STOPPED, EXITED, FATAL ...
	pid   int    // 0: none
}

// runs reports whether supervisord keeps the process running.
func (p processInfo) runs() bool {
	return p.state == "RUNNING" || p.state == "STARTING" || p.state == "BACKOFF"
}

// fault is a <fault> of XML-RPC.
type fault struct {
	code int
	text string
}

func (f *fault) Error() string { return "supervisord: " + f.text }

// pid returns the pid of supervisord itself.
func (s *supervisord) pid(ctx context.Context) (int, error) {
	v, err := s.call(ctx, "supervisor.getPID")
	pid, _ := v.(int)
	return pid, err
}

// processes returns the processes of all programs.
func (s *supervisord) processes(ctx context.Context) ([]processInfo, error) {
	v, err := s.call(ctx, "supervisor.getAllProcessInfo")
	if err != nil {
		return nil, err
	}
	list, _ := v.([]any)
	var all []processInfo
	for _, one := range list {
		all = append(all, processOf(one))
	}
	return all, nil
}

func (s *supervisord) process(ctx context.Context, name string) (processInfo, error) {
	v, err := s.call(ctx, "supervisor.getProcessInfo", name)
	return processOf(v), err
}

func processOf(v any) processInfo {
	info, _ := v.(map[string]any)
	name, _ := info["name"].(string)
	if group, _ := info["group"].(string); group != name {
		name = group + ":" + name
	}
	state, _ := info["statename"].(string)
	pid, _ := info["pid"].(int)
	return processInfo{name: name, state: state, pid: pid}
}

// stop stops a process and returns when it is gone. One that does not run is no error.
func (s *supervisord) stop(ctx context.Context, name string) error {
	_, err := s.call(ctx, "supervisor.stopProcess", name, true)
	if f, ok := err.(*fault); ok && f.code == supervisordrpc.NotRunning {
		return nil
	}
	return err
}

// start starts a process; with wait it returns when supervisord says RUNNING. One that runs is no
// error. One that is being stopped is waited for: supervisord would not start it and say it did.
func (s *supervisord) start(ctx context.Context, name string, waits bool) error {
	for {
		p, err := s.process(ctx, name)
		if err != nil {
			return err
		}
		if p.state != "STOPPING" {
			break
		}
		wait(ctx, pollInterval)
	}
	_, err := s.call(ctx, "supervisor.startProcess", name, waits)
	if f, ok := err.(*fault); ok && f.code == supervisordrpc.AlreadyStarted {
		return nil
	}
	return err
}

// logEnds returns where the logs of a process end, by stream: "Stdout", "Stderr". Streams without a
// log are missing.
func (s *supervisord) logEnds(ctx context.Context, name string) map[string]int {
	ends := map[string]int{}
	for _, stream := range []string{"Stdout", "Stderr"} {
		v, err := s.call(ctx, "supervisor.tailProcess"+stream+"Log", name, 0, 0) // text, end, overflow
		if list, ok := v.([]any); ok && err == nil && len(list) > 1 {
			ends[stream], _ = list[1].(int)
		}
	}
	return ends
}

// logTail returns what a log of a process has from offset on.
func (s *supervisord) logTail(ctx context.Context, name, stream string, offset int) (string, error) {
	v, err := s.call(ctx, "supervisor.readProcess"+stream+"Log", name, offset, 0)
	text, _ := v.(string)
	return text, err
}

// maxReply bounds what is read of a reply.
const maxReply = 16 << 20

// call calls a method. Its parameters are strings, ints and bools.
func (s *supervisord) call(ctx context.Context, method string, params ...any) (any, error) {
	var body bytes.Buffer
	fmt.Fprintf(&body, "<?xml version='1.0'?><methodCall><methodName>%s</methodName><params>", method)
	for _, p := range params {
		switch p := p.(type) {
		case bool:
			body.WriteString("<param><value><boolean>" + map[bool]string{true: "1", false: "0"}[p] + "</boolean></value></param>")
		case int:
			fmt.Fprintf(&body, "<param><value><int>%d</int></value></param>", p)
		case string:
			body.WriteString("<param><value><string>")
			xml.EscapeText(&body, []byte(p))
			body.WriteString("</string></value></param>")
		}
	}
	body.WriteString("</params></methodCall>")
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://127.0.0.1/RPC2", &body)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "text/xml")
	if s.server.Username != "" {
		request.SetBasicAuth(s.server.Username, s.server.Password)
	}
	reply, err := s.http.Do(request)
	if err != nil {
		return nil, fmt.Errorf("supervisord does not answer on %s: %w", s.server.Address, err)
	}
	defer reply.Body.Close()
	if reply.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("supervisord on %s answers %s", s.server.Address, reply.Status)
	}
	return decodeReply(io.LimitReader(reply.Body, maxReply))
}

// xmlValue is a <value> of XML-RPC.
type xmlValue struct {
	Int     *string     `xml:"int"`
	I4      *string     `xml:"i4"`
	Boolean *string     `xml:"boolean"`
	String  *string     `xml:"string"`
	Array   *xmlArray   `xml:"array"`
	Members []xmlMember `xml:"struct>member"`
	Text    string      `xml:",chardata"`
}

type xmlArray struct {
	Values []xmlValue `xml:"data>value"`
}

type xmlMember struct {
	Name  string   `xml:"name"`
	Value xmlValue `xml:"value"`
}

func decodeReply(r io.Reader) (any, error) {
	var reply struct {
		Values []xmlValue `xml:"params>param>value"`
		Fault  *xmlValue  `xml:"fault>value"`
	}
	if err := xml.NewDecoder(r).Decode(&reply); err != nil {
		return nil, fmt.Errorf("cannot read the reply of supervisord: %w", err)
	}
	if reply.Fault != nil {
		about, _ := reply.Fault.value().(map[string]any)
		code, _ := about["faultCode"].(int)
		text, _ := about["faultString"].(string)
		return nil, &fault{code, text}
	}
	if len(reply.Values) == 0 {
		return nil, fmt.Errorf("the reply of supervisord has no value")
	}
	return reply.Values[0].value(), nil
}

// value returns an int, a bool, a string, a []any or a map[string]any.
func (v xmlValue) value() any {
	number := v.Int
	if number == nil {
		number = v.I4
	}
	switch {
	case number != nil:
		n, _ := strconv.Atoi(strings.TrimSpace(*number))
		return n
	case v.Boolean != nil:
		return strings.TrimSpace(*v.Boolean) == "1"
	case v.String != nil:
		return *v.String
	case v.Array != nil:
		all := []any{}
		for _, one := range v.Array.Values {
			all = append(all, one.value())
		}
		return all
	case v.Members != nil:
		all := map[string]any{}
		for _, m := range v.Members {
			all[m.Name] = m.Value.value()
		}
		return all
	}
	return v.Text
}
