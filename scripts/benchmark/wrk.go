package main

import (
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// wrk is a load generator that others wrote, so that what the results say does not depend on ours:
// its clients differ from ours in when they send, and so in how many requests a server finds at
// once. Its answers are not checked beyond their status.

// wrkScript makes wrk print one line that runWrk reads, with the percentile that it does not print.
const wrkScript = `function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format("result %d %d %f %f %f\n", summary.requests, e.connect + e.read + e.write + e.status + e.timeout,
    latency:percentile(50), latency:percentile(99), latency:percentile(99.9)))
end
`

// wrkResult is what wrk measured; waits are in microseconds.
type wrkResult struct {
	answered, failed int
	p50, p99, p999   float64
}

// compareByWrk is a scenario of small requests that wrk sends as fast as they are answered.
func compareByWrk(clients int, reconnect bool) func(*bench) (*table, error) {
	names := []string{"tideover", "nginx-1", "nginx-2", "haproxy-1", "haproxy-2"}
	return func(b *bench) (*table, error) {
		columns := []column{cost("µs/request", mainPeers), shown("p50, µs", lower), shown("p99, µs", lower), shown("p99.9, µs", lower),
			shown("req/s", higher), shown("failed", lower)}
		const turns, seconds = 1, 1 // wrk takes whole seconds
		return b.sideBySide(turns, names, columns, func(e *environment, s *server) ([]float64, error) {
			pids := s.pids()
			before := cpuTime(pids)
			r, err := e.runWrk(s.address, clients, reconnect, seconds)
			if err != nil {
				return nil, err
			}
			used := float64(cpuTime(pids)-before) / float64(time.Microsecond)
			return []float64{used / float64(r.answered), r.p50, r.p99, r.p999, float64(r.answered) / seconds, float64(r.failed)}, nil
		})
	}
}

// runWrk lets wrk's clients, all on one thread, send requests to an address.
func (e *environment) runWrk(address string, clients int, reconnect bool, seconds int) (wrkResult, error) {
	script, err := e.Write("wrk.lua", wrkScript)
	if err != nil {
		return wrkResult{}, err
	}
	argv := []string{"-t", "1", "-c", strconv.Itoa(clients), "-d", strconv.Itoa(seconds) + "s", "--timeout", "10s", "-s", script, "-H", "Host: " + requestHost}
	for _, field := range requestFields {
		argv = append(argv, "-H", field)
	}
	if reconnect {
		argv = append(argv, "-H", "Connection: close")
	}
	out, err := exec.Command("wrk", append(argv, "http://"+address+requestPath+"?of=the+app")...).CombinedOutput()
	if err != nil {
		return wrkResult{}, fmt.Errorf("wrk: %w\n%s", err, out)
	}
	var r wrkResult
	for line := range strings.Lines(string(out)) {
		if n, _ := fmt.Sscanf(line, "result %d %d %f %f %f", &r.answered, &r.failed, &r.p50, &r.p99, &r.p999); n == 5 && r.answered > 0 {
			return r, nil
		}
	}
	return wrkResult{}, errors.Join(errors.New("wrk: no result"), errors.New(string(out)))
}
