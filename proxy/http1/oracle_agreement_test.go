package http1

import (
	"slices"
	"testing"
)

// policies returns the policies under which requests are tested.
func policies() []*Policy {
	small := trustedPolicy
	small.PassUnderscores, small.RemoveNamed = true, true
	small.DefaultHost = ""
	small.Limits = Limits{Head: 300, StartLine: 60, Line: 80, Fields: 6, Body: 1000}
	return []*Policy{&trustedPolicy, &untrustedPolicy, &small}
}

// agree compares the parser with the oracle: the same verdict, the same head written.
func agree(t *testing.T, in string, p *Policy) {
	t.Helper()
	want := oracleRequest(in, p)
	var r Request
	n, err := r.Parse([]byte(in), p)
	switch {
	case err != nil:
		if !slices.Contains(want.broken, verdictOf(err)) {
			t.Fatalf("refused with %s, the oracle says %q\n%.600q", verdictOf(err), want.broken, in)
		}
	case want.broken != nil:
		t.Fatalf("not refused (%d octets), the oracle says %q\n%.600q", n, want.broken, in)
	case !want.complete:
		if n != 0 {
			t.Fatalf("%d octets of a head that is not complete\n%.600q", n, in)
		}
	case n != want.length:
		t.Fatalf("head of %d octets, want %d\n%.600q", n, want.length, in)
	default:
		f := testUpstreamOptions
		f.Body = r.Body
		if got := string(r.AppendUpstream(nil, &f)); got != want.forwarded(&f) {
			t.Fatalf("written %.900q\nwant    %.900q\nof %.900q", got, want.forwarded(&f), in)
		}
	}
}

func TestOracleAgreesOnEveryRule(t *testing.T) {
	for _, c := range allRules() {
		for _, p := range policies() {
			agree(t, c.in, p)
		}
		if c.policy != nil {
			agree(t, c.in, c.policy)
		}
	}
}
