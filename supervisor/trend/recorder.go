package trend

import (
	"slices"
	"time"

	"tideover/supervisor/api"
)

// window is over which time rates and quantiles are taken.
const window = 10 * time.Second

// maxApps is how many apps have series at most: those that come first in the status.
const maxApps = 1000

// Point is one step of a curve.
type Point struct {
	PerSecond float32 // requests that have ended
	Failing   float32 // of them, those with a status of 500 or above
	Held      int32   // at most
	P50, P95  float32 // in seconds; 0: no request has ended
}

// Summary is an app over the last seconds.
type Summary struct {
	Known     bool    // two answers are there
	PerSecond float64 // requests that have ended
	Failing   float64 // of them, those with a status of 500 or above
	P50, P95  float64 // in seconds; 0: no request has ended
}

// Recorder has the series of all apps: for each a ring of points, a step apart. It is not safe for
// concurrent use.
type Recorder struct {
	step   time.Duration
	length int
	bounds []float64
	apps   map[string]*series
	now    int64 // number of the step of the last answer
}

// New returns a Recorder whose curves have that many points.
func New(step time.Duration, length int) *Recorder {
	return &Recorder{step: step, length: length, apps: map[string]*series{}}
}

// series is one app. Steps are numbered since 1970.
type series struct {
	recent []reading // those of the last window, the oldest first, and the one before
	points []Point   // ring
	oldest int       // where it begins
	next   int64     // number of the step whose point is being made
	begun  reading   // at the begin of the point that is being made
	held   int32     // the most in it
	compared
	seen bool
}

// Step is the time from one point to the next.
func (r *Recorder) Step() time.Duration { return r.step }

// Add adds an answer to status. Apps that are not in it are forgotten.
func (r *Recorder) Add(now time.Time, st api.Status) {
	if !slices.Equal(r.bounds, st.DurationBounds) { // another version of the daemon
		r.bounds, r.apps = st.DurationBounds, map[string]*series{}
	}
	r.now = now.UnixNano() / int64(r.step)
	for i := range st.Apps {
		a := &st.Apps[i]
		s := r.apps[a.Name]
		if s == nil && len(r.apps) < maxApps {
			s = &series{next: r.now}
			r.apps[a.Name] = s
		}
		if s != nil {
			s.seen = true
			r.add(s, newReading(now, a), a)
		}
	}
	for name, s := range r.apps {
		if !s.seen {
			delete(r.apps, name)
		}
		s.seen = false
	}
}

func (r *Recorder) add(s *series, now reading, a *api.AppStatus) {
	if n := len(s.recent); n > 0 && !now.continues(s.recent[n-1]) {
		s.recent, s.compared, s.begun = nil, compared{}, reading{}
	}
	s.recent = append(s.recent, now)
	for len(s.recent) > 2 && now.at.Sub(s.recent[1].at) >= window {
		s.recent = slices.Delete(s.recent, 0, 1)
	}
	if s.next < r.now { // the point before is complete
		r.complete(s, now)
	}
	if s.begun.at.IsZero() {
		s.begun, s.held = now, 0
	}
	s.held = max(s.held, int32(a.Held))
	s.compared.add(now, a.Generation, r.bounds)
}

// complete makes the point that has ended, and the same one for steps in which there was no answer.
func (r *Recorder) complete(s *series, now reading) {
	var p Point
	if took := now.at.Sub(s.begun.at).Seconds(); !s.begun.at.IsZero() && took > 0 {
		ended := now.since(s.begun, r.bounds)
		p = Point{PerSecond: float32(float64(ended.Requests) / took), Failing: float32(float64(ended.Failed) / took),
			Held: s.held, P50: float32(ended.P50), P95: float32(ended.P95)}
	}
	for range min(r.now-s.next, int64(r.length)) {
		s.push(p, r.length)
	}
	s.next = r.now
	s.begun, s.held = now, 0
}

// push adds a point, in the place of the oldest one when there are as many as length.
func (s *series) push(p Point, length int) {
	if len(s.points) < length {
		s.points = append(s.points, p)
		return
	}
	s.points[s.oldest] = p
	s.oldest = (s.oldest + 1) % length
}

// Summary is the app over the last seconds.
func (r *Recorder) Summary(app string) Summary {
	s := r.apps[app]
	if s == nil || len(s.recent) < 2 {
		return Summary{}
	}
	first, last := s.recent[0], s.recent[len(s.recent)-1]
	took := last.at.Sub(first.at).Seconds()
	if took <= 0 {
		return Summary{}
	}
	ended := last.since(first, r.bounds)
	return Summary{Known: true, PerSecond: float64(ended.Requests) / took, Failing: float64(ended.Failed) / took, P50: ended.P50, P95: ended.P95}
}

// Newest returns the last points of the app, at most n, the oldest first.
func (r *Recorder) Newest(app string, n int) []Point {
	s := r.apps[app]
	if s == nil {
		return nil
	}
	points := make([]Point, 0, n)
	for i := max(0, len(s.points)-n); i < len(s.points); i++ {
		points = append(points, s.points[(s.oldest+i)%len(s.points)])
	}
	return points
}

// Comparison compares the generation that serves with the one before; nil: the change is long ago, or
// was not seen.
func (r *Recorder) Comparison(app string) *Comparison {
	if s := r.apps[app]; s != nil {
		return s.change
	}
	return nil
}
