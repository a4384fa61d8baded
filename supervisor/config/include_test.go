package config

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// appNames are the names of the apps of a file.
func appNames(f *File) (names []string) {
	for _, a := range f.Apps {
		names = append(names, a.Name)
	}
	return names
}

func TestAnIncludeThatHasLostAllItsFilesIsAnError(t *testing.T) {
	t.Parallel()
	dir := files(t, map[string]string{
		"tideover.toml":    "include = [\"conf.d/*.toml\", \"local/*.toml\"]\n[app.shop]\ncommand = \"gunicorn shop\"\n",
		"conf.d/blog.toml": "[app.blog]\ncommand = \"sleep 1\"\n",
		"conf.d/wiki.toml": "[app.wiki]\ncommand = \"sleep 1\"\n",
	})
	path := filepath.Join(dir, "tideover.toml")
	load := func() *File {
		t.Helper()
		f, err := Load(path)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	first := load()
	if len(first.Warnings) != 1 || !strings.Contains(first.Warnings[0].Message, "no file matches "+dir+"/local/*.toml") {
		t.Errorf("warnings %v: a pattern that never matched is one", first.Warnings)
	}
	if err := first.LostIncludes(nil); err != nil {
		t.Errorf("at a first start: %v", err)
	}
	if err := os.Remove(filepath.Join(dir, "conf.d/wiki.toml")); err != nil {
		t.Fatal(err)
	}
	second := load()
	if err := second.LostIncludes(first); err != nil || !slices.Equal(appNames(second), []string{"shop", "blog"}) {
		t.Errorf("one file of two was removed: %v, %v", appNames(second), err)
	}
	if err := os.Rename(filepath.Join(dir, "conf.d"), filepath.Join(dir, "conf.away")); err != nil {
		t.Fatal(err)
	}
	third := load()
	err := third.LostIncludes(second)
	var faults *Error
	if !errors.As(err, &faults) || len(faults.Problems) != 1 || !strings.Contains(err.Error(), "conf.d/*.toml, and 1 did") ||
		faults.Problems[0].Line != 1 || !strings.Contains(err.Error(), "apply --allow-empty") {
		t.Errorf("the directory is away: %v", err)
	}
	if err := load().LostIncludes(third); err != nil {
		t.Errorf("after it was applied so: %v", err)
	}
	if err := os.WriteFile(path, []byte("[app.shop]\ncommand = \"gunicorn shop\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := load().LostIncludes(second); err != nil {
		t.Errorf("the pattern was taken out: %v", err)
	}
}

func TestOnlyMissingAppsCanBeAllowed(t *testing.T) {
	t.Parallel()
	for text, allowed := range map[string]bool{
		"": true, "# nothing\n": true, "[daemon]\n": true, "[defaults]\n": true, "app = {}\n": true,
		"include = [\"*.d/*.toml\"]\n":     true,
		"[daemon]\nlog_level = \"loud\"\n": false, "[app.shop": false, "apps = 1\n": false, "[app.shop]\n": false,
	} {
		_, err := Load(filepath.Join(files(t, map[string]string{"tideover.toml": text}), "tideover.toml"))
		var faults *Error
		if !errors.As(err, &faults) {
			t.Errorf("%q is accepted: %v", text, err)
			continue
		}
		f, ok := faults.AllowEmpty()
		if ok != allowed || ok && (len(f.Apps) != 0 || len(f.Warnings) == 0) {
			t.Errorf("%q: allowed %v, %+v", text, ok, f)
		}
	}
}
