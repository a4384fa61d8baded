package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"tideover/cmd/tideover/internal/term"
	"tideover/supervisor/api"
)

// Phases of several apps may be under way at once; the line of one that goes on
// comes back when another's has ended.
func TestPhasesSideBySide(t *testing.T) {
	t.Parallel()
	var out sharedBuffer
	view := newLiveProgress(term.Screen{Out: &out, Terminal: true, Width: 60}, 4)
	for _, p := range []api.Phase{{App: "shop", Name: "ready"}, {App: "blog", Name: "start"}, {App: "blog", Name: "start", Result: "ok"}} {
		view.phase(p)
	}
	lines := strings.Split(screenful(out.String()), "\n")
	if len(lines) != 3 || !strings.HasPrefix(lines[0], "  ✓ blog  start") || !strings.Contains(lines[1], "shop  ready") {
		t.Errorf("%q", lines)
	}
}

func TestPhaseUnderWayIsRewritten(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	view := newLiveProgress(term.Screen{Out: &out, Terminal: true, Width: 40}, 0)
	began := time.Now()
	view.phase(api.Phase{App: "shop", Verb: api.Restart, Name: "ready", Attrs: []api.Attr{{Key: "long", Value: strings.Repeat("x", 100)}}})
	view.tick(began.Add(4 * time.Second))
	view.tick(began.Add(5 * time.Second))
	if strings.Count(out.String(), "\n") != 2 {
		t.Errorf("more than the title's lines: %q", out.String())
	}
	view.close()
	view.close()
	lines := strings.Split(screenful(out.String()), "\n")
	if len(lines) != 4 || len([]rune(lines[2])) > 39 || !strings.HasSuffix(lines[2], "5.0 s") && !strings.HasSuffix(lines[2], "4.9 s") {
		t.Errorf("%q", lines)
	}
}

func TestHeartbeatInALog(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	view := &logProgress{screen: term.Screen{Out: &out}}
	view.tick(time.Now())
	view.phase(api.Phase{App: "shop", Name: "ready"})
	view.tick(time.Now().Add(20 * time.Second))
	view.phase(api.Phase{App: "shop", Name: "ready", Result: "ok", Duration: 21 * time.Second})
	view.tick(time.Now().Add(30 * time.Second))
	want := "app=shop phase=ready result=waiting duration_s=20\napp=shop phase=ready result=ok duration_s=21\n"
	if out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
}

func TestKeyValues(t *testing.T) {
	t.Parallel()
	fact := func(key, value string) api.Attr { return api.Attr{Key: key, Value: value} }
	for _, c := range []struct {
		attrs []api.Attr
		want  string
		whole bool
	}{
		{[]api.Attr{fact("a", "1"), fact("b", "two words"), fact("c", "")}, `a=1 b="two words" c=""`, true},
		{[]api.Attr{fact("a", strings.Repeat("x", 70)), fact("b", "1234567"), fact("c", "1")}, "a=" + strings.Repeat("x", 70), false},
	} {
		if got, whole := keyValues(c.attrs); got != c.want || whole != c.whole {
			t.Errorf("%q, whole %v, want %q", got, whole, c.want)
		}
	}
}
