package gunicorn

import (
	"bytes"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"tideover/supervisor/lazyregexp"
)

var shells = []string{"sh", "bash", "dash", "ash", "zsh", "ksh"}

// scriptLimit bounds what is read of a script.
const scriptLimit = 64 << 10

// shellCommand is a command that runs a script: `sh -c TEXT`, `sh FILE`, or an executable FILE
// whose first line names a shell.
type shellCommand struct {
	name string   // for messages
	head []string // the shell and its options, without the script
	text string
	file string   // that has the text; "": it is in the command
	tail []string // behind the text: with file the arguments, else also $0
}

// args are the positional parameters.
func (s *shellCommand) args() []string {
	if s.file != "" || len(s.tail) == 0 {
		return s.tail
	}
	return s.tail[1:]
}

// findShell returns the script that argv runs, or nil. read may be nil.
func findShell(argv []string, read scriptReader) *shellCommand {
	if len(argv) == 0 {
		return nil
	}
	if !slices.Contains(shells, path.Base(argv[0])) {
		return scriptFile(argv, read)
	}
	for i := 1; i < len(argv); i++ {
		word := argv[i]
		switch {
		case !strings.HasPrefix(word, "-") && !strings.HasPrefix(word, "+"):
			text, ok := readScript(word, read)
			if !ok {
				return nil
			}
			return &shellCommand{name: word, head: argv[:i], text: text, file: word, tail: argv[i+1:]}
		case !strings.HasPrefix(word, "--") && strings.HasSuffix(word, "c"):
			if i+1 == len(argv) {
				return nil
			}
			head := slices.Clone(argv[:i])
			if options := strings.TrimSuffix(word, "c"); options != "-" {
				head = append(head, options)
			}
			return &shellCommand{name: path.Base(argv[0]) + " -c", head: head, text: argv[i+1], tail: argv[i+2:]}
		case word == "-o" || word == "+o" || word == "-O" || word == "--rcfile" || word == "--init-file":
			i++
		}
	}
	return nil
}

// scriptFile returns the script in an executable file, or nil.
func scriptFile(argv []string, read scriptReader) *shellCommand {
	if !strings.Contains(argv[0], "/") {
		return nil
	}
	text, ok := readScript(argv[0], read)
	if !ok {
		return nil
	}
	first, _, _ := strings.Cut(text, "\n")
	line, ok := strings.CutPrefix(first, "#!")
	words := strings.Fields(line)
	if !ok || len(words) == 0 {
		return nil
	}
	shell := words[0]
	if path.Base(shell) == "env" {
		words = slices.DeleteFunc(words, func(w string) bool { return w == "-S" })
		if len(words) < 2 {
			return nil
		}
		shell = words[1]
	}
	if !slices.Contains(shells, path.Base(shell)) {
		return nil
	}
	return &shellCommand{name: argv[0], head: words, text: text, file: argv[0], tail: argv[1:]}
}

// readScript returns the text of a file that may be a script.
func readScript(file string, read scriptReader) (string, bool) {
	if read == nil {
		return "", false
	}
	text, err := read(file)
	if err != nil || len(text) >= scriptLimit || bytes.HasPrefix(text, []byte("\x7fELF")) {
		return "", false
	}
	return string(text), true
}

// scripted is a gunicorn inside of a script.
type scripted struct {
	shell     *shellCommand
	prefix    string        // what the script does before, as it is written
	command   simpleCommand // that of gunicorn, with its wrappers
	culprit   string        // the command that must not run twice; "": none
	sourced   bool          // the script sources a file, which may set variables
	movedAway bool          // the script changes the directory
	shifted   bool          // the script changes the positional parameters
	variables map[string]variable
	unknown   map[string]bool // the words of gunicorn, as they are written, that have an unknown value
}

// variable is what a script assigns to a variable.
type variable struct {
	value string
	known bool
}

