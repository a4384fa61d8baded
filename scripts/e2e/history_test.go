//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
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

// record is one of the history.
type record struct {
	ID         uint64    `json:"id"`
	Time       time.Time `json:"time"`
	Kind       string    `json:"kind"`
	Verb       string    `json:"verb"`
	Result     string    `json:"result"`
	Exit       int       `json:"exit"`
	Generation struct {
		From int `json:"from"`
		To   int `json:"to"`
	} `json:"generation"`
	Requests struct {
		Held int `json:"held"`
		Lost int `json:"lost"`
	} `json:"requests"`

	text string // all of its JSON
}

func parseRecord(r *row, text []byte) (rec record) {
	r.Helper()
	var compact bytes.Buffer
	if err := errors.Join(json.Unmarshal(text, &rec), json.Compact(&compact, text)); err != nil {
		r.Fatalf("%q: %v", text, err)
	}
	rec.text = compact.String()
	return rec
}

// answerLog is the load generator's own log of what clients have got.
type answerLog struct {
	mu  sync.Mutex
	all []answer
}

// answer is one of a request that was not lost.
type answer struct {
	started, ended time.Time
	generation     int
	held           bool // by its Server-Timing
}

func (l *answerLog) add(a loadgen.Answer) {
	generation, err := strconv.Atoi(a.Echo["generation"])
	if a.Loss != "" || err != nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, answer{a.Started, a.Started.Add(a.Waited), generation, strings.Contains(a.Header.Get("Server-Timing"), "hold")})
}

// held counts the answers to requests that were held and were sent in a time. At least so many must
// have been held by its end, because the others may have come later: after the release requests wait
// behind those that are released before them.
func (l *answerLog) held(from, to time.Time) (least, most int) {
	for _, a := range l.all {
		if !a.held || a.started.Before(from.Add(-time.Second)) || a.started.After(to) {
			continue
		}
		if most++; a.started.Before(to.Add(-500 * time.Millisecond)) {
			least++
		}
	}
	return least, most
}

// What has happened is recorded as it was: in the order in which it was done, with the counts of the
// clients themselves, the same in events -f as in history later, and the
// same after an upgrade and after kill -9 of tideover.
func TestHistoryIsWhatClientsHaveSeen(t *testing.T) {
	r := begin(t)
	binary := r.env.Path("tideover")
	r.must(install(r, binary))
	s := newFixture(r, setup{binary: binary, flags: loadFlags(), release: testenv.Release{Number: 1, Import: 0.5}})
	watcher, err := s.env.Start(testenv.Command{Name: "events", Argv: []string{testenv.Binary(s.env.Root), "-S", s.daemon.Socket, "--json", "events", "-f", "-n", "1000"}})
	r.must(err)
	seen := &answerLog{}
	s.load = loadgen.Start(loadgen.Plan{Client: s.client, Rate: s.affordableRate(60), Each: seen.add})
	quiet := func() { pause(r, 2500*time.Millisecond) } // no held request belongs to two operations
	s.reload()
	quiet()
	s.restart()
	quiet()
	s.event("hold", func() {
		s.call("hold", s.daemon.App, "--for", "20s")
		pause(r, time.Second)
		s.call("release", s.daemon.App)
	})
	quiet()
	s.failedReload("raise")
	quiet()
	s.killMaster()
	tally := s.finish()

	want := []string{"daemon", "start", "reload ok", "restart ok", "hold", "release", "reload kept old", "crash", "start"}
	var records []record
	s.must(testenv.Poll(s.timeout(10*time.Second), 50*time.Millisecond, func() error {
		records = s.history()
		if told := whatHappened(records); !slices.Equal(told, want) {
			return fmt.Errorf("the history tells %q, want %q", told, want)
		}
		return nil
	}))
	for _, rec := range records {
		if rec.Requests.Lost != 0 {
			s.Errorf("record %d: %d requests lost, and the clients lost %d", rec.ID, rec.Requests.Lost, tally.Lost())
		}
	}
	s.compare(records, seen)
	s.watched(watcher.Output)

	s.must(install(r, binary))
	s.must(s.daemon.Signal(syscall.SIGUSR2))
	s.must(testenv.Poll(s.timeout(30*time.Second), 10*time.Millisecond, func() error { return s.runsFrom(binary) }))
	s.stillTells(records, "an upgrade")
	s.killDaemon()
	s.must(s.daemon.StartAgain())
	s.waitRelease(30*time.Second, s.app.Release().Number)
	s.stillTells(records, "kill -9")
	s.watched(watcher.Output)
	s.addNumbers("records=%d", len(records))
	s.shutdown()
}

