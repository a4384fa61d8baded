//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"tideover/scripts/loadgen"
	"tideover/scripts/testenv"
)

// A Prometheus with the files of examples/prometheus scrapes several apps under load, over reloads,
// restarts, crashes, an upgrade, and deaths of the relay and of the supervisor. No counter goes back. At
// the end it has exactly the requests that the clients have counted, by app and status, but for those that
// were under way when a relay died, and quantiles within one bucket of those that the clients have
// measured.
func TestPrometheusCountsEveryRequest(t *testing.T) {
	r := begin(t)
	m := newScrapedApps(r, fullTimes(3, 10))
	stop := m.load()
	for round := range fullTimes(1, 30) {
		m.events(round)
	}
	stop()
	m.checkSums()
	m.checkQuantiles()
	m.checkAlertsAndDashboard()
	r.addNumbers("apps=%d requests=%d events=%d lost=%d relays_killed=%d", len(m.names), m.requests(), m.happened, len(m.broken), len(m.relays))
	if _, err := m.daemon.Call(r.timeout(time.Minute), "shutdown"); err != nil {
		r.Error(err)
	}
}

// scrapedApps are apps, a load on each, and a Prometheus.
type scrapedApps struct {
	*row
	names      []string
	addresses  []string
	binary     string
	daemon     *testenv.Tideover
	prometheus string // its address
	happened   int

	mu     sync.Mutex
	seen   map[[2]string]int // by app and status
	took   map[string][]time.Duration
	broken []brokenRequest
	relays []relayKill
}

// brokenRequest is a request without a whole answer.
type brokenRequest struct {
	app          string
	began, ended time.Time
	cause        error
}

// relayKill is when a relay was killed, and when the next one was there.
type relayKill struct{ killed, replaced time.Time }

func newScrapedApps(r *row, n int) *scrapedApps {
	r.Helper()
	m := &scrapedApps{row: r, binary: r.env.Path("tideover"), seen: map[[2]string]int{}, took: map[string][]time.Duration{}}
	r.must(install(r, m.binary))
	admin, err := testenv.Address()
	r.must(err)
	program, err := os.ReadFile("testdata/paced.py")
	r.must(err)
	_, err = r.env.Write("paced.py", string(program))
	r.must(err)
	var config strings.Builder
	fmt.Fprintf(&config, "[daemon]\nadmin = %q\n", admin)
	for i := range n {
		address, err := testenv.Address()
		r.must(err)
		m.names, m.addresses = append(m.names, fmt.Sprintf("app-%d", i)), append(m.addresses, address)
		class := []string{"-w 4", "-w 2 --threads 4", "-k gthread --threads 8"}[i%3]
		fmt.Fprintf(&config, "[app.app-%d]\ncommand = \"%s %s paced\"\nlisten = %q\ndirectory = %q\n", i, r.env.Venv("gunicorn-latest", "gunicorn"), class, address, r.env.Dir)
	}
	path, err := r.env.Write("tideover.toml", config.String())
	r.must(err)
	m.daemon, err = r.env.Tideover(&testenv.App{Dir: r.env.Dir}, testenv.RunOptions{Binary: m.binary, Flags: []string{"-c", path}})
	r.must(err)
	for _, name := range m.names {
		m.waitRunning(name, 0)
	}
	m.startPrometheus(admin)
	return m
}

// startPrometheus starts it with the example's files, but for the address and the interval.
func (m *scrapedApps) startPrometheus(target string) {
	m.Helper()
	for _, name := range []string{"prometheus.yml", "alerts.yml"} {
		text, err := os.ReadFile(filepath.Join(m.env.Root, "examples", "prometheus", name))
		m.must(err)
		changed := strings.NewReplacer("127.0.0.1:9464", target, "scrape_interval: 15s", "scrape_interval: 1s").Replace(string(text))
		_, err = m.env.Write(name, changed)
		m.must(err)
	}
	var err error
	m.prometheus, err = testenv.Address()
	m.must(err)
	_, err = m.env.Start(testenv.Command{Name: "prometheus", Argv: []string{"prometheus", "--config.file=" + m.env.Path("prometheus.yml"),
		"--storage.tsdb.path=" + m.env.Path("tsdb"), "--web.listen-address=" + m.prometheus}})
	m.must(err)
	m.must(testenv.Poll(m.timeout(time.Minute), 100*time.Millisecond, func() error {
		up, err := m.query(`up{job="tideover"}`)
		if err == nil && (len(up) != 1 || up[0].value != 1) {
			err = fmt.Errorf("up is %v", up)
		}
		return err
	}))
}

