package http1

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// ruleCase is one message with what must come of it, as a case of one rule.
type ruleCase struct {
	id   Rule
	name string
	in   string
	want string // status and code: "400 R14"; "": valid; "more": incomplete

	// for a message that is not refused
	has     []string // parts of what is written
	hasNot  []string // must not be written
	content string   // the decoded body; "": not compared
	flagSet string   // outcome.flags; "": not compared, "-": none

	policy   *Policy       // of a request; nil: trustedPolicy
	response *responseCase // nil: the message is a request
}

// refuse is a request that breaks the rule.
func refuse(id Rule, status int, name, in string) ruleCase {
	return ruleCase{id: id, name: name, in: in, want: verdict(status, id)}
}

// pass is a valid request. has are parts of what is written.
func pass(id Rule, name, in string, has ...string) ruleCase {
	return ruleCase{id: id, name: name, in: in, has: has}
}

func (c ruleCase) without(parts ...string) ruleCase      { c.hasNot = append(c.hasNot, parts...); return c }
func (c ruleCase) as(verdict string) ruleCase            { c.want = verdict; return c }
func (c ruleCase) refusedAs(status int, r Rule) ruleCase { return c.as(verdict(status, r)) }
func (c ruleCase) body(content string) ruleCase          { c.content = content; return c }
func (c ruleCase) flags(facts string) ruleCase           { c.flagSet = facts; return c }
func (c ruleCase) under(p Policy) ruleCase               { c.policy = &p; return c }
func (c ruleCase) untrusted() ruleCase                   { return c.under(untrustedPolicy) }

// get returns a request with these field lines after its Host.
func get(lines ...string) string {
	return "GET / HTTP/1.1\r\n" + strings.Join(append([]string{"Host: a"}, lines...), "\r\n") + "\r\n\r\n"
}

// post returns a request with a chunked body, given as it is sent.
func post(body string) string {
	return "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + body
}

func (c ruleCase) run(pieces ...string) outcome {
	if c.response != nil {
		return runResponse(*c.response, pieces...)
	}
	p := c.policy
	if p == nil {
		p = &trustedPolicy
	}
	return runRequest(p, pieces...)
}

func allRules() []ruleCase {
	return slices.Concat(requestLineRules(), fieldRules(), limitRules(), framingRules(), chunkRules(), hostRules(),
		connectionRules(), responseRules(), responseFramingRules())
}

func TestRules(t *testing.T) {
	for _, c := range allRules() {
		t.Run(string(c.id)+"/"+c.name, func(t *testing.T) { c.check(t) })
	}
}

func (c ruleCase) check(t *testing.T) {
	t.Helper()
	got := c.run(c.in)
	if got.verdict != c.want {
		t.Fatalf("verdict %q, want %q\n%.400q\nwritten: %.400q", got.verdict, c.want, c.in, got.out)
	}
	for _, part := range c.has {
		if !strings.Contains(got.out, part) {
			t.Errorf("%q is not written\n%.400q\nwritten: %.400q", part, c.in, got.out)
		}
	}
	for _, part := range c.hasNot {
		if strings.Contains(got.out, part) {
			t.Errorf("%q is written\n%.400q\nwritten: %.400q", part, c.in, got.out)
		}
	}
	if got.content != c.content && c.content != "" {
		t.Errorf("content %.400q, want %.400q", got.content, c.content)
	}
	if c.flagSet != "" && strings.TrimSpace(got.flags) != strings.Trim(c.flagSet, "-") {
		t.Errorf("flags %q, want %q", got.flags, c.flagSet)
	}
}

// TestEveryRuleHasTwoCases: each rule of this package has two cases or more.
func TestEveryRuleHasTwoCases(t *testing.T) {
	cases := map[Rule]int{}
	for _, c := range allRules() {
		cases[c.id]++
	}
	for _, r := range Rules {
		if strings.HasPrefix(r.Where, "proxy/http1/") && cases[r.Rule] < 2 {
			t.Errorf("%s has %d cases, want 2 at least", r.Rule, cases[r.Rule])
		}
	}
}

// TestRulesHaveTheirStatus: the cases have the statuses of the table, and all of them.
func TestRulesHaveTheirStatus(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range allRules() {
		if status, code, refused := strings.Cut(c.want, " "); refused {
			seen[verdict(atoi(t, status), Rule(code))] = true
		}
	}
	seen[verdictOf(errIncompleteBody)] = true // TestBodyReader has the case
	want := map[string]bool{}
	for _, r := range Rules {
		for _, status := range r.Status {
			if strings.HasPrefix(r.Where, "proxy/http1/") {
				want[verdict(status, r.Rule)] = true
			}
		}
	}
	want[verdictOf(errBodyTooLong)] = true // package proxy has the other half of this rule
	if !maps.Equal(seen, want) {
		t.Errorf("statuses of the cases %q, of the table %q", slices.Sorted(maps.Keys(seen)), slices.Sorted(maps.Keys(want)))
	}
}

func atoi(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
