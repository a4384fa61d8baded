//go:build e2e

package e2e

import (
	"fmt"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"tideover/scripts/loadgen"
	"tideover/scripts/testenv"
)

// Servers other than gunicorn take their socket from a word in their command.
func TestOtherServers(t *testing.T) {
	t.Parallel()
	quick := map[string]bool{"uvicorn-fd": true, "uvicorn-workers-socket": true, "hypercorn-workers-port": true,
		"waitress-socket": true, "go-fd": true, "node-port": true}
	for _, server := range []string{"uvicorn-fd", "uvicorn-socket", "uvicorn-port", "uvicorn-workers-socket", "uvicorn-workers-port",
		"hypercorn-fd", "hypercorn-workers-port", "waitress-socket", "waitress-port", "go-fd", "node-socket", "node-port"} {
		if !sampled(quick[server]) {
			continue
		}
		t.Run(server, func(t *testing.T) {
			r := begin(t)
			s := newFixture(r, setup{
				front: apache(testenv.Apache{}), command: r.serverCommand(server),
				release: testenv.Release{Number: 1, Import: 0.5},
			})
			s.reloadAndRestart(60)
		})
	}
}

// The apps of frameworks whose development server starts an app of its own kind only.
var frameworkApps = map[string]string{
	"shop_flask.py": "from flask import Flask\nfrom werkzeug.wsgi import get_input_stream\nfrom shop import app as wsgi\napp = Flask(__name__)\n" +
		"app.wsgi_app = lambda e, start: wsgi(dict(e, **{'wsgi.input': get_input_stream(e)}), start)\n", // it ends with the body
	"main.py": "from fastapi import FastAPI\nfrom shop_asgi import app as asgi\napp = FastAPI()\napp.mount('/', asgi)\n",
	"manage.py": "import sys\nfrom django.conf import settings\n" +
		"settings.configure(DEBUG=True, SECRET_KEY='x', WSGI_APPLICATION='shop.app', ROOT_URLCONF=__name__, ALLOWED_HOSTS=['*'])\n" +
		"urlpatterns = []\nif __name__ == '__main__':\n    from django.core.management import execute_from_command_line\n    execute_from_command_line(sys.argv)\n",
}

// The command that a user types today names the public address itself. tideover takes it over,
// and has the server listen on the private socket.
func TestAddressOfOtherServers(t *testing.T) {
	t.Parallel()
	quick := map[string]bool{"uvicorn-uds": true, "uvicorn-reload": true, "hypercorn": true, "granian-uds-workers": true,
		"daphne": true, "daphne-endpoint": true, "waitress-listen": true, "flask-debug": true, "django": true, "fastapi-dev": true, "shell": true}
	for _, c := range []struct {
		name, command string // HOST, PORT and PATH are the public address
		unix          bool
	}{
		{"uvicorn", "uvicorn shop_asgi:app --host HOST --port PORT", false},
		{"uvicorn-module-workers", "python -m uvicorn --workers 2 --port=PORT shop_asgi:app", false},
		{"uvicorn-uds", "uvicorn --uds PATH shop_asgi:app", true},
		{"uvicorn-reload", "uvicorn --reload --port PORT shop_asgi:app", false},
		{"hypercorn", "hypercorn -b HOST:PORT shop_asgi:app", false},
		{"hypercorn-unix-workers", "hypercorn --workers 2 --bind unix:PATH shop_asgi:app", true},
		{"granian", "granian --interface asgi --host HOST --port PORT shop_asgi:app", false},
		{"granian-uds-workers", "granian --interface wsgi --workers 2 --uds PATH shop:app", true},
		{"daphne", "daphne -b HOST -p PORT shop_asgi:app", false},
		{"daphne-unix", "daphne -u PATH shop_asgi:app", true},
		{"daphne-endpoint", "daphne -e tcp:port=PORT:interface=HOST shop_asgi:app", false},
		{"waitress-listen", "waitress-serve --listen=HOST:PORT shop:app", false},
		{"waitress-port", "waitress-serve --host=HOST --port=PORT shop:app", false},
		{"waitress-unix", "waitress-serve --unix-socket=PATH shop:app", true},
		{"flask", "flask --app shop_flask run -h HOST -p PORT", false},
		{"flask-debug", "flask --app shop_flask --debug run -p PORT", false},
		{"django", "python manage.py runserver HOST:PORT", false},
		{"django-noreload", "python manage.py runserver --noreload PORT", false},
		{"fastapi-run", "fastapi run --host HOST --port PORT", false},
		{"fastapi-dev", "fastapi dev main.py --port PORT", false},
		{"shell", "sh -c exec\x00uvicorn\x00shop_asgi:app\x00--port\x00${P:-PORT}", false},
	} {
		if !sampled(quick[c.name]) {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			r := begin(t)
			s := newFixture(r, setup{
				unix: c.unix, files: frameworkApps, release: testenv.Release{Number: 1, Import: 0.5},
				own: func(address string) []string {
					host, port, _ := net.SplitHostPort(address)
					words := strings.Fields(strings.NewReplacer("HOST", host, "PORT", port, "PATH", address).Replace(c.command))
					for i, word := range words {
						words[i] = strings.ReplaceAll(word, "\x00", " ")
					}
					if c.name == "shell" {
						words[2] = strings.Replace(words[2], "uvicorn", r.env.Venv("servers", "uvicorn"), 1)
						return words
					}
					return append([]string{r.env.Venv("servers", words[0])}, words[1:]...)
				},
			})
			s.reloadAndRestart(60)
		})
	}
}

