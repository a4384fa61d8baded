package supervisordconf

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tideover/supervisor/config"
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
			text, notes, err := Import(path, Options{Environ: importEnviron, Host: "host7"})
			if err != nil {
				t.Fatal(err)
			}
			result := filepath.Join(t.TempDir(), "tideover.toml")
			if err := os.WriteFile(result, text, 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := config.Load(result); err != nil {
				t.Errorf("the result is not accepted: %v", err)
			}
			said := string(text) + "\n"
			for _, n := range notes {
				said += "#! " + n.String() + "\n"
			}
			golden(t, name+".golden", strings.NewReplacer(dir+"/", "", dir, "HERE").Replace(said))
		})
	}
}

// What supervisord itself refuses is a fault at its place.
func TestImportBroken(t *testing.T) {
	dir, err := filepath.Abs("testdata/import-broken")
	if err != nil {
		t.Fatal(err)
	}
	all, _ := filepath.Glob(filepath.Join(dir, "*.conf"))
	if len(all) < 9 {
		t.Fatalf("there are only %d files", len(all))
	}
	for _, path := range all {
		_, _, err := Import(path, Options{Host: "host7"})
		var faults *config.Error
		if !errors.As(err, &faults) {
			t.Errorf("nothing is wrong with %s: %v", path, err)
			continue
		}
		checkPlaces(t, faults)
		golden(t, strings.TrimSuffix(path, ".conf")+".txt", strings.NewReplacer(dir+"/", "", dir, "HERE").Replace(err.Error())+"\n")
	}
	for path, want := range map[string]string{"none.conf": "there is no such file", ".": "it is a directory, not a file"} {
		if _, _, err := Import(path, Options{}); err == nil || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// Passwords of the control interfaces are not carried anywhere.
func TestImportTellsNoPassword(t *testing.T) {
	dir := files(t, map[string]string{"supervisord.conf": "[unix_http_server]\nfile=/x\npassword=hunter2\n[inet_http_server]\nport=:9001\npassword=hunter2\n[supervisorctl]\npassword=hunter2\n[program:a]\ncommand=cat\n"})
	text, notes, err := Import(filepath.Join(dir, "supervisord.conf"), Options{})
	if err != nil || strings.Contains(string(text), "hunter2") || strings.Contains(fmt.Sprint(notes), "hunter2") {
		t.Errorf("%v\n%s\n%v", err, text, notes)
	}
}

// supervisord knows no no_new_privs, and hands on its whole environment.
func TestImportTellsWhatAUserOfItsOwnLoses(t *testing.T) {
	dir := files(t, map[string]string{"supervisord.conf": "[program:a]\ncommand=cat\nuser=www-data\nenvironment=SSH_AUTH_SOCK=\"%(ENV_SSH_AUTH_SOCK)s\",A=\"1\"\n[program:b]\ncommand=cat\nuser=root\n[program:c]\ncommand=cat\n"})
	text, notes, err := Import(filepath.Join(dir, "supervisord.conf"), Options{Environ: []string{"SSH_AUTH_SOCK=/tmp/agent"}})
	if err != nil || !strings.Contains(string(text), `env_pass = ["SSH_AUTH_SOCK"]`) || strings.Contains(string(text), "/tmp/agent") {
		t.Errorf("%v\n%s", err, text)
	}
	about := map[string]int{}
	for _, n := range notes {
		if strings.Contains(n.Message, "no_new_privs = false") && n.Option == "user" {
			about[n.Section]++
		}
	}
	if len(about) != 1 || about["program:a"] != 1 || !strings.Contains(string(text), "no_new_privs") {
		t.Errorf("notes about no_new_privs: %v\n%s", about, text)
	}
}

// Every content of a file is refused with a position, or becomes a file that Load
// accepts if a program is in it.
func FuzzImport(f *testing.F) {
	_, paths := supervisordFiles(f)
	broken, _ := filepath.Glob("testdata/import-broken/*.conf")
	for _, path := range append(paths, broken...) {
		text, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		dir := t.TempDir()
		path := filepath.Join(dir, "supervisord.conf")
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		got, notes, err := Import(path, Options{Environ: importEnviron, Host: "host7"})
		var faults *config.Error
		if errors.As(err, &faults) && faults.Errors() > 0 && len(got) == 0 && len(notes) == 0 {
			checkSource(t, faults, path)
			return
		}
		if err != nil {
			t.Fatalf("an error without a fault: %v", err)
		}
		result := filepath.Join(dir, "tideover.toml")
		if err := os.WriteFile(result, got, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := config.Load(result); err != nil && !strings.Contains(err.Error(), "there is no app in it") {
			t.Fatalf("%s\nis not accepted: %v", got, err)
		}
	})
}

// checkSource holds that faults are those of the file that was imported, and
// not of what import wrote.
func checkSource(t *testing.T, faults *config.Error, path string) {
	t.Helper()
	for _, p := range faults.Problems {
		if p.File != path && !strings.HasPrefix(p.File, "/") {
			t.Errorf("%s is at no place", p)
		}
		if strings.HasSuffix(p.File, "tideover.toml") {
			t.Errorf("import wrote what is wrong: %s", p)
		}
	}
}

// The files of examples/from-supervisord are what import makes today, and its
// tables speak of every option.
func TestImportExample(t *testing.T) {
	quietEnvironment(t)
	dir, err := filepath.Abs("../../examples/from-supervisord")
	if err != nil {
		t.Fatal(err)
	}
	text, _, err := Import(filepath.Join(dir, "supervisord.conf"), Options{Environ: importEnviron, Host: "host7"})
	if err != nil {
		t.Fatal(err)
	}
	golden(t, filepath.Join(dir, "tideover.toml"), strings.ReplaceAll(string(text), dir, "/etc/supervisor"))
	copied := filepath.Join(t.TempDir(), "tideover.toml") // root takes none of another user
	if err := os.WriteFile(copied, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := config.Load(copied); err != nil {
		t.Errorf("the example is not accepted: %v", err)
	}
	tables, err := os.ReadFile(filepath.Join(dir, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range append(knownOptions("program"), knownOptions("daemon")...) {
		either := "*_" + strings.TrimPrefix(strings.TrimPrefix(name, "stdout_"), "stderr_")
		if text := string(tables); !strings.Contains(text, "`"+name+"`") && !strings.Contains(text, "`"+either+"`") && name != "profile_options" {
			t.Errorf("the tables say nothing of %s", name)
		}
	}
}
