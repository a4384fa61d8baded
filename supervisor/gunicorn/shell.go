package gunicorn

import (
	"os"
	"path"
	"slices"
	"strings"

	"tideover/supervisor/shellwords"
)

// removeShell removes `sh -c` and leaves the last command of the script. It
// returns false if there is no such shell. Without exec that command may run as a
// child of the shell: some shells exec the last command by themselves, others do
// not.
func (u *unwrapped) removeShell() bool {
	if !slices.Contains([]string{"sh", "bash", "dash", "ash", "zsh", "ksh"}, path.Base(u.command[0])) {
		return false
	}
	script := -1
	for i, word := range u.command[1:] {
		if !strings.HasPrefix(word, "-") {
			break
		}
		if !strings.HasPrefix(word, "--") && strings.HasSuffix(word, "c") {
			script = i + 2
			break
		}
	}
	if script < 0 || script >= len(u.command) {
		return false
	}
	words, err := shellwords.Split(lastCommand(u.command[script]))
	if err != nil {
		return false
	}
	var assignments []string
	for len(words) > 0 && assignment.MatchString(words[0]) {
		assignments, words = append(assignments, words[0]), words[1:]
	}
	forks := len(words) == 0 || words[0] != "exec"
	if !forks {
		words = words[1:]
	}
	u.changeEnv(assignments)
	for i, word := range words {
		words[i] = expand(word, u.env)
	}
	u.wrappers = append(u.wrappers, Wrapper{Name: path.Base(u.command[0]) + " -c", Forks: forks})
	u.prefix = append(u.prefix, u.command[:script]...)
	u.command = words
	return true
}

// lastCommand returns the text behind the last unquoted "&&", ";" or line feed.
func lastCommand(script string) string {
	script = strings.TrimRight(script, " \t\r\n;")
	start, quote, escaped := 0, rune(0), false
	for i, r := range script {
		switch {
		case escaped:
			escaped = false
		case r == '\\' && quote != '\'':
			escaped = true
		case quote != 0:
			if r == quote {
				quote = 0
			}
		case r == '\'' || r == '"':
			quote = r
		case r == ';' || r == '\n' || r == '&' && i > 0 && script[i-1] == '&':
			start = i + 1
		}
	}
	return script[start:]
}

// expand replaces $NAME, ${NAME} and ${NAME:-default}.
func expand(word string, env func(string) string) string {
	return os.Expand(word, func(name string) string {
		name, fallback, _ := strings.Cut(name, ":-")
		if value := env(name); value != "" {
			return value
		}
		return fallback
	})
}
