package supervisord

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"tideover/supervisor/api"
	"tideover/supervisor/supervisordrpc"
	"tideover/supervisor/xmlrpc"
)

// daemon is a fake.
type daemon struct {
	mu       sync.Mutex // guards the fields below
	programs []api.Program
	log      string
	asked    []string
	result   api.Result
}

func (d *daemon) note(what string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked = append(d.asked, what)
}

func (d *daemon) notes() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	slices.Sort(d.asked)
	all := strings.Join(d.asked, ", ")
	d.asked = nil
	return all
}

func (d *daemon) Status(context.Context, ...string) (api.Status, error) {
	return api.Status{Pid: 4711}, nil
}

func (d *daemon) Programs(_ context.Context, configured bool) ([]api.Program, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.programs), nil
}

func (d *daemon) LogText(_ context.Context, q api.LogTextQuery) (api.LogText, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	size := int64(len(d.log))
	at := q.Offset
	if at < 0 {
		at = max(0, size+at)
	}
	text := []byte(d.log[min(at, size):])
	if q.Length > 0 {
		text = text[:min(len(text), q.Length)]
	}
	return api.LogText{Text: text, Size: size}, nil
}

func (d *daemon) ClearLog(_ context.Context, app string) error { d.note("clear " + app); return nil }

func (d *daemon) Reread(context.Context) (api.Reread, error) {
	return api.Reread{Added: []string{"a"}, Changed: []string{"b"}}, nil
}

func (d *daemon) AddGroup(_ context.Context, group string) error {
	d.note("add " + group)
	if group == "shop" {
		return &api.Error{Exit: api.ExitBusy, Message: "there"}
	}
	return nil
}

func (d *daemon) RemoveGroup(_ context.Context, group string) error {
	d.note("remove " + group)
	if group == "shop" {
		return &api.Error{Exit: api.ExitBusy, Message: "it runs"}
	}
	return &api.Error{Exit: api.ExitNoSuchApp, Message: "none"}
}

func (d *daemon) Renew(context.Context) error { d.note("renew"); return nil }

func (d *daemon) Do(_ context.Context, r api.Request, _ func(api.Phase)) (api.Result, error) {
	what := string(r.Verb) + " " + r.App
	if r.AwaitStart {
		what += " awaiting a start"
	}
	d.note(what)
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.result, nil
}

func (d *daemon) Signal(_ context.Context, app string, s Signal) error {
	d.note("signal " + app + " " + s.String())
	return nil
}

func (d *daemon) Shutdown(context.Context, bool) error { d.note("shutdown"); return nil }

func newDaemon() *daemon {
	began := time.Now().Add(-90 * time.Second)
	return &daemon{log: "one\ntwo\nthree\n", programs: []api.Program{
		{App: "shop", Group: "shop", Name: "shop", State: api.Running, Pid: 11, Started: began, LogFile: "/var/log/shop.log"},
		{App: "worker:1", Group: "jobs", Name: "worker_00", State: api.Stopped},
		{App: "worker:2", Group: "jobs", Name: "worker_01", State: api.Running, Pid: 13, Started: began, MergeStderr: true},
		{App: "bad", Group: "bad", Name: "bad", State: api.Failed, Failed: true, Reason: "Exited too quickly (process log may have details)", ExitStatus: 3, Started: began, Stopped: began},
		{App: "done", Group: "done", Name: "done", State: api.Stopped, Finished: true, Started: began, Stopped: time.Date(2026, 11, 7, 15, 4, 5, 0, time.Local)},
	}}
}

func ask(d Daemon, a Access, name string, params ...xmlrpc.Value) (xmlrpc.Value, error) {
	s := NewService(d, "supervisor")
	defer s.background.Wait()
	return s.call(context.Background(), name, params, a)
}