// sample is a series at one moment.
type sample struct {
	labels map[string]string
	value  float64
}

// query asks Prometheus.
func (m *scrapedApps) query(text string) ([]sample, error) {
	client := http.Client{Timeout: 10 * time.Second}
	resp, err := client.Get("http://" + m.prometheus + "/api/v1/query?" + url.Values{"query": {text}}.Encode())
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var answer struct {
		Status, Error string
		Data          struct {
			Result []struct {
				Metric map[string]string
				Value  [2]any
			}
		}
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return nil, err
	}
	if answer.Status != "success" {
		return nil, errors.New(text + ": " + answer.Error)
	}
	var all []sample
	for _, one := range answer.Data.Result {
		value, err := strconv.ParseFloat(fmt.Sprint(one.Value[1]), 64)
		if err != nil {
			return nil, err
		}
		all = append(all, sample{one.Metric, value})
	}
	return all, nil
}

// load sends requests to all apps until the function that it returns has returned.
func (m *scrapedApps) load() (stop func()) {
	end := make(chan struct{})
	var clients sync.WaitGroup
	for i, name := range m.names {
		for n := range 4 {
			clients.Go(func() {
				client := &http.Client{Timeout: 2 * time.Minute, Transport: &http.Transport{DisableKeepAlives: n == 0}}
				defer client.CloseIdleConnections()
				for k := n; ; k++ {
					select {
					case <-end:
						return
					default:
						m.ask(client, name, "http://"+m.addresses[i], k)
					}
				}
			})
		}
	}
	return func() {
		close(end)
		clients.Wait()
	}
}

// ask sends one request. Three of five take 150 ms, the others 600 ms: each in the middle of a bucket.
func (m *scrapedApps) ask(client *http.Client, app, base string, n int) {
	status, wait := []string{"200", "200", "404", "200", "500", "201"}[n%6], []int{150, 150, 600, 150, 600}[n%5]
	began := time.Now()
	resp, err := client.Post(fmt.Sprintf("%s/%s/%d", base, status, wait), "text/plain", nil) // net/http sends a GET again
	if err == nil {
		_, err = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err != nil {
		m.broken = append(m.broken, brokenRequest{app, began, time.Now(), err})
		return
	}
	m.seen[[2]string{app, strconv.Itoa(resp.StatusCode)}]++
	m.took[app] = append(m.took[app], time.Since(began))
}

// events are an upgrade, a reload of each app, a restart, a crash, and the deaths of the relay and of
// the supervisor.
func (m *scrapedApps) events(round int) {
	m.Helper()
	if round%10 == 0 {
		m.must(install(m.row, m.binary))
		m.must(m.daemon.Signal(syscall.SIGUSR2))
		m.must(testenv.Poll(m.timeout(time.Minute), 20*time.Millisecond, func() error {
			exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", m.daemon.RolePid("supervisor")))
			if err == nil && exe != m.binary {
				err = errors.New("the daemon runs from " + exe)
			}
			return err
		}))
		for _, name := range m.names {
			m.waitRunning(name, 0)
		}
		m.happened++
	}
	for _, name := range m.names {
		m.must2(m.daemon.Call(m.timeout(operationTimeout), "reload", name))
	}
	m.must2(m.daemon.Call(m.timeout(operationTimeout), "restart", m.names[round%len(m.names)]))
	crashes := m.names[(round+1)%len(m.names)]
	before, err := m.daemon.StatusOf(m.timeout(time.Minute), crashes)
	m.must(err)
	m.must(syscall.Kill(before.Pid, syscall.SIGKILL))
	m.waitRunning(crashes, before.Generation)
	m.killRelay()
	m.killSupervisor()
	m.happened += len(m.names) + 4
}

// killRelay kills the relay, and waits for answers through the next one.
func (m *scrapedApps) killRelay() {
	m.Helper()
	pid := m.daemon.RelayPid()
	k := relayKill{killed: time.Now()}
	m.must(syscall.Kill(pid, syscall.SIGKILL))
	m.must(testenv.Poll(m.timeout(time.Minute), 10*time.Millisecond, func() error {
		if now := m.daemon.RelayPid(); now == pid || now == m.daemon.Pid() {
			return errors.New("there is no other relay")
		}
		return nil
	}))
	client := &http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true}}
	for i, name := range m.names {
		m.ask(client, name, "http://"+m.addresses[i], 0)
		m.waitRunning(name, 0)
	}
	k.replaced = time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.relays = append(m.relays, k)
}