// removeShell removes a shell and leaves the command of its script that runs gunicorn. It returns
// false if there is no such shell, or the script runs gunicorn at more than one place or inside
// of an if or a loop: then it is not known which one it is.
//
// Without exec that command may run as a child of the shell: some shells exec the last command by
// themselves, others do not.
func (u *unwrapped) removeShell() bool {
	if u.scripted != nil {
		return false
	}
	shell := findShell(u.command, u.read)
	if shell == nil {
		return false
	}
	script, err := scanScript(shell.text)
	if err != nil {
		return false
	}
	at := u.find(script.commands)
	if at < 0 {
		return false
	}
	c := script.commands[at]
	s := &scripted{shell: shell, command: c, prefix: script.text[:c.at],
		culprit: unrepeatable(script.commands[:at], u.read, 0)}
	if s.culprit == "" {
		for _, inner := range c.inner {
			s.culprit = unrepeatable(inner.commands, u.read, 0)
		}
	}
	if shell.file != "" {
		// A text that is given with -c has no BASH_SOURCE, and the file's name as $0.
		s.prefix = strings.NewReplacer("${BASH_SOURCE[0]}", "$0", "${BASH_SOURCE}", "$0", "$BASH_SOURCE", "$0").Replace(s.prefix)
	}
	s.readVariables(script.commands[:at], u.env)
	own, assignments, execs := s.expandWords(u.env)
	forks := !execs || slices.ContainsFunc([]string{c.before, c.after}, func(o string) bool { return o == "|" || o == "|&" }) || c.after == "&"
	u.wrappers = append(u.wrappers, Wrapper{Name: shell.name, Forks: forks})
	below := u.env
	u.env = func(name string) string {
		if v, ok := s.lookup(name, below); ok {
			return v
		}
		return ""
	}
	u.changeEnv(assignments)
	u.scripted, u.command = s, own
	return true
}

// findGunicorn returns the index of the one command that runs gunicorn, outside of compound
// commands; -1 if there is none.
func findGunicorn(commands []simpleCommand) int {
	at := -1
	for i, c := range commands {
		if c.runsGunicorn() {
			if at >= 0 || c.depth > 0 {
				return -1
			}
			at = i
		}
	}
	return at
}

// findLast returns the index of the last command if it is outside of compound commands and not only
// a redirection; else -1.
func findLast(commands []simpleCommand) int {
	at := len(commands) - 1
	if at < 0 || commands[at].depth > 0 || len(commands[at].words) == 0 {
		return -1
	}
	return at
}

// inScript finds the word gunicorn in a line of a script, outside of comments.
var inScript = lazyregexp.New(`(?m)^[^#\n]*\bgunicorn\b`)

// NamedInScript reports whether argv runs the script of a shell that has the word gunicorn. If
// Parse has found no gunicorn in it, gunicorn stands in a function or a compound command, or the
// syntax is not known, so it cannot be known where it listens. read is as for Parse.
func NamedInScript(argv []string, env func(string) string, read func(path string) ([]byte, error)) bool {
	none := func([]simpleCommand) int { return -1 }
	shell := findShell(unwrap(argv, env, read, none).command, read)
	return shell != nil && inScript.MatchString(shell.text)
}

// runsGunicorn reports whether the words of a command are, behind its wrappers, those of gunicorn.
func (c *simpleCommand) runsGunicorn() bool {
	words := c.plainWords()
	for len(words) > 0 && (assignment.MatchString(words[0]) || words[0] == "exec" || words[0] == "command") {
		words = words[1:]
	}
	u := unwrapped{command: words, env: func(string) string { return "" }}
	for len(u.command) > 0 && !u.module && u.removeWrapper() {
	}
	return new(Command).recognise(u)
}

// readVariables collects what the script assigns to variables before gunicorn.
func (s *scripted) readVariables(commands []simpleCommand, env func(string) string) {
	s.variables = map[string]variable{"PWD": {}, "OLDPWD": {}}
	for i, c := range commands {
		words := c.plainWords()
		if len(words) == 0 {
			continue
		}
		certain := c.depth == 0 && c.before != "&&" && c.before != "||" || i == 0
		s.assign(&c, words, certain, env)
		for len(words) > 0 && assignment.MatchString(words[0]) {
			words = words[1:]
		}
		if len(words) > 0 {
			s.runBuiltin(words)
		}
	}
	for _, match := range assigning.FindAllStringSubmatch(s.prefix+s.command.text(), -1) {
		s.variables[match[1]+match[2]] = variable{}
	}
}

