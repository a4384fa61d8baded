package gunicorn

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"tideover/supervisor/shellwords"
)

// environ makes a lookup of NAME=value words.
func environ(words ...string) func(string) string {
	return func(name string) string {
		for _, w := range words {
			if value, ok := strings.CutPrefix(w, name+"="); ok {
				return value
			}
		}
		return ""
	}
}

// bindCases are command lines with the address gunicorn binds and where that
// is written. The comparison with real gunicorn runs through them as well.
var bindCases = []struct {
	args string // behind "gunicorn"
	env  []string
	want string
	from string
}{
	{"app", nil, "127.0.0.1:8000", "default"},
	{"-b 127.0.0.1:8001 app", nil, "127.0.0.1:8001", "command line"},
	{"-b127.0.0.1:8001 app", nil, "127.0.0.1:8001", "command line"},
	{"-b=127.0.0.1:8001 app", nil, "127.0.0.1:8001", "command line"},
	{"--bind 127.0.0.1:8001 app", nil, "127.0.0.1:8001", "command line"},
	{"--bind=127.0.0.1:8001 app", nil, "127.0.0.1:8001", "command line"},
	{"--bin 127.0.0.1:8001 app", nil, "127.0.0.1:8001", "command line"},
	{"--bi=127.0.0.1:8001 app", nil, "127.0.0.1:8001", "command line"},
	{"app -w 4 -b :8001", nil, "0.0.0.0:8001", "command line"},
	{"-Rb:8001 app", nil, "0.0.0.0:8001", "command line"},
	{"-R -b :8001 app", nil, "0.0.0.0:8001", "command line"},
	{"-b :8001 -b :8002 app", nil, "0.0.0.0:8001 0.0.0.0:8002", "command line"},
	{"-b [::]:8001 app", nil, "[::]:8001", "command line"},
	{"-b [::1] app", nil, "[::1]:8000", "command line"},
	{"-b LocalHost app", nil, "localhost:8000", "command line"},
	{"-b tcp://127.0.0.1:8001 app", nil, "127.0.0.1:8001", "command line"},
	{"-b unix:/run/shop.sock app", nil, "unix:/run/shop.sock", "command line"},
	{"-b unix:///run/shop.sock app", nil, "unix:/run/shop.sock", "command line"},
	{"-b '  127.0.0.1:8001 ' app", nil, "127.0.0.1:8001", "command line"},
	{"'-b 127.0.0.1:8001' app", nil, "127.0.0.1:8001", "command line"},
	{"app", []string{"PORT=5000"}, "0.0.0.0:5000", "PORT"},
	{"-b :1 app", []string{"PORT=5000"}, "0.0.0.0:1", "command line"},
	{"app", []string{"GUNICORN_CMD_ARGS=--bind=127.0.0.1:8003 -w 3"}, "127.0.0.1:8003", "GUNICORN_CMD_ARGS"},
	{"app", []string{"PORT=5000", "GUNICORN_CMD_ARGS=-b '127.0.0.1:8003'"}, "127.0.0.1:8003", "GUNICORN_CMD_ARGS"},
	{"-b :8004 app", []string{"GUNICORN_CMD_ARGS=--bind=127.0.0.1:8003"}, "0.0.0.0:8004", "command line"},
	{"app", []string{"GUNICORN_CMD_ARGS="}, "127.0.0.1:8000", "default"},
	{"--access-logfile - -w 2 --backlog 5 -t 30 -k gthread --threads 8 -e A=b -n shop app -b :8005", nil, "0.0.0.0:8005", "command line"},
	{"-w4 -kgthread --thr=2 -b:8006 -- app", nil, "0.0.0.0:8006", "command line"},
	{"--paste-global a=b --log-lev info --keep-a 5 -b :8007 app", nil, "0.0.0.0:8007", "command line"},
	{"app:create_app('-b',':9') -b :8008", nil, "0.0.0.0:8008", "command line"},
}

func gunicornArgv(t *testing.T, args string) []string {
	t.Helper()
	words, err := shellwords.Split(args)
	if err != nil {
		t.Fatal(err)
	}
	return append([]string{"gunicorn"}, words...)
}

