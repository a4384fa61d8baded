package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestUsageErrors(t *testing.T) {
	t.Parallel()
	dir := runtimeDir(t)
	for line, want := range map[string]string{
		"relod":                       `there is no verb "relod"` + "\nhint: did you mean reload?",
		"xyzzy":                       `there is no verb "xyzzy"` + "\nhint: tideover help",
		"help relod":                  `there is no verb "relod"`,
		"reload --frobnicate":         "unknown flag: --frobnicate\nhint: tideover help reload",
		"reload --all shop":           "--all leaves nothing to name",
		"status --color sometimes":    "--color sometimes is not one of its values",
		"reload --timeout -1s":        "--timeout must not be negative",
		"reload --timeout 30":         `invalid argument "30" for "--timeout"`,
		"logs -f --json":              "-f has no end, and --json prints one document",
		"logs --daemon shop":          "--daemon is the log of tideover itself",
		"logs -n -3":                  "-n must not be negative",
		"status --watch --json":       "--watch has no end",
		"hold shop blog":              `hold takes 1 name, not "shop blog"`,
		"hold shop --":                "there is no command after --",
		"hold --for -5s":              "--for must not be negative",
		"signal":                      "which signal?",
		"signal a b c":                `"c" is no signal`,
		"apply shop":                  "apply takes no names",
		"update shop":                 "update takes no names",
		"add shop":                    `there is no verb "add"` + "\nhint: did you mean apply?",
		"avail":                       `there is no verb "avail"` + "\nhint: did you mean status?",
		"status --watch=1":            "say it like 5s",
		"status --watch=1ms":          "not below 100ms",
		"maintail shop":               "--daemon is the log of tideover itself",
		"release a b":                 "release takes 1 name",
		"shutdown now":                "shutdown takes no arguments",
		"completion":                  "for which shell",
		"completion tcsh":             "for which shell",
		"version 2":                   "version takes no arguments",
		"run gunicorn -w 4 app:app":   "put -- before the command\nhint: tideover run -- gunicorn -w 4 app:app",
		"run --":                      "there is no command after --\nhint: tideover run -- gunicorn app:app",
		"run --name a b -- gunicorn":  `"b" stands before the --`,
		"run -c x.toml -- gunicorn a": "exclude each other",
		"run -c x.toml --name shop":   "--name is for `run -- COMMAND`",
	} {
		got := tideover(t, dir, strings.Fields(line)...)
		if got.exit != 2 || !strings.HasPrefix(got.stderr, "tideover: ") || !strings.Contains(got.stderr, want) {
			t.Errorf("%s: exit %d, stderr %q, want %q", line, got.exit, got.stderr, want)
		}
		if got.stdout != "" {
			if strings.Contains(line, "--json") {
				oneDocument(t, got.stdout)
			} else {
				t.Errorf("%s: stdout %q", line, got.stdout)
			}
		}
	}
}

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

func TestCompletionScripts(t *testing.T) {
	t.Parallel()
	for shell, word := range map[string]string{"bash": "complete -F _tideover tideover", "zsh": "#compdef tideover", "fish": "complete -c tideover"} {
		if got := tideover(t, runtimeDir(t), "completion", shell); got.exit != 0 || !strings.Contains(got.stdout, word) {
			t.Errorf("%s: exit %d, %d bytes without %q", shell, got.exit, len(got.stdout), word)
		}
	}
}

func TestVersion(t *testing.T) {
	t.Parallel()
	dir := runtimeDir(t)
	if got := tideover(t, dir, "version"); got.exit != 0 || !strings.HasPrefix(got.stdout, "tideover "+version+" (go") {
		t.Errorf("%+v", got)
	}
	if document := oneDocument(t, tideover(t, dir, "version", "--json").stdout); document["version"] != version {
		t.Errorf("%v", document)
	}
}

// Every verb has a script that reads as its specification.
func TestEveryVerbHasAScript(t *testing.T) {
	t.Parallel()
	c := newCLI([]string{t.TempDir()}, nil, nil, nil, nil)
	for _, verb := range c.rootCommand().Commands() {
		if !verb.Runnable() || verb.Hidden {
			continue // words of supervisorctl are in aliases.txt
		}
		script, err := os.ReadFile(filepath.Join("testdata", verb.Name()+".txt"))
		if err != nil {
			t.Error(err)
		} else if !strings.Contains(string(script), "tideover "+verb.Name()) && !strings.Contains(string(script), "daemon "+verb.Name()) {
			t.Errorf("%s.txt does not use it", verb.Name())
		}
	}
}
