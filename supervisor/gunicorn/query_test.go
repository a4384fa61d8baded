package gunicorn

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tideover/supervisor/shellwords"
)

// gunicornVersions are virtual environments that scripts/setup makes.
var gunicornVersions = []string{"gunicorn-20.1.0", "gunicorn-23.0.0", "gunicorn-latest"}

func venv(t *testing.T, name string) string {
	t.Helper()
	dir := os.Getenv("TIDEOVER_TEST_VENVS")
	if dir == "" {
		wd, err := os.Getwd()
		if err != nil {
			t.Fatal(err)
		}
		dir = filepath.Join(wd, "..", "..", ".local", "venvs")
	}
	path := filepath.Join(dir, name)
	if _, err := os.Stat(filepath.Join(path, "bin", "gunicorn")); err != nil {
		t.Fatalf("no gunicorn in %s: run scripts/setup", path)
	}
	return path
}

// query has the gunicorn of a command report its settings, as a supervisor would.
func query(t *testing.T, c *Command, dir string) (Report, error) {
	t.Helper()
	program := filepath.Join(t.TempDir(), "query.py")
	if err := os.WriteFile(program, QueryProgram, 0o644); err != nil {
		t.Fatal(err)
	}
	return c.Query(program, func(argv []string) ([]byte, error) {
		cmd := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
		cmd.Dir, cmd.Env = dir, []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir}
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			t.Logf("%v: %s", err, stderr.String())
		}
		return out, err
	})
}

// reader reads the scripts of commands that run in dir.
func reader(dir string) func(string) ([]byte, error) {
	return func(path string) ([]byte, error) {
		if !filepath.IsAbs(path) {
			path = filepath.Join(dir, path)
		}
		return os.ReadFile(path)
	}
}

// queryMany answers many questions in forks of one Python, which saves most of its
// start.
const queryMany = `
import json, os, sys
import gunicorn.app.wsgiapp
for name in [m for m in sys.modules if m.split(".")[0] == "gunicorn"]:
    del sys.modules[name]
for question in json.load(sys.stdin):
    if os.fork() == 0:
        try:
            os.environ.update(question["env"])
            sys.argv = question["argv"]
            from gunicorn.app.wsgiapp import run
            run()
        finally:
            os._exit(1)
    os.wait()
    print("answered", flush=True)
`

type question struct {
	Argv []string          `json:"argv"`
	Env  map[string]string `json:"env"`
}

// What Parse reads is what every gunicorn reads.
func TestBindsAsRealGunicornReadsThem(t *testing.T) {
	for _, version := range gunicornVersions {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			python := filepath.Join(venv(t, version), "bin", "python")
			program := filepath.Join(t.TempDir(), "query.py")
			if err := os.WriteFile(program, QueryProgram, 0o644); err != nil {
				t.Fatal(err)
			}
			var questions []question
			for _, c := range bindCases {
				q := question{Env: map[string]string{}}
				q.Argv = append([]string{"gunicorn"}, insertOption(gunicornArgv(t, c.args)[1:], program)...)
				for _, pair := range c.env {
					name, value, _ := strings.Cut(pair, "=")
					q.Env[name] = value
				}
				questions = append(questions, q)
			}
			input, err := json.Marshal(questions)
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), python, "-c", queryMany)
			cmd.Dir, cmd.Env = t.TempDir(), []string{"PATH=" + os.Getenv("PATH")}
			cmd.Stdin = bytes.NewReader(input)
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			outputs := strings.Split(string(out), "answered\n")
			for i, c := range bindCases {
				report, err := parseReport([]byte(outputs[i]))
				if err != nil {
					t.Errorf("%s: %v: %s", c.args, err, outputs[i])
					continue
				}
				merged, err := new(Command).WithReport(report)
				if got := strings.Join(merged.Bind.Addresses, " "); got != c.want || err != nil {
					t.Errorf("%s %v: gunicorn binds %s (%v), we read %s", c.args, c.env, got, err, c.want)
				}
			}
		})
	}
}

func TestConfigurationFilesAreReadByGunicornItself(t *testing.T) {
	for _, version := range gunicornVersions {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			root := venv(t, version)
			dir := t.TempDir()
			write := func(name, text string) {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			write("gunicorn.conf.py", "import settings\nprint('noise')\nbind = settings.address\nworkers = 3\ngraceful_timeout = 7\n")
			write("settings.py", "address = '127.0.0.1:9001'\n")
			write("other.py", "bind = ['127.0.0.1:9002', 'unix:/run/x.sock']\nthreads = 4\npidfile = '/run/x.pid'\nraw_env = []\n")
			write("shop.py", "raise SystemExit('the app was imported')\n")

			for _, c := range []struct {
				argv []string
				bind string
				from string
				n    int // concurrency
			}{
				{[]string{root + "/bin/gunicorn", "shop"}, "127.0.0.1:9001", "gunicorn", 3},
				{[]string{root + "/bin/python", "-m", "gunicorn", "-c", "other.py", "shop"}, "127.0.0.1:9002 unix:/run/x.sock", "gunicorn", 4},
				{[]string{root + "/bin/python", "-u", root + "/bin/gunicorn", "-c", "python:other", "-w", "2", "shop"}, "127.0.0.1:9002 unix:/run/x.sock", "gunicorn", 8},
				{[]string{"env", "A=b", root + "/bin/gunicorn", "--config=file:other.py", "-b", ":9003", "shop"}, "0.0.0.0:9003", "command line", 4},
			} {
				g, err := Parse(c.argv, environ(), reader(dir))
				if err != nil {
					t.Fatal(err)
				}
				report, err := query(t, g, dir)
				if err != nil {
					t.Fatalf("%v: %v", c.argv, err)
				}
				merged, err := g.WithReport(report)
				if err != nil || strings.Join(merged.Bind.Addresses, " ") != c.bind || merged.Bind.From != c.from || merged.Concurrency() != c.n {
					t.Errorf("%v: %+v, %v", c.argv, merged, err)
				}
				if refused := merged.Validate(true); (refused != nil) != strings.Contains(strings.Join(c.argv, " "), "other") {
					t.Errorf("%v: the pid file of the configuration: %v", c.argv, refused)
				}
				if strings.HasPrefix(version, "gunicorn-2") && !strings.HasSuffix(version, report.Version) {
					t.Errorf("%s says it is %s", version, report.Version)
				}
				if c.n == 3 && merged.GracefulTimeout != 7*time.Second {
					t.Errorf("graceful timeout %v", merged.GracefulTimeout)
				}
			}
			g, err := Parse([]string{root + "/bin/gunicorn", "-c", "missing.py", "shop"}, environ(), nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := query(t, g, dir); err == nil {
				t.Error("a missing configuration file went unnoticed")
			}
		})
	}
}