func TestFaultsHaveTheNumbersOfSupervisord(t *testing.T) {
	for _, c := range []struct {
		method string
		params []any
		code   int
	}{
		{"supervisor.nothing", nil, 1}, {"nothing", nil, 1}, {"supervisor.getState.x", nil, 1}, {"supervisor._update", nil, 1},
		{"supervisor.getState", []any{1}, 2}, {"supervisor.getProcessInfo", nil, 2}, {"supervisor.startProcess", []any{"a", true, 1}, 2}, {"supervisor.startProcess", []any{[]any{}}, 2},
		{"supervisor.readProcessStdoutLog", []any{"shop", "x", 0}, 2},
		{"supervisor.readProcessStdoutLog", []any{"shop", -1, 1}, 3}, {"supervisor.readLog", []any{0, -1}, 3},
		{"system.methodHelp", []any{"none"}, 4}, {"system.methodSignature", []any{"none"}, 4},
		{"supervisor.getProcessInfo", []any{"none"}, 10}, {"supervisor.getProcessInfo", []any{"jobs:*"}, 10}, {"supervisor.startProcess", []any{"jobs:none"}, 10},
		{"supervisor.stopProcessGroup", []any{"none"}, 10}, {"supervisor.stopProcess", []any{"none:*"}, 10}, {"supervisor.removeProcessGroup", []any{"none"}, 10},
		{"supervisor.signalProcess", []any{"shop", "FOO"}, 11}, {"supervisor.signalProcess", []any{"shop", "0"}, 11}, {"supervisor.signalProcess", []any{"shop", 4000}, 11},
		{"supervisor.readProcessStderrLog", []any{"jobs:worker_01", 0, 0}, 20},
		{"supervisor.sendProcessStdin", []any{"shop", "x"}, 30}, {"supervisor.sendProcessStdin", []any{"none", "x"}, 10},
		{"supervisor.startProcess", []any{"shop"}, 60}, {"supervisor.startProcess", []any{"shop:shop"}, 60},
		{"supervisor.stopProcess", []any{"jobs:worker_00"}, 70}, {"supervisor.stopProcess", []any{"bad"}, 70}, {"supervisor.signalProcess", []any{"bad", "HUP"}, 70},
		{"supervisor.addProcessGroup", []any{"shop"}, 90}, {"supervisor.removeProcessGroup", []any{"shop"}, 91},
	} {
		_, err := ask(newDaemon(), Access{}, c.method, c.params...)
		var f *xmlrpc.Fault
		if !errors.As(err, &f) || f.Code != c.code || !strings.HasPrefix(f.Text, supervisordrpc.FaultName(c.code)) {
			t.Errorf("%s%v: %v, want %d", c.method, c.params, err, c.code)
		}
	}
}

func TestProcessesAreShownAsSupervisordShowsThem(t *testing.T) {
	v, err := ask(newDaemon(), Access{}, "supervisor.getAllProcessInfo")
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, one := range v.([]any) {
		info := one.(xmlrpc.Struct)
		lines = append(lines, strings.Join([]string{info["group"].(string), info["name"].(string), info["statename"].(string), info["description"].(string)}, "|"))
		if len(info) != 14 {
			t.Errorf("%d members", len(info))
		}
	}
	want := "bad|bad|FATAL|Exited too quickly (process log may have details)\ndone|done|EXITED|Nov 07 03:04 PM\njobs|worker_00|STOPPED|Not started\n" +
		"jobs|worker_01|RUNNING|pid 13, uptime 0:01:30\nshop|shop|RUNNING|pid 11, uptime 0:01:30"
	if got := strings.Join(lines, "\n"); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
	for n, want := range map[int]string{-5: "0:00:00", 3: "0:00:03", 3725: "1:02:05", 86400: "1 day, 0:00:00", 2*86400 + 61: "2 days, 0:01:01"} {
		if got := uptime(n); got != want {
			t.Errorf("%d is %s, want %s", n, got, want)
		}
	}
}

