//go:build e2e

package e2e

import (
	"os/exec"
	"regexp"
	"testing"
	"time"
)

// What the relay writes for the app is read by gunicorn's own parsers, without
// a server in between: each forwarded request is one message to them, and the
// same one. What only the relay refuses is counted by its rule. The parser is
// the relay's inside, so its own package asks; this row starts it and counts.
func TestParsers(t *testing.T) {
	r := begin(t)
	args := []string{"test", "-tags", "e2e", "-count=1", "-timeout=3h", "-v", "-run", "^TestGunicornReadsTheSame$", "./proxy/http1"}
	limit := 5 * time.Minute
	if *full {
		args, limit = append(args, "-full"), time.Hour
	}
	ask := exec.CommandContext(r.timeout(limit), "go", args...)
	ask.Dir = r.env.Root
	out, err := ask.CombinedOutput()
	numbers := regexp.MustCompile(`(?m)numbers: (.*)$`).FindAllSubmatch(out, -1)
	for _, n := range numbers {
		r.addNumbers("%s", n[1])
	}
	if err != nil || len(numbers) != 3 {
		t.Fatalf("%v\n%s", err, out)
	}
}
