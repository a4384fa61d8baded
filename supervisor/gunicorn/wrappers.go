package gunicorn

import (
	"path"
	"slices"
	"strings"

	"tideover/supervisor/lazyregexp"
)

// Wrapper is a command around another command.
type Wrapper struct {
	Name  string // "uv run", "env", "sh -c"
	Forks bool   // the inner command gets, or may get, another pid
}

// wrapperSyntax is the syntax of a known wrapper.
type wrapperSyntax struct {
	name   string // the command and the words that must follow it: "uv run"
	forks  bool   // see Wrapper.Forks
	valued string // the options that take the next word as their value
	skip   int    // number of positional words before the inner command
}

// wrappers are the known wrappers. forks says what they do on Linux: a wrapper
// that ends in execve keeps the pid, so that LISTEN_PID stays right.
var wrappers = []wrapperSyntax{
	{name: "env", valued: "-u --unset -C --chdir"},
	{name: "nice", valued: "-n --adjustment"},
	{name: "ionice", valued: "-c --class -n --classdata"},
	{name: "nohup"},
	{name: "stdbuf", valued: "-i --input -o --output -e --error"},
	{name: "taskset", skip: 1},
	{name: "chrt", skip: 1},
	{name: "setpriv", valued: "--reuid --regid --groups --inh-caps --ambient-caps --bounding-set --securebits --pdeathsig"},
	{name: "chpst", valued: "-u -U -b -e -d -n -/ -l -L -m -o -p -f -c -t -r"},
	{name: "softlimit", valued: "-a -c -d -f -l -m -o -p -r -s -t"},
	{name: "setuidgid", skip: 1},
	{name: "envdir", skip: 1},
	{name: "gosu", skip: 1},
	{name: "su-exec", skip: 1},
	{name: "direnv exec", skip: 1},
	{name: "chamber exec", skip: 1},
	{name: "poetry run", valued: "-C --directory -P --project"},
	{name: "pipenv run"},
	{name: "ddtrace-run"},
	{name: "newrelic-admin run-program"},
	{name: "opentelemetry-instrument", valued: "--traces_exporter --metrics_exporter --logs_exporter --service_name --exporter_otlp_endpoint"},

	{name: "uv run", forks: true, valued: "--with --with-editable --with-requirements -p --python --extra --group --no-group --only-group --project --directory --package --env-file --index --index-url -i --extra-index-url --find-links -f --config-file --cache-dir --color --refresh-package -P --upgrade-package -w"},
	{name: "uv tool run", forks: true, valued: "--with --from -p --python --env-file"},
	{name: "uvx", forks: true, valued: "--with --from -p --python --env-file"},
	{name: "pdm run", forks: true, valued: "-p --project"},
	{name: "hatch run", forks: true},
	{name: "rye run", forks: true},
	{name: "pixi run", forks: true, valued: "-e --environment --manifest-path"},
	{name: "conda run", forks: true, valued: "-n --name -p --prefix --cwd"},
	{name: "mamba run", forks: true, valued: "-n --name -p --prefix --cwd"},
	{name: "micromamba run", forks: true, valued: "-n --name -p --prefix --cwd"},
	{name: "honcho run", forks: true, valued: "-e --env -f --procfile"},
	{name: "foreman run", forks: true, valued: "-e --env -f --procfile"},
	{name: "dotenv run", forks: true, valued: "-f --file"},
	{name: "doppler run", forks: true, valued: "-p --project -c --config -t --token"},
	{name: "op run", forks: true, valued: "--env-file --account"},
	{name: "setsid", forks: true}, // it forks when the process leads a session already, as every child of tideover does
	{name: "timeout", forks: true, valued: "-k --kill-after -s --signal", skip: 1},
	{name: "time", forks: true, valued: "-f --format -o --output"},
	{name: "sudo", forks: true, valued: "-u --user -g --group -D --chdir -C -h -p -R -r -t -T"},
	{name: "runuser", forks: true, valued: "-u --user -g --group -G --supp-group"},
	{name: "tini", forks: true, valued: "-p -e"},
	{name: "dumb-init", forks: true, valued: "-r --rewrite"},
	{name: "catatonit", forks: true},
	{name: "strace", forks: true, valued: "-e -o -p -s -u -P"},
	{name: "watchmedo auto-restart", forks: true, valued: "-d --directory -p --pattern --patterns -i --ignore-patterns --signal --kill-after"},
}

