package page

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tideover/supervisor/api"
	"tideover/supervisor/logs"
	"tideover/supervisor/trend"
)

// supervisor is a fake.
type supervisor struct {
	mu      sync.Mutex // guards the fields below
	status  api.Status
	began   time.Time
	asked   int
	usage   int      // with the usage
	done    []string // by operators
	records chan api.Record
	fleet   api.Fleet
}

func newSupervisor(apps ...api.AppStatus) *supervisor {
	return &supervisor{began: time.Now(), records: make(chan api.Record), status: api.Status{Version: "1.2", Apps: apps, DurationBounds: []float64{0.1, 1}}}
}

func (s *supervisor) Status(_ context.Context, apps ...string) (api.Status, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	if len(apps) > 0 {
		s.usage++
	}
	st := s.status
	st.Apps = append([]api.AppStatus{}, st.Apps...)
	for i := range st.Apps {
		st.Apps[i].Uptime += time.Since(s.began).Seconds()
	}
	return st, nil
}

func (s *supervisor) set(change func(a *api.AppStatus)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.status.Apps[0])
}

func (s *supervisor) times() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

func (s *supervisor) History(ctx context.Context, _ api.HistoryQuery, yield func(api.Record) bool) error {
	for {
		select {
		case r := <-s.records:
			if !yield(r) {
				return nil
			}
		case <-ctx.Done():
			return nil
		}
	}
}

func (s *supervisor) Fleet(context.Context) (api.Fleet, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fleet, nil
}

// As returns an operator with a token that has done nothing yet.
func (s *supervisor) As(token, from string) Operator {
	return &operator{token: token, from: from, to: s}
}

// operator is a fake: it is the control protocol that compares the token.
type operator struct {
	Operator
	token, from string
	to          *supervisor
}

func (o *operator) ask(what string) error {
	if o.token != "right" {
		return &api.Error{Exit: api.ExitDenied, Message: "the token is wrong"}
	}
	o.to.mu.Lock()
	defer o.to.mu.Unlock()
	o.to.done = append(o.to.done, what+" from "+o.from)
	return nil
}

func (o *operator) Do(_ context.Context, r api.Request, _ func(api.Phase)) (api.Result, error) {
	if err := o.ask(string(r.Verb) + " " + r.App); err != nil {
		return api.Result{}, err
	}
	result := api.Result{App: r.App, Result: "ok", Generation: api.GenerationPair{From: 7, To: 8}, Duration: 2}
	if r.App == "broken" {
		result.Exit, result.Result, result.Error = api.ExitKeptOld, "kept old", "it has exited with 1"
	}
	return result, nil
}

func (o *operator) Hold(_ context.Context, app string, r api.HoldRequest) (api.HoldReport, error) {
	return api.HoldReport{For: r.For.Seconds()}, o.ask(fmt.Sprintf("hold %s for %s", app, r.For))
}

func (o *operator) Undrain(_ context.Context, app string) (api.DrainReport, error) {
	return api.DrainReport{}, o.ask("undrain " + app)
}

func (o *operator) Logs(ctx context.Context, q api.LogQuery, yield func(logs.Line) bool) error {
	if err := o.ask(fmt.Sprintf("logs %v follow=%v", q.Apps, q.Follow)); err != nil {
		return err
	}
	for i := range 250 {
		yield(logs.Line{Time: time.UnixMilli(int64(i)), Generation: 7, Stream: logs.Stderr, Text: strings.Repeat("é", 3000)})
	}
	return nil
}

func shop() api.AppStatus {
	return api.AppStatus{Name: "shop", State: api.Running, Generation: 7, Pid: 12, Uptime: 60, Listen: []string{"127.0.0.1:8000"}, Capacity: 4, HoldFor: 20, Durations: []uint64{0, 0, 0}}
}

func get(p *Page, path string, fields ...string) *httptest.ResponseRecorder {
	return ask(p, httptest.NewRequest("GET", path, nil), fields...)
}

