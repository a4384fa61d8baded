package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A reload of shop needs a right section of its own, and right sections that all apps have.
func TestAFaultElsewhereStopsNoReload(t *testing.T) {
	const shop = "[app.shop]\ncommand = \"gunicorn shop:app\"\nlisten = \"127.0.0.1:8000\"\n"
	for name, c := range map[string]struct {
		main, include string
		goes          bool
	}{
		"unknown key of another app":       {shop + "[app.blog]\ncommand = \"b\"\nworker = 1\n", "", true},
		"wrong value of another app":       {shop + "[app.blog]\ncommand = \"b\"\nhold.timeout = \"soon\"\n", "", true},
		"another app without a command":    {shop + "[app.blog]\n", "", true},
		"gunicorn of another app":          {shop + "[app.blog]\ncommand = \"gunicorn --daemon b:b\"\n", "", true},
		"another app has the same address": {shop + "[app.blog]\ncommand = \"b\"\nlisten = \"127.0.0.1:8000\"\n", "", true},
		"other apps wait for each other":   {shop + "[app.a]\ncommand = \"a\"\nafter = [\"b\"]\n[app.b]\ncommand = \"b\"\nafter = [\"a\"]\n", "", true},
		"an included app":                  {"include = [\"*.d\"]\n" + shop, "[app.blog]\ncommand = \"b\"\nworker = 1\n", true},
		"syntax of an included file":       {"include = [\"*.d\"]\n" + shop, "[app.blog\n", true},
		"an included file's top level":     {"include = [\"*.d\"]\n" + shop, "workers = 1\n", true},

		"an empty included file":    {"include = [\"*.d\"]\n" + shop, "\n", false},
		"its own key":               {shop + "worker = 1\n", "", false},
		"its own section, included": {"include = [\"*.d\"]\n[app.blog]\ncommand = \"b\"\n", shop + "worker = 1\n", false},
		"it is there twice":         {"include = [\"*.d\"]\n" + shop, shop, false},
		"defaults":                  {shop + "[defaults]\nhold.timeout = \"soon\"\n", "", false},
		"daemon":                    {shop + "[daemon]\nlog_level = \"loud\"\n", "", false},
		"top level":                 {"workers = 1\n" + shop, "", false},
		"syntax":                    {shop + "[app.blog\n", "", false},
		"more faults than are read": {shop + "[app.blog]\ncommand = \"b\"\n" + keys(maxErrors), "", false},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			write := func(name, text string) {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			write("tideover.toml", c.main)
			if c.include != "" {
				write("more.d", c.include)
			}
			_, err := Load(filepath.Join(dir, "tideover.toml"))
			var faults *Error
			if !errors.As(err, &faults) {
				t.Fatalf("Load: %v", err)
			}
			file, ok := faults.ForReload("shop")
			if ok != c.goes {
				t.Fatalf("goes %v: %v", ok, err)
			}
			if !ok {
				return
			}
			if a, ok := file.App("shop"); !ok || len(file.Apps) != 1 || a.Listen[0] != "127.0.0.1:8000" {
				t.Errorf("apps %v", file.Apps)
			}
			if len(file.Warnings) == 0 || !file.Warnings[0].Warning || !strings.Contains(file.Warnings[0].File, dir) {
				t.Errorf("warnings %v", file.Warnings)
			}
		})
	}
}

// keys are n lines with unknown keys.
func keys(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString("k" + strings.Repeat("x", i) + " = 1\n")
	}
	return b.String()
}
