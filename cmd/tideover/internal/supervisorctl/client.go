package supervisorctl

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"

	"tideover/supervisor/xmlrpc"
)

// maxAnswer bounds an answer in bytes. A tail of a log may be long.
const maxAnswer = 64 << 20

// client calls methods of a server.
type client struct {
	url                string
	username, password string
	http               *http.Client
}

// statusError is an answer with a status other than 200.
type statusError struct {
	code   int
	status string
}

func (e *statusError) Error() string { return e.status }

func newClient(serverURL, username, password string) *client {
	c := &client{url: serverURL, username: username, password: password}
	network, address := "tcp", ""
	if path, ok := strings.CutPrefix(serverURL, "unix://"); ok {
		network, address = "unix", path
	} else if u, err := url.Parse(serverURL); err == nil {
		address = u.Host
		if u.Port() == "" {
			address = net.JoinHostPort(u.Hostname(), "80")
		}
	}
	c.http = &http.Client{Transport: &http.Transport{DisableCompression: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, address)
	}}}
	return c
}

func (c *client) do(ctx context.Context, method, path string, body []byte) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, method, "http://localhost"+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if body != nil {
		request.Header.Set("Content-Type", "text/xml")
	}
	if c.username != "" || c.password != "" {
		request.SetBasicAuth(c.username, c.password)
	}
	answer, err := c.http.Do(request)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode != http.StatusOK {
		answer.Body.Close()
		return nil, &statusError{answer.StatusCode, answer.Status}
	}
	return answer, nil
}

// call calls a method of supervisor.
func (c *client) call(ctx context.Context, method string, params ...xmlrpc.Value) (xmlrpc.Value, error) {
	answer, err := c.do(ctx, http.MethodPost, "/RPC2", xmlrpc.Request(xmlrpc.Call{Method: "supervisor." + method, Params: params}))
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	return xmlrpc.ReadResponse(answer.Body, maxAnswer)
}

// faultOf returns the fault that an error is; ok is false if it is none.
func faultOf(err error) (f *xmlrpc.Fault, ok bool) {
	ok = errors.As(err, &f)
	return f, ok
}

// faultCode is the number of the fault that an error is; 0: it is none.
func faultCode(err error) int {
	if f, ok := faultOf(err); ok {
		return f.Code
	}
	return 0
}

// pythonError writes an error as supervisorctl does one that it does not expect.
func pythonError(err error) string {
	kind, text := "Exception", err.Error()
	var f *xmlrpc.Fault
	var status *statusError
	var errno syscall.Errno
	switch {
	case errors.As(err, &f):
		kind, text = "xmlrpc.client.Fault", fmt.Sprintf("<Fault %d: '%s'>", f.Code, f.Text)
	case errors.As(err, &status):
		kind, text = "xmlrpc.client.ProtocolError", fmt.Sprintf("<ProtocolError for 127.0.0.1/RPC2: %s>", status)
	case errors.As(err, &errno):
		kind = map[syscall.Errno]string{syscall.EACCES: "PermissionError", syscall.ECONNREFUSED: "ConnectionRefusedError", syscall.ENOENT: "FileNotFoundError",
			syscall.ECONNRESET: "ConnectionResetError", syscall.EPIPE: "BrokenPipeError"}[errno]
		if kind == "" {
			kind = "OSError"
		}
		name := errno.Error()
		text = fmt.Sprintf("[Errno %d] %s", int(errno), strings.ToUpper(name[:1])+name[1:])
	}
	return fmt.Sprintf("error: <class '%s'>, %s: file: supervisorctl line: 0", kind, text)
}