func post(p *Page, path, body string, fields ...string) *httptest.ResponseRecorder {
	return ask(p, httptest.NewRequest("POST", path, strings.NewReader(body)), fields...)
}

func ask(p *Page, r *http.Request, fields ...string) *httptest.ResponseRecorder {
	mux := http.NewServeMux()
	p.Register(mux)
	r.Host = "127.0.0.1:9464"
	for i := 0; i < len(fields); i += 2 {
		if fields[i] == "Host" {
			r.Host = fields[i+1]
		}
		r.Header.Set(fields[i], fields[i+1])
	}
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, r)
	return w
}

func TestThePageIsReadableWithoutItsScript(t *testing.T) {
	t.Parallel()
	s := newSupervisor(shop(), api.AppStatus{Name: "<b>", State: api.Failed, Reason: "it <crashes>"})
	p := New(Options{Source: s, Host: "web-1"})
	p.addStatus(time.Now(), s.status)
	s.fleet = api.Fleet{Group: "shop", Members: 2, Rollout: &api.FleetRollout{ID: 3, App: "shop", Revision: "v42", State: "halted", Done: 1, Of: 2, Halted: "web-2: kept <old>"},
		Hosts: []api.FleetHost{{Name: "web-1", Here: true, Turn: "ok", App: &api.FleetApp{Name: "shop", State: "running", Generation: 8}}, {Name: "web-2"}}}
	if strings.Contains(get(p, "/").Body.String(), `<section id="fleet">`) {
		t.Error("it shows hosts without a fleet")
	}
	if err := p.askFleet(t.Context(), true); err != nil {
		t.Error(err)
	}
	p.addRecord(&api.Record{ID: 1, Kind: api.AppCrashed, App: "shop", Cause: "signal KILL", Output: []string{"private"}})
	w := get(p, "/")
	body := w.Body.String()
	for _, want := range []string{"web-1", `href="#/app/shop"`, "running", "0 / 4", "&lt;b&gt;", "failed", "crash after", "signal KILL", `<section id="fleet">`, `<th scope="row">web-1</th><td>● ok</td>`, "✕ away", "rollout 3 of shop v42: halted, 1 of 2 done · web-2: kept &lt;old&gt;", "<caption", `scope="col"`, `lang="en"`} {
		if !strings.Contains(body, want) {
			t.Errorf("the page has no %q:\n%s", want, body)
		}
	}
	if strings.Contains(body, "private") || strings.Contains(body, "<b>\n") || strings.Contains(body, "style=") || strings.Contains(body, "onclick") {
		t.Error("the page has what it must not have")
	}
	if policy := w.Header().Get("Content-Security-Policy"); !strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") {
		t.Errorf("policy %q", policy)
	}
}

// The weight of all that a browser loads, uncompressed.
func TestThePageIsLighterThan60KB(t *testing.T) {
	t.Parallel()
	p, total := New(Options{Source: newSupervisor()}), 0
	for _, path := range []string{"/", "/-/page/page.js", "/-/page/page.css", "/-/page/icon.svg"} {
		w := get(p, path)
		if w.Code != 200 {
			t.Fatalf("%s is %d", path, w.Code)
		}
		total += w.Body.Len()
		t.Logf("%s: %d bytes, %s", path, w.Body.Len(), w.Header().Get("Content-Type"))
		for _, outside := range []string{"http://", "https://", "//"} {
			if strings.Contains(strings.ReplaceAll(w.Body.String(), "http://www.w3.org/2000/svg", ""), `"`+outside) {
				t.Errorf("%s has an address of another site", path)
			}
		}
	}
	if t.Logf("%d bytes in all", total); total >= 60<<10 {
		t.Errorf("%d bytes", total)
	}
}