func TestMethodsDoWhatTheySay(t *testing.T) {
	for _, c := range []struct {
		method string
		params []any
		asked  string
	}{
		{"supervisor.stopProcess", []any{"shop"}, "stop shop awaiting a start"},
		{"supervisor.stopProcess", []any{"shop", false}, "stop shop awaiting a start"},
		{"supervisor.startProcess", []any{"jobs:worker_00", true}, "start worker:1"},
		{"supervisor.startProcess", []any{"worker:1"}, "start worker:1"}, // also by the name of the app
		{"supervisor.startProcess", []any{"jobs:*"}, "start worker:1"},
		{"supervisor.startProcess", []any{"jobs:"}, "start worker:1"},
		{"supervisor.startProcessGroup", []any{"jobs"}, "start worker:1"},
		{"supervisor.stopProcessGroup", []any{"jobs"}, "stop worker:2 awaiting a start"},
		{"supervisor.startAllProcesses", nil, "start bad, start done, start worker:1"},
		{"supervisor.stopAllProcesses", []any{true}, "stop shop awaiting a start, stop worker:2 awaiting a start"},
		{"supervisor.signalProcess", []any{"shop", "HUP"}, "signal shop hangup"},
		{"supervisor.signalProcess", []any{"shop", "sigusr1"}, "signal shop user defined signal 1"},
		{"supervisor.signalProcess", []any{"shop", 1}, "signal shop hangup"},
		{"supervisor.signalProcessGroup", []any{"jobs", "HUP"}, "signal worker:2 hangup"},
		{"supervisor.signalAllProcesses", []any{"HUP"}, "signal shop hangup, signal worker:2 hangup"},
		{"supervisor.clearProcessLogs", []any{"shop"}, "clear shop"},
		{"supervisor.clearLog", nil, "clear "},
		{"supervisor.addProcessGroup", []any{"new"}, "add new"},
		{"supervisor.restart", nil, "renew"},
		{"supervisor.shutdown", nil, "shutdown"},
	} {
		d := newDaemon()
		if v, err := ask(d, Access{}, c.method, c.params...); err != nil {
			t.Errorf("%s%v: %v %v", c.method, c.params, v, err)
		}
		if got := d.notes(); got != c.asked {
			t.Errorf("%s%v asked for %s, want %s", c.method, c.params, got, c.asked)
		}
		if _, err := ask(d, Access{ReadOnly: true}, c.method, c.params...); err == nil || d.notes() != "" {
			t.Errorf("%s is carried out where clients may only look", c.method)
		}
	}
}

func TestAFailedStartIsSaidInSupervisorctlsWords(t *testing.T) {
	for why, code := range map[string]int{
		"generation 2 of bad did not come up: it ended with exit status 3": supervisordrpc.SpawnError,
		"cannot start: no such file: /usr/bin/none":                        supervisordrpc.NoFile,
		"overtaken: a stop":         supervisordrpc.AbnormalTermination,
		"tideover is shutting down": supervisordrpc.ShutdownState,
	} {
		d := newDaemon()
		d.result = api.Result{Exit: api.ExitDown, Error: why}
		_, err := ask(d, Access{}, "supervisor.startProcess", "bad")
		if f := faultOf(err); f.Code != code {
			t.Errorf("%s: %v", why, f)
		}
	}
}

func TestMulticallAnswersEachCall(t *testing.T) {
	call := func(name string, params ...any) any { return xmlrpc.Struct{"methodName": name, "params": params} }
	v, err := ask(newDaemon(), Access{ReadOnly: true}, "system.multicall", []any{
		call("supervisor.getAPIVersion"), call("none"), call("system.multicall", []any{}), call("supervisor.stopProcess", "shop"), "nonsense", xmlrpc.Struct{"methodName": "supervisor.getPID"},
	})
	if err != nil {
		t.Fatal(err)
	}
	var codes []any
	for _, one := range v.([]any) {
		if f, ok := one.(xmlrpc.Struct); ok {
			one = f["faultCode"]
		}
		codes = append(codes, one)
	}
	if want := []any{"3.0", 1, 2, 30, 2, 4711}; !slices.Equal(codes, want) {
		t.Errorf("%v, want %v", codes, want)
	}
}

