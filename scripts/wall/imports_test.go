package wall

import (
	"slices"
	"strings"
	"testing"
)

const module = "tideover"

// rooms is the import wall: what each folder of the house may import of the
// house. Control goes down: cmd, control, supervisor, leaves. A leaf imports
// nothing of ours, so no leaf can call back into the supervisor, and no request
// can wait for one of the supervisor's locks.
var rooms = map[string][]string{
	"cmd/tideover": {"supervisor", "supervisor/api", "supervisor/control", "supervisor/config", "supervisor/logs",
		"supervisor/process", "listener"},
	"supervisor/control": {"supervisor/api", "supervisor/logs"},
	"supervisor": {"proxy", "listener", "supervisor/api", "supervisor/config", "supervisor/filewatch",
		"supervisor/gunicorn", "supervisor/logs", "supervisor/process", "supervisor/state"},
	"supervisor/api":        {},
	"supervisor/config":     {"supervisor/gunicorn", "supervisor/shellwords"},
	"supervisor/filewatch":  {"supervisor/config"},
	"supervisor/gunicorn":   {"supervisor/shellwords"},
	"supervisor/logs":       {},
	"supervisor/process":    {},
	"supervisor/shellwords": {},
	"supervisor/state":      {"supervisor/api", "supervisor/process"},
	"proxy":                 {"proxy/http1"},
	"proxy/http1":           {},
	"listener":              {},
}

// doors says by which folders a third party may enter, so that changing our
// mind about one of them is a matter of one folder.
var doors = map[string][]string{
	"github.com/BurntSushi/toml":       {"supervisor/config"},
	"github.com/hashicorp/go-envparse": {"supervisor/config"},
	"github.com/mattn/go-shellwords":   {"supervisor/shellwords"},
	"github.com/fsnotify/fsnotify":     {"supervisor/filewatch"},
	"github.com/spf13/cobra":           {"cmd/tideover"},
	"github.com/spf13/pflag":           {"cmd/tideover"},
	"golang.org/x/term":                {"cmd/tideover"},
	"github.com/rogpeppe/go-internal":  {"cmd/tideover"},
	"github.com/coreos/go-systemd":     {"cmd/tideover"},
	"github.com/hashicorp/go-hclog":    {"*"},
	"golang.org/x/sys":                 {"*"},
}

func TestImportsGoDownOnly(t *testing.T) {
	for _, f := range house(t) {
		for spec, path := range f.imports {
			room, ours := strings.CutPrefix(path, module+"/")
			if !ours || room == f.folder() || mayImport(f.folder(), room) {
				continue
			}
			t.Errorf("%s: %s imports %s, which it must not know", f.at(spec), f.folder(), room)
		}
	}
}

// mayImport reports whether folder may import room. Scripts and examples meet
// the program from outside, as users do.
func mayImport(folder, room string) bool {
	if strings.HasPrefix(folder, "scripts/") {
		return strings.HasPrefix(room, "scripts/")
	}
	return slices.Contains(rooms[folder], room)
}

func TestEveryFolderIsARoom(t *testing.T) {
	for _, f := range house(t) {
		_, known := rooms[f.folder()]
		if !known && !strings.HasPrefix(f.path, "scripts/") && !strings.HasPrefix(f.path, "examples/") {
			t.Errorf("%s: folder %s is no room of the house; the house is listed in scripts/wall", f.path, f.folder())
		}
	}
}

func TestThirdPartiesUseTheirDoor(t *testing.T) {
	for _, f := range house(t) {
		for spec, path := range f.imports {
			if !strings.Contains(strings.SplitN(path, "/", 2)[0], ".") {
				continue // the standard library, or the house itself
			}
			door, known := doorOf(path)
			switch {
			case !known:
				t.Errorf("%s: %s has no door; give it one in scripts/wall, with the reason in the commit", f.at(spec), path)
			case !slices.Contains(door, "*") && !slices.Contains(door, f.folder()):
				t.Errorf("%s: %s enters by %s only", f.at(spec), path, strings.Join(door, ", "))
			}
		}
	}
}

func doorOf(path string) ([]string, bool) {
	for party, door := range doors {
		if path == party || strings.HasPrefix(path, party+"/") {
			return door, true
		}
	}
	return nil, false
}

func TestFsnotifyIsKnownToOneFile(t *testing.T) {
	var files []string
	for _, f := range house(t) {
		for _, path := range f.imports {
			if path == "github.com/fsnotify/fsnotify" {
				files = append(files, f.path)
			}
		}
	}
	if len(files) > 1 {
		t.Errorf("fsnotify is imported by %s; one file is enough", strings.Join(files, ", "))
	}
}