func (r *row) serverCommand(server string) []string {
	r.Helper()
	venv := func(program string) string { return r.env.Venv("servers", program) }
	example := func(name string) string { return r.env.Root + "/examples/" + name }
	switch server {
	case "uvicorn-fd":
		return []string{venv("uvicorn"), "--fd", "{fd}", "shop_asgi:app"}
	case "uvicorn-socket":
		return []string{venv("uvicorn"), "--uds", "{socket}", "shop_asgi:app"}
	case "uvicorn-port":
		return []string{venv("uvicorn"), "--port", "{port}", "shop_asgi:app"}
	case "uvicorn-workers-socket":
		return []string{venv("uvicorn"), "--workers", "2", "--uds", "{socket}", "shop_asgi:app"}
	case "uvicorn-workers-port":
		return []string{venv("uvicorn"), "--workers", "2", "--port", "{port}", "shop_asgi:app"}
	case "hypercorn-workers-port":
		return []string{venv("hypercorn"), "--workers", "2", "--bind", "127.0.0.1:{port}", "shop_asgi:app"}
	case "hypercorn-fd":
		return []string{venv("hypercorn"), "--bind", "fd://{fd}", "shop_asgi:app"}
	case "waitress-socket":
		return []string{venv("waitress-serve"), "--unix-socket={socket}", "shop:app"}
	case "waitress-port":
		return []string{venv("waitress-serve"), "--listen=127.0.0.1:{port}", "shop:app"}
	case "go-fd":
		binary := r.env.Path("goserver")
		if out, err := exec.Command("go", "build", "-o", binary, example("other-servers")).CombinedOutput(); err != nil {
			r.Fatalf("%v\n%s", err, out)
		}
		return []string{binary, "{fd}"}
	case "node-socket":
		return []string{"node", example("other-servers/server.js"), "{socket}"}
	}
	return []string{"node", example("other-servers/server.js"), "{port}"}
}

// Two apps in one configuration live side by side: what happens to one is
// nothing to the other.
func TestTwoApps(t *testing.T) {
	r := begin(t)
	first, err := r.env.NewApp("first", testenv.Release{Number: 1, Import: 1})
	r.must(err)
	second, err := r.env.NewApp("second", testenv.Release{Number: 1, Import: 1})
	r.must(err)
	var config strings.Builder
	clients := map[string]*loadgen.Client{}
	for name, shop := range map[string]*testenv.App{"first": first, "second": second} {
		address, err := testenv.Address()
		r.must(err)
		fmt.Fprintf(&config, "[app.%s]\ncommand = %s\nlisten = %q\ndirectory = %q\n", name,
			tomlArray(testenv.Gunicorn{Workers: 2}.Argv(r.env)), address, shop.Dir)
		clients[name] = &loadgen.Client{Address: address, Prefix: name}
	}
	path, err := r.env.Write("tideover.toml", config.String())
	r.must(err)
	daemon, err := r.env.Tideover(first, testenv.RunOptions{Flags: []string{"-c", path}, Name: "first"})
	r.must(err)
	for _, c := range clients {
		r.must(waitAnswer(r, c))
	}
	s := &fixture{row: r, app: first, daemon: daemon, client: clients["first"]}
	other := loadgen.Start(loadgen.Plan{Client: clients["second"], Rate: 40})
	s.startLoad(40)
	for range times(1) {
		s.reload()
		s.restart()
		s.killMaster()
	}
	outcome, err := daemon.Call(s.timeout(operationTimeout), "stop", "first")
	r.must(err)
	if outcome.Exit != 0 {
		r.Errorf("stop first: %v", outcome)
	}
	stopped := s.load.Stop()
	quiet := other.Stop()
	r.addNumbers("events=%d second: %v", s.events, quiet)
	r.checkNothingLost(quiet)
	if quiet.Longest > 2*time.Second {
		r.Errorf("a request of the second app waited %v for the first one's affairs", quiet.Longest)
	}
	if stopped.Lost() != stopped.Statuses[503] {
		r.Errorf("the first app: %v", stopped)
	}
	s.shutdown()
}