func TestOtherSitesAndNamesGetNothing(t *testing.T) {
	t.Parallel()
	p := New(Options{Source: newSupervisor(shop())})
	for _, c := range []struct {
		path   string
		want   int
		fields []string
	}{
		{"/", 200, nil},
		{"/", 200, []string{"Host", "localhost"}},
		{"/", 200, []string{"Host", "LOCALHOST:9464"}},
		{"/", 200, []string{"Host", "[::1]:9464"}},
		{"/", 200, []string{"Host", "10.0.0.7:80"}},
		{"/", 421, []string{"Host", "rebound.example.com:9464"}},
		{"/", 421, []string{"Host", "127.0.0.1.example.com"}},
		{"/", 421, []string{"Host", ""}},
		{"/-/page/curves", 421, []string{"Host", "rebound.example.com"}},
		{"/", 200, []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate"}}, // a link
		{"/", 403, []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors"}},
		{"/-/page/curves", 403, []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "cors"}},
		{"/-/page/curves", 403, []string{"Sec-Fetch-Site", "same-site"}}, // another port
		{"/-/page/curves", 403, []string{"Origin", "http://127.0.0.1:8000"}},
		{"/-/page/curves", 403, []string{"Origin", "null"}},
		{"/-/page/curves", 200, []string{"Origin", "http://127.0.0.1:9464", "Sec-Fetch-Site", "same-origin"}},
		{"/-/page/curves?app=none", 404, nil},
		{"/-/page/index.html", 404, nil},
		{"/-/page/..%2fpage.go", 404, nil},
	} {
		if w := get(p, c.path, c.fields...); w.Code != c.want {
			t.Errorf("%s with %v is %d, want %d", c.path, c.fields, w.Code, c.want)
		}
	}
}

func TestActionsAndOutputNeedATokenOfThisOrigin(t *testing.T) {
	t.Parallel()
	s := newSupervisor(shop())
	p := New(Options{Source: s, Acts: true, Hosts: []string{"Status.example.com"}})
	p.addStatus(time.Now(), s.status)
	const reload, body = "/-/page/actions/reload", `{"app":"shop"}`
	right := []string{"Authorization", "Bearer right"}
	with := func(fields ...string) []string { return append(fields, right...) }
	for _, c := range []struct {
		path, body string
		want       int
		fields     []string
	}{
		{reload, body, 401, nil},
		{reload, body, 401, []string{"Authorization", "Bearer "}},
		{reload, body, 401, []string{"Authorization", "Basic cmlnaHQ="}},
		{reload, body, 403, []string{"Authorization", "Bearer wrong"}},
		{"/-/page/output", body, 401, nil},
		{"/-/page/output", body, 403, []string{"Authorization", "Bearer wrong"}},
		{reload, body, 403, with("Sec-Fetch-Site", "cross-site")},
		{reload, body, 403, with("Sec-Fetch-Site", "same-site")},
		{reload, body, 403, with("Origin", "http://127.0.0.1:8000")},
		{reload, body, 403, with("Origin", "null")},
		{reload, body, 421, with("Host", "rebound.example.com")},
		{"/-/page/output", body, 403, with("Sec-Fetch-Site", "cross-site")},
		{"/-/page/output", body, 421, with("Host", "rebound.example.com")},
		{"/-/page/actions/shutdown", body, 404, right},
		{reload, "{}", 400, right},
		{reload, `{"app":"shop","verb":"stop"}`, 400, right},
		{reload, strings.Repeat(" ", maxRequest) + body, 400, right},
	} {
		if w := post(p, c.path, c.body, c.fields...); w.Code != c.want || len(s.done) > 0 {
			t.Errorf("%s with %v is %d, want %d; done: %v", c.path, c.fields, w.Code, c.want, s.done)
		}
	}
	for _, method := range []string{"GET", "OPTIONS", "PUT"} {
		if w := ask(p, httptest.NewRequest(method, reload, nil), right...); w.Code < 400 {
			t.Errorf("%s is %d", method, w.Code)
		}
	}
	if w := post(p, reload, body, with("Host", "status.example.com", "Origin", "https://status.example.com", "Sec-Fetch-Site", "same-origin")...); w.Code != 200 || !strings.Contains(w.Body.String(), "generation 8 serves after 2 s, 0 held, 0 lost") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := post(p, "/-/page/actions/hold", body, right...); w.Code != 200 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := post(p, "/-/page/actions/undrain", body, right...); w.Code != 200 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := post(p, reload, `{"app":"broken"}`, right...); w.Code != 409 || !strings.Contains(w.Body.String(), "kept old: it has exited with 1") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if want := []string{"reload shop from 192.0.2.1", "hold shop for 20s from 192.0.2.1", "undrain shop from 192.0.2.1", "reload broken from 192.0.2.1"}; !slices.Equal(s.done, want) {
		t.Errorf("done: %q", s.done)
	}
}

func TestWithoutATokenFileThePageOnlyLooks(t *testing.T) {
	t.Parallel()
	s := newSupervisor(shop())
	p := New(Options{Source: s})
	for _, path := range []string{"/-/page/actions/reload", "/-/page/output"} {
		if w := post(p, path, `{"app":"shop"}`, "Authorization", "Bearer right"); w.Code != 403 || !strings.Contains(w.Body.String(), "only looks") || len(s.done) > 0 {
			t.Errorf("%s is %d: %s", path, w.Code, w.Body)
		}
	}
}

func TestOutputIsSentInLinesOfABoundedLength(t *testing.T) {
	t.Parallel()
	p := New(Options{Source: newSupervisor(shop()), Acts: true})
	w := post(p, "/-/page/output", `{"app":"shop"}`, "Authorization", "Bearer right")
	lines := strings.Split(strings.TrimSpace(w.Body.String()), "\n")
	if w.Code != 200 || w.Header().Get("Content-Type") != "application/jsonl" || len(lines) != 250 {
		t.Fatalf("%d, %v, %d lines", w.Code, w.Header(), len(lines))
	}
	for i, text := range lines {
		var l line
		if err := json.Unmarshal([]byte(text), &l); err != nil || l.Time != int64(i) || l.Generation != 7 || l.Stream != "stderr" || len(l.Text) > maxLine+3 {
			t.Fatalf("%v: %s", err, text)
		}
	}
	for range maxTails {
		p.tails <- struct{}{}
	}
	if w := post(p, "/-/page/output", `{"app":"shop"}`, "Authorization", "Bearer right"); w.Code != 503 {
		t.Errorf("one more is %d", w.Code)
	}
}

// reader reads the messages of a stream.
type reader struct {
	*testing.T
	response *http.Response
	lines    *bufio.Scanner
}

// next returns the data of the next message.
func (r *reader) next(data any) (event string) {
	r.Helper()
	for r.lines.Scan() {
		if text, ok := strings.CutPrefix(r.lines.Text(), "event: "); ok {
			event = text
		}
		if text, ok := strings.CutPrefix(r.lines.Text(), "data: "); ok {
			if err := json.Unmarshal([]byte(text), data); err != nil {
				r.Fatal(err)
			}
			return event
		}
	}
	r.Fatal("the stream has ended")
	return ""
}

// updateMessage is an update as the browser reads it.
type updateMessage struct {
	Now     int64
	Daemon  *daemonFacts
	Order   []string
	Rows    []row
	Entries []entry
	Fleet   json.RawMessage
}

// open opens a stream on a server of the page.
func open(t *testing.T, server *httptest.Server) *reader {
	t.Helper()
	response, err := server.Client().Get(server.URL + "/-/page/events")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { response.Body.Close() })
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, 1<<20)
	return &reader{t, response, lines}
}