// assigning finds the variable of an expansion that assigns a value (${NAME:=value}), or of a loop.
var assigning = lazyregexp.New(`\$\{([A-Za-z_][A-Za-z0-9_]*):?=|\bfor[ \t]+([A-Za-z_][A-Za-z0-9_]*)`)

// assign reads the assignments in front of a command, and those of export and the like.
func (s *scripted) assign(c *simpleCommand, words []string, certain bool, env func(string) string) {
	for n, w := range c.words {
		name, _, isAssignment := strings.Cut(words[n], "=")
		if !isAssignment || !assignment.MatchString(words[n]) {
			if added, ok := strings.CutSuffix(name, "+"); isAssignment && ok && assignment.MatchString(added+"=") {
				s.variables[added] = variable{}
				continue
			}
			if n == 0 && !slices.Contains([]string{"export", "readonly", "local", "declare", "typeset"}, words[0]) {
				break
			}
			continue
		}
		_, raw, _ := strings.Cut(w.raw, "=")
		fields, known := s.expand(raw, env, false)
		s.variables[name] = variable{value: strings.Join(fields, " "), known: known && certain}
	}
}

// runBuiltin notes what a command of the shell itself changes, beside assignments.
func (s *scripted) runBuiltin(words []string) {
	switch words[0] {
	case "source", ".", "eval":
		if path.Base(words[len(words)-1]) == "activate" {
			return
		}
		s.sourced = true
		for name := range s.variables {
			s.variables[name] = variable{}
		}
	case "cd", "pushd", "popd":
		s.movedAway = true
	case "shift":
		s.shifted = true
	case "set":
		for i, word := range words[1:] {
			isOption := word != "--" && (strings.HasPrefix(word, "-") || strings.HasPrefix(word, "+"))
			s.shifted = s.shifted || !isOption && !strings.HasSuffix(words[i], "o") // set -eo pipefail
		}
	case "unset", "read", "getopts", "mapfile", "readarray", "printf", "let":
		for _, word := range words[1:] {
			name, _, _ := strings.Cut(word, "=")
			if assignment.MatchString(name + "=") {
				s.variables[name] = variable{}
			}
		}
	}
}

// text is the words as they are written.
func (c *simpleCommand) text() string {
	var b strings.Builder
	for _, w := range c.words {
		b.WriteString(w.raw + " ")
	}
	return b.String()
}

// expandWords returns the words of gunicorn's command, expanded as far as they are known, without
// exec and the assignments in front. A word with an unknown value stays as it is written.
func (s *scripted) expandWords(env func(string) string) (words, assignments []string, execs bool) {
	s.unknown = map[string]bool{}
	for _, w := range s.command.words {
		fields, known := s.expand(w.raw, env, true)
		if !known {
			fields, s.unknown[w.raw] = []string{w.raw}, true
		}
		switch {
		case len(words) == 0 && len(fields) == 1 && assignment.MatchString(fields[0]):
			assignments = append(assignments, fields[0])
		case len(words) == 0 && w.raw == "exec":
			execs = true
		case len(words) == 0 && w.raw == "command":
		default:
			words = append(words, fields...)
		}
	}
	return words, assignments, execs
}

// isConclusive reports whether the address that args name is that of gunicorn, although a word of
// them may have an unknown value: then it is the value of another option.
func (s *scripted) isConclusive(args []string) bool {
	for i, word := range args {
		if !s.unknown[word] {
			continue
		}
		o, _, given, err := findOption(word)
		if (o == nil || !given) && i > 0 {
			o, _, given, err = findOption(args[i-1])
			given = !given // its value is this word
		}
		if err != nil || o == nil || !given || !o.value || o.name == "bind" {
			return false
		}
	}
	return true
}

// lookup returns the value of a variable in the script.
func (s *scripted) lookup(name string, env func(string) string) (string, bool) {
	if v, ok := s.variables[name]; ok {
		return v.value, v.known
	}
	return env(name), !s.sourced
}

