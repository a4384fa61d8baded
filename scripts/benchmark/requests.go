package main

import (
	"errors"
	"os"
	"slices"
	"time"

	"tideover/scripts/loadgen"
)

// requestFields are what a browser sends with a small request.
var requestFields = []string{"User-Agent: bench/1.0", "Accept: text/html,application/xhtml+xml",
	"Accept-Encoding: gzip, deflate", "Cookie: sessionid=0123456789abcdef0123456789abcdef"}

const (
	requestHost = "shop.example.com"
	requestPath = "/some/page"
)

// newClients connects clients to an address, or to the path of a unix socket.
func newClients(address string, number int, reconnect bool) (*loadgen.ClosedLoop, error) {
	head := "GET " + requestPath + "?of=the+app HTTP/1.1\r\nHost: " + requestHost
	for _, field := range requestFields {
		head += "\r\n" + field
	}
	l := &loadgen.ClosedLoop{Address: address, Clients: number, Reconnect: reconnect, Head: head, Body: hello}
	if err := l.Open(); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// answers asks once.
func answers(address string) error {
	r, err := sendFor(address, 1, true, 0)
	if err == nil && r.Failed > 0 {
		err = errors.New("a wrong response")
	}
	return err
}

// sendFor lets clients send for some time.
func sendFor(address string, clients int, reconnect bool, d time.Duration) (loadgen.LoopResult, error) {
	l, err := newClients(address, clients, reconnect)
	if err != nil {
		return loadgen.LoopResult{}, err
	}
	defer l.Close()
	return l.Run(d)
}

// compareRequests is a scenario of small requests, sent as fast as they are answered.
func compareRequests(clients int, reconnect bool, names []string) func(*bench) (*table, error) {
	return func(b *bench) (*table, error) {
		turns, d := b.turns(2*time.Second, 50*time.Millisecond)
		columns := []column{cost("µs/request", mainPeers), shown("client's", lower), shown("req/s", higher), shown("failed", lower)}
		return b.sideBySide(turns, names, columns, func(_ *environment, s *server) ([]float64, error) {
			l, err := newClients(s.address, clients, reconnect)
			if err != nil {
				return nil, err
			}
			defer l.Close()
			if _, err := l.Run(d / 10); err != nil {
				return nil, err
			}
			server, client := s.pids(), []int{os.Getpid()}
			serverBefore, clientBefore := cpuTime(server), cpuTime(client)
			r, err := l.Run(d)
			if err == nil && r.Answered == 0 {
				err = errors.New("nothing was answered")
			}
			each := func(used time.Duration) float64 { return float64(used) / 1e3 / float64(r.Answered) }
			return []float64{each(cpuTime(server) - serverBefore), each(cpuTime(client) - clientBefore),
				float64(r.Answered) / r.Elapsed.Seconds(), float64(r.Failed)}, err
		})
	}
}

// comparePaced is a scenario of small requests at a steady rate. The median wait is less that of
// the same requests sent to the app directly; the others are whole, and each is one of all waits of
// a round: what disturbs the machine for a moment meets every server.
func comparePaced(rate int, round time.Duration) func(*bench) (*table, error) {
	return func(b *bench) (*table, error) {
		turns, d := b.turns(round, 500*time.Millisecond)
		columns := []column{cost("µs/request", mainPeers), cost("added p50, µs", mainPeers), {"p99, µs", lower, mainPeers, false},
			{"p99.9, µs", lower, mainPeers, false}, shown("longest, µs", lower), shown("late, ms", lower), shown("failed", lower)}
		return measureSideBySide(b, turns, mainServers, columns, func(e *environment, s *server) (p pace, err error) {
			if p.through, err = sendPaced(s.address, rate, d, s.pids()); err == nil {
				p.direct, err = sendPaced(e.app, rate, d/4, nil)
			}
			return p, err
		}, summarizePace)
	}
}

// A pace is one turn of a steady rate: through a server, and to the app directly.
type pace struct{ through, direct pacedRequests }

// pacedRequests are those that were sent in a turn after its first tenth, by when the connections
// are open.
type pacedRequests struct {
	waits  []time.Duration
	failed int
	late   time.Duration // the most by which a request was sent too late
	used   time.Duration // CPU time of the server
}

// summarizePace returns what the columns of comparePaced show of the turns of one round.
func summarizePace(turns []pace) []float64 {
	var through, direct pacedRequests
	for _, turn := range turns {
		through.add(turn.through)
		direct.add(turn.direct)
	}
	return []float64{float64(through.used) / 1e3 / float64(len(through.waits)), through.quantile(0.5) - direct.quantile(0.5),
		through.quantile(0.99), through.quantile(0.999), through.quantile(1), float64(through.late.Milliseconds()), float64(through.failed)}
}

func (p *pacedRequests) add(other pacedRequests) {
	p.waits = append(p.waits, other.waits...)
	p.failed += other.failed
	p.late = max(p.late, other.late)
	p.used += other.used
}

// quantile is the wait, in microseconds, that the part q of the requests does not exceed.
func (p *pacedRequests) quantile(q float64) float64 {
	sorted := slices.Sorted(slices.Values(p.waits))
	return float64(sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]) / 1e3
}

// sendPaced sends so many requests a second to an address, which these processes serve.
func sendPaced(address string, rate int, d time.Duration, server []int) (p pacedRequests, err error) {
	begun := time.Now().Add(d / 10)
	l := loadgen.Start(loadgen.Plan{
		Client: &loadgen.Client{Address: address, Host: requestHost},
		Rate:   rate,
		Mix:    []loadgen.Kind{{Path: requestPath, Query: "of=the+app", Header: requestFields, Keep: true, Plain: true}},
		Each: func(a loadgen.Answer) {
			switch {
			case a.Loss != "":
				p.failed++
			case a.Started.After(begun):
				p.waits = append(p.waits, a.Waited)
			}
		},
	})
	warm := time.After(d / 10)
	<-warm
	before := cpuTime(server)
	over := time.After(d)
	<-over
	p.used = cpuTime(server) - before
	if p.late = l.Stop().Late; len(p.waits) == 0 {
		err = errors.New("nothing was answered")
	}
	return p, err
}
