package project

import (
	"encoding/json"
	"os"
	"os/user"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"tideover/supervisor/config"
	"tideover/supervisor/gunicorn"
	"tideover/supervisor/lazyregexp"
	"tideover/supervisor/servers"
)

// isServer reports whether a command runs gunicorn or another server that is known.
func isServer(command string) bool {
	words, err := config.ParseCommand(command)
	if err != nil {
		return false
	}
	none := func(string) string { return "" }
	if g, err := gunicorn.Parse(words, none, nil); err == nil && g != nil {
		return true
	}
	return servers.Recognise(words, none) != nil
}

// units finds the services of systemd that run a server in the directory of the project. A unit
// in the project itself counts, too.
func (f *finder) units() (all []Process) {
	dirs := append([]string{f.code, filepath.Join(f.code, "deploy"), filepath.Join(f.code, "systemd")}, f.UnitDirs...)
	for _, dir := range dirs {
		paths, _ := filepath.Glob(filepath.Join(dir, "*.service"))
		for _, path := range paths {
			if p, ok := f.unit(path); ok {
				all = append(all, p)
			}
		}
	}
	return all
}

func (f *finder) unit(path string) (p Process, ok bool) {
	settings := unitSettings(f.read(path))
	last := func(name string) string {
		values := settings[name]
		if len(values) == 0 {
			return ""
		}
		return values[len(values)-1]
	}
	command := strings.TrimLeft(last("ExecStart"), "-@:+!")
	p = Process{Name: config.ValidName(strings.TrimSuffix(filepath.Base(path), ".service")), Command: command, From: "the unit " + path,
		Directory: last("WorkingDirectory"), User: last("User"), Env: map[string]string{}}
	program, _, _ := strings.Cut(command, " ")
	if filepath.Base(program) == "tideover" || !isServer(command) || !f.isOurs(p.Directory, command) {
		return p, false
	}
	if strings.Contains(command, "%") || strings.Contains(command, "$") {
		p.Notes = append(p.Notes, "systemd replaces % and $ in the command; write their values instead")
		p.Command = withPort(command)
	}
	for _, line := range settings["Environment"] {
		words, err := config.ParseCommand(line)
		if err != nil {
			continue
		}
		for _, word := range words {
			if name, value, ok := strings.Cut(word, "="); ok {
				p.Env[name] = value
			}
		}
	}
	p.EnvFile = settings["EnvironmentFile"]
	return p, true
}

// isOurs reports whether a unit belongs to the project: its working directory is the project's, or
// its program is below it.
func (f *finder) isOurs(directory, command string) bool {
	same := func(a, b string) bool {
		one, errOne := filepath.EvalSymlinks(a)
		two, errTwo := filepath.EvalSymlinks(b)
		return errOne == nil && errTwo == nil && one == two
	}
	if directory != "" {
		return same(directory, f.code) || same(directory, f.Directory)
	}
	return strings.HasPrefix(command, f.Directory+"/")
}

// unitSettings reads the section [Service] of a unit.
func unitSettings(text string) map[string][]string {
	all, section := map[string][]string{}, ""
	text = strings.ReplaceAll(text, "\\\n", " ")
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") {
			section = line
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		if ok && section == "[Service]" && !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, ";") {
			all[strings.TrimSpace(name)] = append(all[strings.TrimSpace(name)], strings.TrimSpace(value))
		}
	}
	return all
}

var (
	procfileLine = lazyregexp.New(`^([A-Za-z0-9_-]+):\s*(.+)$`)
	portVariable = lazyregexp.New(`\$\{PORT(?::?-([0-9]+))?\}|\$PORT\b`)
)

// withPort replaces $PORT, which no shell expands.
func withPort(command string) string {
	return portVariable.ReplaceAllStringFunc(command, func(found string) string {
		if m := portVariable.FindStringSubmatch(found); m[1] != "" {
			return m[1]
		}
		return "8000"
	})
}

// procfile reads the Procfile of Heroku, honcho and foreman.
func (f *finder) procfile() (all []Process) {
	for line := range strings.Lines(f.read(filepath.Join(f.code, "Procfile"))) {
		m := procfileLine.FindStringSubmatch(strings.TrimSpace(line))
		if m == nil || m[1] == "release" {
			continue // release runs before a deploy
		}
		command := withPort(m[2])
		p := Process{Name: config.ValidName(m[1]), Command: command, From: "the Procfile", Plain: !isServer(command)}
		if command != m[2] {
			p.Notes = append(p.Notes, "$PORT is replaced: no shell expands it")
		}
		if strings.ContainsAny(command, "$&|;<>`") {
			p.Command = "sh -c " + quoteShell("exec "+command)
		}
		all = append(all, p)
	}
	return all
}