// serve runs a page with real time.
func serve(t *testing.T, s *supervisor) (*Page, *httptest.Server) {
	t.Helper()
	p := New(Options{Source: s})
	mux := http.NewServeMux()
	p.Register(mux)
	server := httptest.NewServer(mux)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		server.CloseClientConnections()
		server.Close()
	})
	return p, server
}

func TestAViewerGetsWhatThereIsAndThenWhatChanges(t *testing.T) {
	t.Parallel()
	s := newSupervisor(shop(), api.AppStatus{Name: "blog", State: api.Running, Generation: 1})
	_, server := serve(t, s)
	r := open(t, server)
	if r.response.Header.Get("Content-Type") != "text/event-stream" {
		t.Errorf("%v", r.response.Header)
	}
	var first updateMessage
	for len(first.Order) == 0 { // the supervisor may not have answered yet
		first = updateMessage{}
		if event := r.next(&first); event != "update" {
			t.Fatalf("event %q", event)
		}
	}
	if len(first.Rows) != 2 || first.Rows[0].Name != "shop" || first.Rows[0].Generation != 7 {
		t.Fatalf("%+v", first)
	}
	s.mu.Lock()
	s.status.Fleet, s.fleet = "shop", api.Fleet{Group: "shop", Host: "web-1", Hosts: []api.FleetHost{}}
	s.mu.Unlock()
	var hosts updateMessage
	for len(hosts.Fleet) == 0 {
		hosts = updateMessage{}
		r.next(&hosts)
	}
	if !strings.Contains(string(hosts.Fleet), `"group":"shop"`) || hosts.Rows != nil {
		t.Errorf("%s %+v", hosts.Fleet, hosts.Rows)
	}
	s.set(func(a *api.AppStatus) { a.State, a.Held = api.Holding, 12 })
	s.records <- api.Record{ID: 9, Kind: api.HoldBegun, App: "shop", For: 30, By: api.Caller{Via: "cli", UID: 7, Command: "secret"}}
	for changed, listed := false, false; !changed || !listed; {
		var m struct {
			updateMessage
			entry
		}
		switch event := r.next(&m); event {
		case "entry":
			listed = true
			if m.What != "hold for 30 s" || m.By != "cli, uid 7" || m.Tone != "warn" {
				t.Errorf("%+v", m.entry)
			}
		case "update":
			for _, row := range m.Rows {
				if row.Name != "shop" {
					t.Errorf("the row of %s has not changed", row.Name)
				}
				changed = changed || row.Held == 12 && row.State == api.Holding
			}
		}
	}
}

