package gunicorn

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// scripts are start scripts in the forms that public repositories have: what is known of them
// without running anything.
var scripts = []struct {
	name, text string
	env        []string
	asked      bool   // it may be run once more up to gunicorn
	bind       string // that is known without asking; "": none
	forks      bool
	app        string // "": the arguments are not known
	notOurs    bool   // not a gunicorn that is known
}{
	{name: "the script of many Django tutorials", asked: true, forks: false, text: `#!/bin/bash
NAME="shop"                                  # Name of the application
DJANGODIR=/srv/shop
SOCKFILE=/srv/shop/run/gunicorn.sock         # we will communicate using this unix socket
NUM_WORKERS=3
DJANGO_WSGI_MODULE=shop.wsgi

echo "Starting $NAME as ` + "`whoami`" + `"

cd $DJANGODIR
source ../bin/activate
export DJANGO_SETTINGS_MODULE=shop.settings
export PYTHONPATH=$DJANGODIR:$PYTHONPATH

# Create the run directory if it doesn't exist
RUNDIR=$(dirname $SOCKFILE)
test -d $RUNDIR || mkdir -p $RUNDIR

exec gunicorn ${DJANGO_WSGI_MODULE}:application \
  --name $NAME \
  --workers $NUM_WORKERS \
  --bind=unix:$SOCKFILE \
  --log-file=-
#  --bind=0.0.0.0:8080
`, bind: "unix:/srv/shop/run/gunicorn.sock", app: "shop.wsgi:application"},
	{name: "a container that migrates", bind: "0.0.0.0:8000", app: "config.wsgi:application", text: `#!/bin/sh
python manage.py migrate
exec gunicorn config.wsgi:application --bind 0.0.0.0:8000 --workers ${GUNICORN_WORKERS:-4}
`},
	{name: "a container that migrates, without exec", bind: "0.0.0.0:8000", forks: true, app: "app.wsgi", text: `#!/usr/bin/env sh
# CMD ["gunicorn", "--bind", "0.0.0.0:8000", "app.wsgi"]
python manage.py migrate
python manage.py collectstatic --noinput
gunicorn --bind 0.0.0.0:8000 app.wsgi
`},
	{name: "a container that waits for its database", bind: "0.0.0.0:8000", app: "core.wsgi:application", text: `#!/bin/sh
set -e
if [ "$DATABASE" = "postgres" ]; then
    echo "Waiting for postgres..."
    while ! nc -z $SQL_HOST $SQL_PORT; do
      sleep 0.1
    done
    echo "PostgreSQL started"
fi
exec gunicorn core.wsgi:application --bind 0.0.0.0:8000
`},
	{name: "the settings in GUNICORN_CMD_ARGS", text: `#!/bin/sh
export GUNICORN_CMD_ARGS="--access-logfile - --bind=0.0.0.0:5000 --workers=2 --preload"
if [ "${DB_MIGRATE}" = "upgrade" ]; then
    python -m flask db "${DB_MIGRATE}"
fi
exec gunicorn server:app "$@"
`, bind: "0.0.0.0:5000", app: "server:app"},
	{name: "a .env that is sourced", asked: true, text: `cd /opt/party
source venv/bin/activate
set -a && source .env && set +a
exec gunicorn --workers 2 --bind 127.0.0.1:8000 --preload config.wsgi:application
`, bind: "127.0.0.1:8000", app: "config.wsgi:application"},
	{name: "the .env names the port", asked: true, app: "", text: `. ./.env
exec gunicorn --bind 127.0.0.1:$WEB_PORT config.wsgi
`},
	{name: "a script in another directory", asked: true, forks: true, text: `#!/bin/bash
SCRIPT_DIR="$( cd "$( dirname "${BASH_SOURCE[0]}" )" >/dev/null 2>&1 && pwd )"
APP_ROOT="$(dirname "$SCRIPT_DIR")"
VENV_PATH="$APP_ROOT/venv"
source "$VENV_PATH/bin/activate"
cd "$APP_ROOT" || exit 1
"$VENV_PATH"/bin/gunicorn --access-logfile "$SCRIPT_DIR"/stdout.log \
                          --workers 3 \
                          --bind unix:/run/shop.sock \
                          app.config.wsgi:application
`, bind: "unix:/run/shop.sock", app: "app.config.wsgi:application"},
	{name: "runit", asked: true, text: "#!/bin/sh\nexec 2>&1\nexec gunicorn -b unix:/tmp/shop.sock --name shop -u web -g web shop.wsgi\n", bind: "unix:/tmp/shop.sock", app: "shop.wsgi"},
	{name: "a socket that is removed", bind: "127.0.0.1:8000", app: "shop", text: "rm -f /run/shop.sock\nexec gunicorn -b 127.0.0.1:8000 shop\n"},
	{name: "a log that is begun anew", bind: "127.0.0.1:8000", app: "shop", text: "date > start.log\nexec gunicorn -b 127.0.0.1:8000 shop\n"},
	{name: "in the background", asked: true, forks: true, bind: "127.0.0.1:8000", app: "shop", text: "gunicorn -b 127.0.0.1:8000 shop &\nnginx -g 'daemon off;'\n"},
	{name: "exec in a pipe", asked: true, forks: true, bind: "127.0.0.1:8000", app: "shop", text: "exec gunicorn -b 127.0.0.1:8000 shop 2>&1 | tee -a gunicorn.log\n"},
	{name: "the port of the platform", asked: true, env: []string{"PORT=5000"}, bind: "0.0.0.0:5000", app: "shop", text: "exec gunicorn shop --bind 0.0.0.0:${PORT:-8000}\n"},
	{name: "number of processors", asked: true, bind: "0.0.0.0:8000", app: "shop", text: "exec gunicorn -b :8000 --workers $(( 2 * $(nproc --all) + 1 )) shop\n"},
	{name: "number of processors, and a migration", bind: "0.0.0.0:8000", app: "shop", text: "flask db upgrade\nexec gunicorn --workers=$(nproc) -b :8000 -t \"$TIMEOUT\" shop\n"},
	{name: "options in a variable of a file", app: "", text: "flask db upgrade; source .env\nexec gunicorn -b :8000 $OPTIONS shop\n"},
	{name: "an address in a variable of a file", app: "", text: "flask db upgrade; source .env\nexec gunicorn -b \"$ADDRESS\" shop\n"},
	{name: "conda", asked: true, bind: "0.0.0.0:8000", app: "shop", text: "eval \"$(pyenv init -)\"\nconda activate shop && exec gunicorn -b :8000 shop\n"},
	{name: "a value that depends on a test", app: "", asked: true, text: "ADDRESS=:8000\ntest -n \"$DEV\" && ADDRESS=:9000\nexec gunicorn -b $ADDRESS shop\n"},
	{name: "a value that a branch sets", app: "", asked: true, text: "ADDRESS=:8000\nif test -n \"$DEV\"; then ADDRESS=:9000; fi\nexec gunicorn -b $ADDRESS shop\n"},
	{name: "a here document", notOurs: true, text: "cat > gunicorn.conf.py <<EOF\nbind = ':8000'\nEOF\nexec gunicorn shop\n"},
	{name: "a function", notOurs: true, text: "serve() {\n  exec gunicorn shop\n}\nserve\n"},
	{name: "two of them", notOurs: true, text: "gunicorn -b :8001 a &\ngunicorn -b :8002 b &\nwait\n"},
	{name: "one of several servers", notOurs: true, text: "case $1 in\nweb) exec gunicorn shop;;\nworker) exec celery -A shop worker;;\nesac\n"},
	{name: "no gunicorn", notOurs: true, text: "echo gunicorn\nexec celery -A gunicorn worker\n"},
	{name: "quotes in expansions", asked: true, bind: "0.0.0.0:8000", app: "shop", text: "exec gunicorn -b :8000 --name \"${NAME:-\"'\"}\" --user \"$(echo \"x'y\")\" shop\n"},
	{name: "a variable that is removed", app: "", asked: true, text: "ADDRESS=:8000\nunset ADDRESS\nexec gunicorn -b $ADDRESS shop\n"},
	{name: "a variable that is read", app: "", text: "ADDRESS=:8000\nread ADDRESS < file\nexec gunicorn -b $ADDRESS shop\n"},
	{name: "a variable that a file may set again", app: "", asked: true, text: "ADDRESS=:8000\n. ./.env\nexec gunicorn -b $ADDRESS shop\n"},
	{name: "a variable of a loop", app: "", asked: true, text: "for PORT in 8000 9000; do :; done\nexec gunicorn -b :$PORT shop\n"},
	{name: "a default that is assigned", app: "", text: "flask db upgrade; : ${PORT:=8000}\nexec gunicorn -b :$PORT shop\n"},
	{name: "a variable that grows", app: "", text: "PORT=80; PORT+=80\nexec gunicorn -b :$PORT shop\n"},
	{name: "an escaped variable", app: "", asked: true, env: []string{"PORT=1"}, text: "exec gunicorn -b :\\$PORT shop\n"},
	{name: "arguments of the script that are changed", app: "", asked: true, text: "set -- -b :9000 shop\nexec gunicorn \"$@\"\n"},
	{name: "options of the shell", asked: true, bind: "0.0.0.0:9000", app: "shop", text: "set -euo pipefail\nexec gunicorn -b :9000 shop \"$@\"\n"},
	{name: "a redirection in front", asked: true, bind: "0.0.0.0:9000", app: "shop", text: ">>log 2>&1 exec gunicorn -b :9000 shop\n"},
	{name: "a backslash at the end", notOurs: true, text: "exec gunicorn -b :9000 shop \\"},
	{name: "an open quote", notOurs: true, text: "echo 'gunicorn\nexec gunicorn shop\n"},
}

