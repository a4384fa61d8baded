package servers

import (
	"slices"
	"strings"
	"testing"
)

// parse returns the server of a command that is written as in a shell, in an environment. Only the
// script of sh -c is quoted.
func parse(t *testing.T, command string, env map[string]string) *Command {
	t.Helper()
	before, script, _ := strings.Cut(command, " '")
	argv := strings.Fields(before)
	if script != "" {
		argv = append(argv, strings.TrimSuffix(script, "'"))
	}
	return Parse(argv, func(name string) string { return env[name] })
}

// The commands are of public Dockerfiles, Procfiles, unit files and scripts.
func TestTheAddressOfAServerIsTakenOver(t *testing.T) {
	for _, c := range []struct{ command, address, argv string }{
		{"uvicorn app.main:app --host 0.0.0.0 --port 8000", "0.0.0.0:8000", "uvicorn --fd {fd} app.main:app"},
		{"uvicorn main:app --host 0.0.0.0 --port 8000 --proxy-headers --forwarded-allow-ips 172.16.0.10 --reload", "0.0.0.0:8000",
			"uvicorn --fd {fd} --forwarded-allow-ips 127.0.0.1 main:app --proxy-headers --reload"},
		{"/opt/app/venv/bin/uvicorn --uds /run/uvicorn/webhook.socket --workers 1 --root-path /api main:app", "unix:/run/uvicorn/webhook.socket",
			"/opt/app/venv/bin/uvicorn --fd {fd} --workers 1 --root-path /api main:app"},
		{"python3 -m uvicorn src.app:app --uds run/app.sock --workers 25 --no-access-log", "unix:/srv/run/app.sock",
			"python3 -m uvicorn --fd {fd} src.app:app --workers 25 --no-access-log"},
		{"uv run uvicorn main:app --host 0.0.0.0 --port 8000", "0.0.0.0:8000", "uv run uvicorn --host 127.0.0.1 --port {port} main:app"},
		{"uvicorn --port=80 app:app --host=::", "[::]:80", "uvicorn --fd {fd} app:app"},
		{"uvicorn app:app", "127.0.0.1:8000", "uvicorn --fd {fd} app:app"},

		{"hypercorn --access-logfile - --workers 1 --bind 0.0.0.0:1337 asgi:app", "0.0.0.0:1337",
			"hypercorn --bind fd://{fd} --access-logfile - --workers 1 asgi:app"},
		{"hypercorn app:app --bind 0.0.0.0", "0.0.0.0:8000", "hypercorn --bind fd://{fd} app:app"},
		{"hypercorn src/app:app -b 0.0.0.0:80 -b [::]:80 -b unix:/run/a.sock", "0.0.0.0:80 [::]:80 unix:/run/a.sock", "hypercorn --bind fd://{fd} src/app:app"},
		{"python -m hypercorn --bin=0.0.0.0:80 --workers 2 asgi:app:app", "0.0.0.0:80", "python -m hypercorn --bind fd://{fd} --workers 2 asgi:app:app"},

		{"daphne -b 0.0.0.0 -p 8000 --access-log - --proxy-headers dragan.asgi:application", "0.0.0.0:8000",
			"daphne --fd {fd} --access-log - --proxy-headers dragan.asgi:application"},
		{"/opt/venv/bin/daphne -p8091 heartgo.asgi:application", "127.0.0.1:8091", "/opt/venv/bin/daphne --fd {fd} heartgo.asgi:application"},
		{"daphne -u /tmp/daphne.sock -p 8080 -b 0.0.0.0 seven.asgi:application", "unix:/tmp/daphne.sock 0.0.0.0:8080", "daphne -u {socket} seven.asgi:application"},
		{`daphne -e tcp:port=9000:interface=0.0.0.0 --endpoint=unix:/run/d.sock a:b`, "0.0.0.0:9000 unix:/run/d.sock", "daphne --fd {fd} a:b"},

		{"granian server_asgi:app --interface=asgi --workers=1 --host=0.0.0.0 --port=8000 --loop=uvloop", "0.0.0.0:8000",
			"granian --host 127.0.0.1 --port {port} server_asgi:app --interface=asgi --workers=1 --loop=uvloop"},
		{"granian --interface wsgi --uds /run/g.sock app:app", "unix:/run/g.sock", "granian --uds {socket} --interface wsgi app:app"},

		{"waitress-serve --host=0.0.0.0 --port=10000 wsgi:app", "0.0.0.0:10000", "waitress-serve --listen=127.0.0.1:{port} wsgi:app"},
		{"waitress-serve --url-scheme=https --port=5000 entry_web:app", "0.0.0.0:5000", "waitress-serve --listen=127.0.0.1:{port} --url-scheme=https entry_web:app"},
		{"waitress-serve --listen=*:8041 --listen=[::1]:8042 --call app:make", "0.0.0.0:8041 [::1]:8042", "waitress-serve --listen=127.0.0.1:{port} --call app:make"},
		{"waitress-serve --unix-socket=/run/w.sock --unix-socket-perms=660 app:app", "unix:/run/w.sock",
			"waitress-serve --unix-socket={socket} --unix-socket-perms=660 app:app"},
		{"waitress-serve app:app", "0.0.0.0:8080", "waitress-serve --listen=127.0.0.1:{port} app:app"},

		{"flask run --host=0.0.0.0", "0.0.0.0:5000", "flask run --host 127.0.0.1 --port {port}"},
		{"flask --app src --debug run -h 0.0.0.0 -p 5000", "0.0.0.0:5000", "flask --app src --debug run --host 127.0.0.1 --port {port}"},
		{"python3 -m flask run --host=unix:///run/f.sock", "unix:/run/f.sock", "python3 -m flask run --host unix://{socket}"},

		{"fastapi run app/main.py --port 80 --proxy-headers", "0.0.0.0:80", "fastapi run --host 127.0.0.1 --port {port} app/main.py --proxy-headers"},
		{"fastapi dev app/main.py --host 0.0.0.0", "0.0.0.0:8000", "fastapi dev --host 127.0.0.1 --port {port} app/main.py"},
		{"uv run fastapi dev", "127.0.0.1:8000", "uv run fastapi dev --host 127.0.0.1 --port {port}"},

		{"python manage.py runserver 0.0.0.0:8000", "0.0.0.0:8000", "python manage.py runserver 127.0.0.1:{port}"},
		{"./manage.py runserver --settings=a.b 8080 --noreload", "127.0.0.1:8080", "./manage.py runserver 127.0.0.1:{port} --settings=a.b --noreload"},
		{"python manage.py --settings a runserver -v 2 0:8000", "0.0.0.0:8000", "python manage.py --settings a runserver 127.0.0.1:{port} -v 2"},
		{"django-admin runserver -6", "[::1]:8000", "django-admin runserver 127.0.0.1:{port} -6"},
		{"python manage.py runserver_plus 9000", "127.0.0.1:9000", "python manage.py runserver_plus 127.0.0.1:{port}"},
	} {
		s := parse(t, c.command, nil)
		if s == nil {
			t.Errorf("%s: not known", c.command)
			continue
		}
		all, err := s.Addresses("/srv")
		if err == nil {
			err = s.Validate()
		}
		argv := s.Argv(strings.HasPrefix(c.address, "unix:"))
		if err != nil || strings.Join(all, " ") != c.address || strings.Join(argv, " ") != c.argv {
			t.Errorf("%s\n got %v, %v, %v\nwant %s, %s", c.command, all, argv, err, c.address, c.argv)
		}
	}
}

