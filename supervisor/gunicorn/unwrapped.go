package gunicorn

import (
	"path"
	"slices"
	"strings"
)

// Unwrapped is a command without the wrappers before it (env, uv run, sh -c) and without the
// Python interpreter, for packages that look for other programs than gunicorn.
type Unwrapped struct {
	Wrappers []Wrapper
	Program  string   // a path or a name; with Module the name of a module
	Module   bool     // it is run by python -m
	Args     []string // of the program, the last words of the command
	Env      func(string) string
}

// Unwrap removes the wrappers and the interpreter from argv. Program is empty if no command is
// left. env looks up a variable in the environment that the command will get.
func Unwrap(argv []string, env func(string) string) Unwrapped {
	if len(argv) == 0 {
		return Unwrapped{Env: env}
	}
	u := unwrap(argv, env, nil, findLast)
	inner := Unwrapped{Wrappers: u.wrappers, Env: u.env, Module: u.module}
	words := u.command
	if len(words) > 0 && !u.module && pythonName.MatchString(path.Base(words[0])) {
		own, module := pythonWords(words)
		if module != "" {
			inner.Program, inner.Module, inner.Args = module, true, words[own:]
			return inner
		}
		words = words[own:]
	}
	if len(words) > 0 {
		inner.Program, inner.Args = words[0], words[1:]
	}
	return inner
}

// Forks returns the name of the wrapper that starts the program as its child.
func (u Unwrapped) Forks() (wrapper string, ok bool) {
	for _, w := range u.Wrappers {
		if w.Forks {
			return w.Name, true
		}
	}
	return "", false
}

// InShell reports whether the program is in the script of a shell.
func (u Unwrapped) InShell() bool {
	return slices.ContainsFunc(u.Wrappers, func(w Wrapper) bool { return strings.HasSuffix(w.Name, " -c") })
}