// expand returns the fields of a word: without quotes, and with $NAME, ${NAME} and
// ${NAME:-default} replaced. Patterns for file names stay as they are. It returns false if the value
// of an expansion is not known.
func (s *scripted) expand(raw string, env func(string) string, split bool) (fields []string, known bool) {
	if raw == `"$@"` || raw == "$@" {
		return s.shell.args(), !s.shifted
	}
	var b strings.Builder
	known = true
	hasField := false
	for i := 0; i < len(raw); {
		quote := raw[i]
		switch {
		case quote == '\'':
			text, _, closed := strings.Cut(raw[i+1:], "'")
			if !closed { // it is inside of an expansion
				return []string{raw}, false
			}
			b.WriteString(text)
			hasField, i = true, i+len(text)+2
			continue
		case quote == '"':
			inside, n := quotedText(raw[i:])
			text, ok := s.replaceVariables(inside, env)
			b.WriteString(text)
			known, hasField, i = known && ok, true, i+n
			continue
		}
		n := strings.IndexAny(raw[i:], `'"`)
		if n < 0 {
			n = len(raw) - i
		}
		text, ok := s.replaceVariables(raw[i:i+n], env)
		known, i = known && ok && !strings.HasPrefix(raw, "~"), i+n
		if !split || !strings.Contains(raw, "$") {
			b.WriteString(text)
			continue
		}
		parts := strings.Fields(text)
		for j, part := range parts {
			if j > 0 || strings.HasPrefix(text, " ") && b.Len() > 0 {
				fields = append(fields, b.String())
				b.Reset()
			}
			b.WriteString(part)
		}
	}
	if b.Len() > 0 || hasField {
		fields = append(fields, b.String())
	}
	return fields, known
}

// quotedText returns what stands in the double quotes at the beginning of raw, and its length with
// them.
func quotedText(raw string) (string, int) {
	for i := 1; i < len(raw); i++ {
		switch raw[i] {
		case '\\':
			i++
		case '"':
			return raw[1:i], i + 1
		}
	}
	return raw[1:], len(raw)
}

// replaceVariables replaces the variables in a text and removes backslashes. It returns false if the
// value of an expansion is not known.
func (s *scripted) replaceVariables(text string, env func(string) string) (string, bool) {
	if strings.Contains(text, "`") || strings.Contains(text, "$(") || strings.Contains(text, `\$`) {
		return text, false
	}
	known := true
	text = os.Expand(text, func(expression string) string {
		name, fallback, hasFallback := strings.Cut(expression, ":-")
		if !assignment.MatchString(name + "=") {
			known = false
			return "$" + expression
		}
		value, ok := s.lookup(name, env)
		if known = known && ok; ok && value == "" && hasFallback {
			value, ok = s.replaceVariables(strings.Trim(fallback, `"'`), env)
			known = known && ok
		}
		return value
	})
	return strings.NewReplacer("\\\n", "", `\\`, `\`, `\`, "").Replace(text), known
}

// unaskable is the error of a script that must not run once more.
func (s *scripted) unaskable() error {
	if s.culprit != "" {
		return fmt.Errorf("%s runs %q before gunicorn, which must not be run twice", s.shell.name, shorten(s.culprit))
	}
	if slices.ContainsFunc(s.command.words, func(w shellWord) bool { return w.raw == "--" }) {
		return fmt.Errorf("%s has the word -- among the arguments of gunicorn", s.shell.name)
	}
	return nil
}

func shorten(text string) string {
	if len(text) > 60 {
		return text[:57] + "..."
	}
	return text
}

// query is the form of a query: the script up to the arguments of gunicorn. What stands behind them
// is left out: a pipe to tee, redirections, further commands.
func (s *scripted) query(outer []string) queryForm {
	q := queryForm{head: append(slices.Clone(outer), s.shell.head...), script: s.prefix + s.command.text(), tail: s.shell.tail}
	if s.shell.file != "" {
		q.tail = append([]string{s.shell.file}, q.tail...)
	}
	return q
}