func TestEverySpellingOfBind(t *testing.T) {
	for _, c := range bindCases {
		g, err := Parse(gunicornArgv(t, c.args), environ(c.env...), nil)
		if err != nil {
			t.Errorf("%s: %v", c.args, err)
			continue
		}
		if got := strings.Join(g.Bind.Addresses, " "); got != c.want || g.Bind.From != c.from {
			t.Errorf("%s %v: bind %s from %s, want %s from %s", c.args, c.env, got, g.Bind.From, c.want, c.from)
		}
		if err := errors.Join(g.Validate(true), g.ValidateRelay()); err != nil {
			t.Errorf("%s: refused: %v", c.args, err)
		}
	}
}

func TestWhatGunicornWouldRefuseIsAnError(t *testing.T) {
	for args, want := range map[string]string{
		"-b app":                   "needs a value", // app is the value, then the rest
		"app -b":                   "-b needs a value",
		"app -b -w 4":              "-b needs a value",
		"--log-s x app":            "ambiguous",
		"--daemon=yes app":         "takes no value",
		"-w four app":              "not a whole number",
		"-b 127.0.0.1:http app":    "no valid port",
		"-b 127.0.0.1:0 app":       "no valid port",
		"-b 8001 app":              `":8001"`,
		"-b ::1 app":               "brackets",
		"-b 127.0.0.1:70000 app":   "no valid port",
		"-b 1:2 -b 127.0.0.1: app": "host",
	} {
		g, err := Parse(gunicornArgv(t, args), environ(), nil)
		if args == "-b app" {
			if err != nil || g.Bind.Addresses[0] != "app:8000" {
				t.Errorf("%s: %v, %v", args, g.Bind, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", args, err, want)
		}
	}
	if _, err := Parse([]string{"gunicorn", "app"}, environ("GUNICORN_CMD_ARGS=-b 'x"), nil); err == nil {
		t.Error("an open quote in GUNICORN_CMD_ARGS was accepted")
	}
}

func TestSettingsOfTheCommandLine(t *testing.T) {
	argv := gunicornArgv(t, "-c conf.py -w 4 --threads 8 -k gthread -t 60 --graceful-timeout 20 --keep-alive 5 --chdir /srv -p /run/x.pid shop.wsgi:app")
	g, err := Parse(argv, environ("WEB_CONCURRENCY=9", "GUNICORN_CMD_ARGS=-w 3 --preload --reload -c other.py"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if g.ConfigFile != "conf.py" || g.ConfigFrom != "command line" || g.Workers != 4 || g.Threads != 8 || g.Concurrency() != 32 ||
		g.Timeout != time.Minute || g.GracefulTimeout != 20*time.Second || g.KeepAlive != 5*time.Second ||
		g.Chdir != "/srv" || g.Pidfile != "/run/x.pid" || g.App != "shop.wsgi:app" || !g.Preload || !g.Reload {
		t.Errorf("got %+v", g)
	}
	g, err = Parse([]string{"gunicorn", "app"}, environ("WEB_CONCURRENCY=9"), nil)
	if err != nil || g.Workers != 9 || g.ConfigFile != "./gunicorn.conf.py" || !g.NeedsQuery() {
		t.Errorf("got %+v, %v", g, err)
	}
}

func TestGunicornBehindWrappers(t *testing.T) {
	for command, want := range map[string]struct {
		wrappers string // with ! where it forks
		script   string
	}{
		"gunicorn app":                                      {"", "gunicorn"},
		"gunicorn3 app":                                     {"", "gunicorn3"},
		"bin/gunicorn-23.0.0 app":                           {"", "bin/gunicorn-23.0.0"},
		"/srv/shop/venv/bin/gunicorn app":                   {"", "/srv/shop/venv/bin/gunicorn"},
		"python -m gunicorn app":                            {"", ""},
		"venv/bin/python3.11 -u -m gunicorn app":            {"", ""},
		"python3 -Wignore -um gunicorn.app.wsgiapp app":     {"", ""},
		"python3 -W ignore -X dev -mgunicorn app":           {"", ""},
		"python -u venv/bin/gunicorn app":                   {"", "venv/bin/gunicorn"},
		"env A=b gunicorn app":                              {"env", "gunicorn"},
		"/usr/bin/env -u X -i A=b nice -n 5 gunicorn app":   {"env nice", "gunicorn"},
		"uv run gunicorn app":                               {"uv run!", "gunicorn"},
		"uv run --with gevent -p 3.12 -- gunicorn app":      {"uv run!", "gunicorn"},
		"uv run --frozen -m gunicorn app":                   {"uv run!", ""},
		"uv run python -m gunicorn app":                     {"uv run!", ""},
		"poetry run gunicorn app":                           {"poetry run", "gunicorn"},
		"poetry -C /srv run gunicorn app":                   {"poetry run", "gunicorn"},
		"newrelic-admin run-program ddtrace-run gunicorn a": {"newrelic-admin run-program ddtrace-run", "gunicorn"},
		"gosu www-data gunicorn app":                        {"gosu", "gunicorn"},
		"timeout -k 5 100 gunicorn app":                     {"timeout!", "gunicorn"},
		"tini -g -- gunicorn app":                           {"tini!", "gunicorn"},
		"sudo -u www-data -E gunicorn app":                  {"sudo!", "gunicorn"},
		"sh -c 'exec gunicorn app'":                         {"sh -c", "gunicorn"},
		"sh -c 'cd /srv && A=b exec gunicorn app'":          {"sh -c", "gunicorn"},
		"bash -lc 'migrate; gunicorn app'":                  {"bash -c!", "gunicorn"},
	} {
		argv, err := shellwords.Split(command)
		if err != nil {
			t.Fatal(err)
		}
		g, err := Parse(argv, environ(), nil)
		if g == nil || err != nil {
			t.Errorf("%s: %+v, %v", command, g, err)
			continue
		}
		var names []string
		for _, w := range g.Wrappers {
			if w.Forks {
				w.Name += "!"
			}
			names = append(names, w.Name)
		}
		if strings.Join(names, " ") != want.wrappers || g.Script != want.script || len(g.Args) != 1 {
			t.Errorf("%s: %+v, %v", command, g, err)
		}
		if _, forks := g.Forks(); forks != strings.Contains(want.wrappers, "!") {
			t.Errorf("%s: forks %v", command, forks)
		}
	}
}

func TestWhatIsNotGunicorn(t *testing.T) {
	for _, command := range []string{"", "uvicorn app", "python app.py", "python -c 'import gunicorn'", "python", "env", "env A=b", "uv", "uv sync", "sh -c", "sh run.sh", "celery -A gunicorn worker", "gunicorn_starter x", "./gunicorn.sh", "poetry install gunicorn", "sh -c 'exec'", "timeout"} {
		argv, err := shellwords.Split(command)
		if err != nil {
			t.Fatal(err)
		}
		if g, err := Parse(argv, environ(), nil); g != nil || err != nil {
			t.Errorf("%q: %+v, %v", command, g, err)
		}
	}
}

func TestWrappersChangeTheEnvironment(t *testing.T) {
	for command, want := range map[string]string{
		"gunicorn app":                                 "0.0.0.0:5000",
		"env PORT=6000 gunicorn app":                   "0.0.0.0:6000",
		"env -i gunicorn app":                          "127.0.0.1:8000",
		"env -u PORT gunicorn app":                     "127.0.0.1:8000",
		"env -i PORT=7000 gunicorn app":                "0.0.0.0:7000",
		`sh -c 'PORT=8001 exec gunicorn app'`:          "0.0.0.0:8001",
		`sh -c 'exec gunicorn -b :$PORT app'`:          "0.0.0.0:5000",
		`sh -c 'exec gunicorn -b :${WEB:-9000} app'`:   "0.0.0.0:9000",
		`sh -c "exec gunicorn -b 127.0.0.1:${PORT} a"`: "127.0.0.1:5000",
	} {
		argv, err := shellwords.Split(command)
		if err != nil {
			t.Fatal(err)
		}
		g, err := Parse(argv, environ("PORT=5000"), nil)
		if err != nil || !slices.Equal(g.Bind.Addresses, []string{want}) {
			t.Errorf("%s: %v, %v, want %s", command, g.Bind, err, want)
		}
	}
}

func TestRefusalsNameTheRemedy(t *testing.T) {
	for args, want := range map[string]string{
		"-D app":                           "--daemon",
		"-RD app":                          "--daemon",
		"--daem app":                       "--daemon",
		"--reuse-port app":                 "--reuse-port",
		"-p /run/g.pid app":                `reload = "replace"`,
		"--certfile x app":                 "front-end terminate TLS",
		"--check-config app":               "exit at once",
		"-b fd://3 app":                    "listen",
		"-b :8000 -b fd://3 --preload app": "listen",
	} {
		g, err := Parse(gunicornArgv(t, args), environ(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(g.Validate(true), g.ValidateRelay()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", args, err, want)
		}
	}
	g, _ := Parse(gunicornArgv(t, "-p /run/g.pid --reload app"), environ(), nil)
	if err := g.Validate(false); err != nil {
		t.Errorf("--pid is harmless with replace: %v", err)
	}
	if w := g.Warnings(); len(w) != 1 || !strings.Contains(w[0], "--reload") {
		t.Errorf("got %q", w)
	}
	g, _ = Parse([]string{"uv", "run", "gunicorn", "app"}, environ(), nil)
	if w := g.Warnings(); len(w) != 1 || !strings.Contains(w[0], "uv run") {
		t.Errorf("got %q", w)
	}
}

func TestUnixBindIsRelativeToGunicornsDirectory(t *testing.T) {
	for args, want := range map[string]string{
		"-b unix:shop.sock app":               "unix:/srv/shop/shop.sock",
		"-b unix:@shop app":                   "unix:/srv/shop/@shop",
		"-b unix:s --chdir web app":           "unix:/srv/shop/web/s",
		"-b unix:s --chdir /run app":          "unix:/run/s",
		"-b unix:/run/s --chdir /elsewhere a": "unix:/run/s",
	} {
		g, err := Parse(gunicornArgv(t, args), environ(), nil)
		if got := g.Addresses("/srv/shop"); err != nil || len(got) != 1 || got[0] != want {
			t.Errorf("%s: %v, %v, want %s", args, got, err, want)
		}
	}
}

// A word of one character, a lone dash among them, is no option.
func TestRemovedOptionsLeaveTheOtherWords(t *testing.T) {
	for args, want := range map[string][2]string{
		"-D app":                        {"app", "-D"},
		"0":                             {"0", ""},
		"-D -":                          {"-", "-D"},
		"--unknown-option 4 -D app":     {"--unknown-option 4 app", "-D"},
		"-p /run/g.pid - a":             {"- a", "-p /run/g.pid"},
		"--pid=/run/g.pid -w 4 app":     {"-w 4 app", "--pid=/run/g.pid"},
		"-p/run/g.pid --daem --reuse a": {"a", "-p/run/g.pid --daem --reuse"},
		"app -- -D":                     {"app -- -D", ""},
		"-p":                            {"", "-p"},
		"-x - -":                        {"-x - -", ""},
	} {
		rest, removed := RemoveOptions(strings.Fields(args), "daemon", "pid", "reuse-port")
		if got := [2]string{strings.Join(rest, " "), strings.Join(removed, " ")}; got != want {
			t.Errorf("%s: %q, want %q", args, got, want)
		}
	}
}

func TestBracketsInTheWrongOrderAreNoAddress(t *testing.T) {
	for _, bind := range []string{"][", "]:80[", "a]b[:80", "[", "]", "[]", "[]:", "[:1", "[::1]:x"} {
		if g, err := Parse([]string{"gunicorn", "-b", bind, "app"}, environ(), nil); err == nil && g.Bind.Addresses[0] == "" {
			t.Errorf("%q is an empty address", bind)
		}
	}
}
