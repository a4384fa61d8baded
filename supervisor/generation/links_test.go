package generation

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
)

func TestADirectoryIsResolvedAsTheKernelDoes(t *testing.T) {
	root := tree(t, map[string]string{"data/shop/releases/1/src/app.py": "", "data/other/x": ""})
	for path, to := range map[string]string{
		"srv": "data", "data/shop/current": "releases/1", "data/shop/absolute": filepath.Join(root, "srv/shop/current"), "data/up": "shop/releases/../../other",
		"data/shop/releases/1/link": "./src/", "loop": "loop",
	} {
		if err := os.Symlink(to, filepath.Join(root, path)); err != nil {
			t.Fatal(err)
		}
	}
	for path, links := range map[string][]string{
		"data/shop":                  nil,
		"srv/shop/current/src":       {"srv", "data/shop/current"},
		"srv/shop/current/link":      {"srv", "data/shop/current", "data/shop/releases/1/link"},
		"data/shop/absolute":         {"data/shop/absolute", "srv", "data/shop/current"},
		"srv/up/../shop/releases/./": {"srv", "data/up"},
	} {
		path = filepath.Join(root) + "/" + path
		want, err := filepath.EvalSymlinks(path)
		if err != nil {
			t.Fatal(err)
		}
		dir, followed, err := ResolveDirectory(path)
		var paths []string
		for _, l := range followed {
			rel, _ := filepath.Rel(root, l.Path)
			paths = append(paths, rel)
			if text, _ := os.Readlink(l.Path); text != l.To {
				t.Errorf("%s: %+v", path, l)
			}
		}
		if err != nil || dir != want || !slices.Equal(paths, links) {
			t.Errorf("%s: %s, %v by %q; want %s by %q", path, dir, err, paths, want, links)
		}
	}
	if _, _, err := ResolveDirectory(filepath.Join(root, "loop")); !errors.Is(err, syscall.ELOOP) {
		t.Errorf("a loop: %v", err)
	}
	if _, _, err := ResolveDirectory(filepath.Join(root, "missing")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing directory: %v", err)
	}
	if dir, links, err := ResolveDirectory("/"); dir != "/" || links != nil || err != nil {
		t.Errorf("/: %s %v %v", dir, links, err)
	}
}
