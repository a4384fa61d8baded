//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"tideover/scripts/loadgen"
	"tideover/scripts/testenv"
)

var (
	nonceOfLine  = regexp.MustCompile(`nonce=([0-9a-z-]+)`)
	combinedLine = regexp.MustCompile(`^127\.0\.0\.1 - - \[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] "(GET|POST) /echo\?\S+ HTTP/1\.1" 200 \d+ "[^"]*" "[^"]*"$`)
)

// atoms are those whose values tideover and gunicorn must agree on.
const atoms = `%({x-request-id}i)s "%(r)s" %(m)s %(U)s %(q)s %(H)s %(s)s %(B)s %(b)s "%(f)s" "%(a)s" %(l)s %(u)s %({content-type}o)s %({x-none}o)s %({REQUEST_METHOD}e)s %({raw_uri}e)s %({REMOTE_ADDR}e)s %({remote_port}e)s "%({HTTP_USER_AGENT}e)s" %({CONTENT_TYPE}e)s nonce=%({x-request-id}i)s`

// Each request has one line, over reloads, restarts, crashes, upgrades and deaths of the supervisor; and
// with gunicorn's atoms it is the one that gunicorn writes.
func TestTheAccessLogHasALineForEachRequest(t *testing.T) {
	t.Parallel()
	reload, restart, crash := (*fixture).reload, (*fixture).restart, (*fixture).killMaster
	upgrade := func(s *fixture) { s.upgrade(s.env.Path("tideover")) }
	kill := func(s *fixture) {
		s.event("kill -9 of the supervisor", (&supervisorKills{relayKills: relayKills{fixture: s}}).killSupervisor)
	}
	for name, c := range map[string]struct {
		format string
		events []func(*fixture)
		check  func(s *fixture, lines []string)
	}{
		"combined": {"combined", []func(*fixture){reload, kill, crash, kill, kill}, (*fixture).checkCombined},
		"json":     {"json", []func(*fixture){upgrade, restart}, (*fixture).checkJSON},
		"atoms":    {atoms, []func(*fixture){reload}, (*fixture).checkAtoms},
	} {
		if *full {
			c.events = []func(*fixture){reload, kill, crash, restart, upgrade, kill, reload, upgrade, crash, restart, kill}
		}
		t.Run(name, func(t *testing.T) {
			r := begin(t)
			r.must(install(r, r.env.Path("tideover")))
			s := newFixture(r, setup{binary: r.env.Path("tideover"), release: testenv.Release{Number: 1, Import: 0.3},
				gunicorn: testenv.Gunicorn{Workers: 2, Args: []string{"--access-logfile", "gunicorn.log", "--access-logformat", atoms}},
				config:   fmt.Sprintf("[app.shop.log]\naccess = \"all\"\naccess_file = \"access.log\"\naccess_format = %q\n", c.format)})
			s.waitWorkers()
			var nonces []string
			mix := append(loadgen.Everyday(), loadgen.Kind{Name: "fields", Header: []string{"User-Agent: curl/8 (x)", "Referer: http://front.test/a?b=c", "Authorization: Basic YW5uYTpzZWNyZXQ="}})
			s.load = loadgen.Start(loadgen.Plan{Client: s.client, Rate: 50, Mix: mix, Each: func(a loadgen.Answer) { nonces = append(nonces, a.Nonce) }})
			for _, event := range c.events {
				event(s)
				s.waitWorkers()
			}
			s.finish()
			s.waitAnswered()
			requests := s.counter("requests")
			s.shutdown()
			lines := s.linesOf("access.log")
			s.addNumbers("lines=%d", len(lines))
			s.checkOneEach(lines, nonces, requests)
			c.check(s, lines)
		})
	}
}

// waitAnswered waits until no request is under way.
func (s *fixture) waitAnswered() {
	s.Helper()
	s.must(testenv.Poll(s.timeout(time.Minute), 10*time.Millisecond, func() error {
		if n := s.counter("requests") - s.counter("answered"); n != 0 {
			return fmt.Errorf("%d requests are not answered", n)
		}
		return nil
	}))
}

// linesOf are the lines of a file in the app's folder.
func (s *fixture) linesOf(name string) []string {
	s.Helper()
	text, err := os.ReadFile(filepath.Join(s.app.Dir, name))
	s.must(err)
	whole, ok := strings.CutSuffix(string(text), "\n")
	if !ok {
		s.Errorf("%s ends in a line: %.200q", name, text[max(0, len(text)-200):])
	}
	return strings.Split(whole, "\n")
}

// checkOneEach fails unless each request of the load has one line, and the others that tideover has
// counted have one, too.
func (s *fixture) checkOneEach(lines, nonces []string, requests int) {
	s.Helper()
	seen := map[string]int{}
	for _, line := range lines {
		if m := nonceOfLine.FindStringSubmatch(line); m == nil {
			s.Errorf("a line without a nonce: %q", line)
		} else {
			seen[m[1]]++
		}
	}
	for _, nonce := range nonces {
		if seen[nonce] != 1 {
			s.Errorf("%s has %d lines", nonce, seen[nonce])
		}
	}
	if len(lines) != requests {
		s.Errorf("%d lines, %d requests", len(lines), requests)
	}
}

