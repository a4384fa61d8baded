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
	env := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir}
	read := func(path string, limit int) ([]byte, error) {
		text, err := os.ReadFile(path)
		return text[:min(limit, len(text))], err
	}
	return c.Query(Place{Dir: dir, Env: env, ReadProgram: read, Run: func(argv []string) ([]byte, error) {
		cmd := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
		cmd.Dir, cmd.Env = dir, env
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			t.Logf("%v: %s", err, stderr.String())
		}
		return out, err
	}})
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
        os.environ.update(question["env"])
        sys.argv = ["-c"] + question["argv"]
        exec(compile(question["program"], "query.py", "exec"), {})
        sys.exit()
    os.wait()
    print("answered", flush=True)
`

type question struct {
	Program string            `json:"program"`
	Argv    []string          `json:"argv"`
	Env     map[string]string `json:"env"`
}

// What Parse reads is what every gunicorn reads.
func TestBindsAsRealGunicornReadsThem(t *testing.T) {
	for _, version := range gunicornVersions {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			python := filepath.Join(venv(t, version), "bin", "python")
			var questions []question
			for _, c := range bindCases {
				q := question{Program: queryProgram, Env: map[string]string{}}
				q.Argv = append([]string{reportMarker}, gunicornArgv(t, c.args)[1:]...)
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
				g, err := Parse(c.argv, environ())
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
			g, err := Parse([]string{root + "/bin/gunicorn", "-c", "missing.py", "shop"}, environ())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := query(t, g, dir); err == nil {
				t.Error("a missing configuration file went unnoticed")
			}
		})
	}
}

func TestInterpreter(t *testing.T) {
	for head, want := range map[string]string{
		"#!/srv/venv/bin/python3.11\nimport":                       "/srv/venv/bin/python3.11",
		"#!/usr/bin/python3 -sE\n":                                 "/usr/bin/python3 -sE",
		"#!/usr/bin/env python3\n":                                 "python3",
		"#!/usr/bin/env -S python3 -u\n":                           "python3 -u",
		"#!/bin/sh\n'''exec' \"/a b/python\" \"$0\" \"$@\"\n' '''": "/a b/python",
		"#!/bin/sh\n'''exec' /long/python \"$0\" \"$@\"\n":         "/long/python",
	} {
		got, err := interpreter([]byte(head))
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("%q: %q, %v", head, got, err)
		}
	}
	for _, head := range []string{"", "\x7fELF", "#!", "#!/bin/sh\nexec x", "#!/usr/bin/env", "#!/usr/bin/ruby"} {
		if got, err := interpreter([]byte(head)); err == nil {
			t.Errorf("%q: %q", head, got)
		}
	}
}

func TestQueryUsesTheInterpreterOfTheApp(t *testing.T) {
	head := []byte("#!/venv/bin/python\n")
	for command, want := range map[string]string{
		"gunicorn app":                     "/venv/bin/python",
		"env A=b gunicorn app":             "env A=b /venv/bin/python",
		"python3 -u -m gunicorn app":       "python3 -u",
		"python3 bin/gunicorn app":         "python3",
		"poetry run gunicorn app":          "poetry run python",
		"uv run -m gunicorn app":           "uv run python",
		"uv run python -m gunicorn app":    "uv run python",
		"poetry run venv/bin/gunicorn app": "poetry run /venv/bin/python",
		"nice -n 5 python -um gunicorn a":  "nice -n 5 python -u",
		"sh -c 'exec gunicorn app'":        "",
		"uvicorn app":                      "",
	} {
		argv, err := shellwords.Split(command)
		if err != nil {
			t.Fatal(err)
		}
		g, err := Parse(argv, environ())
		if err != nil {
			t.Fatal(err)
		}
		if g == nil {
			if want != "" {
				t.Errorf("%s is not gunicorn", command)
			}
			continue
		}
		words, err := g.queryArgv(head)
		if got, _, _ := strings.Cut(strings.Join(words, " "), " -c #"); got != want || (err != nil) != (want == "") {
			t.Errorf("%s: %s, %v", command, got, err)
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
	if err == nil || !strings.Contains(err.Error(), "uwsgi") || g.Validate(true) == nil {
		t.Errorf("got %+v, %v", g, err)
	}
}
