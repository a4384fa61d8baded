package netpoll

import (
	"slices"
	"testing"
	"time"
)

func TestListKeepsTheOrderOfAddition(t *testing.T) {
	var l List[string]
	check := func(want ...string) {
		t.Helper()
		var forward, backward []string
		for n := l.Front(); n != nil; n = l.Next(n) {
			forward = append(forward, n.Value)
		}
		for n := l.Back(); n != nil; n = l.Prev(n) {
			backward = append(backward, n.Value)
		}
		slices.Reverse(backward)
		if !slices.Equal(forward, want) || !slices.Equal(backward, want) {
			t.Errorf("%q, backward %q, want %q", forward, backward, want)
		}
	}
	check()
	a, b, c := &Node[string]{Value: "a"}, &Node[string]{Value: "b"}, &Node[string]{Value: "c"}
	a.Remove() // is in no list
	now := 1000 * time.Second
	for _, n := range []*Node[string]{a, b, c} {
		l.PushBack(n, now)
	}
	check("a", "b", "c")
	b.Remove()
	b.Remove()
	check("a", "c")
	l.PushBack(b, now+time.Second)
	check("a", "c", "b")
	if a.AddedAt() != now || b.AddedAt() != now+time.Second {
		t.Errorf("added at %v and %v", a.AddedAt(), b.AddedAt())
	}
	for _, n := range []*Node[string]{a, b, c} {
		n.Remove()
	}
	check()
}
