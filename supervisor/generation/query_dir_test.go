package generation

import (
	"os"
	"path/filepath"
	"testing"
)

func TestTheDirectoryOfAKilledQueryIsRemovedByTheNextOne(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	begin := func() *queryDir {
		t.Helper()
		d, err := makeQueryDir()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(d.remove)
		return d
	}
	killed := begin()
	if err := os.MkdirAll(filepath.Join(killed.path, "__pycache__", "query.pyc"), 0o755); err != nil {
		t.Fatal(err)
	}
	runs := begin()
	if _, err := os.Stat(killed.path); err != nil {
		t.Errorf("the directory of a query that runs: %v", err)
	}
	killed.lock.Close() // as the kernel does

	outside := filepath.Join(t.TempDir(), queryProgram)
	kept := []string{outside, runs.program(), filepath.Join(temp, "tideover-query-begins"), filepath.Join(temp, "tideover-query-link"), filepath.Join(temp, "tideover-query-file")}
	for _, err := range []error{
		os.WriteFile(outside, nil, 0o644), os.Mkdir(kept[2], 0o700), os.Symlink(filepath.Dir(outside), kept[3]), os.WriteFile(kept[4], nil, 0o644),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if os.Geteuid() == 0 { // of another user
		foreign := filepath.Join(temp, "tideover-query-foreign")
		if err := os.Mkdir(foreign, 0o755); err != nil {
			t.Fatal(err)
		}
		kept = append(kept, filepath.Join(foreign, queryProgram))
		if err := os.WriteFile(kept[5], nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(foreign, 33, 33); err != nil {
			t.Fatal(err)
		}
	}
	begin()
	if _, err := os.Stat(killed.path); !os.IsNotExist(err) {
		t.Errorf("the directory of a killed query: %v", err)
	}
	for _, path := range kept {
		if _, err := os.Lstat(path); err != nil {
			t.Error(err)
		}
	}
}