func TestOutputIsReadAsFromAFile(t *testing.T) {
	for _, c := range []struct {
		method string
		params []any
		want   any
	}{
		{"supervisor.readProcessStdoutLog", []any{"shop", 0, 0}, "one\ntwo\nthree\n"},
		{"supervisor.readProcessLog", []any{"shop", 4, 3}, "two"},
		{"supervisor.readProcessStdoutLog", []any{"shop", -6, 0}, "three\n"},
		{"supervisor.readLog", []any{-6, 0}, "three\n"},
		{"supervisor.readProcessStderrLog", []any{"shop", 8, 0}, "three\n"},
	} {
		if v, err := ask(newDaemon(), Access{}, c.method, c.params...); err != nil || v != c.want {
			t.Errorf("%s%v: %q %v", c.method, c.params, v, err)
		}
	}
	// supervisord's answers to the same calls, for a file of 14 bytes
	for _, c := range []struct {
		offset, length int
		want           []any
	}{{0, 6, []any{"three\n", 14, true}}, {0, 14, []any{"one\ntwo\nthree\n", 14, false}}, {0, 100, []any{"one\ntwo\nthree\n", 14, false}}, {14, 10, []any{"", 14, false}}, {8, 6, []any{"three\n", 14, false}}, {0, 0, []any{"", 14, true}}} {
		v, err := ask(newDaemon(), Access{}, "supervisor.tailProcessStdoutLog", "shop", c.offset, c.length)
		if got, _ := v.([]any); err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%d %d: %v %v, want %v", c.offset, c.length, v, err, c.want)
		}
	}
}

