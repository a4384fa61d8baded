//go:build e2e

package e2e

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"tideover/scripts/testenv"
)

// projects are layouts of real web projects: files, with ADDRESS for a free address. Each answers
// "hello" at / when it runs.
var projects = map[string]map[string]string{
	"flask": {"app.py": flaskApp},
	"flask-factory": {"requirements.txt": "flask\n", "shop/__init__.py": `from flask import Flask

def create_app(config=None):
    app = Flask(__name__)
    app.add_url_rule("/", view_func=lambda: "hello")
    return app
`},
	"flask-src":     {"pyproject.toml": "[project]\ndependencies = ['flask']\n", "src/shop/__init__.py": "", "src/shop/wsgi.py": flaskApp},
	"django":        djangoProject("mysite", "wsgi"),
	"django-asgi":   djangoProject("mysite", "asgi"),
	"fastapi":       {"app/__init__.py": "", "app/main.py": fastapiApp},
	"procfile":      {"Procfile": "web: gunicorn --bind ADDRESS --workers 2 shop:app\nrelease: exit 1\n", "shop.py": flaskApp},
	"gunicorn-conf": {"gunicorn.conf.py": "bind = 'ADDRESS'\nwsgi_app = 'shop:app'\nworkers = 2\n", "shop.py": flaskApp},
	"docker":        {"Dockerfile": "FROM python:3\nCMD [\"uvicorn\", \"main:api\", \"--host\", \"127.0.0.1\", \"--port\", \"PORT\"]\n", "main.py": fastapiApp},
	"unit": {"deploy/shop.service": "[Service]\nExecStart=gunicorn -b ADDRESS --pid DIRECTORY/shop.pid shop:app\nWorkingDirectory=DIRECTORY\nEnvironment=GREETING=hello\n",
		"shop.py": "import os\ndef app(environ, start_response):\n    start_response('200 OK', [])\n    return [os.environ['GREETING'].encode()]\n"},
	"supervisord": {"supervisord.conf": "[program:shop]\ncommand=gunicorn -b ADDRESS shop:app\ndirectory=DIRECTORY\n", "shop.py": flaskApp},
}

const (
	flaskApp   = "from flask import Flask\napp = Flask(__name__)\n\n@app.route('/')\ndef index():\n    return 'hello'\n"
	fastapiApp = "from fastapi import FastAPI\nfrom fastapi.responses import PlainTextResponse\napi = FastAPI()\n\n@api.get('/', response_class=PlainTextResponse)\ndef index():\n    return 'hello'\n"
)

func djangoProject(name, gateway string) map[string]string {
	return map[string]string{
		"manage.py":           "import os, sys\nos.environ.setdefault('DJANGO_SETTINGS_MODULE', '" + name + ".settings')\n",
		name + "/__init__.py": "",
		name + "/settings.py": "SECRET_KEY = 'x'\nALLOWED_HOSTS = ['shop.example', '127.0.0.1']\nROOT_URLCONF = '" + name + ".urls'\n",
		name + "/urls.py":     "from django.http import HttpResponse\nfrom django.urls import path\nurlpatterns = [path('', lambda request: HttpResponse('hello'))]\n",
		name + "/" + gateway + ".py": "import os\nfrom django.core." + gateway + " import get_" + gateway + "_application\nos.environ.setdefault('DJANGO_SETTINGS_MODULE', '" +
			name + ".settings')\napplication = get_" + gateway + "_application()\n",
	}
}

// What `tideover init` writes for a real project runs it, and answers. Quick size: some of them.
func TestInitRunsProjects(t *testing.T) {
	quick := map[string]bool{"flask": true, "django": true, "docker": true}
	for name, files := range projects {
		if !*full && !quick[name] {
			continue
		}
		t.Run(name, func(t *testing.T) { begin(t).runProject(name, files) })
	}
}

func (r *row) runProject(name string, files map[string]string) {
	address, err := testenv.Address()
	r.must(err)
	_, port, _ := strings.Cut(address, ":")
	dir := r.env.Path(name)
	fill := strings.NewReplacer("ADDRESS", address, "PORT", port, "DIRECTORY", dir)
	for file, text := range files {
		_, err := r.env.Write(filepath.Join(name, file), fill.Replace(text))
		r.must(err)
	}
	r.must(os.Symlink(filepath.Dir(filepath.Dir(r.env.Venv("examples", "gunicorn"))), filepath.Join(dir, ".venv")))
	tideover := testenv.Binary(r.env.Root)
	path := "PATH=" + filepath.Join(dir, ".venv/bin") + ":/usr/bin:/bin"
	config := filepath.Join(dir, "tideover.toml")
	r.shell(tideover+" init "+dir, path)
	text, err := os.ReadFile(config)
	r.must(err)
	r.must(os.WriteFile(config, []byte(strings.ReplaceAll(string(text), "127.0.0.1:8000", address)), 0o644))
	r.shell(tideover+" check "+config, path)
	p, err := r.env.Start(testenv.Command{Name: "tideover", App: true, Env: []string{path},
		Argv: []string{tideover, "-S", r.env.Path("control.sock"), "run", "-c", config}})
	r.must(err)
	r.must(testenv.Poll(r.timeout(40*time.Second), 20*time.Millisecond, func() error {
		answer, err := http.Get("http://" + address + "/")
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		if err == nil && string(body) != "hello" {
			err = fmt.Errorf("%d %q\n%s\n%s", answer.StatusCode, body, text, p.Tail(20))
		}
		return err
	}))
	r.must(p.Stop(syscall.SIGTERM, 60*time.Second))
}
