package proxy

import (
	"runtime"
	"runtime/debug"
	"time"
)

const (
	// minBurst is how many clients on goroutines at once are a burst: each may have half a megabyte of
	// buffers.
	minBurst = 16
	// quietTime is how long after a burst memory is given back to the kernel.
	quietTime = 10 * time.Second
)

// A burst gives memory back to the kernel when many clients were on goroutines, each with a stack and
// buffers, and most of them have ended. Without allocations the garbage collector runs every two
// minutes, and what it frees is given back minutes later. It belongs to an event loop, and costs
// nothing before the first burst.
type burst struct {
	clients, peak int
	giveBack      *time.Timer // calls giveMemoryBack, on a goroutine; nil: there was no burst
}

// begin says that a client is on a goroutine from now on.
func (b *burst) begin() {
	b.clients++
	b.peak = max(b.peak, b.clients)
}

// end says that a client is on none any more.
func (b *burst) end() {
	b.clients--
	if b.peak < minBurst || b.clients > b.peak/8 {
		return
	}
	b.peak = b.clients
	if b.giveBack == nil {
		b.giveBack = time.AfterFunc(quietTime, giveMemoryBack)
	} else {
		b.giveBack.Reset(quietTime)
	}
}

// giveMemoryBack gives back what is not in use. It runs beside requests: the collector stops them for
// less than a millisecond, as always. What is in a sync.Pool survives the first collection.
func giveMemoryBack() {
	runtime.GC()
	debug.FreeOSMemory()
}

// close is called with the event loop's end.
func (b *burst) close() {
	if b.giveBack != nil {
		b.giveBack.Stop()
	}
}
