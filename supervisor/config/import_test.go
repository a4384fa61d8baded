package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// supervisordFiles are those of testdata/import: files, and directories with a
// supervisord.conf.
func supervisordFiles(t testing.TB) (dir string, paths []string) {
	t.Helper()
	dir, err := filepath.Abs("testdata/import")
	if err != nil {
		t.Fatal(err)
	}
	alone, _ := filepath.Glob(filepath.Join(dir, "*.conf"))
	together, _ := filepath.Glob(filepath.Join(dir, "*", "supervisord.conf"))
	return dir, append(alone, together...)
}

// importEnviron is supervisord's environment in all tests.
var importEnviron = []string{"PATH=/usr/bin:/bin", "HOME=/home/operator", "LANG=C.UTF-8"}

// Every supervisord.conf becomes the tideover.toml beside it, which has no
// fault; what was changed or left out is in the notes below it.
func TestImport(t *testing.T) {
	quietEnvironment(t)
	dir, all := supervisordFiles(t)
	if len(all) < 20 {
		t.Fatalf("there are only %d files", len(all))
	}
	for _, path := range all {
		name := strings.TrimSuffix(path, ".conf")
		if filepath.Dir(path) != dir {
			name = filepath.Dir(path)
		}
		t.Run(filepath.Base(name), func(t *testing.T) {
			text, notes, err := Import(path, ImportOptions{Environ: importEnviron, Host: "host7"})
			if err != nil {
				t.Fatal(err)
			}
			result := filepath.Join(t.TempDir(), "tideover.toml")
			if err := os.WriteFile(result, text, 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := Load(result); err != nil {
				t.Errorf("the result is not accepted: %v", err)
			}
			said := string(text) + "\n"
			for _, n := range notes {
				said += "#! " + n.String() + "\n"
			}
			golden(t, name+".golden", strings.ReplaceAll(said, dir+"/", ""))
		})
	}
}
