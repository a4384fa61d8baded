package trend

import (
	"math"
	"slices"
	"testing"
	"time"

	"tideover/supervisor/api"
)

var start = time.Unix(1_800_000_000, 0)

// daemon answers with one app, to which requests come.
type daemon struct {
	api.Status
	*Recorder
	now time.Time
}

func newDaemon(step time.Duration, length int) *daemon {
	d := &daemon{Recorder: New(step, length), now: start}
	d.DurationBounds = []float64{0.01, 0.1, 1}
	d.Apps = []api.AppStatus{{Name: "shop", Generation: 1, Durations: make([]uint64, 4)}}
	return d
}

// second counts n requests in a bucket, of which some fail, and adds the answer a second later.
func (d *daemon) second(n, failed uint64, bucket int) {
	a := &d.Apps[0]
	a.Durations = slices.Clone(a.Durations)
	a.Durations[bucket] += n
	a.Failed += failed
	d.now = d.now.Add(time.Second)
	d.Add(d.now, d.Status)
}

func near(a, b float64) bool { return math.Abs(a-b) < 1e-6*max(1, math.Abs(a), math.Abs(b)) }

func TestQuantilesAreThoseOfPrometheus(t *testing.T) {
	bounds := []float64{0.01, 0.1, 1}
	for _, c := range []struct {
		q      float64
		counts []uint64
		want   float64
	}{
		{0.5, []uint64{10, 0, 0, 0}, 0.005}, {0.95, []uint64{0, 100, 0, 0}, 0.01 + 0.09*0.95}, {0.5, []uint64{5, 5, 0, 0}, 0.01},
		{0.95, []uint64{0, 0, 0, 7}, 1}, {0.5, []uint64{0, 0, 0, 0}, 0}, {0.5, []uint64{1, 2}, 0}, {0.5, nil, 0},
	} {
		if got := quantile(c.q, c.counts, bounds); !near(got, c.want) {
			t.Errorf("%v of %v is %v, want %v", c.q, c.counts, got, c.want)
		}
	}
}

func TestRatesAreOfTheLastTenSeconds(t *testing.T) {
	d := newDaemon(time.Second, 60)
	if d.Add(d.now, d.Status); d.Summary("shop").Known || d.Summary("none").Known {
		t.Error("a rate is known after one answer")
	}
	for range 30 {
		d.second(100, 0, 0)
	}
	for range 10 {
		d.second(20, 5, 1)
	}
	if s := d.Summary("shop"); !s.Known || !near(s.PerSecond, 20) || !near(s.Failing, 5) || s.P50 < 0.01 || s.P50 > 0.1 {
		t.Errorf("%+v", s)
	}
	if n := len(d.apps["shop"].recent); n > 12 {
		t.Errorf("%d readings are kept", n)
	}
}

func TestACurveHasTheLastPointsAndTheMostHeld(t *testing.T) {
	d := newDaemon(5*time.Second, 4)
	for i := range 60 {
		d.Apps[0].Held = i % 7
		d.second(10, 1, 0)
	}
	points := d.Newest("shop", 100)
	if len(points) != 4 || len(d.Newest("shop", 2)) != 2 || d.Newest("none", 3) != nil {
		t.Fatalf("%d points", len(points))
	}
	for _, p := range points {
		if !near(float64(p.PerSecond), 10) || !near(float64(p.Failing), 1) || p.Held < 4 || p.P50 == 0 {
			t.Errorf("%+v", p)
		}
	}
	d.now = d.now.Add(time.Hour) // no viewer, no answer
	d.second(0, 0, 0)
	if points := d.Newest("shop", 100); len(points) != 4 || points[0].PerSecond > 1 {
		t.Errorf("after an hour: %+v", points)
	}
}

func TestANewGenerationIsComparedWithTheOneBefore(t *testing.T) {
	d := newDaemon(time.Second, 10)
	for range 400 {
		d.second(10, 0, 0)
	}
	if d.Comparison("shop") != nil {
		t.Error("there is nothing to compare")
	}
	d.Apps[0].Generation = 0 // a restart
	d.second(0, 0, 0)
	d.Apps[0].Generation = 2
	d.second(0, 0, 0)
	for range 100 {
		d.second(10, 5, 2)
	}
	c := d.Comparison("shop")
	if c == nil || c.From != 1 || c.To != 2 {
		t.Fatalf("%+v", c)
	}
	if c.Old.Requests < 2500 || c.Old.Requests > 3100 || c.Old.Failed != 0 || c.Old.P95 > 0.01 {
		t.Errorf("old %+v", c.Old)
	}
	if c.New.Requests != 1000 || c.New.Failed != 500 || !near(c.New.FailedShare(), 0.5) || c.New.P95 < 0.1 {
		t.Errorf("new %+v", c.New)
	}
	for range 1000 {
		d.second(1, 0, 0)
	}
	if c := d.Comparison("shop"); c != nil {
		t.Errorf("it is compared for ever: %+v", c)
	}
}

func TestCountersThatBeginAnewAreNoRequests(t *testing.T) {
	d := newDaemon(time.Second, 10)
	for range 20 {
		d.second(1000, 10, 3)
	}
	d.Apps[0].Durations, d.Apps[0].Failed = make([]uint64, 4), 0 // another daemon
	d.second(3, 0, 0)
	if s := d.Summary("shop"); s.Known {
		t.Errorf("%+v", s)
	}
	d.second(3, 0, 0)
	if s := d.Summary("shop"); !near(s.PerSecond, 3) {
		t.Errorf("%+v", s)
	}
	d.Apps = nil
	d.now = d.now.Add(time.Second)
	if d.Add(d.now, d.Status); len(d.apps) != 0 {
		t.Error("an app that is gone is kept")
	}
}
