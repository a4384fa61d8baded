package term

import "testing"

func TestPageFitsTheScreen(t *testing.T) {
	t.Parallel()
	if got := overwrite("1\n2\n3\n4\n", 5); got != "\x1b[H1\x1b[K\n2\x1b[K\n3\x1b[K\n4\x1b[K\n\x1b[J" {
		t.Errorf("%q", got)
	}
	if got := overwrite("1\n2\n3\n4\n5\n", 5); got != "\x1b[H1\x1b[K\n2\x1b[K\n3\x1b[K\n... and 2 lines\x1b[K\n\x1b[J" {
		t.Errorf("%q", got)
	}
}
