package proxy

import (
	"runtime"
	"testing"
	"testing/synctest"
	"time"
)

func TestMemoryIsGivenBackAfterABurstOfClientsOnly(t *testing.T) {
	for _, c := range []struct {
		name             string
		most, left, more int // clients at once, those that stay, and those that come before quietTime is over
		collects         bool
	}{
		{"few", minBurst - 1, 0, 0, false},
		{"many", minBurst, 0, 0, true},
		{"most of them are there", 8 * minBurst, 2 * minBurst, 0, false},
		{"a tenth is there", 10 * minBurst, minBurst, 0, true},
		{"a second burst", minBurst, 0, minBurst, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var b burst
				defer b.close()
				forced := forcedCollections()
				clients := func(n, left int) {
					for range n {
						b.begin()
					}
					for range n - left {
						b.end()
					}
				}
				clients(c.most, c.left)
				time.Sleep(quietTime - 1)
				clients(c.more, 0)
				synctest.Wait()
				if n := forcedCollections() - forced; n != 0 {
					t.Errorf("%d collections before the time", n)
				}
				time.Sleep(quietTime)
				synctest.Wait()
				if n := forcedCollections() - forced; (n == 2) != c.collects || n > 2 {
					t.Errorf("%d collections", n)
				}
			})
		})
	}
}

func forcedCollections() uint32 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.NumForcedGC
}
