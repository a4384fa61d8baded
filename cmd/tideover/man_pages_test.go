package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"tideover/supervisor/config"
)

// manMacros are the macros of man(7) and the requests of roff that every man understands.
var manMacros = regexp.MustCompile(`^\.(TH|SH|SS|TP|PP|IP|B|BR|br|nf|fi|RS|RE)( |$)`)

// The pages have no errors that a man could complain of: mandoc says so where it is installed.
func TestManPagesAreWellFormed(t *testing.T) {
	t.Parallel()
	root := newCLI([]string{t.TempDir()}, nil, nil, nil, nil).rootCommand()
	for name, page := range map[string]string{
		"tideover.1": commandManPage(root, "2026-11-27"), "tideover.toml.5": configManPage("2026-11-27"),
		"tideover.7": guideManPage("2026-11-27"),
	} {
		for i, line := range strings.Split(page, "\n") {
			if strings.HasPrefix(line, "'") || strings.HasPrefix(line, ".") && !manMacros.MatchString(line) {
				t.Errorf("%s:%d: not a macro of man(7): %s", name, i+1, line)
			}
			if strings.IndexFunc(line, func(r rune) bool { return r > '~' || r < ' ' }) >= 0 {
				t.Errorf("%s:%d: not ASCII: %s", name, i+1, line)
			}
		}
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(page), 0o600); err != nil {
			t.Fatal(err)
		}
		if mandoc, err := exec.LookPath("mandoc"); err == nil {
			out, err := exec.Command(mandoc, "-Tlint", "-Wwarning", path).CombinedOutput()
			if err != nil || len(out) > 0 {
				t.Errorf("mandoc -Tlint: %v\n%s", err, out)
			}
		}
	}
}

// tideover(1) has every verb with all its flags, and tideover.toml(5) every key.
func TestManPagesAreComplete(t *testing.T) {
	t.Parallel()
	root := newCLI([]string{t.TempDir()}, nil, nil, nil, nil).rootCommand()
	commands := commandManPage(root, "")
	for _, verb := range root.Commands() {
		if !verb.Runnable() || verb.Hidden {
			continue
		}
		if !strings.Contains(commands, "\n.SS "+escapeTerm(verb.Use)+"\n") {
			t.Errorf("tideover(1) does not have %s", verb.Name())
		}
		verb.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if !f.Hidden && f.Name != "help" && !strings.Contains(commands, `\-\-`+strings.ReplaceAll(f.Name, "-", `\-`)) {
				t.Errorf("tideover(1) does not have --%s of %s", f.Name, verb.Name())
			}
		})
	}
	keys := configManPage("")
	for _, k := range slices.Concat(config.AppKeys(), config.DaemonKeys(), config.FleetKeys()) {
		if !strings.Contains(keys, "\n.BR \""+k.Path) {
			t.Errorf("tideover.toml(5) does not have %s", k.Path)
		}
	}
}