func TestWhatIsKnownOfStartScripts(t *testing.T) {
	for _, c := range scripts {
		t.Run(c.name, func(t *testing.T) {
			read := func(path string) ([]byte, error) {
				if strings.HasSuffix(path, ".env") {
					return []byte("# settings\nexport DEBUG=0\nWEB_PORT=9001\nNAME='a b'\n"), nil
				}
				return nil, os.ErrNotExist
			}
			g, err := Parse([]string{"bash", "-c", c.text}, environ(c.env...), read)
			if err != nil || (g == nil) != c.notOurs {
				t.Fatalf("got %+v, %v", g, err)
			}
			if g == nil {
				return
			}
			bind := ""
			if !g.NeedsQuery() {
				bind = strings.Join(g.Bind.Addresses, " ")
			}
			if asked := g.Unaskable() == nil; asked != c.asked || bind != c.bind || g.MayFork() != c.forks || g.App != c.app {
				t.Errorf("asked %v (%v), bind %q, forks %v, app %q", asked, g.Unaskable(), bind, g.MayFork(), g.App)
			}
		})
	}
}

// A file that a script sources and that does more than to set variables is not read once more.
func TestAScriptThatSourcesAProgramIsNotAsked(t *testing.T) {
	for text, asked := range map[string]bool{
		"A=1\nexport B=\"$A\"\n":                   true,
		"[ -f other ] && . ./other\n":              true,
		"python manage.py migrate\n":               false,
		"A=$(python -c 'print(1)')\n":              false,
		"A=`curl -s http://example/`\n":            false,
		"if true; then touch x; fi\n":              false,
		"(cd / && rm -r x)\n":                      false,
		"A=1 > file\n":                             false,
		"echo ${A:-$(touch x)}\n":                  false,
		"echo \"${A:-`touch x`}\"\n":               false,
		"for i in $(touch x); do :; done":          false,
		"[[ -n $(touch x) ]]\n":                    false,
		"eval \"$(touch x)\"\n":                    false,
		"xargs touch < list\n":                     false,
		"sed -i s/a/b/ x\n":                        false,
		"sed -Ei s/a/b/ x\n":                       false,
		"sed --in s/a/b/ x\n":                      false,
		"sed -n s/a/b/p x\n":                       true,
		"sort -uo x x\n":                           false,
		"uniq x y\n":                               false,
		"uniq -c x\n":                              true,
		"mkdir -p /run/x\n":                        true,
		"mkdir /run/x\n":                           false,
		"date -s 10:00\n":                          false,
		"date -Is\n":                               true,
		"hostname shop\n":                          false,
		"for i do touch x; done\n":                 false,
		"for i in a b; do :; done\n":               true,
		"echo $((touch x) && (touch y))\n":         false,
		"echo $(((1 + 2) * (3 + 4)))\n":            true,
		"[[ -f <(touch x) ]]\n":                    false,
		"echo \"${A:-'}\"; touch x; echo \"'}\"\n": false,
		"X+=1\n":                false,
		"trap 'touch x' EXIT\n": false,
		"sleep 100 &\n":         false,
		"echo 'unfinished":      false,
	} {
		read := func(path string) ([]byte, error) {
			if path == "env.sh" {
				return []byte(text), nil
			}
			return []byte("C=1\n"), nil
		}
		g, err := Parse([]string{"sh", "-c", ". env.sh; exec gunicorn app"}, environ(), read)
		if err != nil || g == nil || (g.Unaskable() == nil) != asked {
			t.Errorf("%q: %+v, %v", text, g, err)
		}
	}
}