func quoteShell(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }

var dockerCommand = lazyregexp.New(`(?m)^\s*(CMD|ENTRYPOINT)\s+(.+)$`)

// dockerfile reads the last CMD and ENTRYPOINT of a Dockerfile.
func (f *finder) dockerfile() []Process {
	text := strings.ReplaceAll(f.read(filepath.Join(f.code, "Dockerfile")), "\\\n", " ")
	parts := map[string]string{}
	for _, m := range dockerCommand.FindAllStringSubmatch(text, -1) {
		var words []string
		if json.Unmarshal([]byte(m[2]), &words) == nil {
			parts[m[1]] = joinWords(words)
			continue
		}
		parts[m[1]] = strings.TrimSpace(strings.TrimPrefix(m[2], "exec "))
	}
	for _, command := range []string{strings.TrimSpace(parts["ENTRYPOINT"] + " " + parts["CMD"]), parts["CMD"]} {
		if command = withPort(command); command != "" && isServer(command) {
			return []Process{{Name: f.name(), Command: command, From: "the Dockerfile"}}
		}
	}
	return nil
}

// joinWords writes words so that config.ParseCommand splits them again.
func joinWords(words []string) string {
	var all []string
	for _, word := range words {
		if again, err := config.ParseCommand(word); err != nil || !slices.Equal(again, []string{word}) {
			word = quoteShell(word)
		}
		all = append(all, word)
	}
	return strings.Join(all, " ")
}

// name is the name of the project's app, from its directory.
func (f *finder) name() string { return config.ValidName(filepath.Base(f.Directory)) }

var wsgiApp = lazyregexp.New(`(?m)^\s*wsgi_app\s*=\s*["']([^"']+)["']`)

// gunicornConfig finds a gunicorn.conf.py with wsgi_app in it; without it the app is found among
// the modules, and gunicorn reads the file by itself.
func (f *finder) gunicornConfig() []Process {
	for _, name := range []string{"gunicorn.conf.py", "gunicorn_config.py", "gunicorn.py", "gunicorn_conf.py", "conf/gunicorn.py", "config/gunicorn.py", "deploy/gunicorn.conf.py"} {
		text := f.read(filepath.Join(f.code, name))
		if text == "" {
			continue
		}
		command := "gunicorn"
		if name != "gunicorn.conf.py" {
			command += " -c " + name
		}
		if !wsgiApp.MatchString(text) {
			app, _, _ := f.app()
			if app == "" {
				return nil
			}
			command += " " + app
		}
		return []Process{{Name: f.name(), Command: command, From: name}}
	}
	return nil
}

// django finds a Django project by its manage.py.
func (f *finder) django() []Process {
	if !f.exists(filepath.Join(f.code, "manage.py")) {
		return nil
	}
	app, async, from := f.app()
	if app == "" {
		return nil
	}
	return []Process{{Name: f.name(), Command: f.serverCommand(app, async), From: "manage.py and " + from, Env: importPath(from)}}
}

// modules finds a WSGI or ASGI app in the modules of the project.
func (f *finder) modules() []Process {
	app, async, from := f.app()
	if app == "" {
		return nil
	}
	return []Process{{Name: f.name(), Command: f.serverCommand(app, async), From: from, Env: importPath(from)}}
}

// importPath is the environment with which Python finds the modules of a project with a folder src.
func importPath(from string) map[string]string {
	if strings.HasPrefix(from, "src/") {
		return map[string]string{"PYTHONPATH": "src"}
	}
	return nil
}

// serverCommand is the command for an app, with a server that is there.
func (f *finder) serverCommand(app string, async bool) string {
	factory, isFactory := strings.CutSuffix(app, " --factory")
	switch {
	case !async && f.has("gunicorn"), !async && !f.has("uvicorn") && !f.has("waitress-serve"):
		return "gunicorn --workers " + strconv.Itoa(defaultWorkers) + " " + app
	case !async && f.has("waitress-serve"):
		return "waitress-serve --listen=127.0.0.1:8000 " + app
	case f.has("gunicorn") && f.has("uvicorn"):
		if isFactory {
			app = quoteShell(factory + "()")
		}
		return "gunicorn --workers " + strconv.Itoa(defaultWorkers) + " --worker-class uvicorn.workers.UvicornWorker " + app
	case f.has("hypercorn"):
		return "hypercorn --bind 127.0.0.1:8000 " + app
	case f.has("granian"):
		return "granian --interface asgi --port 8000 " + app
	}
	return "uvicorn --port 8000 " + app
}

