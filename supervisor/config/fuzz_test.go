package config

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// For every content of a file Load returns either complete apps or problems with
// their positions, and the same ones the next time.
func FuzzLoad(f *testing.F) {
	seeds, _ := filepath.Glob("testdata/broken/*.toml")
	warned, _ := filepath.Glob("testdata/warned/*.toml")
	for _, path := range append(seeds, warned...) {
		text, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte(strings.ReplaceAll(everyKey, `".env", `, "")))
	f.Fuzz(func(t *testing.T, text []byte) {
		path := filepath.Join(t.TempDir(), "tideover.toml")
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		file, err := Load(path)
		again, errAgain := Load(path)
		if err != nil {
			var faults *Error
			if !errors.As(err, &faults) || faults.Errors() == 0 {
				t.Fatalf("an error without a fault: %v", err)
			}
			if errAgain == nil || err.Error() != errAgain.Error() {
				t.Fatalf("first\n%v\nthen\n%v", err, errAgain)
			}
			checkPlaces(t, faults)
			return
		}
		kept, errKept := file.Snapshot().Load()
		if errAgain != nil || errKept != nil {
			t.Fatalf("then %v, kept %v", errAgain, errKept)
		}
		if first := withoutOrigin(file.Apps); !reflect.DeepEqual(first, withoutOrigin(again.Apps)) || !reflect.DeepEqual(first, withoutOrigin(kept.Apps)) {
			t.Fatalf("first %v, then %v, kept %v", file.Apps, again.Apps, kept.Apps)
		}
		checkPlaces(t, &Error{Problems: file.Warnings})
		for _, a := range file.Apps {
			checkComplete(t, a)
		}
	})
}

// withoutOrigin returns the settings of apps.
func withoutOrigin(apps []*App) (all []App) {
	for _, a := range apps {
		app := *a
		app.origin = nil
		all = append(all, app)
	}
	return all
}

func checkComplete(t *testing.T, a *App) {
	t.Helper()
	if checkName(a.Name) != nil || len(a.Command) == 0 || !filepath.IsAbs(a.Directory) || a.Stop.Signal == 0 || a.Instances < 1 || a.ReloadMode() == "" {
		t.Errorf("not complete: %+v", a)
	}
	for _, l := range a.Listen {
		if err := checkListen(l); err != nil {
			t.Errorf("%s listens on %q: %v", a.Name, l, err)
		}
	}
	for _, p := range slices.Concat(a.EnvFile, a.Watch.Files) {
		if !filepath.IsAbs(strings.TrimPrefix(p, "-")) {
			t.Errorf("%q is not absolute", p)
		}
	}
}

// A command that is accepted has at least one word.
func FuzzParseCommand(f *testing.F) {
	for _, seed := range []string{`a 'b c' "d\"e" f\ g`, "''", `a\`, `"`, "a\tb\r\nc", `'it'"'"'s'`, "日本 語"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if words, err := ParseCommand(text); err == nil && len(words) == 0 {
			t.Errorf("%q is no command", text)
		}
	})
}