// killSupervisor kills the supervisor, and waits until another one knows that the apps run.
func (m *scrapedApps) killSupervisor() {
	m.Helper()
	pid := m.daemon.RolePid("supervisor")
	m.must(syscall.Kill(pid, syscall.SIGKILL))
	m.must(testenv.Poll(m.timeout(time.Minute), 10*time.Millisecond, func() error {
		if now := m.daemon.RolePid("supervisor"); now == pid || now == m.daemon.Pid() {
			return errors.New("there is no other supervisor")
		}
		return nil
	}))
	for _, name := range m.names {
		m.waitRunning(name, 0)
	}
}

// must2 fails unless a command has succeeded.
func (m *scrapedApps) must2(o testenv.Outcome, err error) {
	m.Helper()
	if err != nil || o.Exit != 0 {
		m.Fatal(o, err)
	}
}

// waitRunning waits until a generation above that one serves.
func (m *scrapedApps) waitRunning(name string, above int) {
	m.Helper()
	m.must(testenv.Poll(m.timeout(time.Minute), 20*time.Millisecond, func() error {
		st, err := m.daemon.StatusOf(m.timeout(time.Minute), name)
		if err == nil && (st.State != "running" || st.Generation <= above) {
			err = fmt.Errorf("%s is %s in generation %d", name, st.State, st.Generation)
		}
		return err
	}))
}

func (m *scrapedApps) requests() (n int) {
	for _, of := range m.seen {
		n += of
	}
	return n
}

// checkBroken fails for a request that is broken although it was not under way when a relay was killed.
func (m *scrapedApps) checkBroken() {
	m.Helper()
	for _, r := range m.broken {
		if !slices.ContainsFunc(m.relays, func(k relayKill) bool { return !r.began.After(k.replaced) && !r.ended.Before(k.killed) }) {
			m.Errorf("%s: %v, and no relay died at that time", r.app, r.cause)
		}
	}
}

// checkSums waits until Prometheus has scraped what the clients have counted. A request that was under
// way when a relay died has the ending cut, and no code, if that relay had read a byte of it; one that it
// had not read is not counted. The client of a cut one may have got the whole answer, before the relay
// has counted it.
func (m *scrapedApps) checkSums() {
	m.Helper()
	m.checkBroken()
	broken := map[string]int{}
	for _, r := range m.broken {
		broken[r.app]++
	}
	m.must(testenv.Poll(m.timeout(time.Minute), 200*time.Millisecond, func() error {
		all, err := m.query("sum by (app, code) (tideover_app_requests_total)")
		if err != nil {
			return err
		}
		got := map[[2]string]int{}
		for _, s := range all {
			got[[2]string{s.labels["app"], s.labels["code"]}] = int(s.value)
		}
		for _, app := range m.names {
			cut, uncounted := got[[2]string{app, ""}], 0
			delete(got, [2]string{app, ""})
			for key, n := range m.seen {
				if key[0] != app {
					continue
				}
				if got[key] > n || got[key] < n-cut {
					return fmt.Errorf("%v: Prometheus has %d and %d cut ones, the clients have counted %d", key, got[key], cut, n)
				}
				uncounted += n - got[key]
				delete(got, key)
			}
			if read := cut - uncounted; read < 0 || read > broken[app] {
				return fmt.Errorf("%s: Prometheus has %d cut requests; the clients have %d that are broken, and the answers of %d that are not counted", app, cut, broken[app], uncounted)
			}
		}
		if len(got) > 0 {
			return fmt.Errorf("the clients have got no such answers: %v", got)
		}
		return nil
	}))
	for _, app := range m.names {
		count, err := m.query(fmt.Sprintf(`tideover_app_request_duration_seconds_count{app=%q} - on (app) sum by (app) (tideover_app_requests_total{app=%q,code!=""})`, app, app))
		m.must(err)
		if len(count) != 1 || math.Abs(count[0].value) > float64(len(m.relays)) { // a relay may die between the two
			m.Errorf("durations of %s without those of requests with a status: %v", app, count)
		}
	}
	for _, name := range []string{"requests_total", "requests_resent_total", "accepted_connections_total", "request_duration_seconds_count", "request_duration_seconds_bucket", "hold_duration_seconds_count"} {
		back, err := m.query("resets(tideover_app_" + name + "[1h]) > 0")
		m.must(err)
		for _, s := range back {
			m.Errorf("%s went back: %v", name, s.labels)
		}
	}
}

