//go:build e2e

package e2e

import (
	"sync"
	"time"

	"tideover/scripts/load"
)

// reserve is how many times more than the load the machine has to manage: the
// same cores start Pythons, run other rows, and may be lent to others.
const reserve = 4

// under puts the stand under load; rate is in requests per second. On a machine
// that is too slow for it the quick size goes slower, and says so; the full
// size does not.
func (s *fixture) under(rate int, mix ...load.Kind) {
	s.Helper()
	if !*full {
		rate = s.affordable(rate)
	}
	s.load = load.Start(load.Plan{Client: s.client, Rate: rate, Mix: mix})
}

// affordable is the rate, or less where the whole way through front-end,
// tideover and app cannot carry it with reserve.
func (s *fixture) affordable(rate int) int {
	s.Helper()
	const clients, each = 4, 40
	var done sync.WaitGroup
	begun := time.Now()
	for range clients {
		done.Go(func() {
			for range each {
				s.client.Do(s.Context(), load.Kind{Name: "pace"})
			}
		})
	}
	done.Wait()
	carried := int(clients * each / time.Since(begun).Seconds())
	if can := max(5, carried/reserve); can < rate {
		s.say("rate=%d (the machine carries %d a second)", can, carried)
		return can
	}
	return rate
}
