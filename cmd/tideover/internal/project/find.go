package project

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"tideover/supervisor/lazyregexp"
)

// Options say where to look.
type Options struct {
	Directory string              // absolute; of the project, or one with a symlink "current" to it
	UnitDirs  []string            // with the units of systemd
	Getenv    func(string) string // of the environment
	Root      bool                // the daemon is to run as root
}

// Process is a process that a configuration can start.
type Process struct {
	Name      string
	Command   string // shell words
	From      string // where it was found, for a comment
	Directory string
	User      string
	Env       map[string]string
	EnvFile   []string
	Plain     bool     // it serves no HTTP
	Notes     []string // what a reader should know
}

// Found is what Find has found.
type Found struct {
	Supervisord string // path of a supervisord.conf, which `tideover import` converts better; the rest is empty then
	Processes   []Process
	Health      string // path of a URL that looks like a health check; empty: none
	HealthFrom  string // file in which it is
	Host        string // name that a Django project accepts; empty: none, or any
	EnvFile     string // file with variables beside the project, which its app does not read itself
	Unread      error  // of the first file that is there and could not be read; nil: none

	files *files
}

// Find looks at a project. Processes is empty where nothing shows how the app is run.
func Find(o Options) (found Found) {
	f := &finder{Options: o, code: o.Directory, files: newFiles(o)}
	if info, err := os.Stat(filepath.Join(o.Directory, "current")); err == nil && info.IsDir() {
		f.code = filepath.Join(o.Directory, "current")
	}
	found.files = f.files
	defer func() { found.Unread = f.files.unread }()
	for _, name := range []string{"supervisord.conf", "supervisor.conf", "etc/supervisord.conf", "deploy/supervisord.conf"} {
		if path := filepath.Join(f.code, name); f.exists(path) {
			found.Supervisord = path
			return found
		}
	}
	for _, look := range []func() []Process{f.units, f.procfile, f.dockerfile, f.gunicornConfig, f.django, f.modules} {
		if found.Processes = look(); len(found.Processes) > 0 {
			break
		}
	}
	for i := range found.Processes {
		f.complete(&found.Processes[i])
	}
	if len(found.Processes) > 0 {
		found.Health, found.HealthFrom = f.health()
		found.Host = f.allowedHost()
		if f.exists(filepath.Join(f.code, ".env")) && !f.readsEnvFile() {
			found.EnvFile = ".env"
		}
	}
	return found
}

type finder struct {
	Options
	code  string // directory of the code
	files *files
}

func (f *finder) exists(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// read returns the text of a regular file; "" if it cannot be read.
func (f *finder) read(path string) string { return f.files.read(path) }

// complete fills in what is the same for every source.
func (f *finder) complete(p *Process) {
	if p.Directory == "" {
		p.Directory = f.code
	}
	p.Command = f.withVenv(p.Command, p.Directory)
	p.removeDaemonOptions()
	if f.Root && p.User == "" {
		p.User = ownerOf(p.Directory)
	}
}

// venvDirs are where virtual environments usually are, from the directory of the code.
var venvDirs = []string{".venv", "venv", "env", "../venv", "../.venv", "../env", "../shared/venv"}

// withVenv puts the directory of the project's environment in front of a program that is named
// without one. It stays as it is where no environment has it.
func (f *finder) withVenv(command, directory string) string {
	program, rest, _ := strings.Cut(command, " ")
	if strings.ContainsAny(program, "/=$'\"") {
		return command
	}
	for _, dir := range f.venvs() {
		path := filepath.Join(dir, "bin", program)
		if !f.exists(path) {
			continue
		}
		if inside, err := filepath.Rel(directory, path); err == nil && !strings.HasPrefix(inside, "../../..") {
			path = inside
		}
		return strings.TrimSpace(path + " " + rest)
	}
	return command
}

// venvs lists the directories of the project's virtual environments.
func (f *finder) venvs() (all []string) {
	for _, name := range venvDirs {
		all = append(all, filepath.Join(f.code, name))
	}
	if f.code != f.Directory {
		all = append(all, filepath.Join(f.Directory, "venv"), filepath.Join(f.Directory, ".venv"))
	}
	if active := f.Getenv("VIRTUAL_ENV"); active != "" {
		all = append(all, active)
	}
	return all
}

// has reports whether an environment of the project, or PATH, has a program.
func (f *finder) has(program string) bool {
	dirs := filepath.SplitList(f.Getenv("PATH"))
	for _, venv := range f.venvs() {
		dirs = append(dirs, filepath.Join(venv, "bin"))
	}
	return slices.ContainsFunc(dirs, func(dir string) bool { return f.exists(filepath.Join(dir, program)) })
}

// dependencies is the text of the files in which a project lists its dependencies.
func (f *finder) dependencies() string {
	var all strings.Builder
	for _, name := range []string{"pyproject.toml", "requirements.txt", "requirements/base.txt", "requirements/production.txt", "Pipfile", "setup.py", "setup.cfg"} {
		all.WriteString(strings.ToLower(f.read(filepath.Join(f.code, name))) + "\n")
	}
	return all.String()
}

// readsEnvFile reports whether the app has a library that reads .env.
func (f *finder) readsEnvFile() bool {
	dependencies := f.dependencies()
	return slices.ContainsFunc([]string{"dotenv", "django-environ", "environs", "decouple", "pydantic-settings", "dynaconf"},
		func(name string) bool { return strings.Contains(dependencies, name) })
}

// pythonFiles lists the files in which an app, its settings and its routes usually are.
func (f *finder) pythonFiles() (all []string) {
	defer func() { f.files.load(all) }()
	for _, pattern := range []string{"*.py", "*/*.py", "src/*/*.py", "*/settings/*.py"} {
		found, _ := filepath.Glob(filepath.Join(f.code, pattern))
		for _, path := range found {
			inside, err := filepath.Rel(f.code, path)
			if err == nil && !skipped.MatchString(inside) && len(all) < 500 {
				all = append(all, path)
			}
		}
	}
	return all
}

// skipped matches files that are not of the app itself.
var skipped = lazyregexp.New(`(^|/)(\.|tests?/|test_|conftest|venv/|env/|node_modules/|migrations/|setup\.py|docs/|noxfile|fabfile|tasks\.py)`)

var healthRoute = lazyregexp.New(`["'\x60]/?((?:api/)?(?:-/)?(?:healthz?|health-?check|livez?|readyz?|ping|up|status/health)/?)["'\x60]`)

// health finds a route that looks like a health check.
func (f *finder) health() (route, file string) {
	for _, path := range f.pythonFiles() {
		if m := healthRoute.FindStringSubmatch(f.read(path)); m != nil {
			inside, _ := filepath.Rel(f.code, path)
			return "/" + m[1], inside
		}
	}
	return "", ""
}

var (
	allowedHosts = lazyregexp.New(`(?m)^ALLOWED_HOSTS\s*=\s*[\[(]([^\])]*)[\])]`)
	quoted       = lazyregexp.New(`["']([^"']+)["']`)
)

// allowedHost is the first name in ALLOWED_HOSTS of Django, if the list has neither * nor an
// address of this machine.
func (f *finder) allowedHost() string {
	for _, path := range f.pythonFiles() {
		m := allowedHosts.FindStringSubmatch(f.read(path))
		if m == nil {
			continue
		}
		names := quoted.FindAllStringSubmatch(m[1], -1)
		for _, n := range names {
			if n[1] == "*" || n[1] == "localhost" || n[1] == "127.0.0.1" {
				return ""
			}
		}
		if len(names) > 0 {
			return strings.TrimPrefix(names[0][1], ".")
		}
	}
	return ""
}
