package main

import (
	"fmt"
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
	out    string   // the file for the report; empty: none
	only   []string // scenarios
	peers  []string // servers compared with tideover
	kamal  string   // its binary; empty: not compared
	before string   // another binary of tideover; empty: not compared
	report report
}

// A scenario compares servers in one respect.
type scenario struct {
	name        string
	description string
	run         func(*bench) (*table, error)
}

// scenarios are in the order in which they are run: those that take long come last.
func scenarios() []scenario {
	return []scenario{
		{"keepalive", "32 clients that keep their connection; CPU per request", compareRequests(32, false, allServers)},
		{"thousand", "1,000 clients that keep their connection; CPU per request", compareRequests(1000, false, mainServers)},
		{"connect", "a new connection for each request, 32 at once; CPU per request", compareRequests(32, true, mainServers)},
		{"down", "responses of 100 MiB; CPU per GB", compareBodies(http.MethodGet)},
		{"up", "uploads of 100 MiB; CPU per GB", compareBodies(http.MethodPost)},
		{"release", "500 requests held and released, again and again; CPU per request", compareRelease},
		{"wake", "from an app's first answer to the first held request's", compareWake},
		{"wrk-1", "wrk, 1 client that keeps its connection; CPU per request", compareByWrk(1, false)},
		{"wrk-4", "wrk, 4 clients that keep their connection; CPU per request", compareByWrk(4, false)},
		{"wrk-16", "wrk, 16 clients that keep their connection; CPU per request", compareByWrk(16, false)},
		{"wrk-64", "wrk, 64 clients that keep their connection; CPU per request", compareByWrk(64, false)},
		{"wrk-256", "wrk, 256 clients that keep their connection; CPU per request", compareByWrk(256, false)},
		{"wrk-1000", "wrk, 1,000 clients that keep their connection; CPU per request", compareByWrk(1000, false)},
		{"wrk-connect", "wrk, a new connection for each request, 32 at once; CPU per request", compareByWrk(32, true)},
		{"pace-3000", "3,000 requests a second; CPU per request, and the wait", comparePaced(3000, 2*time.Second)},
		{"pace-500", "500 requests a second; CPU per request, and the wait", comparePaced(500, 4*time.Second)},
		{"sync", "gunicorn with 2 sync workers, alone and behind; requests a second", compareGunicorn("sync")},
		{"gthread", "gunicorn with 2 gthread workers, alone and behind; requests a second", compareGunicorn("gthread")},
		{"held", "1,000 and 9,500 held requests, released into gunicorn with 2 workers", compareHeld},
	}
}

func scenarioNames() (all []string) {
	for _, s := range scenarios() {
		all = append(all, s.name)
	}
	return all
}

var (
	mainServers = []string{"tideover", "tideover-tcp", "nginx-1", "nginx-2", "haproxy-1", "haproxy-2"}
	allServers  = append(slices.Clone(mainServers), "caddy", "apache", "kamal-proxy")
)

// alone is gunicorn with nothing in front of it.
const alone = "gunicorn"

// peerNames are the servers that can be compared with tideover.
func peerNames() []string { return append(slices.Clone(allServers[1:]), alone) }

// choose reads which scenarios are run and which servers take part, and finds the binary before.
func (b *bench) choose(only, peers string) (err error) {
	if b.only, err = listOf(only, scenarioNames(), "scenario"); err != nil {
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

// listOf reads names separated by commas; none given: all that are known. wrk stands for wrk-1,
// wrk-4 and so on, where nothing is named wrk.
func listOf(text string, known []string, kind string) (list []string, err error) {
	if text == "" {
		return known, nil
	}
	for name := range strings.SplitSeq(text, ",") {
		before := len(list)
		for _, one := range known {
			if one == name || strings.HasPrefix(one, name+"-") && !slices.Contains(known, name) {
				list = append(list, one)
			}
		}
		if len(list) == before {
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
		if before, is := beforeOf(name); is && b.before != "" {
			chosen = append(chosen, before)
		}
	}
	return chosen
}

func (b *bench) run() error {
	b.report.begin(b)
	for _, s := range scenarios() {
		if !slices.Contains(b.only, s.name) {
			continue
		}
		fmt.Printf("\n%s: %s\n", s.name, s.description)
		t, err := s.run(b)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		t.name, t.title = s.name, s.description
		fmt.Print(plain(t.cells()))
		b.report.tables = append(b.report.tables, t)
		if err := b.report.write(b.out); err != nil {
			return err
		}
	}
	if rows := b.report.comparisonRows(); len(rows) > 1 {
		fmt.Printf("\nnow / before\n%s\n%s", plain(rows), b.report.verdicts())
	}
	return nil
}

// length is how long something takes of which the normal length is given.
func (b *bench) length(normal time.Duration) time.Duration {
	if b.quick {
		return normal / 3
	}
	return normal
}

// turns is how many turns each server has in a round, and how long one is. Two binaries whose costs
// differ by little have four times as long a round, cut into turns of the length short: the speed
// of a shared machine changes within a tenth of a second.
func (b *bench) turns(round, short time.Duration) (number int, each time.Duration) {
	if b.before != "" {
		return max(1, int(b.length(4*round)/short)), short
	}
	const usual = 4
	return usual, b.length(round) / usual
}

// measureInTurns measures every server of a table in each round, in turns. Each second turn goes
// through the servers backwards (A B, B A), so that a drift of the machine's speed is the same for
// all. summary returns a value for each column from a server's turns of one round.
func measureInTurns[T any](b *bench, turns int, t *table, measure func(server string) (T, error), summary func(turns []T) []float64) error {
	for round := range b.rounds {
		measured := map[string][]T{} // by server and turn
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
				measured[name] = append(measured[name], one)
			}
		}
		values := map[string][][]float64{} // by server, turn and column
		for name, turns := range measured {
			t.add(name, summary(turns)...)
			for _, one := range turns {
				values[name] = append(values[name], summary([]T{one}))
			}
		}
		t.compare(values)
	}
	return nil
}

// interleaved is measureInTurns with the mean of each column.
func (b *bench) interleaved(turns int, t *table, measure func(server string) ([]float64, error)) error {
	return measureInTurns(b, turns, t, measure, means)
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

// measureSideBySide starts the servers of these names that take part, and measures them in turns.
func measureSideBySide[T any](b *bench, turns int, names []string, columns []column,
	measure func(*environment, *server) (T, error), summary func(turns []T) []float64) (*table, error) {
	e, err := b.newEnvironment()
	if err != nil {
		return nil, err
	}
	defer e.close()
	names = b.servers(names)
	servers, err := e.startAll(names)
	if err != nil {
		return nil, err
	}
	t := newTable(names, columns...)
	return t, measureInTurns(b, turns, t, func(name string) (T, error) { return measure(e, servers[name]) }, summary)
}

// sideBySide is measureSideBySide with the mean of each column.
func (b *bench) sideBySide(turns int, names []string, columns []column, measure func(*environment, *server) ([]float64, error)) (*table, error) {
	return measureSideBySide(b, turns, names, columns, measure, means)
}
