//go:build e2e

package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
	"text/template"
	"time"

	"golang.org/x/sys/unix"

	"tideover/scripts/testenv"
)

// The supervisord.confs of real hosts, in their shapes: each is imported,
// checked and started, with real gunicorns and stand-ins for the rest. Every
// app comes up, has what its file wants (see its "; want" lines) and answers;
// and all of it goes again.
func TestImported(t *testing.T) {
	t.Parallel()
	all, err := filepath.Glob("testdata/supervisord/*")
	if err != nil || len(all) < 20 {
		t.Fatalf("%d files, %v", len(all), err)
	}
	for _, path := range all {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".conf"), func(t *testing.T) {
			r := begin(t)
			h := newHost(r, path)
			h.importConf()
			h.run()
			h.checkExpectations()
			h.stop()
			r.addNumbers("apps=%d wanted=%d notes=%d", len(h.apps), len(h.expectations), h.notes)
		})
	}
}

// host is a machine as its supervisord.conf supposes it.
type host struct {
	*row
	conf         string   // the main file, with this run's ports
	text         string   // of all files
	vars         []string // environment variables
	ports        map[string]int
	expectations []expectation
	notes        int
	daemon       *testenv.Tideover
	apps         map[string]hostApp
}

// expectation is one line "; want APP: KIND VALUE".
type expectation struct{ app, kind, value string }

// hostApp is what status tells of an app, all instances of it together.
type hostApp struct {
	Name  string `json:"name"`
	State string `json:"state"`
	Pid   int    `json:"pid"`

	instances int
}

// newHost writes the files of one supervisord.conf, and the programs they
// speak of.
func newHost(r *row, source string) *host {
	r.Helper()
	h := &host{row: r, ports: map[string]int{}, apps: map[string]hostApp{}}
	h.programs()
	h.must(filepath.WalkDir(source, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, err := filepath.Rel(source, path)
		if name == "." {
			name = "supervisord.conf"
		}
		return errors.Join(err, h.fill(path, name))
	}))
	h.conf = r.env.Path("supervisord.conf")
	h.vars = []string{"RELEASE_NAME=r7", "VENV=" + r.env.Path("venv"), fmt.Sprintf("SHOP_PORT=%d", h.port("shop")), `SECRET=from the shell, 100%, and more`}
	for line := range strings.Lines(h.text) {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), "; want "); ok {
			app, what, _ := strings.Cut(rest, ": ")
			kind, value, _ := strings.Cut(what, " ")
			h.expectations = append(h.expectations, expectation{app, kind, value})
		}
	}
	h.gunicornFiles()
	return h
}

// fill writes one file with what this run knows.
func (h *host) fill(source, name string) error {
	t, err := template.New(filepath.Base(source)).Funcs(template.FuncMap{
		"dir": func() string { return h.env.Dir }, "port": h.port, "ports": h.prefix, "user": otherUser,
		"host": os.Hostname, "env": os.Getenv, "packages": h.packages,
	}).ParseFiles(source)
	if err != nil {
		return err
	}
	var text strings.Builder
	if err := t.Execute(&text, nil); err != nil {
		return err
	}
	h.text += text.String()
	_, err = h.env.Write(name, text.String())
	return err
}

// programs are a project with its virtual environment, in which the stand-ins
// are, too.
func (h *host) programs() {
	h.Helper()
	for name, text := range map[string]string{
		"project/project/__init__.py": "",
		"project/project/wsgi.py": "def application(environ, start_response):\n" +
			"    start_response('200 OK', [('Content-Length', '3')])\n    return [b'ok\\n']\n",
		"project/project/asgi.py": "async def app(scope, receive, send):\n    if scope['type'] != 'http':\n        raise NotImplementedError(scope['type'])\n" +
			"    await send({'type': 'http.response.start', 'status': 200, 'headers': [(b'content-length', b'3')]})\n" +
			"    await send({'type': 'http.response.body', 'body': b'ok\\n'})\n",
	} {
		_, err := h.env.Write(name, text)
		h.must(err)
	}
	for _, dir := range []string{"venv/bin", "log", "run"} {
		h.must(os.MkdirAll(h.env.Path(dir), 0o755))
	}
	h.must(os.Chmod(h.env.Path("run"), os.ModeSticky|0o777)) // sockets of several users are made there
	venv := filepath.Dir(filepath.Dir(h.env.Venv("gunicorn-latest", "gunicorn")))
	h.must(os.Symlink(filepath.Join(h.env.Root, ".local/venvs/servers"), h.env.Path("servers")))
	for _, name := range []string{"pyvenv.cfg", "lib", "bin/python", "bin/python3", "bin/gunicorn", "bin/activate"} {
		h.must(os.Symlink(filepath.Join(venv, name), h.env.Path("venv", name)))
	}
	standin, err := os.ReadFile("testdata/standin.py")
	h.must(err)
	h.must(os.WriteFile(h.env.Path("standin.py"), standin, 0o755))
	for _, name := range []string{"celery", "rq", "rqscheduler", "mailer", "redis-server", "bench", "node", "nginx", "cron", "daphne", "once", "chatter", "deaf"} {
		h.must(os.Symlink(h.env.Path("standin.py"), h.env.Path("venv/bin", name)))
	}
}

