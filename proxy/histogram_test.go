package proxy

import (
	"encoding/json"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"tideover/proxy/gate"
)

func (m Metrics) ending(name string, status int) uint64 {
	i := slices.IndexFunc(m.Endings, func(e EndingCount) bool { return e.Ending == name && e.Status == status })
	if i < 0 {
		return 0
	}
	return m.Endings[i].Requests
}

func TestEachEndingIsCountedOnceByStatus(t *testing.T) {
	var c Totals
	const writers, each = 8, 3000
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for i := range each {
				status := []int{200, 201, 404, 500, 503}[i%5]
				c.requests.Add(1)
				c.end(&ending{outcome: outcome(i % 3), status: status, took: time.Duration(w) * time.Millisecond, now: time.Now()})
			}
		})
	}
	all.Wait()
	m, n := c.Metrics(), uint64(0)
	seen := map[EndingCount]bool{}
	for _, e := range m.Endings {
		n += e.Requests
		if key := (EndingCount{Ending: e.Ending, Status: e.Status}); seen[key] {
			t.Errorf("%+v twice", key)
		} else {
			seen[key] = true
		}
	}
	if want := uint64(writers * each); n != want || m.Client.Count() != want {
		t.Errorf("%d endings, %d durations, want %d", n, m.Client.Count(), want)
	}
	if s := c.Snapshot(); s.Answered != writers*each/3 || s.Requests != writers*each {
		t.Errorf("%+v", s)
	}
}

// An app may answer with any status.
func TestMoreStatusesThanThereIsRoomForLoseNoRequest(t *testing.T) {
	var c Totals
	for status := 100; status < 1000; status++ {
		c.end(&ending{outcome: answered, status: status})
		c.end(&ending{outcome: answered, status: status})
	}
	if s := c.Snapshot(); s.Answered != 1800 {
		t.Errorf("%d answered", s.Answered)
	}
	m := c.Metrics()
	if len(m.Endings) > endingSlots || m.ending("answered", 0) == 0 {
		t.Errorf("%d endings, %d without a status", len(m.Endings), m.ending("answered", 0))
	}
}

func TestMetricsOfAnotherProcessAreAdded(t *testing.T) {
	var former, next Totals
	for i, status := range []int{200, 200, 404, 0} {
		former.requests.Add(1)
		former.end(&ending{outcome: []outcome{answered, answered, answered, clientLeft}[i], status: status, took: 20 * time.Millisecond, app: time.Millisecond, held: true, hold: 7 * time.Second})
	}
	former.requests.Add(2)
	s := former.Snapshot()
	s.CutUnderWay()
	text, err := json.Marshal(former.Metrics())
	if err != nil {
		t.Fatal(err)
	}
	var m Metrics
	if err := json.Unmarshal(text, &m); err != nil {
		t.Fatal(err)
	}
	next.Add(s, m)
	got, want := next.Metrics(), former.Metrics()
	if got.ending("cut", 0) != 2 {
		t.Errorf("what the death of the process has cut: %+v", got.Endings)
	}
	if got.ending("answered", 200) != 2 || got.ending("answered", 404) != 1 || got.ending("client_left", 0) != 1 {
		t.Errorf("%+v", got.Endings)
	}
	if !reflect.DeepEqual(got.Client, want.Client) || !reflect.DeepEqual(got.App, want.App) || !reflect.DeepEqual(got.Hold, want.Hold) {
		t.Errorf("%+v, want %+v", got, want)
	}
	next.Clear()
	if empty := next.Metrics(); len(empty.Endings) != 0 || empty.Client.Count() != 0 {
		t.Errorf("after Clear: %+v", empty)
	}
}

