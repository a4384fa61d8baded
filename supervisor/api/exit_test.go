package api

import "testing"

func TestWorse(t *testing.T) {
	t.Parallel()
	order := []Exit{0, 9, 2, 6, 3, 4, 10, 5, 1, 11, 7, 8}
	for i, e := range order {
		for j, other := range order {
			if e.Worse(other) != (i > j) {
				t.Errorf("%d is worse than %d: %v", e, other, e.Worse(other))
			}
		}
	}
}
