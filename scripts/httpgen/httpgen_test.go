package httpgen_test

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"tideover/scripts/httpgen"
)

func source(wire bool) httpgen.Source {
	return httpgen.Source{Seed: 1, Host: "front.test", Wire: wire, Line: 8190, Head: 30 << 10, Fields: 95, Body: 100 << 10}
}

// Go's own parser is a lenient judge, but an independent one: it has to find in
// a request what the source says is in it.
func TestGoReadsEveryRequest(t *testing.T) {
	for _, wire := range []bool{false, true} {
		seen, s := map[string]int{}, source(wire)
		for i := range 5000 {
			r := s.Request(i)
			seen[r.Shape]++
			lines := strings.Split(string(r.Head), "\r\n")
			longest := slices.MaxFunc(lines, func(a, b string) int { return len(a) - len(b) })
			if len(longest) > s.Line || len(r.Head) > s.Head || len(lines) > s.Fields+3 {
				t.Errorf("request %d: a line of %d, a head of %d, %d lines", i, len(longest), len(r.Head), len(lines))
			}
			head := bytes.TrimPrefix(r.Head, []byte("\r\n"))
			got, err := http.ReadRequest(bufio.NewReader(io.MultiReader(bytes.NewReader(head), bytes.NewReader(r.Body))))
			if err != nil {
				t.Fatalf("request %d: %v\n%q", i, err, r.Head)
			}
			body, err := io.ReadAll(got.Body)
			if err != nil || !bytes.Equal(body, r.Content) || got.Method != r.Method || got.Host != "front.test" {
				t.Fatalf("request %d: %v, %s of %q, a body of %d and not %d\n%q", i, err, got.Method, got.Host, len(body), len(r.Content), r.Head)
			}
		}
		for _, name := range httpgen.Shapes() {
			if seen[name] == 0 {
				t.Errorf("no request of the shape %q", name)
			}
		}
	}
}

func TestTheSameNumberIsTheSameRequest(t *testing.T) {
	a, b := source(true).Request(42), source(true).Request(42)
	if !bytes.Equal(a.Head, b.Head) || !bytes.Equal(a.Body, b.Body) {
		t.Errorf("%q\n%q", a.Head, b.Head)
	}
}
