package history

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"tideover/supervisor/api"
	"tideover/supervisor/safepath"
)

func TestMain(m *testing.M) {
	safepath.Helper()
	os.Exit(m.Run())
}

func open(t *testing.T, path string, maxSize int64) *Store {
	t.Helper()
	s := Open(Options{Path: path, Logger: hclog.NewNullLogger(), MaxSize: maxSize})
	t.Cleanup(func() { s.Close() })
	return s
}

// all returns what the store has.
func all(t *testing.T, s *Store, q Query) (records []api.Record) {
	t.Helper()
	s.Flush()
	if err := s.Read(t.Context(), q, func(r api.Record) bool { records = append(records, r); return true }); err != nil {
		t.Fatal(err)
	}
	return records
}

func crash(n int) api.Record {
	return api.Record{Time: time.Unix(int64(1_800_000_000+n), 0).UTC(), Kind: api.AppCrashed, App: "shop", Generation: api.GenerationPair{From: n}, Cause: strings.Repeat("x", 100)}
}

func ids(records []api.Record) (ids []uint64) {
	for _, r := range records {
		ids = append(ids, r.ID)
	}
	return ids
}

func TestTheHistoryIsTheSameAfterARestartAndAKill(t *testing.T) {
	path := filepath.Join(t.TempDir(), "control.history")
	first := open(t, path, 0)
	ref := first.Begin(api.Record{Kind: api.OperationBegun, App: "shop", Verb: api.Reload, By: api.Caller{Via: api.ViaClient, UID: 33, Pid: 7, Command: "tideover reload"}})
	exit := api.ExitKeptOld
	first.AddTo(ref, api.Record{Kind: api.OperationEnded, App: "shop", Verb: api.Reload, Exit: &exit, Revision: api.RevisionPair{From: "a", To: "b"},
		Phases: []api.PhaseResult{{Name: "start", Result: "ok", Duration: 0.4}}, Requests: &api.RequestCounts{Held: 3}})
	first.Add(crash(3))
	before := all(t, first, Query{})
	if len(before) != 3 || before[1].Begun != before[0].ID || !slices.Equal(ids(before), []uint64{1, 2, 3}) {
		t.Fatalf("%+v", before)
	}
	// The first one is not closed: as after SIGKILL.
	second := open(t, path, 0)
	after := all(t, second, Query{})
	for i := range before {
		before[i].Time, after[i].Time = before[i].Time.Round(0), after[i].Time.Local().Round(0)
		before[i].Time = before[i].Time.Local()
	}
	if !reflect.DeepEqual(before, after) {
		t.Errorf("before: %+v\nafter:  %+v", before, after)
	}
	second.Add(crash(4))
	if got := all(t, second, Query{After: 3}); len(got) != 1 || got[0].ID != 4 {
		t.Errorf("ids go on: %+v", got)
	}
}

func TestTheFilesAreBoundedAndTheNewestRecordsAreKept(t *testing.T) {
	dir := t.TempDir()
	s := open(t, filepath.Join(dir, "h"), 4096)
	for n := range 900 {
		s.Add(crash(n))
		if n%100 == 0 {
			s.Flush()
		}
	}
	got := all(t, s, Query{})
	entries, _ := os.ReadDir(dir)
	size := int64(0)
	for _, e := range entries {
		info, _ := e.Info()
		size += info.Size()
	}
	if len(entries) != 4 || size > 4*4096 {
		t.Errorf("%d files, %d bytes", len(entries), size)
	}
	if n := len(got); n < 20 || got[n-1].ID != 900 {
		t.Errorf("%d records, the last %+v", n, got[n-1])
	}
	from, to := got[0].ID, got[len(got)-1].ID
	if want := int(to - from + 1); len(got) != want {
		t.Errorf("records from %d to %d, but %d of them", from, to, len(got))
	}
	// What a reader has asked for and is gone is told, with its number.
	asked := all(t, open(t, filepath.Join(dir, "h"), 4096), Query{After: 5})
	if r := asked[0]; r.Kind != api.RecordsLost || r.Count != asked[1].ID-6 || r.ID != asked[1].ID-1 {
		t.Errorf("%+v", r)
	}
}

func TestATornLineCostsOneRecord(t *testing.T) {
	path := filepath.Join(t.TempDir(), "h")
	s := open(t, path, 0)
	s.Add(crash(1))
	s.Add(crash(2))
	s.Close()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, damaged := range [][]byte{text[:len(text)-20], text[:len(text)-1], append(text, "\x00\x00\x00{\"id\":9"...), append(text, '\n')} {
		if err := os.WriteFile(path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		s := open(t, path, 0)
		s.Add(crash(3))
		got := all(t, s, Query{})
		if n := len(got); n < 2 || got[n-1].Generation.From != 3 || got[n-1].ID != uint64(n) || got[0].ID != 1 {
			t.Errorf("after %q: %v", damaged[max(0, len(damaged)-30):], ids(got))
		}
		s.Close()
	}
}

func TestADiskThatRefusesCostsRecordsWhichAreCounted(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	if err := os.WriteFile(dir, nil, 0o600); err != nil { // where the directory should be
		t.Fatal(err)
	}
	s := open(t, filepath.Join(dir, "h"), 0)
	for n := range 5 {
		s.Add(crash(n))
	}
	s.Flush()
	if s.Lost() != 5 {
		t.Fatalf("%d lost", s.Lost())
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	s.Add(crash(6))
	got := all(t, s, Query{})
	if len(got) != 2 || got[0].Kind != api.RecordsLost || got[0].Count != 5 || got[0].Cause == "" || got[1].ID != 2 {
		t.Errorf("%+v", got)
	}
}

// What a caller has caused is in the history when it asks for it.
func TestAReaderFindsWhatWasAddedBefore(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "h"), 0)
	for n := range 200 {
		s.Add(crash(n))
		if got := all(t, s, Query{}); len(got) != n+1 {
			t.Fatalf("%d of %d records", len(got), n+1)
		}
	}
}

