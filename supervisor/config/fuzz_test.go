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

// Whatever a file holds, Load either finds apps that are complete or faults
// that have their places, and says the same the next time.
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
			var faults *Faults
			if !errors.As(err, &faults) || faults.Errors() == 0 {
				t.Fatalf("an error without a fault: %v", err)
			}
			if errAgain == nil || err.Error() != errAgain.Error() {
				t.Fatalf("first\n%v\nthen\n%v", err, errAgain)
			}
			checkPlaces(t, faults)
			return
		}
		if errAgain != nil || !reflect.DeepEqual(file.Apps, again.Apps) {
			t.Fatalf("first %v, then %v, %v", file.Apps, again.Apps, errAgain)
		}
		checkPlaces(t, &Faults{file.Warnings})
		for _, a := range file.Apps {
			checkComplete(t, a)
		}
	})
}

func checkComplete(t *testing.T, a *App) {
	t.Helper()
	if checkName(a.Name) != nil || len(a.Command) == 0 || !filepath.IsAbs(a.Directory) || a.Stop.Signal == 0 || a.Instances < 1 || a.Reload == "" {
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

// A command that is gunicorn keeps its arguments, and binds addresses that are
// complete.
func FuzzParseGunicorn(f *testing.F) {
	for _, seed := range [][3]string{
		{"gunicorn\n-b\n:8000\nshop", "", ""},
		{"python3\n-m\ngunicorn\n--bind=[::1]:8000\n-w4\nshop:app", "", "5000"},
		{"uv\nrun\n-m\ngunicorn\n--bi\nunix:/run/s.sock", "-b :1 --env 'A=b c'", ""},
		{"env\n-i\nA=1\nnice\n-n\n5\nvenv/bin/gunicorn\n-Rb:8000\n--", "-w 3", "80"},
		{"sh\n-c\ncd /srv && exec gunicorn -b $HOST:${PORT:-8000} shop", "", "1"},
	} {
		f.Add(seed[0], seed[1], seed[2])
	}
	f.Fuzz(func(t *testing.T, command, args, port string) {
		argv := strings.Split(command, "\n")
		before := slices.Clone(argv)
		env := map[string]string{"GUNICORN_CMD_ARGS": args, "PORT": port}
		g, err := ParseGunicorn(argv, func(name string) string { return env[name] })
		if !slices.Equal(argv, before) {
			t.Fatalf("%q became %q", before, argv)
		}
		if !g.Is && (err != nil || !reflect.DeepEqual(g, Gunicorn{})) {
			t.Fatalf("%q is not gunicorn, and yet %+v, %v", argv, g, err)
		}
		if !g.Is || err != nil {
			return
		}
		if len(g.Wrappers) == 0 && !slices.Equal(g.Args, argv[len(argv)-len(g.Args):]) {
			t.Errorf("%q has the arguments %q", argv, g.Args)
		}
		if len(g.Bind.Addresses) == 0 || g.Bind.From == "" {
			t.Errorf("%q binds nothing", argv)
		}
		for _, a := range g.Bind.Addresses {
			if _, _, tcp := splitHostPort(a); tcp && !strings.HasPrefix(a, "fd://") && !strings.Contains(a, ":") {
				t.Errorf("%q binds %q", argv, a)
			}
		}
		g.Refuse(Overlap)
		g.Warnings()
		g.listen("/")
		g.Ask([]byte("#!/usr/bin/python3\n"))
	})
}

// Words survive being written for a shell.
func FuzzSplitWords(f *testing.F) {
	for _, seed := range []string{`a 'b c' "d\"e" f\ g`, "''", `a\`, `"`, "a\tb\r\nc", `'it'"'"'s'`, "日本 語"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		words, err := SplitWords(text)
		if err != nil {
			return
		}
		var quoted []string
		for _, w := range words {
			quoted = append(quoted, "'"+strings.ReplaceAll(w, "'", `'\''`)+"'")
		}
		again, err := SplitWords(strings.Join(quoted, " "))
		if err != nil || !slices.Equal(words, again) {
			t.Errorf("%q: first %q, then %q, %v", text, words, again, err)
		}
		if _, err := commandWords(text); err == nil && len(words) == 0 {
			t.Errorf("%q is no command", text)
		}
	})
}
