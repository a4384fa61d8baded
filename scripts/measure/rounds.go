package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"
)

// A bench runs the scenarios, one after the other.
type bench struct {
	quick  bool
	rounds int
	only   string
	kamal  string // its binary; empty: not compared
	report report
}

// A scenario compares servers in one respect.
type scenario struct {
	name string
	does string // in words
	run  func(*bench, context.Context) (*table, error)
}

func scenarios() []scenario {
	return []scenario{
		{"keepalive", "32 clients that keep their connection; CPU per request", compareLoad(load{connections: 32}, false, all)},
		{"thousand", "1,000 clients that keep their connection; CPU per request", compareLoad(load{connections: 1000}, false, most)},
		{"connect", "a new connection for each request, 32 at once; CPU per request", compareLoad(load{connections: 32, reconnect: true}, false, most)},
		{"pace", "500 requests a second; CPU per request, and the median wait", compareLoad(load{connections: 20, rate: 500}, true, most)},
		{"down", "responses of 100 MiB; CPU per GB", compareBytes(http.MethodGet)},
		{"up", "uploads of 100 MiB; CPU per GB", compareBytes(http.MethodPost)},
		{"sync", "gunicorn with 2 sync workers, alone and behind; requests a second", compareGunicorn("sync")},
		{"gthread", "gunicorn with 2 gthread workers, alone and behind; requests a second", compareGunicorn("gthread")},
		{"held", "1,000 and 9,500 held requests, released into gunicorn with 2 workers", compareHeld},
		{"wake", "from an app's first answer to the first held request's", compareWake},
	}
}

func names() (all []string) {
	for _, s := range scenarios() {
		all = append(all, s.name)
	}
	return all
}

var (
	most = []string{"tideover", "tideover-tcp", "nginx-1", "nginx-2", "haproxy-1", "haproxy-2"}
	all  = append(slices.Clone(most), "caddy", "apache", "kamal-proxy")
)

func (b *bench) run(ctx context.Context) error {
	b.report.begin(b)
	for _, s := range scenarios() {
		if b.only != "" && b.only != s.name {
			continue
		}
		fmt.Printf("\n%s: %s\n", s.name, s.does)
		t, err := s.run(b, ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		t.name, t.title = s.name, s.does
		fmt.Print(t)
		b.report.tables = append(b.report.tables, t)
	}
	return nil
}

// length is how long a round is.
func (b *bench) length(normal time.Duration) time.Duration {
	if b.quick {
		return normal / 3
	}
	return normal
}

// turns is how often the servers take turns in a round. A machine that is shared is faster at one time than at another.
const turns = 4

// interleaved measures every server in each round, in turns, and in another order each time.
func (b *bench) interleaved(servers []*server, t *table, measure func(*server) ([]float64, error)) error {
	for round := range b.rounds {
		sums := map[string][]float64{}
		for turn := range turns {
			for i := range servers {
				s := servers[(i+round+turn)%len(servers)]
				values, err := measure(s)
				if err != nil {
					return fmt.Errorf("%s: %w", s.name, err)
				}
				if sums[s.name] == nil {
					sums[s.name] = make([]float64, len(values))
				}
				for i, v := range values {
					sums[s.name][i] += v / turns
				}
			}
		}
		for name, means := range sums {
			t.add(name, means...)
		}
	}
	return nil
}

// race has the named servers compared side by side, with those columns.
func (b *bench) race(names []string, columns []column, measure func(*stage, *server) ([]float64, error)) (*table, error) {
	st, err := newStage()
	if err != nil {
		return nil, err
	}
	defer st.room.Close(false)
	st.kamal = b.kamal
	if b.kamal == "" {
		names = slices.DeleteFunc(slices.Clone(names), func(name string) bool { return name == "kamal-proxy" })
	}
	servers, err := st.contestants(names)
	if err != nil {
		return nil, err
	}
	t := newTable(names, columns...)
	return t, b.interleaved(servers, t, func(s *server) ([]float64, error) { return measure(st, s) })
}

// compareLoad is a scenario of small requests.
func compareLoad(l load, waits bool, names []string) func(*bench, context.Context) (*table, error) {
	return func(b *bench, _ context.Context) (*table, error) {
		columns := []column{{"µs/request", less, rivals}, {"req/s", more, nobody}, {"failed", less, nobody}}
		if waits {
			columns = []column{{"µs/request", less, rivals}, {"added p50, µs", less, rivals}, {"late", less, nobody}, {"failed", less, nobody}}
		}
		l.time = b.length(2*time.Second) / turns
		return b.race(names, columns, func(st *stage, s *server) ([]float64, error) {
			return measureLoad(l, s, waits, st.back)
		})
	}
}

func measureLoad(l load, s *server, waits bool, back string) ([]float64, error) {
	pids := s.pids()
	before := busy(pids)
	counted := l
	counted.begun = func() { before = busy(pids) }
	o, err := counted.run(s.address)
	if err != nil {
		return nil, err
	}
	each := float64(busy(pids)-before) / 1e3 / float64(o.answered)
	if !waits {
		return []float64{each, float64(o.answered) / o.elapsed.Seconds(), float64(o.failed)}, nil
	}
	bare, err := l.run(back)
	if err != nil {
		return nil, err
	}
	return []float64{each, float64(o.p50()-bare.p50()) / 1e3, float64(o.late), float64(o.failed)}, nil
}

// compareBytes is a scenario of large bodies, one way or the other.
func compareBytes(method string) func(*bench, context.Context) (*table, error) {
	names := []string{"tideover", "nginx-1", "haproxy-1", "caddy"}
	return func(b *bench, _ context.Context) (*table, error) {
		times := 3
		if b.quick {
			times = 1
		}
		return b.race(names, []column{{"CPU s/GB", less, rivals}, {"MB/s", more, nobody}}, func(_ *stage, s *server) ([]float64, error) {
			return measureBytes(s, method, times)
		})
	}
}

func measureBytes(s *server, method string, times int) ([]float64, error) {
	client := http.Client{Transport: &http.Transport{WriteBufferSize: 128 << 10, ReadBufferSize: 128 << 10}}
	defer client.CloseIdleConnections()
	piece := make([]byte, 128<<10)
	pids := s.pids()
	before, begun := busy(pids), time.Now()
	for range times {
		path, body := "/large", io.Reader(nil)
		if method == http.MethodPost {
			path, body = "/up", io.LimitReader(zeros{}, large)
		}
		request, err := http.NewRequest(method, "http://"+s.address+path, body)
		if err != nil {
			return nil, err
		}
		if body != nil {
			request.ContentLength = large
		}
		response, err := client.Do(request)
		if err != nil {
			return nil, err
		}
		n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, response.Body, piece)
		response.Body.Close()
		if err != nil || response.StatusCode != 200 || body == nil && n != large {
			return nil, fmt.Errorf("%s after %d bytes, %v", response.Status, n, err)
		}
	}
	gb := float64(times) * large / 1e9
	return []float64{(busy(pids) - before).Seconds() / gb, gb * 1e3 / time.Since(begun).Seconds()}, nil
}

// zeros is an endless body.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }
