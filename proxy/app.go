package proxy

import (
	"sync/atomic"

	"github.com/hashicorp/go-hclog"

	"tideover/proxy/connlimit"
	"tideover/proxy/gate"
	"tideover/proxy/spool"
)

// An app is what all connections of one server share.
type app struct {
	name     string
	gate     *gate.Gate
	logger   hclog.Logger
	settings atomic.Pointer[Settings]
	rules    atomic.Pointer[rules] // those that were made last
	counters *Totals
	buffered atomic.Int64 // bytes kept for requests and responses, bounded by Settings.BufferTotal
	unsent   sendings
	spool    *spool.Spool // for what is longer; nil: it is streamed
	errorLog *errorLog
	access   accessLog
	limiter  *connlimit.Limiter
	panicked func()       // see Options
	pipes    atomic.Int32 // that are open

	noKeepAlive atomic.Bool // every response is the last one of its connection
	leaving     <-chan struct{}
}

// reserve counts n bytes that are kept for a request. It reports false, and counts nothing, when
// limit would be exceeded: not even for an instant, in which another one would find no room.
func (a *app) reserve(n, limit int64) bool {
	for {
		buffered := a.buffered.Load()
		if buffered+n > limit {
			return false
		}
		if a.buffered.CompareAndSwap(buffered, buffered+n) {
			return true
		}
	}
}
