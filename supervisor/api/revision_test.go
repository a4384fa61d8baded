package api

import (
	"strings"
	"testing"
)

func TestARevisionIsOneHarmlessWord(t *testing.T) {
	for _, good := range []string{"0123456789ab", "v1.2.3", "release/42", "20261128-101500", "main@1a2b3c", "1.0+dirty", strings.Repeat("x", MaxRevision)} {
		if err := CheckRevision(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{"", "-rf", ".git", "..", "a/../b", "/etc", "two words", "a\nb", "a\x1b[31m", "a'b", `a"b`, "$(id)", "a;b", "é", strings.Repeat("x", MaxRevision+1)} {
		if CheckRevision(bad) == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}