func TestStreamsAreBounded(t *testing.T) {
	t.Parallel()
	_, server := serve(t, newSupervisor(shop()))
	for range maxViewers {
		if r := open(t, server); r.response.StatusCode != 200 {
			t.Fatalf("status %d", r.response.StatusCode)
		}
	}
	last := open(t, server)
	if last.response.StatusCode != 503 {
		t.Errorf("one more stream is %d", last.response.StatusCode)
	}
}

func TestAViewerThatReadsNothingIsDisconnected(t *testing.T) {
	t.Parallel()
	p := New(Options{Source: newSupervisor(shop())})
	v, _ := p.join()
	other, _ := p.join()
	for i := range maxQueue + 1 {
		p.addRecord(&api.Record{ID: uint64(i), Kind: api.AppCrashed, App: "shop"})
		<-other.messages
	}
	select {
	case <-v.behind:
	default:
		t.Error("it is still connected")
	}
	select {
	case <-other.behind:
		t.Error("one that reads is disconnected")
	default:
	}
	if len(p.viewers) != 1 {
		t.Errorf("%d viewers", len(p.viewers))
	}
}

func TestMessagesAreBounded(t *testing.T) {
	t.Parallel()
	var st api.Status
	for i := range 1000 {
		a := shop()
		a.Name, a.Reason, a.State = fmt.Sprintf("app%d", i), strings.Repeat("ä", 5000), api.Backoff
		for range 50 {
			a.Warnings = append(a.Warnings, strings.Repeat("w", 5000))
		}
		st.Apps = append(st.Apps, a)
	}
	p := New(Options{Source: newSupervisor()})
	p.addStatus(time.Now(), st)
	_, messages := p.join()
	rows := 0
	for _, m := range messages {
		if len(m) > maxPart+32<<10 {
			t.Errorf("a message has %d bytes", len(m))
		}
		rows += strings.Count(string(m), `"state":"backoff"`)
	}
	if rows != 1000 {
		t.Errorf("%d rows", rows)
	}
}

