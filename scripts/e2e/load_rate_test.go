//go:build e2e

package e2e

import (
	"sync"
	"time"

	"tideover/scripts/loadgen"
)

// reserve is the factor by which the machine must carry more than the load: the
// same cores start Python processes and run other rows.
const reserve = 4

// startLoad starts a load of rate requests per second. On a slow machine the quick
// size uses a lower rate, which the line of the row shows; the full size does not.
func (s *fixture) startLoad(rate int, mix ...loadgen.Kind) {
	s.Helper()
	if !*full {
		rate = s.affordableRate(rate)
	}
	s.load = loadgen.Start(loadgen.Plan{Client: s.client, Rate: rate, Mix: mix})
}

// affordableRate returns rate, or less where front-end, tideover and app together
// do not carry reserve times as much.
func (s *fixture) affordableRate(rate int) int {
	s.Helper()
	const clients, each = 4, 40
	var done sync.WaitGroup
	begun := time.Now()
	for range clients {
		done.Go(func() {
			for range each {
				s.client.Do(s.Context(), loadgen.Kind{Name: "pace"})
			}
		})
	}
	done.Wait()
	carried := int(clients * each / time.Since(begun).Seconds())
	if can := max(5, carried/reserve); can < rate {
		s.addNumbers("rate=%d (the machine carries %d a second)", can, carried)
		return can
	}
	return rate
}