func (s *fixture) checkCombined(lines []string) {
	s.Helper()
	for _, line := range lines {
		if !combinedLine.MatchString(line) {
			s.Errorf("not the combined format: %q", line)
		}
	}
}

func (s *fixture) checkJSON(lines []string) {
	s.Helper()
	held := 0
	for _, line := range lines {
		var l struct {
			Time                       time.Time
			App, Method, Target        string
			Ending, Client, Generation string
			Status, Bytes, Resent      int
			Duration                   float64 `json:"duration_s"`
			Upstream                   float64 `json:"upstream_s"`
			Hold                       float64 `json:"hold_s"`
		}
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			s.Errorf("%v: %s", err, line)
			continue
		}
		if l.Status != 200 || l.Ending != "answered" || l.App != s.daemon.App || !strings.HasPrefix(l.Generation, s.daemon.App) || l.Bytes == 0 ||
			!strings.HasPrefix(l.Client, "127.0.0.1:") || l.Upstream <= 0 || l.Duration <= 0 || l.Time.IsZero() {
			s.Errorf("%+v", l)
		}
		if l.Hold > 0 {
			held++
		}
	}
	if s.addNumbers("held=%d", held); held == 0 {
		s.Error("no request was held in a restart")
	}
}

// checkAtoms compares the lines with gunicorn's own. A gunicorn that was killed has not written its last ones.
func (s *fixture) checkAtoms(lines []string) {
	s.Helper()
	own := map[string]bool{}
	for _, line := range s.linesOf("gunicorn.log") {
		own[line] = true
	}
	missing := 0
	for _, line := range lines {
		if !own[line] {
			missing++
			if !*full {
				s.Errorf("gunicorn has no line %q", line)
			}
		}
	}
	if s.addNumbers("missing=%d", missing); missing > len(lines)/10 {
		s.Errorf("gunicorn has not written %d of %d lines", missing, len(lines))
	}
}

// The disk is full, or the supervisor is stopped and reads nothing: requests go on, and what finds no
// room is counted.
func TestAnAccessLogThatCannotBeWrittenCostsNoRequest(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"full", "stopped"} {
		t.Run(name, func(t *testing.T) {
			s := newFixture(begin(t), setup{gunicorn: testenv.Gunicorn{Workers: 2}, release: testenv.Release{Number: 1, Import: 0.1},
				config: fmt.Sprintf("[app.shop.log]\naccess = \"all\"\naccess_format = \"%%(r)s %%({x-long}i)s\"\naccess_file = %q\n",
					map[string]string{"full": "/dev/full", "stopped": "access.log"}[name])})
			if name == "stopped" {
				s.must(syscall.Kill(s.daemon.RolePid("supervisor"), syscall.SIGSTOP))
				s.Cleanup(func() { syscall.Kill(s.daemon.RolePid("supervisor"), syscall.SIGCONT) })
			}
			s.sendLongLines(800) // 6 MB, more than the pipe and the memory for lines
			s.must(syscall.Kill(s.daemon.RolePid("supervisor"), syscall.SIGCONT))
			s.waitAnswered()
			dropped, requests := s.linesDropped(), s.counter("requests")
			s.addNumbers("requests=%d dropped=%d", requests, dropped)
			if dropped == 0 {
				s.Errorf("no line of %d was dropped", requests)
			}
			s.shutdown()
			if name == "stopped" {
				if lines := s.linesOf("access.log"); len(lines)+dropped != requests {
					s.Errorf("%d lines and %d dropped, %d requests", len(lines), dropped, requests)
				}
			}
		})
	}
}

// sendLongLines sends requests whose lines have 8 KB each.
func (s *fixture) sendLongLines(n int) {
	s.Helper()
	var clients sync.WaitGroup
	var left, lost atomic.Int64
	left.Store(int64(n))
	for range 4 {
		clients.Go(func() {
			for left.Add(-1) >= 0 {
				a := s.client.Do(context.Background(), loadgen.Kind{Name: "long", Keep: true, Header: []string{"X-Long: " + strings.Repeat("x", 8000)}})
				if a.Loss != "" {
					lost.Add(1)
					s.Logf("%s: %s", a.Loss, a.Cause)
				}
			}
		})
	}
	clients.Wait()
	s.client.Close()
	if lost := lost.Load(); lost > 0 {
		s.Errorf("%d requests lost", lost)
	}
}

// linesDropped reads the metric from the control socket.
func (s *fixture) linesDropped() int {
	s.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", s.daemon.Socket)
	}}}
	resp, err := client.Get("http://tideover/metrics")
	s.must(err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	s.must(err)
	m := regexp.MustCompile(`(?m)^tideover_app_log_lines_dropped_total\{.*\} (\S+)$`).FindSubmatch(text)
	if m == nil {
		s.Fatalf("no such metric:\n%s", text)
	}
	n, err := strconv.ParseFloat(string(m[1]), 64)
	s.must(err)
	return int(n)
}