// The public socket is at gunicorn's address, in every way to set that.
func TestAddressOfTheCommand(t *testing.T) {
	t.Parallel()
	for _, spelling := range []string{"-b X", "-bX", "--bind X", "--bind=X", "GUNICORN_CMD_ARGS", "file", "PORT", "unix", "two"} {
		t.Run(spelling, func(t *testing.T) {
			r := begin(t)
			shop, err := r.env.NewApp("shop", testenv.Release{Number: 1})
			r.must(err)
			port, err := testenv.Port()
			r.must(err)
			address := fmt.Sprintf("127.0.0.1:%d", port)
			options, env, clients := r.spelled(spelling, port, address)
			options = append(options, "-w", "1", "shop:app")
			_, err = r.env.Tideover(shop, testenv.RunOptions{
				Command: append([]string{r.env.Venv("gunicorn-latest", "gunicorn")}, options...), Env: env,
			})
			r.must(err)
			for _, c := range clients {
				r.must(waitAnswer(r, c))
			}
			r.addNumbers("doors=%d", len(clients))
		})
	}
}

// spelled returns gunicorn's options, the environment, and clients of every
// address that they name.
func (r *row) spelled(spelling string, port int, address string) (options, env []string, clients []*loadgen.Client) {
	r.Helper()
	clients = []*loadgen.Client{{Address: address, Prefix: "n"}}
	switch spelling {
	case "GUNICORN_CMD_ARGS":
		env = []string{"GUNICORN_CMD_ARGS=--bind=" + address}
	case "PORT":
		env = []string{fmt.Sprintf("PORT=%d", port)}
	case "file":
		path, err := r.env.Write("gunicorn_settings.py", fmt.Sprintf("bind = %q\n", address))
		r.must(err)
		options = []string{"-c", path}
	case "unix":
		path := r.env.Path("shop.sock")
		options = []string{"--bind", "unix:" + path}
		clients = []*loadgen.Client{{Address: path, Host: "front.test", Prefix: "n"}}
	case "two":
		other := r.unusedAddress()
		options = []string{"-b", address, "-b", other}
		clients = append(clients, &loadgen.Client{Address: other, Prefix: "o"})
	default:
		options = strings.Fields(strings.Replace(spelling, "X", address, 1))
	}
	return options, env, clients
}

// What cannot work is refused, with a sentence.
func TestRefused(t *testing.T) {
	t.Parallel()
	for _, option := range []string{"--daemon", "--reuse-port", "--pid=/tmp/shop.pid"} {
		t.Run(option, func(t *testing.T) {
			r := begin(t)
			shop, err := r.env.NewApp("shop", testenv.Release{Number: 1})
			r.must(err)
			g := testenv.Gunicorn{Bind: r.unusedAddress(), Args: []string{option}}
			daemon, err := r.env.Tideover(shop, testenv.RunOptions{Command: g.Argv(r.env)})
			r.must(err)
			select {
			case <-daemon.Exited():
			case <-r.timeout(20 * time.Second).Done():
				r.Fatal("it was not refused")
			}
			name, _, _ := strings.Cut(option, "=")
			if said := daemon.Tail(20); daemon.Code() == 0 || !strings.Contains(said, name) {
				r.Errorf("exit %d: %s", daemon.Code(), said)
			}
			r.checkNoneLeft()
			r.addNumbers("exit=%d", daemon.Code())
		})
	}
}