func TestQueryIsTheCommandItself(t *testing.T) {
	files := map[string]string{
		"start.sh":  "#!/bin/bash -e\nHERE=\"$(dirname \"${BASH_SOURCE[0]}\")\"\nexec gunicorn app -b :1 \"$@\" 2>&1\n",
		"migrate":   "#!/bin/sh\npython manage.py migrate\nexec gunicorn app\n",
		"not.py":    "#!/usr/bin/python3\nimport gunicorn\n",
		"other":     "#!/usr/bin/env -S bash -u\nnginx; gunicorn app & wait\n",
		"loop":      "#!/bin/sh\nfor i in 1 2; do gunicorn app$i; done\n",
		"either.sh": "#!/bin/sh\ntest -n \"$DEV\" && exec gunicorn --reload app\nexec gunicorn app\n",
	}
	for command, want := range map[string]string{
		"gunicorn app":                        "gunicorn app -c Q",
		"gunicorn -c x.py app -- more":        "gunicorn -c x.py app -c Q -- more",
		"env A=b gunicorn app":                "env A=b gunicorn app -c Q",
		"python3 -u -m gunicorn app":          "python3 -u -m gunicorn app -c Q",
		"uv run -m gunicorn app":              "uv run -m gunicorn app -c Q",
		"timeout 3600 gunicorn app":           "timeout 3600 gunicorn app -c Q",
		"sh -c 'exec gunicorn app'":           "sh -c exec gunicorn app -c 'Q'",
		"bash -lc 'gunicorn app | tee log' x": "bash -l -c gunicorn app -c 'Q' x",
		"nice bash -c 'source v/bin/activate && exec gunicorn app > log'": "nice bash -c source v/bin/activate && exec gunicorn app -c 'Q'",
		"./start.sh -w 2":                   "/bin/bash -e -c #!/bin/bash -e\nHERE=\"$(dirname \"$0\")\"\nexec gunicorn app -b :1 \"$@\" -c 'Q' ./start.sh -w 2",
		"sh -x ./start.sh":                  "sh -x -c #!/bin/bash -e\nHERE=\"$(dirname \"$0\")\"\nexec gunicorn app -b :1 \"$@\" -c 'Q' ./start.sh",
		"./migrate":                         `error: ./migrate runs "python manage.py migrate" before gunicorn`,
		"./other":                           `error: ./other runs "nginx" before gunicorn`,
		"sh -c 'gunicorn a --'":             "error: sh -c has the word --",
		"./not.py":                          "", // not a script of a shell
		"./loop":                            "",
		"./either.sh":                       "",
		"./missing":                         "",
		"sh -c 'ls; f() { gunicorn app; }'": "",
		"uvicorn app":                       "",
	} {
		argv, err := shellwords.Split(command)
		if err != nil {
			t.Fatal(err)
		}
		read := func(path string) ([]byte, error) {
			text, ok := files[strings.TrimPrefix(path, "./")]
			if !ok {
				return nil, os.ErrNotExist
			}
			return []byte(text), nil
		}
		g, err := Parse(argv, environ(), read)
		if err != nil {
			t.Errorf("%s: %v", command, err)
			continue
		}
		got := ""
		if g != nil {
			words, err := g.queryArgv("Q")
			if got = strings.Join(words, " "); err != nil {
				got = "error: " + err.Error()
			}
		}
		if got != want && !(strings.HasPrefix(want, "error") && strings.HasPrefix(got, want)) {
			t.Errorf("%s:\ngot  %s\nwant %s", command, got, want)
		}
	}
}

func TestParseReport(t *testing.T) {
	if _, err := parseReport([]byte("noise\nError: no app\n")); err == nil {
		t.Error("output without a report was accepted")
	}
	if _, err := parseReport([]byte(reportMarker + "{\n")); err == nil {
		t.Error("half a report was accepted")
	}
	a, err := parseReport([]byte("noise without an end\n" + reportMarker + `{"bind":["fd://3"],"protocol":"uwsgi"}` + "\nmore"))
	if err != nil {
		t.Fatal(err)
	}
	g, err := (&Command{Settings: Settings{Bind: Bind{From: FromDefault}}}).WithReport(a)
	if refused := g.ValidateRelay(); err != nil || refused == nil || !strings.Contains(refused.Error(), "uwsgi") || g.Validate(true) == nil {
		t.Errorf("got %+v, %v; %v", g, err, refused)
	}
}
