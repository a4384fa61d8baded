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

	argv     []string
	scripted *scripted // nil: the program is not in the script of a shell
}

// Unwrap removes the wrappers and the interpreter from argv. Program is empty if no command is
// left. env looks up a variable in the environment that the command will get.
func Unwrap(argv []string, env func(string) string) Unwrapped {
	if len(argv) == 0 {
		return Unwrapped{Env: env}
	}
	u := unwrap(argv, env, nil, findLast)
	inner := Unwrapped{Wrappers: u.wrappers, Env: u.env, Module: u.module, argv: argv, scripted: u.scripted}
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

// ReplaceArgs returns the whole command with other arguments of the program. replace gets the
// arguments; in the script of a shell they are as they are written there, with quotes and variables.
// ok is false where the command of a script has a redirection, a pipe or the substitution of a
// command, or where the script has arguments or a file of its own.
func (u Unwrapped) ReplaceArgs(replace func(args []string) []string) (argv []string, ok bool) {
	if u.scripted == nil {
		return slices.Concat(u.argv[:len(u.argv)-len(u.Args)], replace(u.Args)), true
	}
	shell, c := u.scripted.shell, &u.scripted.command
	first := len(c.words) - len(u.Args)
	if shell.file != "" || len(shell.tail) > 0 || first < 1 || !c.isPlainIn(shell.text) {
		return nil, false
	}
	var written []string
	for _, w := range c.words[first:] {
		written = append(written, w.raw)
	}
	text := shell.text[:c.words[first-1].end()] + " " + strings.Join(replace(written), " ") + shell.text[c.words[len(c.words)-1].end():]
	return append(slices.Clone(u.argv[:len(u.argv)-1]), text), true
}

// isPlainIn reports whether the last command of a script consists of words only.
func (c *simpleCommand) isPlainIn(text string) bool {
	if len(c.inner) > 0 || c.before == "|" || c.before == "|&" {
		return false
	}
	end := c.words[0].at
	for _, w := range c.words {
		if strings.Trim(text[end:w.at], " \t\r\n\\") != "" {
			return false
		}
		end = w.end()
	}
	return strings.Trim(text[end:], "; \t\r\n") == ""
}
