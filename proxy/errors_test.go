package proxy

import (
	"errors"
	"fmt"
	"io"
	"testing"
)

func TestIsFault(t *testing.T) {
	for _, c := range []struct {
		err  error
		want bool
	}{{errBodySlow, true}, {fmt.Errorf("x: %w", errBodyTooLarge), true}, {errors.New("x"), false}, {io.ErrUnexpectedEOF, false}} {
		if isClientFault(c.err) != c.want {
			t.Errorf("%v", c.err)
		}
	}
}
