package testenv

import (
	"sync"
	"testing"
)

// Tests that run at the same time must never be given the same port, also not between the test
// for a free one and the server's bind.
func TestEachPortIsHandedOutOnce(t *testing.T) {
	var mu sync.Mutex
	seen := map[int]bool{}
	var all sync.WaitGroup
	for i := range 40 {
		all.Go(func() {
			n, next := 1, Port
			if i%4 == 0 {
				n, next = 3, func() (int, error) { return Ports(3) }
			}
			for range 20 {
				first, err := next()
				if err != nil {
					t.Error(err)
					return
				}
				if n > 1 && first%10 != 0 {
					t.Errorf("the first of %d ports is %d", n, first)
				}
				mu.Lock()
				for port := first; port < first+n; port++ {
					if seen[port] {
						t.Errorf("port %d was returned twice", port)
					}
					seen[port] = true
				}
				mu.Unlock()
			}
		})
	}
	all.Wait()
}
