package generation

import (
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tideover/supervisor/config"
)

func TestOnlyReadingsInARowAboveTheLimitCount(t *testing.T) {
	failed := errors.New("a process has just ended")
	for name, c := range map[string]struct {
		readings []any // memory or error, one each second; then 0
		want     []uint64
	}{
		"three":                {[]any{120, 130, 140}, []uint64{140}},
		"two":                  {[]any{120, 130}, nil},
		"one below between":    {[]any{120, 130, 90, 120, 130}, nil},
		"an error between":     {[]any{120, 130, failed, 120, 130}, nil},
		"at the limit":         {[]any{100, 100, 100, 100}, nil},
		"again and again":      {[]any{120, 120, 120, 130, 130, 130, 140}, []uint64{120, 130}},
		"first none, then six": {[]any{1, 1, 200, 200, 201, 200, 200, 202}, []uint64{201, 202}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				next := 0
				read := func(limit uint64) (uint64, bool, error) {
					if next == len(c.readings) {
						return 0, false, nil
					}
					reading := c.readings[next]
					next++
					if err, ok := reading.(error); ok {
						return 0, false, err
					}
					n := uint64(reading.(int))
					return n, n > limit, nil
				}
				w, ctx := newMemoryWatch(read, config.Memory{Max: 100, Interval: time.Second})
				var running sync.WaitGroup
				running.Go(func() { w.run(ctx) })
				var got []uint64
				for range 20 {
					time.Sleep(time.Second)
					synctest.Wait()
					select {
					case n := <-w.Over():
						got = append(got, n)
					default:
					}
				}
				w.Stop()
				running.Wait()
				if len(got) != len(c.want) || len(got) > 0 && got[0] != c.want[0] || len(got) > 1 && got[1] != c.want[1] {
					t.Errorf("%v, want %v", got, c.want)
				}
			})
		})
	}
}
