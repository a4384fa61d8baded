package safepath

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A pattern means what a shell with globstar means, without what programs write while they start.
func TestPatterns(t *testing.T) {
	root := t.TempDir()
	for _, path := range []string{"a.py", "b.txt", ".env", "a.py~", "src/c.py", "src/deep/er/d.py", "src/__pycache__/c.pyc",
		"src/node_modules/e.py", "src/.git/f.py", "templates/base.html", "templates/admin/x.html", "odd[1]/g.py"} {
		full := filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("..", filepath.Join(root, "src", "loop")); err != nil {
		t.Fatal(err)
	}
	for pattern, want := range map[string]string{
		"*.py": "a.py", "*": "a.py b.txt", ".e*": ".env", "a.py": "a.py", ".env": ".env",
		"src": "src/c.py src/deep/er/d.py", "src/**": "src/c.py src/deep/er/d.py", "src/**/*.py": "src/c.py src/deep/er/d.py",
		"**/*.py": "a.py odd[1]/g.py src/c.py src/deep/er/d.py", "**/d.py": "src/deep/er/d.py", "**/er/*": "src/deep/er/d.py",
		"templates": "templates/admin/x.html templates/base.html", "templates/*.html": "templates/base.html",
		"temp*/*/?.html": "templates/admin/x.html", "src/loop/*.py": "a.py", "nothing/**": "", "[ab].*": "a.py b.txt",
	} {
		w := newExpansion(func(string) bool { return true }).watch(filepath.Join(root, pattern))
		var got []string
		for _, path := range slices.Sorted(maps.Keys(w.Files)) {
			relative, _ := filepath.Rel(root, path)
			got = append(got, strings.TrimPrefix(relative, "src/loop/"))
		}
		if text := strings.Join(got, " "); text != want || w.Truncated {
			t.Errorf("%s: %q, want %q; truncated: %v", pattern, text, want, w.Truncated)
		}
	}
}

// Any number of files and directories is bounded.
func TestPatternsAreBounded(t *testing.T) {
	root := t.TempDir()
	for i := range 30 {
		dir := filepath.Join(root, fmt.Sprint("d", i))
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for n := range 10 {
			if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(n)), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, limits := range []expansion{{files: 100, dirs: 100, entries: 1000}, {files: 1000, dirs: 10, entries: 1000}, {files: 1000, dirs: 100, entries: 100}} {
		e := limits
		e.mayList = func(string) bool { return true }
		if w := e.watch(root); !w.Truncated || len(w.Files) > 100 || len(w.Dirs) > 40 {
			t.Errorf("%+v: %d files in %d directories, truncated: %v", limits, len(w.Files), len(w.Dirs), w.Truncated)
		}
	}
}
