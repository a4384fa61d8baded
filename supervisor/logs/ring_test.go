package logs

import (
	"strings"
	"testing"
)

func TestTheRingDropsLinesOfEachStream(t *testing.T) {
	for s := range Stream(streamCount) {
		r := ring{limit: 1000}
		for range 20 {
			r.push(Line{Stream: s, Text: strings.Repeat("x", 99)})
		}
		if gone := r.gone[s]; gone == 0 || gone != int64(100*(20-r.count)) {
			t.Errorf("%v: %d bytes gone, %d lines left", s, gone, r.count)
		}
	}
}
