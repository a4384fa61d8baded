//go:build e2e

package e2e

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"tideover/scripts/browser"
	"tideover/scripts/testenv"
)

// watch makes the page write down each text of the operations in progress, and each number of held
// requests, that it shows.
const watch = `
	window.seen = {turns: [], held: []};
	new MutationObserver(() => {
		const turns = document.querySelector('#turns');
		if (!turns.hidden) seen.turns.push(turns.textContent);
		seen.held.push(Number(document.querySelector('#apps tbody tr').children[7].textContent));
	}).observe(document.body, {subtree: true, childList: true, characterData: true, attributes: true});
	true`

// Chromium has the page open and gets no input: a reload under load is seen with both generations
// and its phases, a hold grows and goes away, and the history has both. Nothing is fetched from
// elsewhere or forbidden by the page's own policy. Without its script the page has the same facts. It
// changes nothing.
func TestThePageShowsWhatHappens(t *testing.T) {
	r := begin(t)
	address, err := testenv.Address()
	r.must(err)
	s := newFixture(r, setup{release: testenv.Release{Number: 1, Import: 1}, gunicorn: testenv.Gunicorn{Workers: 2},
		config: "[daemon]\nadmin = \"" + address + "\"\n"})
	ctx := s.timeout(2 * time.Minute)
	b, err := browser.Start(ctx, browser.Options{Dir: r.env.Path("chromium"), Width: 1280, Height: 900})
	r.must(err)
	defer b.Close()
	r.must(b.Open(ctx, "http://"+address+"/"))
	shows := func(expression string) {
		t.Helper()
		r.must(b.WaitFor(ctx, expression))
	}
	shows("document.querySelector('#link').dataset.is == 'on'")
	shows(fmt.Sprintf("document.querySelector('#apps tbody th').textContent == %q", s.daemon.App))
	r.must(b.Eval(ctx, watch, nil))

	s.startLoad(20)
	shows("parseFloat(document.querySelector('#apps tbody tr').children[4].textContent) > 5")
	s.reload()
	shows("document.querySelector('#apps tbody tr').children[2].textContent == '2'")
	s.event("hold", func() {
		s.hold(30 * time.Second)
		shows("Number(document.querySelector('#apps tbody tr').children[7].textContent) > 0")
		shows("Number(document.querySelector('#apps tbody tr').children[7].textContent) >= 2 * seen.held.find(n => n > 0)")
		s.release()
		shows("Number(document.querySelector('#apps tbody tr').children[7].textContent) == 0")
	})
	shows("['reload', 'hold'].every(word => document.querySelector('#entries').textContent.includes(word))")
	s.finish()

	var seen struct {
		Turns []string
		Held  []int
	}
	r.must(b.Eval(ctx, "seen", &seen))
	for _, want := range []string{"generation 1", "generation 2", "ready"} {
		if !slices.ContainsFunc(seen.Turns, func(text string) bool { return strings.Contains(text, want) }) {
			t.Errorf("the reload was shown without %q: %q", want, seen.Turns)
		}
	}
	steps := slices.Compact(seen.Held)
	if len(steps) < 4 { // none, some, more, none
		t.Errorf("the hold does not grow on the page: %v", steps)
	}
	s.addNumbers("reload_views=%d held_steps=%d", len(slices.Compact(seen.Turns)), len(steps))

	var weight int
	r.must(b.Eval(ctx, "performance.getEntries().filter(e => e.transferSize !== undefined && !e.name.includes('events')).reduce((n, e) => n + e.decodedBodySize, 0)", &weight))
	var origins []string
	r.must(b.Eval(ctx, "[...new Set(performance.getEntriesByType('resource').map(e => new URL(e.name).origin))]", &origins))
	if len(origins) != 1 || origins[0] != "http://"+address {
		t.Errorf("the page fetches from %v", origins)
	}
	s.addNumbers("page_weight=%d", weight)
	if said := b.Said(); len(said) > 0 {
		t.Errorf("the browser complains: %v", said)
	}
	b.Close()

	out, err := exec.Command("curl", "-sf", "http://"+address+"/").Output()
	r.must(err)
	if text := string(out); !strings.Contains(text, ">"+s.daemon.App+"</a>") || !strings.Contains(text, "running") {
		t.Errorf("without its script the page is %s", text)
	}
	for _, path := range []string{"/", "/-/page/events", "/v1/reload", "/-/page/reload"} {
		out, err := exec.Command("curl", "-s", "-o", filepath.Join(r.env.Dir, "post"), "-w", "%{http_code}", "-X", "POST", "-d", `{"app":"`+s.daemon.App+`"}`, "http://"+address+path).Output()
		r.must(err)
		if string(out) != "404" && string(out) != "405" {
			t.Errorf("POST %s: %s", path, out)
		}
	}
	s.shutdown()
}