var assignment = lazyregexp.New(`^[A-Za-z_][A-Za-z0-9_]*=`)

// unwrapped is a command without its wrappers.
type unwrapped struct {
	read     scriptReader
	wrappers []Wrapper
	command  []string
	env      func(string) string // the environment, as the wrappers change it
	module   bool                // the command is a module for python -m (uv run -m gunicorn)
	outer    []string            // the words in front of scripted
	scripted *scripted           // nil: the command is not in a script
	find     commandFinder
}

// commandFinder returns the index of the command of a script that a shell is removed for; -1:
// there is none.
type commandFinder func([]simpleCommand) int

// unwrap removes all known wrappers and a shell from argv.
func unwrap(argv []string, env func(string) string, read scriptReader, find commandFinder) unwrapped {
	u := unwrapped{command: argv, env: env, read: read, find: find}
	for len(u.command) > 0 && !u.module && (u.removeShell() || u.removeWrapper()) {
	}
	return u
}

// removeWrapper removes the outermost wrapper. It returns false if there is none.
func (u *unwrapped) removeWrapper() bool {
	for _, w := range wrappers {
		n := w.countWords(u.command)
		if n == 0 {
			continue
		}
		u.wrappers = append(u.wrappers, Wrapper{Name: w.name, Forks: w.forks})
		if w.name == "env" {
			u.changeEnv(u.command[1:n])
		}
		last := u.command[n-1]
		u.module = w.name == "uv run" && (last == "-m" || last == "--module")
		if u.scripted == nil {
			u.outer = append(u.outer, u.command[:n]...)
		}
		u.command = u.command[n:]
		return true
	}
	return false
}

// countWords returns how many words of argv belong to the wrapper, or 0 if argv
// does not begin with it.
func (w wrapperSyntax) countWords(argv []string) int {
	words := strings.Fields(w.name)
	if path.Base(argv[0]) != words[0] {
		return 0
	}
	valued := strings.Fields(w.valued)
	pending, skip, i := words[1:], w.skip, 1
	for ; i < len(argv); i++ {
		word := argv[i]
		switch {
		case word == "--":
			return i + 1
		case w.name == "uv run" && len(pending) == 0 && (word == "-m" || word == "--module"):
			return i + 1
		case strings.HasPrefix(word, "-") && len(word) > 1:
			if slices.Contains(valued, word) {
				i++
			}
		case len(pending) > 0:
			if word != pending[0] {
				return 0
			}
			pending = pending[1:]
		case w.name == "env" && assignment.MatchString(word):
		case skip > 0:
			skip--
		default:
			return i
		}
	}
	return min(i, len(argv))
}

// changeEnv changes the environment as the arguments of env(1) do.
func (u *unwrapped) changeEnv(words []string) {
	below := u.env
	if slices.Contains(words, "-i") || slices.Contains(words, "-") || slices.Contains(words, "--ignore-environment") {
		below = func(string) string { return "" }
	}
	set := map[string]string{}
	for i, word := range words {
		switch {
		case assignment.MatchString(word):
			name, value, _ := strings.Cut(word, "=")
			set[name] = value
		case i > 0 && (words[i-1] == "-u" || words[i-1] == "--unset"):
			set[word] = ""
		}
	}
	u.env = func(name string) string {
		if value, ok := set[name]; ok {
			return value
		}
		return below(name)
	}
}