func TestSignaturesAreParsed(t *testing.T) {
	for name := range allMethods() {
		if strings.HasPrefix(name, "supervisor.get") {
			if _, err := ask(newDaemon(), Access{}, "system.methodSignature", name); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	v, err := ask(newDaemon(), Access{}, "system.methodSignature", "supervisor.startProcess")
	if got, _ := v.([]any); err != nil || !slices.Equal(got, []any{"boolean", "string", "boolean"}) {
		t.Errorf("%v %v", v, err)
	}
}

func TestThePasswordIsAskedFor(t *testing.T) {
	for _, c := range []struct {
		stored, user, password string
		want                   int
	}{
		{"secret", "deploy", "secret", 200}, {"secret", "deploy", "wrong", 401}, {"secret", "other", "secret", 401}, {"secret", "", "", 401}, {"secret", "deploy", "", 401},
		{"{SHA}e5e9fa1ba31ecd1ae84f75caaa474f3a663f05f4", "deploy", "secret", 200}, {"{SHA}E5E9FA1BA31ECD1AE84F75CAAA474F3A663F05F4", "deploy", "secret", 200},
		{"{SHA}e5e9fa1ba31ecd1ae84f75caaa474f3a663f05f4", "deploy", "e5e9fa1ba31ecd1ae84f75caaa474f3a663f05f4", 401}, {"{SHA}", "deploy", "", 401},
	} {
		for path, body := range map[string]string{"/RPC2": string(xmlrpc.Request(xmlrpc.Call{Method: "supervisor.getState"})), "/logtail/none": ""} {
			method, want := "GET", c.want
			if body != "" {
				method = "POST"
			} else if want == 200 {
				want = 404
			}
			r := httptest.NewRequest(method, path, strings.NewReader(body))
			if c.user != "" {
				r.SetBasicAuth(c.user, c.password)
			}
			w := httptest.NewRecorder()
			NewService(newDaemon(), "").Handler(Access{User: "deploy", Password: c.stored}).ServeHTTP(w, r)
			if w.Code != want {
				t.Errorf("%+v: %s is %d", c, path, w.Code)
			}
		}
	}
}

func TestWhatIsNoCallIsRefused(t *testing.T) {
	h := NewService(newDaemon(), "").Handler(Access{})
	call := string(xmlrpc.Request(xmlrpc.Call{Method: "supervisor.shutdown"}))
	for _, c := range []struct {
		request, body, header string
		want                  int
	}{
		{"GET /RPC2", "", "", 400}, {"POST /RPC2", "", "", 400}, {"POST /RPC2", "<html/>", "", 400}, {"POST /RPC2", strings.Repeat("x", 1<<20), "", 400},
		{"POST /RPC2", call, "Origin", 403}, {"POST /RPC2", call, "Sec-Fetch-Site", 403}, {"GET /", "", "", 404}, {"GET /logtail/none", "", "", 404}, {"POST /mainlogtail", "", "", 405},
		{"GET /logtail/jobs:worker_01/stderr", "", "", 404}, {"GET /logtail/shop/none", "", "", 404},
	} {
		method, path, _ := strings.Cut(c.request, " ")
		r := httptest.NewRequest(method, path, strings.NewReader(c.body))
		if c.header != "" {
			r.Header.Set(c.header, "http://evil.example")
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != c.want {
			t.Errorf("%+v: %d %s", c, w.Code, w.Body)
		}
	}
}

func TestTailFollowsUntilTheClientLeaves(t *testing.T) {
	d := newDaemon()
	d.log = strings.Repeat("x", 2000) + "\nend\n"
	server := httptest.NewServer(NewService(d, "").Handler(Access{}))
	defer server.Close()
	for _, path := range []string{"/logtail/shop", "/logtail/jobs:worker_01/stdout", "/mainlogtail"} {
		answer, err := http.Get(server.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewReader(answer.Body)
		head, err := lines.ReadString('\n')
		if err != nil || len(head) != tailHead-len("end\n") {
			t.Errorf("%s: head of %d: %v", path, len(head), err)
		}
		lines.ReadString('\n')
		d.mu.Lock()
		d.log += "more\n"
		d.mu.Unlock()
		if line, err := lines.ReadString('\n'); line != "more\n" {
			t.Errorf("%s: %q %v", path, line, err)
		}
		d.mu.Lock()
		d.log = "new\n"
		d.mu.Unlock()
		if line, err := lines.ReadString('\n'); line != "==> File truncated <==\n" {
			t.Errorf("%s: %q %v", path, line, err)
		}
		if line, err := lines.ReadString('\n'); line != "new\n" {
			t.Errorf("%s: %q %v", path, line, err)
		}
		answer.Body.Close()
		d.mu.Lock()
		d.log = strings.Repeat("x", 2000) + "\nend\n"
		d.mu.Unlock()
	}
}

// Whatever a client sends, the answer is one that a client reads.
func FuzzCalls(f *testing.F) {
	f.Add(xmlrpc.Request(xmlrpc.Call{Method: "supervisor.tailProcessStdoutLog", Params: []any{"shop", -9223372036854775808, 9223372036854775807}}))
	f.Add(xmlrpc.Request(xmlrpc.Call{Method: "supervisor.startProcess", Params: []any{"shop:*", "x"}}))
	f.Add(xmlrpc.Request(xmlrpc.Call{Method: "system.multicall", Params: []any{[]any{xmlrpc.Struct{"methodName": "supervisor.readLog", "params": []any{"1", true}}}}}))
	f.Fuzz(func(t *testing.T, body []byte) {
		s := NewService(newDaemon(), "supervisor")
		w := httptest.NewRecorder()
		s.Handler(Access{}).ServeHTTP(w, httptest.NewRequest("POST", "/RPC2", bytes.NewReader(body)))
		s.background.Wait()
		if w.Code == 400 {
			return
		}
		var fault *xmlrpc.Fault
		if _, err := xmlrpc.ReadResponse(io.LimitReader(w.Body, 1<<20), 1<<20); w.Code != 200 || err != nil && !errors.As(err, &fault) {
			t.Fatalf("%q: %d %v", body, w.Code, err)
		}
	})
}
