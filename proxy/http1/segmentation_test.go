package http1

import (
	"math/rand/v2"
	"strings"
	"testing"
)

// cuts calls try with in, divided into pieces in several ways: whole, by lines, by octets, in two
// at every place, and at random.
func cuts(in string, random *rand.Rand, try func(pieces []string)) {
	try([]string{in})
	try(strings.SplitAfter(in, "\n"))
	if len(in) <= 2000 {
		try(strings.Split(in, ""))
	}
	if len(in) < 400 {
		for i := 1; i < len(in); i++ {
			try([]string{in[:i], in[i:]})
		}
	}
	for range 3 {
		try(randomPieces(in, random))
	}
}

func newRandom(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0)) }

func randomPieces(in string, random *rand.Rand) (pieces []string) {
	for len(in) > 0 {
		n := 1 + random.IntN(len(in))
		if random.IntN(2) == 0 {
			n = 1 + random.IntN(min(len(in), 20))
		}
		pieces = append(pieces, in[:n])
		in = in[n:]
	}
	return pieces
}

// Neither the verdict nor what is written depends on how the bytes were divided into reads.
func TestSegmentation(t *testing.T) {
	for _, c := range allRules() {
		checkCuts(t, c.in, newRandom(1), c.run)
	}
}

// checkCuts compares every division with the whole.
func checkCuts(t *testing.T, in string, random *rand.Rand, run func(pieces ...string) outcome) {
	t.Helper()
	want := run(in)
	cuts(in, random, func(pieces []string) {
		if got := run(pieces...); got != want {
			t.Fatalf("in %d pieces %.400q:\n got %.600q\nwant %.600q", len(pieces), pieces, got, want)
		}
	})
}

// No octet of a line is scanned twice before the line is complete: a head that comes octet by octet
// costs one call for each, and no more.
func TestSlowHeadIsNotQuadratic(t *testing.T) {
	in := []byte(get("X: " + strings.Repeat("v", 8000)))
	var r Request
	for n := 1; n < len(in); n++ {
		before := r.scanned
		if got, err := r.Parse(in[:n], &trustedPolicy); got != 0 || err != nil {
			t.Fatal(n, got, err)
		}
		if r.scanned < before || r.state != beforeStartLine && n-r.scanned > 1 {
			t.Fatalf("after %d octets the parser goes on at %d, before that at %d", n, r.scanned, before)
		}
	}
}