func TestWhatTwoProcessesHaveCountedIsSummed(t *testing.T) {
	now := time.Now()
	var totals [2]Totals
	for i := range totals {
		for range i + 1 {
			totals[i].requests.Add(1)
			totals[i].connections.Add(3)
			totals[i].end(&ending{outcome: answered, status: 200 + i, took: time.Millisecond, now: now})
		}
	}
	c := totals[0].Snapshot().Plus(totals[1].Snapshot())
	if c != (Counters{Requests: 3, Answered: 3, Connections: 9}) {
		t.Errorf("%+v", c)
	}
	m := totals[0].Metrics().Plus(totals[1].Metrics())
	if m.ending("answered", 200) != 1 || m.ending("answered", 201) != 2 || m.Client.Count() != 3 || m.Client.Sum != 3*time.Millisecond {
		t.Errorf("%+v", m)
	}
	if got := totals[0].Snapshot().Plus(Counters{}); got != totals[0].Snapshot() {
		t.Errorf("with nothing: %+v", got)
	}
	if got := m.Plus(Metrics{}); got.Client.Count() != 3 || got.ending("answered", 201) != 2 {
		t.Errorf("with nothing: %+v", got)
	}
}

func TestADurationIsInTheBucketOfItsBound(t *testing.T) {
	var h histogram
	for _, d := range []time.Duration{-1, 0, 5 * time.Millisecond, 5*time.Millisecond + 1, 60 * time.Second, 60*time.Second + 1} {
		h.observe(d)
	}
	s := h.snapshot()
	if last := len(s.Buckets) - 1; s.Buckets[0] != 3 || s.Buckets[1] != 1 || s.Buckets[last-1] != 1 || s.Buckets[last] != 1 {
		t.Errorf("%v", s.Buckets)
	}
}

func TestARateIsOfTheLastWholeSeconds(t *testing.T) {
	var w window
	at := time.Unix(1_800_000_000, 0)
	for second := range 40 {
		for range second {
			w.add(at.Add(time.Duration(second) * time.Second))
		}
	}
	// the seconds 30 to 39, and nothing of the present one
	if got, want := w.rate(at.Add(40*time.Second)), 34.5; got != want {
		t.Errorf("%v, want %v", got, want)
	}
	if got := w.rate(at.Add(time.Hour)); got != 0 {
		t.Errorf("%v after an hour", got)
	}
}

func TestMetricsHaveTheStatusThatTheClientGot(t *testing.T) {
	r := newHarness(t, patient, Settings{HealthPath: "/-/alive"})
	r.gate.Swap(r.newTestApp(gate.TargetOptions{}, func(k *appConn) {
		k.request()
		k.answer(404, "none")
	}).Target)
	r.dial().get("/missing").want(404, "none")
	r.dial().get("/-/alive").want(200, "alive\n")
	r.dial().say("nonsense\n\n").want(400, "")
	r.counted("three", func(c Counters) bool { return c.Answered == 2 && c.BadRequest == 1 })
	m := r.server.Metrics()
	if m.ending("answered", 404) != 1 || m.ending("answered", 200) != 1 || m.ending("bad_request", 400) != 1 {
		t.Errorf("%+v", m.Endings)
	}
	if m.Client.Count() != 3 || m.App.Count() != 1 || m.Hold.Count() != 0 {
		t.Errorf("%d, %d, %d", m.Client.Count(), m.App.Count(), m.Hold.Count())
	}
}

func TestTheEndOfARequestAllocatesNothing(t *testing.T) {
	var c Totals
	e := ending{outcome: answered, status: 500, took: time.Second, app: time.Second, hold: time.Second, held: true, now: time.Now()}
	if n := testing.AllocsPerRun(100, func() { c.end(&e) }); n > 0 {
		t.Errorf("%g allocations", n)
	}
}

func BenchmarkEndOfARequest(b *testing.B) {
	var c Totals
	e := ending{outcome: answered, status: 200, took: time.Millisecond, app: 900 * time.Microsecond, now: time.Now()}
	b.ReportAllocs()
	for b.Loop() {
		c.end(&e)
	}
}
