// Package trend makes rates, quantiles and curves out of answers to status, for those that show the
// apps live: `tideover top` and the page of the admin process. It has no goroutine and no clock:
// Add gets each answer with its time.
//
// recorder.go has the series of the apps, stats.go the difference of two readings of the counters,
// comparison.go what the requests of two generations were like.
package trend