// What gunicorn reports from inside a script, with files of the project in the directory that have
// the names of modules, is what it does when it is started.
func TestGunicornIsAskedAsItWouldRun(t *testing.T) {
	for _, version := range gunicornVersions {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			for name, text := range map[string]string{
				"gunicorn.py":    "bind = '127.0.0.1:9001'\npidfile = 'g.pid'\n",
				"json.py":        "",
				"email.py":       "",
				"random.py":      "",
				"socket.py":      "",
				"settings.py":    "import json\nassert not hasattr(json, 'dumps')\nPORT = 9002\n",
				"with_import.py": "import os, settings\nfrom gunicorn.arbiter import Arbiter\nbind = f'127.0.0.1:{settings.PORT}'\ndef when_ready(server): pass\ndef post_fork(server: Arbiter, worker): import app_hooks\nprint('loading', os.getpid())\n",
				"with_exit.py":   "import sys\nsys.exit('no licence')\n",
				"chdir.py":       "chdir = 'web'\nbind = 'unix:web.sock'\n",
				"web/x":          "",
				"bin/start":      "#!/bin/bash -e\n# starts the shop\nHERE=\"$(cd \"$(dirname \"${BASH_SOURCE[0]}\")\" && pwd)\"\ncd \"$HERE/..\"\nPORT=9003\nexec \"$HERE\"/../venv/bin/gunicorn --bind=\"unix:$PWD/g.sock\" -b :$PORT app:app \\\n  --workers $(( 1 + 1 )) > /nowhere 2>&1\n",
				"bin/gunicorn":   "#!/usr/bin/env bash\nset -e\nprogram=\"${0##*/}\"\nexec \"$VENV/bin/$program\" \"$@\"\n", // as the shims of pyenv and asdf
			} {
				path := filepath.Join(dir, name)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.Symlink(venv(t, version), filepath.Join(dir, "venv")); err != nil {
				t.Fatal(err)
			}
			for _, c := range []struct {
				argv []string
				want string // binds and workers, or an error
			}{
				{[]string{"venv/bin/gunicorn", "-c", "gunicorn.py", "app:app"}, "127.0.0.1:9001 1"},
				{[]string{"venv/bin/gunicorn", "app:app"}, "127.0.0.1:8000 1"},
				{[]string{"venv/bin/gunicorn", "-c", "with_import.py", "-w", "3", "app:app"}, "127.0.0.1:9002 3"},
				{[]string{"venv/bin/gunicorn", "-c", "python:with_import", "app:app"}, "127.0.0.1:9002 1"},
				{[]string{"venv/bin/gunicorn", "-c", "chdir.py", "app:app"}, "unix:DIR/web/web.sock 1"},
				{[]string{"venv/bin/gunicorn", "-c", "with_exit.py", "app:app"}, "error"},
				{[]string{"venv/bin/gunicorn"}, "error"}, // no app
				{[]string{"timeout", "60", "nice", "venv/bin/gunicorn", "-b", "0:9004", "--", "app:app"}, "0.0.0.0:9004 1"},
				{[]string{"env", "GUNICORN_CMD_ARGS=-b 127.1:9005 -c with_import.py", "venv/bin/gunicorn", "app:app"}, "127.0.0.1:9005 1"},
				{[]string{"env", "-i", "PORT=9006", "venv/bin/python", "-u", "venv/bin/gunicorn", "app:app"}, "0.0.0.0:9006 1"},
				{[]string{"env", "VENV=venv", "bin/gunicorn", "-c", "with_import.py", "app:app"}, "127.0.0.1:9002 1"},
				{[]string{"bin/start"}, "unix:DIR/g.sock 0.0.0.0:9003 2"},
				{[]string{"bash", "bin/start", "ignored"}, "unix:DIR/g.sock 0.0.0.0:9003 2"},
				{[]string{"bash", "-c", "source venv/bin/activate && exec gunicorn -c with_import.py app:app"}, "127.0.0.1:9002 1"},
				{[]string{"sh", "-c", "cd web; ../venv/bin/gunicorn -b unix:w.sock app:app 2>&1 | tee -a log; touch after"}, "unix:DIR/web/w.sock 1"},
			} {
				got := "error"
				g, err := Parse(c.argv, environ(), reader(dir))
				if err != nil || g == nil {
					t.Fatalf("%v: %v, %v", c.argv, g, err)
				}
				if report, err := query(t, g, dir); err == nil {
					merged, err := g.WithReport(report)
					if err != nil {
						t.Errorf("%v: %v", c.argv, err)
						continue
					}
					got = fmt.Sprint(strings.ReplaceAll(strings.Join(merged.Addresses(dir), " "), dir, "DIR"), " ", merged.Workers)
				}
				if got != c.want {
					t.Errorf("%v: %s, want %s", c.argv, got, c.want)
				}
			}
			for _, name := range []string{"web/after", "web/log", "g.pid"} {
				if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
					t.Errorf("a query has made %s", name)
				}
			}
		})
	}
}