func TestADiskThatDoesNotAnswerDelaysNothing(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "h"), 0)
	s.Add(crash(0))
	s.Flush()
	s.files.Lock() // the writer waits for it as for a disk
	for n := range 3 * queued {
		s.Add(crash(n))
	}
	if s.Lost() < queued {
		t.Errorf("%d lost", s.Lost())
	}
	if err := s.Flush(); err == nil {
		t.Error("Flush does not say that nothing is written")
	}
	ctx, cancel := context.WithCancel(t.Context())
	read := make(chan error, 1)
	go func() { read <- s.Read(ctx, Query{Follow: true}, func(api.Record) bool { return true }) }()
	cancel()
	if err := <-read; err != nil {
		t.Error(err)
	}
	s.files.Unlock()
	s.Add(crash(1))
	got := all(t, s, Query{})
	lost := uint64(0)
	for _, r := range got {
		if r.Kind == api.RecordsLost {
			lost += r.Count
		}
	}
	if lost != s.Lost() || lost == 0 {
		t.Errorf("%d are recorded as lost, %d are", lost, s.Lost())
	}
}

func TestAFollowerGetsEachRecordOnceAndASlowOneLearnsWhatItMissed(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "h"), 8<<10)
	s.Add(crash(0))
	s.Flush()
	const n = 2000
	begun, release := make(chan struct{}), make(chan struct{})
	var got []api.Record
	ended := make(chan error, 1)
	go func() {
		ended <- s.Read(t.Context(), Query{Follow: true}, func(r api.Record) bool {
			if got = append(got, r); len(got) == 1 {
				close(begun)
				<-release // a reader that is slow
			}
			return r.Generation.From != n
		})
	}()
	<-begun
	for i := range n {
		s.Add(crash(i + 1))
		if i%200 == 0 {
			s.Flush()
		}
	}
	s.Flush()
	close(release)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	counted, last := uint64(0), uint64(0)
	for _, r := range got {
		if r.ID <= last {
			t.Fatalf("record %d after %d", r.ID, last)
		}
		if last = r.ID; r.Kind == api.RecordsLost {
			counted += r.Count
		} else {
			counted++
		}
	}
	if counted != n+1 {
		t.Errorf("%d records were got or told as missed, of %d", counted, n+1)
	}
}

func TestRootWritesNoHistoryOnAPathOfAnotherUser(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	victim := filepath.Join(t.TempDir(), "victim")
	if err := os.WriteFile(victim, []byte("untouched"), 0o600); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "h")
	if os.Geteuid() != 0 {
		// Without root there is nothing to gain: the file is the user's own in any case.
		s := open(t, path, 0)
		s.Add(crash(1))
		if got := all(t, s, Query{}); len(got) != 1 {
			t.Errorf("%v", got)
		}
		return
	}
	if err := os.Chown(dir, 33, 33); err != nil {
		t.Fatal(err)
	}
	for _, plant := range []func() error{
		func() error { return os.Symlink(victim, path) },
		func() error { return os.Link(victim, path) },
		func() error { return nil },
	} {
		os.Remove(path)
		if err := plant(); err != nil {
			t.Fatal(err)
		}
		s := open(t, path, 0)
		s.Add(crash(1))
		s.Flush()
		if s.Lost() != 1 {
			t.Errorf("%d lost", s.Lost())
		}
		s.Close()
		if text, _ := os.ReadFile(victim); string(text) != "untouched" {
			t.Fatalf("the victim has %q", text)
		}
	}
}

func TestARecordIsBounded(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "h"), 0)
	r := api.Record{Kind: api.OperationEnded, App: "shop", Error: strings.Repeat("ü", 5000)}
	for n := range 200 {
		r.Output = append(r.Output, fmt.Sprint(n)+strings.Repeat("y", 64<<10))
	}
	s.Add(r)
	got := all(t, s, Query{})
	if len(got) != 1 || len([]rune(got[0].Error)) != maxText || len(got[0].Output) != 0 {
		t.Errorf("%d records", len(got))
	}
	if info, err := os.Stat(s.path); err != nil || info.Size() > maxRecord {
		t.Errorf("%v, %v", info.Size(), err)
	}
}

// What the daemon before may have written of an operation is written once.
func TestABeginningAndAnEndAreWrittenOnce(t *testing.T) {
	path := t.TempDir() + "/history"
	began := time.Now()
	begin := api.Record{Time: began, Kind: api.OperationBegun, App: "shop", Verb: api.Reload}
	end := api.Record{Kind: api.OperationEnded, App: "shop", Verb: api.Reload}
	for range 3 {
		s := Open(Options{Path: path, Logger: hclog.NewNullLogger()})
		s.AddTo(s.BeginOnce(begin), end)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	s := Open(Options{Path: path, Logger: hclog.NewNullLogger()})
	defer s.Close()
	var all []api.Record
	if err := s.Read(t.Context(), Query{}, func(r api.Record) bool { all = append(all, r); return true }); err != nil {
		t.Fatal(err)
	}
	if len(all) != 2 || all[1].Begun != all[0].ID {
		t.Errorf("%+v", all)
	}
}
