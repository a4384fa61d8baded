package config

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// A configuration is loaded from its snapshot as it was, also when its files have changed or were removed.
func TestASnapshotIsLoadedAfterItsFilesHaveGone(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("main.toml", "include = [\"*.inc\"]\n[defaults]\nhold.limit = 7\n[daemon]\nlog_level = \"warn\"\n[app.one]\ncommand = [\"sleep\", \"1\"]\n")
	write("b.inc", "[app.two]\ncommand = [\"sleep\", \"2\"]\ninstances = 2\n")
	before, err := Load(filepath.Join(dir, "main.toml"))
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(before.Snapshot())
	if err != nil {
		t.Fatal(err)
	}
	write("main.toml", "[app.")
	os.Remove(filepath.Join(dir, "b.inc"))
	write("c.inc", "[app.three]\ncommand = [\"sleep\", \"2\"]\n")
	var kept Snapshot
	if err := json.Unmarshal(text, &kept); err != nil {
		t.Fatal(err)
	}
	after, err := kept.Load()
	if err != nil {
		t.Fatal(err)
	}
	if d := DaemonDifferences(&before.Daemon, &after.Daemon); len(d) > 0 || after.Daemon.LogLevel != "warn" {
		t.Error("daemon differs", d)
	}
	names := func(f *File) (all []string) {
		for _, a := range f.Apps {
			all = append(all, a.Name)
		}
		return all
	}
	if !slices.Equal(names(after), []string{"one", "two"}) {
		t.Fatal(names(after))
	}
	for i, a := range after.Apps {
		if d := Differences(before.Apps[i], a); len(d) > 0 {
			t.Error(a.Name, d)
		}
		if a.Origin() != after {
			t.Error(a.Name, "is from another configuration")
		}
	}
	if changed := after.ChangedFile(); changed == "" {
		t.Error("the files have changed")
	}
	if err := after.LostIncludes(before); err != nil {
		t.Error(err)
	}
}