func TestVariablesSetTheAddressWhereTheCommandLineDoesNot(t *testing.T) {
	for _, c := range []struct {
		command       string
		env           map[string]string
		address, from string
	}{
		{"uvicorn app:app", map[string]string{"UVICORN_PORT": "81", "UVICORN_HOST": "0.0.0.0"}, "0.0.0.0:81", "UVICORN_PORT"},
		{"uvicorn app:app --port 80", map[string]string{"UVICORN_PORT": "81"}, "127.0.0.1:80", "command line"},
		{"uvicorn app:app --port 80", map[string]string{"UVICORN_UDS": "/run/u.sock"}, "unix:/run/u.sock", "command line"},
		{"env UVICORN_PORT=82 uvicorn app:app", nil, "127.0.0.1:82", "UVICORN_PORT"},
		{"granian app:app", map[string]string{"GRANIAN_HOST": "::1", "PORT": "1"}, "[::1]:8000", "GRANIAN_HOST"},
		{"flask run", map[string]string{"FLASK_RUN_HOST": "0.0.0.0", "FLASK_APP": "app.py"}, "0.0.0.0:5000", "FLASK_RUN_HOST"},
		{"fastapi run", map[string]string{"PORT": "83"}, "0.0.0.0:83", "PORT"},
		{"daphne a:b", map[string]string{"PORT": "84", "HOST": "0.0.0.0"}, "127.0.0.1:8000", "default"},
	} {
		s := parse(t, c.command, c.env)
		all, err := s.Addresses("/srv")
		if err != nil || strings.Join(all, " ") != c.address || s.From != c.from {
			t.Errorf("%s with %v: %v from %s, %v; want %s from %s", c.command, c.env, all, s.From, err, c.address, c.from)
		}
	}
	if argv := parse(t, "uvicorn a:b --workers 2", map[string]string{"UVICORN_UDS": "/run/u.sock"}).Argv(true); !slices.Contains(argv, "--uds") {
		t.Errorf("the unix socket of the environment is not replaced: %v", argv)
	}
}

