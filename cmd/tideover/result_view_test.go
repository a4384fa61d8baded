package main

import (
	"strings"
	"testing"

	"tideover/supervisor/api"
)

func TestFailedReloadSaysNothingTwice(t *testing.T) {
	t.Parallel()
	d, dir := shopDaemon(t)
	failed := keptOld()
	failed.Error, failed.Hint = "it ended at once; nothing serves", "it ended at once\nrepair it"
	failed.Probe, failed.ChildOutput = "no answer at all", []string{"", " ", "boom", ""}
	d.results["shop"] = failed
	d.phases = []api.Phase{{Name: "ready", Result: "failed", Attrs: []api.Attr{{Key: "tries", Value: "0"}}}}
	tideover(t, dir, "reload").want(t, 7, "", `app=shop phase=ready result=failed duration_s=0
tideover: it ended at once; nothing serves

  Last lines of generation 8:
    | boom
hint: repair it
exit 7 (kept old)
`)
}

func TestResultLineKeepsWhatClientsSaw(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"shop":    "app=shop reload=ok generation=8 duration_s=7.81 held=17 lost=0 held_max_s=0.006\n",
		"webshop": "app=webshop reload=ok generation=8 duration_s=7 held=17 lost=0 held_max_s=0.006\n",
		"shop.example.com": "app=shop.example.com reload=ok generation=8 duration_s=7.813\n" +
			"app=shop.example.com held=17 lost=0 held_max_s=0.006\n",
	} {
		r := okResult()
		r.App, r.Verb, r.Duration = name, api.Reload, 7.813
		got := resultLine(r)
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
		for line := range strings.Lines(got) {
			if len(line) > 80 {
				t.Errorf("%d columns: %s", len(line)-1, line)
			}
		}
	}
}
