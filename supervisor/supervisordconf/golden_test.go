package supervisordconf

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tideover/supervisor/config"
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

// quietEnvironment clears the variables that change the meaning of a command.
func quietEnvironment(t *testing.T) {
	for _, name := range []string{"PORT", "GUNICORN_CMD_ARGS", "WEB_CONCURRENCY"} {
		t.Setenv(name, "")
	}
}

// files writes a tree of files and returns its directory.
func files(t *testing.T, tree map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range tree {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// checkPlaces checks that the line of every problem is a line of its file, and that
// the mark is inside this line.
func checkPlaces(t *testing.T, err *config.Error) {
	t.Helper()
	for _, p := range err.Problems {
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
