package gunicorn

import (
	"os"
	"path/filepath"
	"testing"
)

// A worker class of the app's own is of the kind of the class that it derives from; what cannot be
// imported, and what is of another project, is of none.
func TestTheKindOfAWorkerClass(t *testing.T) {
	dir := t.TempDir()
	const classes = `
from gunicorn.workers.sync import SyncWorker
from gunicorn.workers.gthread import ThreadWorker
from gunicorn.workers.ggevent import GeventWorker, GeventPyWSGIWorker
from gunicorn.workers.base import Worker
from uvicorn_worker import UvicornWorker

class Sync(SyncWorker): pass
class Threads(ThreadWorker): pass
class Green(GeventWorker): pass
class Loop(UvicornWorker): CONFIG_KWARGS = {"lifespan": "off"}
class PyWSGI(GeventPyWSGIWorker): pass
class Other(Worker): pass
`
	for name, text := range map[string]string{"own.py": classes, "broken.py": "raise SystemExit(9)\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, version := range gunicornVersions {
		script := filepath.Join(venv(t, version), "bin", "gunicorn")
		for i, c := range []struct {
			args []string
			want WorkerKind
		}{
			{[]string{"-k", "own.Threads"}, Gthread},
			{[]string{"-k", "own.Loop"}, Uvicorn},
			{nil, Sync},
			{[]string{"--threads", "2"}, Gthread},
			{[]string{"-k", "gevent"}, Gevent},
			{[]string{"-k", "uvicorn_worker.UvicornWorker"}, Uvicorn},
			{[]string{"-k", "own.Sync"}, Sync},
			{[]string{"-k", "own.Green"}, Gevent},
			{[]string{"-k", "own.PyWSGI"}, ""},
			{[]string{"-k", "gevent_pywsgi"}, ""},
			{[]string{"-k", "own.Other"}, ""},
			{[]string{"-k", "tornado"}, ""},
			{[]string{"-k", "broken.Worker"}, ""},
			{[]string{"-k", "nowhere.Worker"}, ""},
		} {
			if i > 1 && version != "gunicorn-latest" {
				break // each case starts a Python
			}
			command, err := Parse(append([]string{script, "app"}, c.args...), func(string) string { return "" }, nil)
			if err != nil {
				t.Fatal(err)
			}
			report, err := query(t, command, dir)
			if err != nil || WorkerKind(report.WorkerKind) != c.want {
				t.Errorf("%s %v: %q, %v", version, c.args, report.WorkerKind, err)
			}
			if lingers := version == "gunicorn-latest"; report.Lingers != lingers {
				t.Errorf("%s lingers: %v", version, report.Lingers)
			}
		}
	}
}
