package trend

import (
	"slices"
	"time"

	"tideover/supervisor/api"
)

// Stats are the requests that have ended in a stretch of time.
type Stats struct {
	Requests uint64  `json:"n"`
	Failed   uint64  `json:"failed"` // with a status of 500 or above
	P50      float64 `json:"p50"`    // in seconds, for the client; 0 without requests
	P95      float64 `json:"p95"`
}

// FailedShare is the part of the requests that have failed.
func (s Stats) FailedShare() float64 {
	if s.Requests == 0 {
		return 0
	}
	return float64(s.Failed) / float64(s.Requests)
}

// reading is the counters of an app at one moment.
type reading struct {
	at      time.Time
	failed  uint64
	buckets []uint64
}

func newReading(at time.Time, a *api.AppStatus) reading {
	return reading{at: at, failed: a.Failed, buckets: a.Durations}
}

// continues reports whether r is a later reading of the same counters as before: they begin anew with
// a new daemon.
func (r reading) continues(before reading) bool {
	if len(r.buckets) != len(before.buckets) || r.failed < before.failed {
		return false
	}
	for i, n := range r.buckets {
		if n < before.buckets[i] {
			return false
		}
	}
	return true
}

// since returns the requests between two readings.
func (r reading) since(before reading, bounds []float64) Stats {
	counts := slices.Clone(r.buckets)
	s := Stats{Failed: r.failed - before.failed}
	for i := range counts {
		counts[i] -= before.buckets[i]
		s.Requests += counts[i]
	}
	s.P50, s.P95 = quantile(0.50, counts, bounds), quantile(0.95, counts, bounds)
	return s
}

// quantile is the value below which a part q of the observations is, as Prometheus estimates it: those
// of a bucket are taken to be evenly spread over it, those of the last one to be at its lower bound.
func quantile(q float64, counts []uint64, bounds []float64) float64 {
	var total uint64
	for _, n := range counts {
		total += n
	}
	if total == 0 || len(counts) != len(bounds)+1 {
		return 0
	}
	rank, below := q*float64(total), 0.0
	for i, bound := range bounds {
		here := float64(counts[i])
		if here > 0 && below+here >= rank {
			lower := 0.0
			if i > 0 {
				lower = bounds[i-1]
			}
			return lower + (bound-lower)*(rank-below)/here
		}
		below += here
	}
	return bounds[len(bounds)-1]
}
