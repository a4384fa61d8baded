//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"tideover/scripts/loadgen"
	"tideover/scripts/testenv"
)

// queue sends many requests to a closed gate, a few at a time, so that their order
// of arrival is known.
type queue struct {
	fixture *fixture
	status  *http.Client
	running sync.WaitGroup

	mu      sync.Mutex
	nonces  []string
	answers []loadgen.Answer // beside nonces
	ended   []time.Time
}

func newQueue(s *fixture) *queue {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", s.daemon.Socket)
	}
	return &queue{fixture: s, status: &http.Client{Transport: &http.Transport{DialContext: dial}}}
}

// send starts one request.
func (q *queue) send(k loadgen.Kind) {
	c := q.fixture.client
	q.mu.Lock()
	defer q.mu.Unlock()
	number, nonce := len(q.nonces), c.Nonce()
	q.nonces = append(q.nonces, nonce)
	q.answers = append(q.answers, loadgen.Answer{})
	q.ended = append(q.ended, time.Time{})
	q.running.Go(func() {
		a := c.DoNamed(context.Background(), k, nonce)
		q.mu.Lock()
		defer q.mu.Unlock()
		q.answers[number], q.ended[number] = a, time.Now()
	})
}

// together is the number of requests that are sent at once. Among them there is no
// order.
const together = 5

// enqueue sends n requests, a few at a time: the next ones when all before are
// held.
func (q *queue) enqueue(n int, kind func(int) loadgen.Kind) {
	s := q.fixture
	s.Helper()
	before := q.held()
	for sent := 0; sent < n; {
		for range min(together, n-sent) {
			q.send(kind(sent))
			sent++
		}
		s.must(testenv.Poll(s.timeout(20*time.Second), 2*time.Millisecond, func() error {
			if held := q.held(); held != before+sent {
				return fmt.Errorf("%d held, not %d", held, before+sent)
			}
			return nil
		}))
	}
}

// held reads the number of held requests over the control socket, without
// starting a process.
func (q *queue) held() int {
	s := q.fixture
	s.Helper()
	res, err := q.status.Get("http://tideover/v1/status?" + url.Values{"app": {s.daemon.App}}.Encode())
	s.must(err)
	defer res.Body.Close()
	var all struct{ Apps []testenv.AppStatus }
	s.must(json.NewDecoder(res.Body).Decode(&all))
	if len(all.Apps) != 1 {
		s.Fatalf("status names %d apps", len(all.Apps))
	}
	return all.Apps[0].Held
}

// wait waits for every answer.
func (q *queue) wait() { q.running.Wait() }

// checkAnswers fails the row for every request from position from up to position to
// without a complete right answer.
func (q *queue) checkAnswers(from, to int) {
	q.fixture.Helper()
	for i, a := range q.answers[from:to] {
		if a.Loss != "" {
			q.fixture.Errorf("request %d, %s: %s %s after %v", from+i, a.Kind.Name, a.Loss, a.Cause, a.Waited)
		}
	}
}

// beginOrder returns for each request, in the order of arrival, its position among
// the requests that the app began; -1 for one that it did not begin.
func (q *queue) beginOrder() []int {
	s := q.fixture
	s.Helper()
	text, err := s.app.Log.Text()
	s.must(err)
	place := map[string]int{}
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) < 2 || words[0] != "begin" {
			continue
		}
		if _, known := place[words[1]]; !known {
			place[words[1]] = len(place)
		}
	}
	places := make([]int, len(q.nonces))
	for i, nonce := range q.nonces {
		if at, known := place[nonce]; known {
			places[i] = at
		} else {
			places[i] = -1
		}
	}
	return places
}

// overtaken returns, for each request, the number of later ones that were begun before it, the smallest first.
func overtaken(places []int) (counts []int) {
	for i, place := range places {
		n := 0
		for _, later := range places[min(len(places), i-i%together+together):] {
			if later < place {
				n++
			}
		}
		counts = append(counts, n)
	}
	slices.Sort(counts)
	return counts
}

// memory returns the resident memory of a process in KiB.
func (r *row) memory(pid int) int {
	r.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	r.must(err)
	for line := range strings.Lines(string(text)) {
		if words := strings.Fields(line); len(words) > 1 && words[0] == "VmRSS:" {
			kib, err := strconv.Atoi(words[1])
			r.must(err)
			return kib
		}
	}
	r.Fatalf("process %d has no memory", pid)
	return 0
}