// defaultWorkers is the number of workers where nothing names one.
const defaultWorkers = 4

var (
	asyncObject = lazyregexp.New(`(?m)^(\w+)(?:\s*:\s*\w+)?\s*=\s*(?:\w+\.)?(FastAPI|Starlette|Quart|Litestar|Sanic|get_asgi_application|ProtocolTypeRouter)\s*\(`)
	syncObject  = lazyregexp.New(`(?m)^(\w+)(?:\s*:\s*\w+)?\s*=\s*(?:\w+\.)?(Flask|Bottle|get_wsgi_application|App|API|Pyramid|make_app|create_app|create_application|build_app)\s*\(`)
	factory     = lazyregexp.New(`(?m)^def (create_app|make_app|build_app|create_application)\(\s*(\)|\w+\s*(:[^=)]*)?=)`)
	asyncWords  = lazyregexp.New(`(?m)^\s*(?:from|import)\s+(fastapi|starlette|quart|litestar)\b`)
)

// app finds the object that a server runs, as "module:object".
func (f *finder) app() (app string, async bool, from string) {
	files := f.pythonFiles()
	slices.SortStableFunc(files, func(a, b string) int { return rank(a) - rank(b) })
	for _, path := range files {
		text := f.read(path)
		inside, err := filepath.Rel(f.code, path)
		if err != nil {
			continue
		}
		module := moduleOf(inside)
		if m := asyncObject.FindStringSubmatch(text); m != nil {
			return module + ":" + m[1], true, inside
		}
		if m := syncObject.FindStringSubmatch(text); m != nil && isWeb(m[2], text) {
			return module + ":" + m[1], false, inside
		}
		if m := factory.FindStringSubmatch(text); m != nil {
			if asyncWords.MatchString(text) {
				return module + ":" + m[1] + " --factory", true, inside
			}
			return "'" + module + ":" + m[1] + "()'", false, inside
		}
	}
	return "", false, ""
}

// isWeb reports whether a class with a common name is one of a web framework.
func isWeb(class, text string) bool {
	return class != "App" && class != "API" || regexp.MustCompile(`(?m)^\s*(?:from|import)\s+falcon\b`).MatchString(text)
}

// rank orders files by how likely they have the app: a wsgi.py is there for nothing else.
func rank(path string) int {
	names := []string{"wsgi.py", "asgi.py", "main.py", "app.py", "application.py", "server.py", "__init__.py"}
	if i := slices.Index(names, filepath.Base(path)); i >= 0 {
		return i
	}
	return len(names)
}

// moduleOf is the name with which Python imports a file of the project.
func moduleOf(inside string) string {
	inside = strings.TrimPrefix(strings.TrimSuffix(inside, ".py"), "src/")
	inside = strings.TrimSuffix(inside, "/__init__")
	return strings.ReplaceAll(inside, "/", ".")
}

// removeDaemonOptions takes out the options of gunicorn that tideover does not need.
func (p *Process) removeDaemonOptions() {
	words, err := config.ParseCommand(p.Command)
	none := func(string) string { return "" }
	if err != nil {
		return
	}
	if g, err := gunicorn.Parse(words, none, nil); err != nil || g == nil {
		return
	}
	var removed []string
	words, ok := gunicorn.Unwrap(words, none).ReplaceArgs(func(args []string) (rest []string) {
		rest, removed = gunicorn.RemoveOptions(args, "daemon", "pid", "reuse-port")
		return rest
	})
	if ok && len(removed) > 0 {
		p.Command = joinWords(words)
		p.Notes = append(p.Notes, strings.Join(removed, " ")+" is taken out: tideover runs gunicorn in the foreground and knows its pid")
	}
}

// ownerOf is the user that a directory belongs to; empty: root, or unknown.
func ownerOf(directory string) string {
	uid := uidOf(directory)
	if uid == 0 {
		return ""
	}
	number := strconv.Itoa(int(uid))
	if account, err := user.LookupId(number); err == nil {
		return account.Username
	}
	return number
}

// uidOf is the owner of a directory; 0: root, or unknown.
func uidOf(directory string) uint32 {
	info, err := os.Stat(directory)
	if err != nil {
		return 0
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0
	}
	return stat.Uid
}
