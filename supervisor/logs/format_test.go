package logs

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// Each line of a block is written as it is written alone.
func TestABlockIsWrittenLineByLine(t *testing.T) {
	texts := []string{"plain", "", `a "quote" <b> & \`, "{\"an\":\"object\"}", "caf\u00e9 \xff\t"}
	now := time.Date(2026, 11, 28, 9, 0, 0, 5e6, time.UTC)
	for name, format := range map[string]func([]byte, block) []byte{"dated": appendDated, "plain": appendPlain, "json": appendJSON, "prefixed": Style{Color: true}.append} {
		for s := range Stream(streamCount) {
			like := Line{Time: now, App: "shop", Generation: 3, Stream: s}
			var alone []byte
			for _, text := range texts {
				like.Text = text
				alone = format(alone, like.block())
			}
			like.Text = strings.Join(texts, "\n")
			if got := format([]byte("before "), block{Line: like, count: len(texts)}); string(got) != "before "+string(alone) {
				t.Errorf("%s, %v:\n%s\nalone:\n%s", name, s, got, alone)
			}
			if name != "json" {
				continue
			}
			for i, line := range strings.Split(strings.TrimSuffix(string(alone), "\n"), "\n") {
				want, err := json.Marshal(Line{now, "shop", 3, s, strings.ToValidUTF8(texts[i], "\uFFFD")})
				if err != nil || line != string(want) && (s != Access || line != texts[i]) {
					t.Errorf("%v: %s, want %s (%v)", s, line, want, err)
				}
			}
		}
	}
}

// What is written of an access log among the output costs no allocation for a line.
func TestALineOfABlockCostsNoAllocation(t *testing.T) {
	lines := block{Line: Line{Time: time.Unix(0, 0), App: "shop", Stream: Access, Text: strings.TrimSuffix(strings.Repeat("GET / 200\n", 500), "\n")}, count: 500}
	dst := make([]byte, 0, 1<<20)
	for name, format := range map[string]func([]byte, block) []byte{"dated": appendDated, "plain": appendPlain, "json": appendJSON, "prefixed": Style{Color: true}.append} {
		if n := testing.AllocsPerRun(10, func() { dst = format(dst[:0], lines) }); n > 10 {
			t.Errorf("%s: %g allocations for 500 lines", name, n)
		}
	}
}
