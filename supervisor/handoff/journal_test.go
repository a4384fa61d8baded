package handoff

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync"
	"testing"

	"tideover/supervisor/config"
)

// readBack is the record that a successor reads.
func readBack(t *testing.T, m File) *Record {
	t.Helper()
	_, text, err := OpenSlots(m)
	if err != nil {
		t.Fatal(err)
	}
	r, err := decodeRecord(text)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func newTestJournal(t *testing.T, first *Record) (*Journal, *memory) {
	t.Helper()
	m := &memory{pages: map[int64]byte{}, left: -1}
	j, err := NewJournal(&Slots{file: m}, first)
	if err != nil {
		t.Fatal(err)
	}
	return j, m
}

func TestASuccessorReadsWhatWasCommitted(t *testing.T) {
	j, m := newTestJournal(t, &Record{Version: RecordVersion, Epoch: 7})
	want := &Record{Version: RecordVersion, Epoch: 7, Daemon: DaemonRecord{Program: "0.2", Configuration: "c1", Apps: []string{"shop"}, LastApp: 3},
		Configurations: map[string]*config.Snapshot{"c1": {Path: "/etc/t.toml", Texts: map[string]string{"/etc/t.toml": "# <&>"}}},
		Relays:         []RelayRecord{{Number: 2, Attach: "relay/2/attach"}},
		Apps: map[string]*AppRecord{
			"shop":        {ID: 1, Desired: Up, Generations: []*GenerationRecord{{GenerationState: GenerationState{Number: 12, Revision: "ab12"}, Phase: Serving, Token: "t12"}}},
			`a "b" <&> ä`: {ID: 2, Desired: Stopped},
		}}
	j.SetDaemon(want.Daemon)
	j.SetConfigurations(want.Configurations)
	j.SetRelays(want.Relays)
	j.SetApp("gone", &AppRecord{ID: 9})
	for name, a := range want.Apps {
		j.SetApp(name, a)
	}
	j.SetApp("gone", nil)
	if err := j.Commit(); err != nil {
		t.Fatal(err)
	}
	if got := readBack(t, m); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	j.SetApp("shop", &AppRecord{ID: 1, Desired: Finished})
	if got := readBack(t, m); got.Apps["shop"].Desired != Up {
		t.Error("a change is in the record before its commit")
	}
	next, err := NewJournal(&Slots{file: m, sequence: 1}, want)
	if err != nil {
		t.Fatal(err)
	}
	if err := next.Commit(); err != nil {
		t.Fatal(err)
	}
	if got := readBack(t, m); !reflect.DeepEqual(got, want) {
		t.Errorf("of the next supervisor: %+v", got)
	}
}

// After its Commit each change is in the record, whoever commits beside it.
func TestCommitsOfManyGoroutinesLoseNoChange(t *testing.T) {
	slots, f, err := NewSlots()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	j, err := NewJournal(slots, &Record{Version: RecordVersion})
	if err != nil {
		t.Fatal(err)
	}
	var apps sync.WaitGroup
	var reading sync.Mutex // the reader must not meet two writes
	for i := range 8 {
		apps.Go(func() {
			name := fmt.Sprintf("app%d", i)
			for n := range 50 {
				j.SetApp(name, &AppRecord{NextNumber: n})
				if err := j.Commit(); err != nil {
					t.Error(err)
				}
				if rand.IntN(4) > 0 {
					continue
				}
				reading.Lock()
				j.writing.Lock()
				r := readBack(t, f)
				j.writing.Unlock()
				reading.Unlock()
				if a := r.Apps[name]; a == nil || a.NextNumber != n {
					t.Errorf("%s: %+v, want %d", name, a, n)
				}
			}
		})
	}
	apps.Wait()
}

func TestAnUnwrittenChangeIsWrittenByTheNextCommit(t *testing.T) {
	j, m := newTestJournal(t, &Record{Version: RecordVersion})
	j.SetApp("shop", &AppRecord{NextNumber: 1})
	m.left = 5
	if err := j.Commit(); err == nil {
		t.Fatal("the write has failed without an error")
	}
	m.left = -1
	if err := j.Commit(); err != nil {
		t.Fatal(err)
	}
	if got := readBack(t, m); got.Apps["shop"] == nil {
		t.Error("the change is not in the record")
	}
}

func TestARecordOfALaterProgramIsRead(t *testing.T) {
	r, err := decodeRecord([]byte(`{"version":1,"epoch":4,"later":{"x":1},"apps":{"shop":{"id":1,"desired":"up","new":true},"no":null}}`))
	if err != nil || r.Epoch != 4 || r.Apps["shop"].Desired != Up || len(r.Apps) != 1 {
		t.Errorf("%+v, %v", r, err)
	}
	for _, text := range []string{`{"version":2}`, `{"version":1`, ``} {
		if _, err := decodeRecord([]byte(text)); err == nil {
			t.Errorf("%q was read", text)
		}
	}
}

func TestWithoutASuccessorNothingIsWritten(t *testing.T) {
	var j *Journal
	if j.SetApp("shop", &AppRecord{}) != nil || j.SetDaemon(DaemonRecord{}) != nil || j.SetRelays(nil) != nil || j.Commit() != nil {
		t.Error("a journal that is none has an error")
	}
}

// A configuration that the record names is in it, whenever the supervisor dies: its user may come to name
// another one a moment after that is used.
func TestAConfigurationThatTheRecordNamesIsInIt(t *testing.T) {
	a, b := &config.Snapshot{Path: "/a"}, &config.Snapshot{Path: "/b"}
	first := &Record{Version: RecordVersion, Daemon: DaemonRecord{Configuration: "a"}, Configurations: map[string]*config.Snapshot{"a": a}}
	j, m := newTestJournal(t, first)
	commit := func(configurations ...string) {
		t.Helper()
		if err := j.Commit(); err != nil {
			t.Fatal(err)
		}
		if got := slices.Sorted(maps.Keys(readBack(t, m).Configurations)); !slices.Equal(got, configurations) {
			t.Errorf("the record has %v, want %v", got, configurations)
		}
	}
	j.SetConfigurations(map[string]*config.Snapshot{"b": b})
	commit("a", "b")
	j.SetApp("1", &AppRecord{Settings: "b"})
	j.SetDaemon(DaemonRecord{Applying: &Operation{Apply: &Apply{Configuration: "a"}}})
	j.SetConfigurations(nil)
	commit("a", "b")
	j.SetDaemon(DaemonRecord{})
	j.SetApp("1", nil)
	j.SetConfigurations(nil)
	commit()
}