// Without a stream the supervisor is asked once in ten seconds, and the curves are kept.
func TestNobodyLooksIsCheapAndKeepsTheCurves(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSupervisor(shop())
		p := New(Options{Source: s})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- p.Run(ctx) }()
		time.Sleep(hourStep / 2)
		for range 120 {
			time.Sleep(hourStep)
			s.set(func(a *api.AppStatus) { a.Durations = []uint64{a.Durations[0] + 50, 0, 0} })
		}
		time.Sleep(hourStep)
		if n := s.times(); n < 120 || n > 123 || s.usage != 0 {
			t.Errorf("asked %d times in 20 minutes, %d with usage", n, s.usage)
		}
		c, ok := p.curve("shop", true)
		if n := len(c.Rate); !ok || n < 117 || c.Rate[n-1] != 5 || c.Step != 10_000 {
			t.Errorf("%v %+v", ok, c)
		}
		sparks := p.sparks()["shop"]
		if n := len(sparks[0]); n < 19 || sparks[0][n-1] != 5 {
			t.Errorf("%v", sparks)
		}

		v, _ := p.join()
		p.wake()
		was := s.times()
		for range 20 {
			time.Sleep(liveInterval)
			for len(v.messages) > 0 {
				<-v.messages
			}
		}
		if n := s.times() - was; n < 19 || n > 23 || s.usage != 4 && s.usage != 5 {
			t.Errorf("with a viewer asked %d times in 20 s, %d with usage", n, s.usage)
		}
		p.leave(v)
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// The row of an app that is left alone does not change, although its age does.
func TestAnIdleAppCostsNothing(t *testing.T) {
	t.Parallel()
	s := newSupervisor(shop())
	p := New(Options{Source: s})
	v, _ := p.join()
	at := time.Now()
	for i := range 30 {
		s.status.Apps[0].Uptime = 60 + float64(i) + 0.001*float64(i%5)
		s.status.Uptime = 600 + float64(i)
		p.addStatus(at.Add(time.Duration(i)*time.Second), s.status)
		m := string(<-v.messages)
		if i > 0 && strings.Contains(m, "shop") {
			t.Errorf("answer %d: %s", i, m)
		}
	}
}

