//go:build e2e

package e2e

import (
	"fmt"
	"os"
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
	window.seen = {operations: [], held: []};
	new MutationObserver(() => {
		const operations = document.querySelector('#operations');
		if (!operations.hidden) seen.operations.push(operations.textContent);
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
	nodes, err := b.Accessible(ctx)
	r.must(err)
	s.hears(nodes, "link "+s.daemon.App, "table All apps, with what they do now. The small curve is of the last hour at most.", "columnheader App", "columnheader State", "columnheader Req/s", "columnheader Held",
		"rowheader "+s.daemon.App, "heading Apps", "heading History", "link Skip to the apps", "status ")
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
		Operations []string
		Held       []int
	}
	r.must(b.Eval(ctx, "seen", &seen))
	for _, want := range []string{"generation 1", "generation 2", "ready"} {
		if !slices.ContainsFunc(seen.Operations, func(text string) bool { return strings.Contains(text, want) }) {
			t.Errorf("the reload was shown without %q: %q", want, seen.Operations)
		}
	}
	steps := slices.Compact(seen.Held)
	if len(steps) < 4 { // none, some, more, none
		t.Errorf("the hold does not grow on the page: %v", steps)
	}
	s.addNumbers("reload_views=%d held_steps=%d", len(slices.Compact(seen.Operations)), len(steps))

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

// With a token file, a reload is started from the page under load: it is carried out after a
// confirmation and with the token only, is shown as it happens, and is in the history with the address of
// the browser, and so are a hold and its release. The output of the app is shown. Without the token, with
// a wrong one, and from another origin nothing is done. A screen reader gets the buttons, tables and live
// regions by their names, and Tab leads along the actions.
func TestThePageActsForTheOneWithTheToken(t *testing.T) {
	r := begin(t)
	address, err := testenv.Address()
	r.must(err)
	const token = "0123456789abcdef0123456789abcdef"
	r.must(os.WriteFile(r.env.Path("page.token"), []byte(token+"\n"), 0o600))
	s := newFixture(r, setup{release: testenv.Release{Number: 1, Import: 1}, gunicorn: testenv.Gunicorn{Workers: 2},
		config: "[daemon]\nadmin = \"" + address + "\"\n[daemon.admin_auth]\ntoken_file = \"" + r.env.Path("page.token") + "\"\n"})
	act := func(action string, fields ...string) string {
		args := []string{"-s", "-o", r.env.Path("answer"), "-w", "%{http_code}", "-d", `{"app":"` + s.daemon.App + `"}`}
		for _, field := range fields {
			args = append(args, "-H", field)
		}
		out, err := exec.Command("curl", append(args, "http://"+address+"/-/page/"+action)...).Output()
		r.must(err)
		return string(out)
	}
	right := "Authorization: Bearer " + token
	for want, all := range map[string][]string{
		"401": {act("actions/stop"), act("output")},
		"403": {act("actions/stop", right+"0"), act("output", right+"0"), act("actions/stop", right, "Origin: http://evil.example"), act("actions/stop", right, "Sec-Fetch-Site: cross-site")},
		"421": {act("actions/stop", right, "Host: evil.example")},
		"404": {act("actions/shutdown", right)},
	} {
		for i, got := range all {
			if got != want {
				t.Errorf("refusal %d is %s, want %s", i, got, want)
			}
		}
	}

	ctx := s.timeout(2 * time.Minute)
	b, err := browser.Start(ctx, browser.Options{Dir: r.env.Path("chromium"), Width: 1280, Height: 900})
	r.must(err)
	defer b.Close()
	r.must(b.Open(ctx, "http://"+address+"/#/app/"+s.daemon.App))
	shows := func(expression string) {
		t.Helper()
		r.must(b.WaitFor(ctx, expression))
	}
	press := func(button string) {
		t.Helper()
		expression := fmt.Sprintf("[...document.querySelectorAll('button')].find(b => b.textContent === %q && b.checkVisibility())", button)
		shows(expression)
		r.must(b.Eval(ctx, expression+".click()", nil))
	}
	confirm := func(action string) {
		t.Helper()
		press(action)
		shows("document.querySelector('#confirm').open")
		r.must(b.Eval(ctx, "document.querySelector('#yes').click()", nil))
	}
	give := func(text string) {
		t.Helper()
		shows("document.querySelector('#asking').open")
		r.must(b.Eval(ctx, fmt.Sprintf("document.querySelector('#token').value = %q; document.querySelector('#asking .primary').click()", text), nil))
	}
	outcome := func(text string) {
		t.Helper()
		shows(fmt.Sprintf("document.querySelector('#outcome').textContent.includes(%q)", text))
	}
	shows("document.querySelector('#actions button')")
	nodes, err := b.Accessible(ctx)
	r.must(err)
	s.hears(nodes, "button Reload", "button Restart", "button Hold", "button Drain", "button Stop", "button Read", "button Hour", "group Actions", "heading "+s.daemon.App,
		"columnheader Time", "columnheader What", "table What has happened, the newest first.", "link Skip to the apps", "status ")
	shows("document.querySelector('[data-range=live]').ariaPressed == 'true'") // the daemon is young
	r.must(b.Eval(ctx, "document.querySelector('.back').focus()", nil))
	for _, want := range []string{"Reload", "Restart", "Hold", "Drain", "Stop"} {
		if got, err := b.Tab(ctx); err != nil || got != want {
			t.Errorf("Tab leads to %q, want %q, %v", got, want, err)
		}
	}
	press("Reload")
	shows("document.querySelector('#confirm').open")
	nodes, err = b.Accessible(ctx)
	r.must(err)
	s.hears(nodes, "dialog Reload "+s.daemon.App+"?", "heading Reload "+s.daemon.App+"?", "button Cancel", "button Reload")
	if slices.Contains(nodes, "button Restart") {
		t.Error("a screen reader gets what is behind the dialog")
	}
	r.must(b.Eval(ctx, "document.querySelector('#confirm [value=no]').click()", nil))
	s.startLoad(20)
	s.event("reload on the page", func() {
		confirm("Reload")
		give("wrong-wrong-wrong-wrong")
		outcome("the token is wrong")
		confirm("Reload")
		give(token)
		shows("document.querySelector('#operation').textContent.includes('generation 2')")
		outcome("generation 2 serves after")
	})
	s.event("hold on the page", func() {
		confirm("Hold")
		shows("document.querySelector('#state').textContent.includes('holding')")
		shows("[...document.querySelectorAll('#numbers div')].some(d => d.textContent.startsWith('Held') && !d.textContent.startsWith('Held0'))")
		confirm("Release")
		outcome("released after")
	})
	press("Read")
	shows("document.querySelectorAll('#lines li').length > 3")
	shows("document.querySelector('#entries').textContent.includes('page, 127.0.0.1')")
	s.finish()
	if said := slices.DeleteFunc(b.Said(), func(text string) bool { return strings.Contains(text, "403") }); len(said) > 0 { // of the wrong token
		t.Errorf("the browser complains: %v", said)
	}
	b.Close()
	history := s.call("history", s.daemon.App).Stdout
	if n := strings.Count(history, "by page from 127.0.0.1"); n < 3 { // a reload, a hold and its release
		t.Errorf("the history names the page %d times:\n%s", n, history)
	}
	s.shutdown()
}

// hears checks that a screen reader gets these nodes; one that ends with a space has any name.
func (s *fixture) hears(nodes []string, wanted ...string) {
	s.Helper()
	for _, want := range wanted {
		if !slices.ContainsFunc(nodes, func(n string) bool { return n == want || strings.HasSuffix(want, " ") && strings.HasPrefix(n, want) }) {
			s.Errorf("a screen reader gets no %q of:\n%s", want, strings.Join(nodes, "\n"))
		}
	}
}
