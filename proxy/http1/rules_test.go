package http1

import (
	"slices"
	"strconv"
	"strings"
	"testing"
)

// rule is one case of one rule of the relay's rule book. The number of the rule is in every case, so that the book can
// be held against the table.
type rule struct {
	id   string
	name string
	in   string
	want string // the verdict: "400 R14"; "" if it is to pass, "more" if it is not complete

	// what is expected of a message that passes
	has     []string // in what is written
	hasNot  []string // not in what is written
	content string   // the decoded body
	facts   string   // exactly these flags, if not empty; "-" for none

	policy   *Policy   // of a request; nil: trusted
	exchange *exchange // of a response; nil: a request
}

// refuse is a request that gets its status.
func refuse(id string, status int, name, in string) rule {
	return rule{id: id, name: name, in: in, want: strconv.Itoa(status) + " " + id}
}

// pass is a request that passes and is written with these parts.
func pass(id, name, in string, has ...string) rule {
	return rule{id: id, name: name, in: in, has: has}
}

func (c rule) without(parts ...string) rule { c.hasNot = append(c.hasNot, parts...); return c }
func (c rule) as(verdict string) rule       { c.want = verdict; return c }
func (c rule) body(content string) rule     { c.content = content; return c }
func (c rule) flags(facts string) rule      { c.facts = facts; return c }
func (c rule) under(p Policy) rule          { c.policy = &p; return c }
func (c rule) untrusted() rule              { return c.under(untrustedPolicy) }

// get is a request with these fields behind its Host; lines end in CRLF.
func get(lines ...string) string {
	return "GET / HTTP/1.1\r\n" + strings.Join(append([]string{"Host: a"}, lines...), "\r\n") + "\r\n\r\n"
}

// post is a request with a chunked body, which is given as it stands on the wire.
func post(body string) string {
	return "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + body
}

func (c rule) run(pieces ...string) result {
	if c.exchange != nil {
		return runResponse(*c.exchange, pieces...)
	}
	p := c.policy
	if p == nil {
		p = &trustedPolicy
	}
	return runRequest(p, pieces...)
}

// allRules is every case of every file.
func allRules() []rule {
	return slices.Concat(requestLineRules(), fieldRules(), limitRules(), framingRules(), chunkRules(), hostRules(),
		connectionRules(), responseRules(), responseFramingRules())
}

func TestRules(t *testing.T) {
	for _, c := range allRules() {
		t.Run(c.id+"/"+c.name, func(t *testing.T) { c.check(t) })
	}
}

func (c rule) check(t *testing.T) {
	t.Helper()
	got := c.run(c.in)
	if got.verdict != c.want && !(c.want == "502" && strings.HasPrefix(got.verdict, "502 ")) {
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
	if c.facts != "" && strings.TrimSpace(got.facts) != strings.Trim(c.facts, "-") {
		t.Errorf("flags %q, want %q", got.facts, c.facts)
	}
}

// elsewhere are the rules of the book that are about connections: package proxy holds and tests them.
var elsewhere = []string{"R54", "R62", "R63", "R65", "R77", "R85", "R86", "R87", "R88", "R89", "R91"}

// The book has 78 rules: R1 to R54, R60 to R65, R70 to R80, R85 to R91. Each has two cases here, or another owner.
func TestEveryRuleHasTwoCases(t *testing.T) {
	cases := map[string]int{}
	for _, c := range allRules() {
		cases[c.id]++
	}
	book := 0
	for _, part := range [][2]int{{1, 54}, {60, 65}, {70, 80}, {85, 91}} {
		for n := part[0]; n <= part[1]; n++ {
			book++
			id := "R" + strconv.Itoa(n)
			if slices.Contains(elsewhere, id) {
				continue
			}
			if cases[id] < 2 {
				t.Errorf("%s has %d cases, want 2 at least", id, cases[id])
			}
		}
	}
	if book != 78 {
		t.Errorf("%d rules in the book, want 78", book)
	}
}

// A rule has one status in requests. The few with two say so here, each half with its own cause.
func TestEveryRuleHasOneStatus(t *testing.T) {
	two := map[string]string{"R3": "400 501", "R26": "414 431"}
	statuses := map[string][]string{}
	for _, c := range allRules() {
		status, id, refused := strings.Cut(c.want, " ")
		if !refused || c.exchange != nil {
			continue
		}
		if !slices.Contains(statuses[id], status) {
			statuses[id] = append(statuses[id], status)
		}
	}
	for id, got := range statuses {
		slices.Sort(got)
		if all := strings.Join(got, " "); len(got) > 1 && two[id] != all {
			t.Errorf("%s has statuses %s", id, all)
		}
	}
}