// A bind of gunicorn is an address of the socket that gunicorn itself opens.
func TestShortIPv4Addresses(t *testing.T) {
	for bind, want := range map[string]string{
		"0:80": "0.0.0.0:80", "127.1:80": "127.0.0.1:80", "127.0.1:80": "127.0.0.1:80", "0x7f000001:80": "127.0.0.1:80",
		"0177.0.0.1:80": "127.0.0.1:80", "2130706433:80": "127.0.0.1:80", "10.1.2.3:80": "10.1.2.3:80", "00:80": "0.0.0.0:80",
		"1.2.3.4.5:80": "1.2.3.4.5:80", "127.256:80": "127.0.1.0:80", "256.1:80": "256.1:80", "shop:80": "shop:80", "1e3:80": "1e3:80",
	} {
		if got, err := parseAddress(bind); err != nil || got != want {
			t.Errorf("%s: %s, %v, want %s", bind, got, err, want)
		}
	}
}

// The limits are those that gunicorn's parser makes of its settings.
func TestLimitsAsGunicornAppliesThem(t *testing.T) {
	for settings, want := range map[[3]int]Limits{
		{4094, 100, 8190}:    DefaultLimits,
		{0, 300, 0}:          {RequestLine: 0, Fields: 300, Field: 0},
		{8190, 32768, 65536}: {RequestLine: 8190, Fields: 32768, Field: 65536},
		{100000, 100000, -1}: {RequestLine: 8190, Fields: 32768, Field: 8190},
		{-1, 0, 1 << 20}:     {RequestLine: 8190, Fields: 32768, Field: 1 << 20},
	} {
		if got := limitsOf(settings[0], settings[1], settings[2]); got != want {
			t.Errorf("%v: %+v, want %+v", settings, got, want)
		}
	}
}