// Other commands, those with a placeholder, and gunicorn with a worker of uvicorn.
func TestOtherCommandsStayAsTheyAre(t *testing.T) {
	for _, command := range []string{
		"uvicorn --fd {fd} app:app", "waitress-serve --listen=127.0.0.1:{port} app:app", "gunicorn -k uvicorn.workers.UvicornWorker app:app",
		"python app.py --port 8000", "python -m http.server 8000", "flask shell", "flask --app run db upgrade", "python manage.py migrate",
		"fastapi --version", "celery -A app worker", "node uvicorn.js", "", "python", "python -m", "sh -c ''",
	} {
		if s := parse(t, command, nil); s != nil {
			t.Errorf("%q is %s", command, s.Server)
		}
	}
}

func TestAnAddressThatCannotBeKnownIsRefusedWithTheRemedy(t *testing.T) {
	for command, want := range map[string]string{
		"uvicorn --fd 0 app:app":                              "descriptor 0",
		"hypercorn -b fd://3 app:app":                         "fd://3",
		"hypercorn -c hypercorn.toml app:app":                 "hypercorn.toml",
		"uvicorn app:app --port ${PORT}":                      `"${PORT}"`,
		"uvicorn app:app --port 0":                            "port 0",
		"daphne -e ssl:443:privateKey=k:certKey=c a:b":        "ssl:443",
		"sh -c 'exec uvicorn app:app --port $HOST_PORT_FAST'": `""`,
	} {
		s := parse(t, command, nil)
		if all, err := s.Addresses("/srv"); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "--listen") {
			t.Errorf("%s: %v, %v", command, all, err)
		}
		if err := s.Validate(); err != nil || s.Argv(false) == nil {
			t.Errorf("%s: with listen it is refused, too: %v", command, err)
		}
	}
}

func TestAServerThatCannotBeRelayedToIsRefused(t *testing.T) {
	for command, want := range map[string]string{
		"uvicorn --ssl-keyfile=k --ssl-certfile c app:app": "--ssl-certfile of uvicorn makes it speak TLS",
		"hypercorn --certfile c app:app":                   "TLS",
		"hypercorn --quic-bind localhost:4433 app:app":     "HTTP/3",
		"granian --ssl-certificate c --ssl-keyfile k a:b":  "TLS",
		"flask run --cert adhoc":                           "TLS",
		"python manage.py runserver_plus --cert tmp/cert":  "TLS",
		"hypercorn -D app:app":                             "remove it",
		"uvicorn --version":                                "exit at once",
	} {
		if err := parse(t, command, nil).Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", command, err)
		}
	}
}

