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
// the same requests sent to the app directly; the others are whole.
func comparePaced(rate int, round time.Duration) func(*bench) (*table, error) {
	return func(b *bench) (*table, error) {
		turns, d := 1, b.length(round) // one turn: a thousand requests and more have a p99.9
		if b.before != "" {
			turns, d = b.turns(2*time.Second, 500*time.Millisecond)
		}
		columns := []column{cost("µs/request", mainPeers), cost("added p50, µs", mainPeers), {"p99, µs", lower, mainPeers, false},
			{"p99.9, µs", lower, mainPeers, false}, shown("longest, µs", lower), shown("late, ms", lower), shown("failed", lower)}
		return b.sideBySide(turns, mainServers, columns, func(e *environment, s *server) ([]float64, error) {
			pids := s.pids()
			before := cpuTime(pids)
			through, waits, err := sendPaced(s.address, rate, d)
			if err != nil {
				return nil, err
			}
			each := float64(cpuTime(pids)-before) / 1e3 / float64(through.Right)
			_, direct, err := sendPaced(e.app, rate, d/4)
			if err != nil {
				return nil, err
			}
			return []float64{each, quantile(waits, 0.5) - quantile(direct, 0.5), quantile(waits, 0.99), quantile(waits, 0.999), quantile(waits, 1),
				float64(through.Late.Milliseconds()), float64(through.Lost())}, nil
		})
	}
}

// sendPaced sends so many requests a second and returns how long they waited, shortest first.
func sendPaced(address string, rate int, d time.Duration) (loadgen.Tally, []time.Duration, error) {
	var waits []time.Duration
	l := loadgen.Start(loadgen.Plan{
		Client: &loadgen.Client{Address: address, Host: requestHost},
		Rate:   rate,
		Mix:    []loadgen.Kind{{Path: requestPath, Query: "of=the+app", Header: requestFields, Keep: true, Plain: true}},
		Each:   func(a loadgen.Answer) { waits = append(waits, a.Waited) },
	})
	over := time.After(d)
	<-over
	tally := l.Stop()
	if tally.Right == 0 {
		return tally, nil, errors.New("nothing was answered")
	}
	slices.Sort(waits)
	return tally, waits, nil
}

// quantile is the wait, in microseconds, that the part q of the sorted waits does not exceed.
func quantile(sorted []time.Duration, q float64) float64 {
	return float64(sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]) / 1e3
}