// whatHappened are the records in words, without the begin and the drain of operations.
func whatHappened(records []record) (told []string) {
	for _, rec := range records {
		switch rec.Kind {
		case "begun", "drained":
		case "operation":
			told = append(told, rec.Verb+" "+rec.Result)
		default:
			told = append(told, rec.Kind)
		}
	}
	return told
}

// compare holds the records against the log of the clients.
func (s *fixture) compare(records []record, seen *answerLog) {
	s.Helper()
	var begun, held time.Time
	for _, rec := range records {
		switch {
		case rec.Kind == "begun":
			begun = rec.Time
		case rec.Kind == "hold":
			held = rec.Time
		case rec.Kind == "operation" && rec.Exit == 0:
			s.checkHeldCount(rec.Verb, rec, seen, begun)
			for _, a := range seen.all {
				if a.ended.Before(begun) && a.generation > rec.Generation.From || a.started.After(rec.Time) && a.generation < rec.Generation.To {
					s.Errorf("%s from generation %d to %d, from %v to %v: generation %d answered a request of %v to %v", rec.Verb, rec.Generation.From, rec.Generation.To,
						begun, rec.Time, a.generation, a.started, a.ended)
				}
			}
		case rec.Kind == "release":
			s.checkHeldCount("hold", rec, seen, held)
		}
	}
}

func (s *fixture) checkHeldCount(what string, rec record, seen *answerLog, begun time.Time) {
	s.Helper()
	s.addNumbers("%s_held=%d", what, rec.Requests.Held)
	least, most := seen.held(begun, rec.Time)
	if rec.Requests.Held < least || rec.Requests.Held > most || what != "reload" && least == 0 {
		s.Errorf("%s: %d requests were held by its record, and %d to %d by the clients", what, rec.Requests.Held, least, most)
	}
}

// call runs a verb, which must succeed.
func (s *fixture) call(args ...string) testenv.Outcome {
	s.Helper()
	outcome, err := s.daemon.Call(s.timeout(operationTimeout), args...)
	s.must(err)
	if outcome.Exit != 0 {
		s.Errorf("%v: %v", args, outcome)
	}
	return outcome
}

// history is every record.
func (s *fixture) history() (all []record) {
	s.Helper()
	var document struct{ Records []json.RawMessage }
	s.must(json.Unmarshal([]byte(s.call("--json", "history", "-n", "0").Stdout), &document))
	for _, text := range document.Records {
		all = append(all, parseRecord(s.row, text))
	}
	return all
}

// stillTells waits until the history has a record behind these, and fails the row unless it begins with
// them and no id is missing.
func (s *fixture) stillTells(records []record, what string) {
	s.Helper()
	var now []record
	s.must(testenv.Poll(s.timeout(30*time.Second), 50*time.Millisecond, func() error {
		if now = s.history(); len(now) <= len(records) {
			return fmt.Errorf("after %s there is no new record", what)
		}
		return nil
	}))
	if texts(now[:len(records)]) != texts(records) {
		s.Errorf("after %s the history is\n%s\nand it was\n%s", what, texts(now), texts(records))
	}
	for i, rec := range now {
		if rec.ID != now[0].ID+uint64(i) {
			s.Errorf("after %s record %d follows %d", what, rec.ID, now[max(0, i-1)].ID)
		}
	}
}

// watched fails the row unless events -f prints the records of the history and no other.
func (s *fixture) watched(path string) {
	s.Helper()
	s.must(testenv.Poll(s.timeout(10*time.Second), 50*time.Millisecond, func() error {
		text, err := os.ReadFile(path)
		if records := texts(s.history()); err == nil && string(text) != records {
			err = fmt.Errorf("events -f has printed\n%s\nand the history is\n%s", text, records)
		}
		return err
	}))
}

// texts are records as events prints them: an object in a line.
func texts(records []record) string {
	var b strings.Builder
	for _, rec := range records {
		b.WriteString(rec.text + "\n")
	}
	return b.String()
}
