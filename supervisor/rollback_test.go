package supervisor

import (
	"strings"
	"testing"

	"tideover/supervisor/config"
	"tideover/supervisor/state"
)

// linkedRelease is a directory to which current leads, through links that do not change.
func linkedRelease(name string) state.Release {
	return state.Release{Dir: "/data/shop/releases/" + name + "/src",
		Links: []state.Link{{Path: "/srv", To: "data"}, {Path: "/data/shop/current", To: "releases/" + name}}}
}

func TestTheReleaseBeforeIsTheLastOneThatWasReadyElsewhere(t *testing.T) {
	a, b, c := linkedRelease("a"), linkedRelease("b"), linkedRelease("c")
	failed := func(r state.Release) state.Release { r.Failed = true; return r }
	elsewhere := state.Release{Dir: "/opt/shop", Links: []state.Link{{Path: "/opt/current", To: "shop"}}}
	plain := state.Release{Dir: "/opt/shop"}
	for name, test := range map[string]struct {
		now     state.Release
		serving string // directory; empty: none serves
		known   []state.Release
		want    string // text of current, or of the fault
		moves   bool
	}{
		"the one before":                               {c, c.Dir, []state.Release{a, b, c}, "releases/b", true},
		"forward again":                                {b, b.Dir, []state.Release{a, c, b}, "releases/c", true},
		"the app is down with the last one":            {c, "", []state.Release{a, b, c}, "releases/b", true},
		"the last one was never ready":                 {c, b.Dir, []state.Release{a, b}, "releases/b", true},
		"it was ready once, and does not come up":      {a, b.Dir, []state.Release{failed(a), b}, "releases/b", true},
		"the one before does not come up either":       {c, c.Dir, []state.Release{a, failed(b), c}, "releases/b", true},
		"another app has set it back":                  {b, c.Dir, []state.Release{a, b, c}, "releases/b", false},
		"there is only this one":                       {a, a.Dir, []state.Release{a}, "no release before", false},
		"none is known":                                {a, a.Dir, nil, "no release before", false},
		"the key directory was changed":                {b, b.Dir, []state.Release{elsewhere, b}, "does not lead to the release before, /opt/shop", false},
		"the release before was reached by no symlink": {b, b.Dir, []state.Release{plain, b}, "does not lead to the release before", false},
		"no symlink":                                   {plain, plain.Dir, []state.Release{a, plain}, "not deployed by a symlink", false},
	} {
		got, fault := chooseRelease(&config.App{Name: "shop", Directory: "/srv/shop/current/src"}, test.now.Dir, test.now.Links, test.serving, test.known)
		switch {
		case fault != nil:
			if !strings.Contains(fault.Message, test.want) {
				t.Errorf("%s: %v", name, fault)
			}
		case got.text != test.want || got.moves() != test.moves || got.link.Path != "/data/shop/current":
			t.Errorf("%s: %s: %s -> %s", name, got.link.Path, got.link.To, got.text)
		}
	}
}
