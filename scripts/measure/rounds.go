package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// A bench runs the scenarios, one after the other.
type bench struct {
	quick  bool
	rounds int
	only   []string // scenarios
	peers  []string // servers compared with tideover
	kamal  string   // its binary; empty: not compared
	before string   // another binary of tideover; empty: not compared
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
		{"release", "500 requests held and released, again and again; CPU per request", compareRelease},
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

// peerNames are the servers that can be compared with tideover.
func peerNames() []string { return append(slices.Clone(all[1:]), "bare") }

// choose reads which scenarios are run and which servers take part, and checks the binaries.
func (b *bench) choose(only, peers string) (err error) {
	if b.only, err = listOf(only, names(), "scenario"); err != nil {
		return err
	}
	switch {
	case peers == "none" || peers == "" && b.before != "":
	case peers == "all":
		b.peers = peerNames()
	default:
		if b.peers, err = listOf(peers, peerNames(), "server"); err != nil {
			return err
		}
	}
	if b.before == "" {
		return nil
	}
	if b.before, err = exec.LookPath(b.before); err != nil {
		return err
	}
	b.before, err = filepath.Abs(b.before)
	return err
}

// listOf reads names separated by commas; none given: all that are known.
func listOf(text string, known []string, kind string) ([]string, error) {
	if text == "" {
		return known, nil
	}
	list := strings.Split(text, ",")
	for _, name := range list {
		if !slices.Contains(known, name) {
			return nil, fmt.Errorf("no %s %q; there are %s", kind, name, strings.Join(known, ", "))
		}
	}
	return list, nil
}

// servers are those of a scenario's servers that take part, the binary before next to the one
// built now.
func (b *bench) servers(names []string) (chosen []string) {
	for _, name := range names {
		if name != "tideover" && !slices.Contains(b.peers, name) || name == "kamal-proxy" && b.kamal == "" {
			continue
		}
		chosen = append(chosen, name)
		if before, ours := beforeOf(name); ours && b.before != "" {
			chosen = append(chosen, before)
		}
	}
	return chosen
}

func (b *bench) run(ctx context.Context) error {
	b.report.begin(b)
	for _, s := range scenarios() {
		if !slices.Contains(b.only, s.name) {
			continue
		}
		fmt.Printf("\n%s: %s\n", s.name, s.does)
		t, err := s.run(b, ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		t.name, t.title = s.name, s.does
		fmt.Print(plain(t.cells()))
		b.report.tables = append(b.report.tables, t)
	}
	if rows := b.report.comparisonRows(); len(rows) > 1 {
		fmt.Printf("\nnow / before\n%s\n%s", plain(rows), b.report.verdicts())
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

// turns is how many turns each server has in a round, and how long one is. Two binaries whose costs
// differ by little have three times as long a round, cut into turns of the length short: the speed
// of a shared machine changes within a tenth of a second.
func (b *bench) turns(round, short time.Duration) (number int, each time.Duration) {
	if b.before != "" {
		return max(1, int(b.length(3*round)/short)), short
	}
	const usual = 4
	return usual, b.length(round) / usual
}

// interleaved measures every server in each round, in turns. Each second turn goes through the
// servers backwards (A B, B A), so that a drift of the machine's speed is the same for all.
func (b *bench) interleaved(turns int, t *table, measure func(server string) ([]float64, error)) error {
	for round := range b.rounds {
		values := map[string][][]float64{} // by server, turn and column
		for turn := range turns {
			for i := range t.names {
				if turn%2 == 1 {
					i = len(t.names) - 1 - i
				}
				name := t.names[(i+round)%len(t.names)]
				one, err := measure(name)
				if err != nil {
					return fmt.Errorf("%s: %w", name, err)
				}
				values[name] = append(values[name], one)
			}
		}
		for name, turns := range values {
			t.add(name, means(turns)...)
		}
		t.compare(values)
	}
	return nil
}

// means is the mean of each column.
func means(turns [][]float64) []float64 {
	sums := make([]float64, len(turns[0]))
	for _, values := range turns {
		for i, v := range values {
			sums[i] += v / float64(len(turns))
		}
	}
	return sums
}

// race has the named servers compared side by side, with those columns.
func (b *bench) race(turns int, names []string, columns []column, measure func(*stage, *server) ([]float64, error)) (*table, error) {
	st, err := b.newStage()
	if err != nil {
		return nil, err
	}
	defer st.room.Close(false)
	names = b.servers(names)
	servers, err := st.contestants(names)
	if err != nil {
		return nil, err
	}
	t := newTable(names, columns...)
	return t, b.interleaved(turns, t, func(name string) ([]float64, error) { return measure(st, servers[name]) })
}

// compareLoad is a scenario of small requests.
func compareLoad(l load, waits bool, names []string) func(*bench, context.Context) (*table, error) {
	return func(b *bench, _ context.Context) (*table, error) {
		columns := []column{costs("µs/request", rivals), shown("req/s", more), shown("failed", less)}
		if waits {
			columns = []column{costs("µs/request", rivals), costs("added p50, µs", rivals), shown("late", less), shown("failed", less)}
		}
		short := 50 * time.Millisecond
		if waits {
			short *= 10
		}
		var turns int
		turns, l.time = b.turns(2*time.Second, short)
		return b.race(turns, names, columns, func(st *stage, s *server) ([]float64, error) {
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
		turns, times := 4, 3
		if b.before != "" {
			turns, times = 32, 1
		}
		if b.quick {
			times = 1
		}
		return b.race(turns, names, []column{costs("CPU s/GB", rivals), shown("MB/s", more)}, func(_ *stage, s *server) ([]float64, error) {
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
