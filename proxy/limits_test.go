package proxy

import (
	"fmt"
	"strings"
	"testing"

	"tideover/proxy/gate"
)

// headOf is a request with a target and a field of a size, and a number of further fields.
func headOf(target, field, fields int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "GET /%s HTTP/1.1\nHost: a\n", strings.Repeat("t", target))
	if field > 0 {
		fmt.Fprintf(&b, "Authorization: %s\n", strings.Repeat("f", field))
	}
	for i := range fields {
		fmt.Fprintf(&b, "X-%d: 1\n", i)
	}
	return b.String() + "\n"
}

// A head within raised limits passes, also when it is held; beyond them it has the status of its
// limit, as with the default limits.
func TestRaisedLimitsOfAHead(t *testing.T) {
	raised := Limits{Head: 256 << 10, Target: 64 << 10, Field: 100_000, Fields: 300}
	for _, c := range []struct {
		name   string
		limits Limits
		head   string
		status int
	}{
		{"default target", Limits{}, headOf(10_000, 0, 0), 414},
		{"default field", Limits{}, headOf(0, 12_000, 0), 431},
		{"default fields", Limits{}, headOf(0, 0, 150), 431},
		{"target", raised, headOf(60_000, 0, 0), 200},
		{"field", raised, headOf(0, 99_000, 0), 200},
		{"fields", raised, headOf(0, 0, 299), 200},
		{"all of them", raised, headOf(60_000, 99_000, 298), 200},
		{"beyond the target", raised, headOf(66_000, 0, 0), 414},
		{"beyond the field", raised, headOf(0, 100_001, 0), 431},
		{"beyond the fields", raised, headOf(0, 0, 300), 431},
		{"beyond the head", Limits{Head: 100 << 10, Target: 64 << 10, Field: 64 << 10, Fields: 300}, headOf(60_000, 60_000, 0), 431},
		{"a field as long as the target", Limits{Target: 20_000}, headOf(0, 19_000, 0), 200},
		{"a field shorter than the target", Limits{Target: 20_000, Field: 4000}, headOf(0, 5000, 0), 431},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newHarness(t, patient, Settings{Limits: c.limits})
			client := r.dial().say(c.head)
			if c.status == 200 {
				r.held(1)
			}
			r.gate.Swap(r.newTestApp(gate.TargetOptions{}, echo).Target)
			client.want(c.status, "")
		})
	}
}

// Raised limits cost no memory for a request that does not need them, held or not, and none for a
// connection between two requests.
func TestRaisedLimitsCostOnlyLongHeads(t *testing.T) {
	r := newHarness(t, patient, Settings{Limits: Limits{Head: 256 << 10, Target: 64 << 10, Field: 64 << 10, Fields: 300}})
	memory := func() (largest int) {
		r.everyClient(func(c *loopClient) {
			if c.clientConn == nil {
				largest = 1 << 20 // it is read on a goroutine
				return
			}
			largest = max(largest, len(c.in.data))
		})
		return largest
	}
	var callers []*testClient
	for i := range 20 {
		callers = append(callers, r.dial().get(fmt.Sprintf("/%d", i)))
	}
	r.held(20)
	if n := memory(); n > 1<<10 {
		t.Errorf("a short request that is held has %d bytes", n)
	}
	r.gate.Swap(r.newTestApp(gate.TargetOptions{}, echo).Target)
	for _, c := range callers {
		c.want(200, "")
	}
	long := callers[0].say(headOf(0, 60_000, 0))
	long.want(200, "")
	r.eventually("no memory of an idle connection", func() bool { return memory() == 0 })
}
