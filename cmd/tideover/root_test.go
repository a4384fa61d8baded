package main

import (
	"strings"
	"testing"
)

func TestUsageErrors(t *testing.T) {
	t.Parallel()
	dir := runtimeDir(t)
	for line, want := range map[string]string{
		"relod":                       `there is no verb "relod"` + "\nhint: tideover help lists the verbs\nexit 2 (usage)\n",
		"xyzzy":                       `there is no verb "xyzzy"` + "\nhint: tideover help",
		"help relod":                  `there is no help on "relod"` + "\nhint: tideover help reload",
		"reload --frobnicate":         "unknown flag: --frobnicate\nhint: tideover help reload",
		"reload --all shop":           "--all leaves nothing to name",
		"status --color sometimes":    "--color sometimes is not one of its values",
		"reload --timeout -1s":        "--timeout must not be negative",
		"reload --timeout 30":         `invalid argument "30" for "--timeout"`,
		"logs -f --json":              "-f has no end, and --json prints one document",
		"logs -n -3":                  "-n must not be negative",
		"status --watch --json":       "--watch has no end",
		"hold shop blog":              `hold takes 1 name, not "shop blog"`,
		"hold shop --":                "there is no command after --",
		"hold --for -5s":              "--for must not be negative",
		"signal":                      "which signal?",
		"signal a b c":                `"c" is no signal`,
		"apply shop":                  "apply takes no names",
		"update shop":                 "update takes no names",
		"add shop":                    `there is no verb "add"` + "\nhint: tideover help lists the verbs",
		"avail":                       `there is no verb "avail"` + "\nhint: did you mean status?",
		"status --watch=1":            "write it like 5s",
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