func TestTheAddressInAScriptIsReplaced(t *testing.T) {
	env := map[string]string{"PORT": "5000"}
	for _, c := range []struct{ script, address, want string }{
		{"uvicorn app.main:app --host 0.0.0.0 --port $PORT", "0.0.0.0:5000", "uvicorn --host 127.0.0.1 --port {port} app.main:app"},
		{`cd "a b"; exec uvicorn app:app --port ${PORT:-8000} --log-level "$LEVEL"`, "127.0.0.1:5000", `cd "a b"; exec uvicorn --fd {fd} app:app --log-level "$LEVEL"`},
		{"source venv/bin/activate && exec daphne -b 0.0.0.0 -p \"$PORT\" 'a.b:c' ;", "0.0.0.0:5000", "source venv/bin/activate && exec daphne --fd {fd} 'a.b:c' ;"},
		{"python manage.py migrate && X=1 python manage.py runserver 0.0.0.0:$PORT", "0.0.0.0:5000",
			"python manage.py migrate && X=1 python manage.py runserver 127.0.0.1:{port}"},
	} {
		s := Parse([]string{"nice", "sh", "-c", c.script}, func(name string) string { return env[name] })
		all, err := s.Addresses("/srv")
		argv := s.Argv(false)
		if err != nil || strings.Join(all, " ") != c.address || !slices.Equal(argv, []string{"nice", "sh", "-c", c.want}) {
			t.Errorf("%s: %v, %q, %v, %v", c.script, all, argv, err, s.Validate())
		}
	}
	for _, script := range []string{
		"uvicorn app:app --port 80 | tee log", "exec uvicorn app:app --port 80 > log 2>&1", "exec uvicorn app:app --port `cat port`",
		"uvicorn app:app --port 80 --workers $(nproc)", "bash -c 'exec uvicorn app:app --port 80'", "(uvicorn app:app)",
	} {
		s := Parse([]string{"sh", "-c", script}, func(string) string { return "" })
		if s == nil {
			continue // not recognised at all
		}
		if err := s.Validate(); err == nil || !strings.Contains(err.Error(), "script of a shell") || s.Argv(false) != nil {
			t.Errorf("%s: %v, %q", script, err, s.Argv(false))
		}
	}
}

func TestReloadersAreSaid(t *testing.T) {
	for command, want := range map[string]bool{
		"uvicorn --reload app:app": true, "uvicorn app:app": false, "flask --debug run": true, "flask run --debug": true, "flask run": false,
		"python manage.py runserver": true, "python manage.py runserver --noreload": false, "fastapi dev": true, "fastapi run": false,
		"granian --reload a:b": true, "hypercorn --reload a:b": true,
	} {
		if s := parse(t, command, nil); s.Reloads != want || len(s.Warnings()) > 0 != want {
			t.Errorf("%s: %v", command, s.Warnings())
		}
	}
}

// No command makes Parse panic, and the command that Argv returns is parsed as one with a
// placeholder.
func FuzzParse(f *testing.F) {
	for _, command := range []string{"uvicorn a:b --port 80", "sh\x00-c\x00exec uvicorn a:b --port $PORT", "flask\x00run\x00-p", "manage.py\x00runserver\x00[::]:80",
		"daphne\x00-e\x00tcp", "waitress-serve\x00--listen", "hypercorn\x00-b\x00[", "sh\x00-c\x00uvicorn \\", "sh\x00-c\x00>A"} {
		f.Add(strings.ReplaceAll(command, " ", "\x00"))
		f.Add(command)
	}
	f.Fuzz(func(t *testing.T, text string) {
		argv := strings.Split(text, "\x00")
		s := Parse(argv, func(string) string { return "" })
		if s == nil {
			return
		}
		s.Addresses("/")
		for _, unix := range []bool{false, true} {
			if again := s.Argv(unix); again != nil && Parse(again, func(string) string { return "" }) != nil {
				t.Errorf("%q: no placeholder in %q", argv, again)
			}
		}
	})
}
