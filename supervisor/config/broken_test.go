package config

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares a text with a file of testdata.
func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v (write it with -update)", err)
	}
	if got != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// quietEnvironment takes away what would change the meaning of a command.
func quietEnvironment(t *testing.T) {
	for _, name := range []string{"PORT", "GUNICORN_CMD_ARGS", "WEB_CONCURRENCY"} {
		t.Setenv(name, "")
	}
}

// copied copies a directory: root takes no configuration out of a repository that belongs to
// another user.
func copied(t *testing.T, dir string) string {
	t.Helper()
	to := trustedDir(t)
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return to
}

// Every file of testdata/broken, and every tideover.toml in a directory of it,
// has the faults that the text file beside it tells.
func TestBroken(t *testing.T) {
	quietEnvironment(t)
	const texts = "testdata/broken"
	dir := copied(t, texts)
	alone, _ := filepath.Glob(filepath.Join(dir, "*.toml"))
	together, _ := filepath.Glob(filepath.Join(dir, "*", "tideover.toml"))
	if len(alone)+len(together) < 60 {
		t.Fatalf("there are only %d broken files", len(alone)+len(together))
	}
	for _, path := range append(alone, together...) {
		name := strings.TrimSuffix(path, ".toml")
		if filepath.Dir(path) != dir {
			name = filepath.Dir(path)
		}
		t.Run(filepath.Base(name), func(t *testing.T) {
			_, err := Load(path)
			var faults *Error
			if !errors.As(err, &faults) {
				t.Fatalf("nothing is wrong with it: %v", err)
			}
			checkPlaces(t, faults)
			golden(t, filepath.Join(texts, filepath.Base(name)+".txt"), strings.ReplaceAll(err.Error(), dir+"/", "")+"\n")
		})
	}
}

// checkPlaces holds what every problem promises: its line is the file's, and
// its mark stands within it.
func checkPlaces(t *testing.T, faults *Error) {
	t.Helper()
	for _, p := range faults.Problems {
		text, err := os.ReadFile(p.File)
		if err != nil {
			t.Errorf("%q names no file: %v", p.Message, err)
			continue
		}
		if p.Line == 0 {
			continue
		}
		line := []rune(p.Text)
		if p.Column < 1 || p.Column-1+p.Length > len(line) && p.Column > len(line)+1 {
			t.Errorf("%q is marked at column %d, length %d of %q", p.Message, p.Column, p.Length, p.Text)
		}
		if !strings.Contains(string(text), p.Text) {
			t.Errorf("%q quotes a line that is not there: %q", p.Message, p.Text)
		}
	}
}

// Files of testdata/warned are good, but for what the text beside them says.
func TestWarned(t *testing.T) {
	quietEnvironment(t)
	const texts = "testdata/warned"
	dir := copied(t, texts)
	all, _ := filepath.Glob(filepath.Join(dir, "*.toml"))
	if len(all) < 5 {
		t.Fatalf("there are only %d files", len(all))
	}
	for _, path := range all {
		f, err := Load(path)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		warnings := &Error{Problems: f.Warnings}
		checkPlaces(t, warnings)
		golden(t, filepath.Join(texts, strings.TrimSuffix(filepath.Base(path), ".toml")+".txt"), strings.ReplaceAll(warnings.Error(), dir+"/", "")+"\n")
	}
}