// A report counts for the command that it was made for, and an inherited one once.
func TestTheLastReportIsThatOfTheSameCommand(t *testing.T) {
	ask := func(version string) func() (Report, error) {
		return func() (Report, error) { return Report{Version: version}, nil }
	}
	c := NewCache(map[string]Report{"shop": {Version: "inherited", Command: []string{"gunicorn", "a"}}, "old": {Version: "of an older tideover"}})
	for i, step := range []struct{ app, command, want string }{
		{"shop", "gunicorn a", "inherited"}, {"shop", "gunicorn a", "asked"}, {"old", "gunicorn a", "asked"},
	} {
		r, err := c.Get(step.app, strings.Fields(step.command), ask("asked"))
		if err != nil || r.Version != step.want {
			t.Errorf("step %d: %+v, %v", i, r, err)
		}
		c.Keep(step.app, r)
	}
	if _, known := c.Last("shop", []string{"gunicorn", "b"}); known {
		t.Error("the report of another command counts")
	}
	failing := func() (Report, error) { return Report{}, os.ErrDeadlineExceeded }
	if _, err := c.Get("shop", []string{"gunicorn", "a"}, failing); err == nil {
		t.Error("an error of the query is hidden")
	}
	if r, known := c.Last("shop", []string{"gunicorn", "a"}); !known || r.Version != "asked" {
		t.Errorf("got %+v, %v", r, known)
	}
}