func TestAReloadIsDescribedFromItsBeginToTheEndOfItsDrain(t *testing.T) {
	t.Parallel()
	now := time.UnixMilli(1_800_000_000_000)
	a := shop()
	a.State = api.Reloading
	a.Operation = &api.Operation{Verb: api.Reload, Generation: api.GenerationPair{From: 7, To: 8}, Phases: []api.PhaseResult{{Name: "start", Result: "ok", Duration: 0.4}}, Phase: "ready", PhaseTime: 1.5, Duration: 1.9,
		By: api.Caller{Via: "cli", Command: "secret"}}
	running := newRow(&a, now, trend.Summary{}, nil, nil).Operation
	if !running.Running || running.To != 8 || running.Phase != "ready" || now.UnixMilli()-running.Begun != 1900 || now.UnixMilli()-running.Since != 1500 || running.By != "cli" {
		t.Errorf("%+v", running)
	}
	a.Operation, a.Generation = nil, 8
	a.LastReload = &api.Result{Verb: api.Reload, Result: "ok", Generation: api.GenerationPair{From: 7, To: 8}, Duration: 2, Ended: now, Drain: &api.Drain{Generation: 7, Result: "running"},
		Phases: []api.PhaseResult{{Name: "start", Result: "ok", Duration: 0.4}, {Name: "done", Result: "ok"}}, Requests: api.RequestCounts{Held: 3, HeldMax: 0.01}, ChildOutput: []string{"secret"}, Probe: "secret"}
	a.Draining = []api.DrainingGeneration{{Generation: 7, InFlight: 5}}
	draining := newRow(&a, now.Add(time.Second), trend.Summary{}, nil, nil)
	text, _ := json.Marshal(draining)
	if d := draining.Operation; !d.Running || d.Phase != "drain" || d.Since != now.UnixMilli() || len(d.Phases) != 1 || d.Draining[0].InFlight != 5 || strings.Contains(string(text), "secret") {
		t.Errorf("%s", text)
	}
	a.LastReload.Drain.Result = "ok"
	if over := newRow(&a, now, trend.Summary{}, nil, nil).Operation; over.Running || over.Result != "ok" || over.Held != 3 {
		t.Errorf("%+v", over)
	}
}

func TestOwnErrorsHaveTheirCause(t *testing.T) {
	t.Parallel()
	a := shop()
	a.Counters = api.Counters{Requests: 100, Answered: 90, Expired: 1, Overflowed: 2, BadGateway: 3, TimedOut: 4, Cut: 5, Refused: 6, BadRequest: 7, ClientLeft: 8}
	var sum uint64
	for _, c := range newRow(&a, time.Now(), trend.Summary{}, nil, nil).Own {
		if sum += c.Count; c.Text == "" || c.Status == "" {
			t.Errorf("%+v", c)
		}
	}
	if sum != 28 {
		t.Errorf("%d", sum)
	}
}

func TestTheCommandAndTheOutputOfARecordAreNotShown(t *testing.T) {
	t.Parallel()
	failed := api.ExitKeptOld
	for _, kind := range []api.RecordKind{api.OperationBegun, api.OperationEnded, api.DrainEnded, api.AppStarted, api.AppCrashed, api.AppDown, api.HoldBegun, api.HoldEnded, api.ConfigApplied, api.DaemonChanged, api.RecordsLost, "new"} {
		e := newEntry(&api.Record{ID: 3, Kind: kind, App: "shop", Verb: api.Reload, Exit: &failed, Result: "kept old", By: api.Caller{Via: "cli", Command: "secret"}, Output: []string{"secret"}, Probe: "secret",
			Generation: api.GenerationPair{From: 1, To: 2}, Requests: &api.RequestCounts{Held: 4}})
		if e == nil {
			if kind != api.OperationBegun {
				t.Errorf("%s is not listed", kind)
			}
			continue
		}
		if text, _ := json.Marshal(e); strings.Contains(string(text), "secret") || e.What == "" {
			t.Errorf("%s", text)
		}
		if kind == api.OperationEnded && e.Tone != "bad" {
			t.Errorf("%+v", e)
		}
	}
}

func TestHoldsAreShownWithoutTheirCallers(t *testing.T) {
	t.Parallel()
	a := shop()
	a.Holds = []string{"operator (cli uid 0, pid 7: tideover hold shop --for secret)", "command 1"}
	if r := newRow(&a, time.Now(), trend.Summary{}, nil, nil); !slices.Equal(r.Holds, []string{"operator", "command 1"}) {
		t.Errorf("%q", r.Holds)
	}
}

func TestTextsAreCutBetweenCharacters(t *testing.T) {
	t.Parallel()
	for _, text := range []string{strings.Repeat("ä", 400), "x" + strings.Repeat("漢", 400), strings.Repeat("x", maxText)} {
		if got := clip(text); len(got) > maxText+len("…") || strings.ContainsRune(got, '\uFFFD') {
			t.Errorf("%q", got)
		}
	}
}