// packages is where gunicorn is installed. With it in PYTHONPATH the Env's
// open/gunicorn can be run by every user, wherever the other's Python lies.
func (h *host) packages() (string, error) {
	found, err := filepath.Glob(filepath.Join(h.env.Root, ".local/venvs/gunicorn-latest/lib/python*/site-packages"))
	if err != nil || len(found) != 1 {
		return "", fmt.Errorf("gunicorn's packages are %q: %w", found, err)
	}
	python, err := exec.LookPath("/usr/bin/python3")
	if err != nil {
		python = h.env.Venv("gunicorn-latest", "python")
	}
	path, err := h.env.Write("open/gunicorn", "#!"+python+"\nfrom gunicorn.app.wsgiapp import run\nrun()\n")
	if err != nil {
		return "", err
	}
	return found[0], os.Chmod(path, 0o755)
}

// gunicornFiles are the configuration files of gunicorn, one that is named in
// a command and one that is found in a directory.
func (h *host) gunicornFiles() {
	h.Helper()
	for name, format := range map[string]string{"gunicorn": "project/gunicorn_%d.conf.py", "default": "project/site_%d/gunicorn.conf.py"} {
		port, used := h.ports[name]
		if !used {
			continue
		}
		path, err := h.env.Write(fmt.Sprintf(format, port), fmt.Sprintf(
			"import os\nbind = ['127.0.0.1:%d']\nworkers = min(2, os.cpu_count())\npythonpath = %q\nproc_name = 'project'\n", port, h.env.Path("project")))
		h.must(err)
		h.must(os.Chmod(filepath.Dir(path), 0o755))
	}
}

// port is a free port, the same one for the same name.
func (h *host) port(name string) int {
	if h.ports[name] == 0 {
		port, err := testenv.Port()
		h.must(err)
		h.ports[name] = port
	}
	return h.ports[name]
}

// prefix is what n free ports have in common: they end in 0, 1, 2...
func (h *host) prefix(n int) string {
	name := fmt.Sprintf("prefix of %d", n)
	if h.ports[name] == 0 {
		first, err := testenv.Ports(n)
		h.must(err)
		h.ports[name] = first / 10
	}
	return fmt.Sprint(h.ports[name])
}

// otherUser returns the user for programs that give up root. Without root it is
// the current user.
func otherUser() (string, error) {
	if os.Getuid() == 0 {
		return "nobody", nil
	}
	me, err := user.Current()
	if err != nil {
		return "", err
	}
	return me.Username, nil
}

// verb runs a verb that needs no daemon.
func (h *host) verb(args ...string) (stdout, stderr string) {
	h.Helper()
	var out, fault strings.Builder
	cmd := exec.CommandContext(h.timeout(30*time.Second), testenv.Binary(h.env.Root), args...)
	cmd.Dir, cmd.Env = h.env.Dir, append(os.Environ(), h.vars...)
	cmd.Stdout, cmd.Stderr = &out, &fault
	if err := cmd.Run(); err != nil {
		h.Fatalf("tideover %s: %v\n%s%s", strings.Join(args, " "), err, out.String(), fault.String())
	}
	return out.String(), fault.String()
}

// importConf makes the tideover.toml, and check finds no fault in it.
func (h *host) importConf() {
	h.Helper()
	text, notes := h.verb("import", h.conf)
	h.notes = strings.Count(notes, "\n")
	_, err := h.env.Write("tideover.toml", text)
	h.must(err)
	h.verb("check", h.env.Path("tideover.toml"))
}

// run starts tideover and waits until every app is what it is to be.
func (h *host) run() {
	h.Helper()
	var err error
	h.daemon, err = h.env.Tideover(&testenv.App{Dir: h.env.Dir}, testenv.RunOptions{Flags: []string{"-c", h.env.Path("tideover.toml")}, Env: h.vars})
	h.must(err)
	h.must(testenv.Poll(h.timeout(20*time.Second), 50*time.Millisecond, func() error {
		select {
		case <-h.daemon.Exited():
			h.Fatalf("tideover ended with %d: %s", h.daemon.Code(), h.daemon.Tail(20))
		default:
		}
		var err error
		if h.apps, err = h.status(); err != nil {
			return err
		}
		for name, app := range h.apps {
			if state := h.expectedState(name); app.State != state {
				return fmt.Errorf("%s is %s and not %s", name, app.State, state)
			}
		}
		return nil
	}))
}

// expectedState is running, unless a line of the file says otherwise.
func (h *host) expectedState(app string) string {
	for _, w := range h.expectations {
		if w.app == app && w.kind == "state" {
			return w.value
		}
	}
	return "running"
}

// status is what tideover tells of these apps, or of all.
func (h *host) status(names ...string) (map[string]hostApp, error) {
	outcome, err := h.daemon.Call(h.timeout(10*time.Second), append([]string{"--json", "status"}, names...)...)
	if err != nil {
		return nil, err
	}
	var all struct{ Apps []hostApp }
	if err := json.Unmarshal([]byte(outcome.Stdout), &all); err != nil || len(all.Apps) == 0 {
		return nil, fmt.Errorf("status tells of no app: %v %v", err, outcome)
	}
	apps := map[string]hostApp{}
	for _, app := range all.Apps {
		name, _, _ := strings.Cut(app.Name, ":") // instances have numbers
		if seen, ok := apps[name]; ok && app.State == h.expectedState(name) {
			app.State = seen.State
		}
		app.instances = apps[name].instances + 1
		apps[name] = app
	}
	return apps, nil
}

// stop ends the daemon; nothing is left, neither processes nor sockets.
func (h *host) stop() {
	h.Helper()
	h.must(h.daemon.Signal(unix.SIGTERM))
	select {
	case <-h.daemon.Exited():
	case <-h.timeout(30 * time.Second).Done():
		h.Fatal("the daemon does not end")
	}
	h.checkNoneLeft()
	if sockets, _ := filepath.Glob(h.env.Path("run", "*.sock")); len(sockets) > 0 {
		h.Errorf("left: %v", sockets)
	}
}
