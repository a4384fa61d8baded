package main

import (
	"strings"
	"testing"
	"unicode/utf8"
)

// Every page of help is for a screen of 80 columns and 24 lines, of which the
// prompt takes one.
func TestHelpFitsAScreen(t *testing.T) {
	t.Parallel()
	dir := runtimeDir(t)
	pages := []string{"", "help flags", "help exits", "help signals", "help files"}
	c := newCLI([]string{dir}, nil, nil, nil, nil)
	for _, verb := range c.rootCommand().Commands() {
		if verb.Runnable() {
			pages = append(pages, verb.Name()+" --help", "help "+verb.Name())
			if verb.Name() != "help" && verb.Example == "" {
				t.Errorf("%s has no example", verb.Name())
			}
		}
	}
	if len(pages) < 30 {
		t.Fatalf("only %d pages: %q", len(pages), pages)
	}
	for _, page := range pages {
		got := tideover(t, dir, strings.Fields(page)...)
		if got.exit != 0 || got.stderr != "" || got.stdout == "" {
			t.Errorf("%s: exit %d, %s", page, got.exit, got.stderr)
		}
		lines := strings.Split(strings.TrimSuffix(got.stdout, "\n"), "\n")
		if len(lines) > 23 {
			t.Errorf("%s: %d lines", page, len(lines))
		}
		for _, line := range lines {
			if utf8.RuneCountInString(line) > 80 {
				t.Errorf("%s: %d columns: %s", page, utf8.RuneCountInString(line), line)
			}
		}
	}
}

// The front page lists every verb, and no other.
func TestFrontPageListsTheVerbs(t *testing.T) {
	t.Parallel()
	c := newCLI([]string{t.TempDir()}, nil, nil, nil, nil)
	for _, verb := range c.rootCommand().Commands() {
		if verb.Runnable() && !verb.Hidden && !strings.Contains(frontPage, verb.Name()) {
			t.Errorf("%s is missing", verb.Name())
		}
	}
}