// bucketBounds are those of the histograms.
var bucketBounds = []float64{0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 30, 60}

func bucketOf(seconds float64) int {
	i, _ := slices.BinarySearch(bucketBounds, seconds)
	return i
}

// checkQuantiles compares the medians and the 95th percentiles. A client measures more than the relay
// sees, because a connection may wait in a backlog, and on a busy machine the client itself waits. That
// moves some requests across the gap between the two durations: a tenth of them may have moved.
func (m *scrapedApps) checkQuantiles() {
	m.Helper()
	for _, app := range m.names {
		took := slices.Sorted(slices.Values(m.took[app]))
		at := func(q float64) float64 { return took[int(min(max(q, 0), 1)*float64(len(took)-1))].Seconds() }
		for _, q := range []float64{0.5, 0.95} {
			got, err := m.query(fmt.Sprintf("histogram_quantile(%g, tideover_app_request_duration_seconds_bucket{app=%q})", q, app))
			m.must(err)
			low, high := at(q-0.1), at(q+0.1)
			if len(got) != 1 || bucketOf(got[0].value) < bucketOf(low)-1 || bucketOf(got[0].value) > bucketOf(high)+1 {
				m.Errorf("%s, quantile %g: %v, the clients have measured %.3f to %.3f s", app, q, got, low, high)
			}
		}
	}
}

// checkAlertsAndDashboard has promtool check what was scraped and the example's tests of its alerts, and Prometheus evaluate
// each query of the dashboard.
func (m *scrapedApps) checkAlertsAndDashboard() {
	m.Helper()
	example := filepath.Join(m.env.Root, "examples", "prometheus")
	resp, err := http.Get("http://" + m.scraped() + "/metrics")
	m.must(err)
	defer resp.Body.Close()
	lint := exec.CommandContext(m.timeout(time.Minute), "promtool", "check", "metrics")
	lint.Stdin = resp.Body
	if output, err := lint.CombinedOutput(); err != nil || len(output) > 0 {
		m.Errorf("promtool check metrics: %v\n%s", err, output)
	}
	tests := exec.CommandContext(m.timeout(time.Minute), "promtool", "test", "rules", "alerts_test.yml")
	tests.Dir = example
	if output, err := tests.CombinedOutput(); err != nil {
		m.Errorf("promtool test rules: %v\n%s", err, output)
	}
	text, err := os.ReadFile(filepath.Join(example, "dashboard.json"))
	m.must(err)
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	m.must(json.Unmarshal(text, &dashboard))
	for _, p := range dashboard.Panels {
		query := strings.NewReplacer("$__rate_interval", "10m", "$app", ".*").Replace(p.Targets[0].Expr)
		m.must(testenv.Poll(m.timeout(time.Minute), 200*time.Millisecond, func() error {
			found, err := m.query(query)
			if err == nil && len(found) == 0 {
				err = fmt.Errorf("the panel %q shows nothing", p.Title)
			}
			return err
		}))
	}
}

// scraped is the address that Prometheus scrapes.
func (m *scrapedApps) scraped() string {
	m.Helper()
	up, err := m.query("up")
	m.must(err)
	return up[0].labels["instance"]
}

// What an operator sees of workers that are all busy.
func TestFourBusyWorkersAreFourOfFour(t *testing.T) {
	s := newFixture(begin(t), setup{gunicorn: testenv.Gunicorn{Workers: 4}, release: testenv.Release{Number: 1}, config: "drain.timeout = \"1s\"\nstop.timeout = \"1s\"\n"})
	s.waitWorkers()
	ctx, leave := context.WithCancel(s.Context())
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() { s.client.Do(ctx, loadgen.Kind{Name: "long", Query: "s=60"}) })
	}
	s.must(testenv.Poll(s.timeout(20*time.Second), 50*time.Millisecond, func() error {
		o, err := s.daemon.Call(s.timeout(10*time.Second), "status")
		if err == nil && !slices.Contains(strings.Fields(o.Stdout), "4/4") {
			err = errors.New(o.Stdout)
		}
		return err
	}))
	leave()
	clients.Wait()
	s.shutdown()
}
