package gunicorn

import (
	"path"
	"slices"
	"strings"
)

// repeatable are the commands that a script may run once more without harm, because they only
// print, test, wait or change the shell itself; chmod and chown do nothing the second time.
var repeatable = strings.Fields(`
	: [ [[ alias basename cat cd chmod chown cut date declare dirname echo egrep exit expr export false fgrep getconf grep
	hash head hostname id local ls nproc popd printf printenv pushd pwd readlink readonly realpath return sed seq
	set shift shopt sleep sort tail test tr true type typeset ulimit umask unalias uname uniq unset wc which whoami xargs`)

// activations are the commands of environment managers that only change the shell.
var activations = []string{"conda activate", "mamba activate", "micromamba activate", "pyenv activate", "pyenv shell", "pyenv init", "pyenv virtualenv-init", "workon", "deactivate"}

// scriptReader returns the beginning of a file that a script sources.
type scriptReader func(path string) ([]byte, error)

// unrepeatable returns the first command that must not run once more only to learn gunicorn's
// settings, because it may change something; "" if there is none.
func unrepeatable(commands []simpleCommand, read scriptReader, nesting int) string {
	for i := range commands {
		c := &commands[i]
		if !c.isRepeatable(read, nesting) {
			return c.String()
		}
		for _, inner := range c.inner {
			if culprit := unrepeatable(inner.commands, read, nesting); culprit != "" {
				return culprit
			}
		}
	}
	return ""
}

func (c *simpleCommand) String() string {
	var all []string
	for _, w := range c.words {
		all = append(all, w.raw)
	}
	if c.writesTo != "" {
		all = append(all, ">", c.writesTo)
	}
	return strings.Join(all, " ")
}

// isRepeatable reports whether the command may run once more without harm. Its command
// substitutions do not count.
func (c *simpleCommand) isRepeatable(read scriptReader, nesting int) bool {
	if c.writesTo != "" || c.after == "&" {
		return false
	}
	words := c.plainWords()
	for len(words) > 0 && assignment.MatchString(words[0]) {
		words = words[1:]
	}
	if len(words) == 0 {
		return true
	}
	line := strings.Join(words, " ")
	option := func(name string) bool {
		return slices.ContainsFunc(words[1:], func(w string) bool { return strings.HasPrefix(w, name) })
	}
	switch words[0] {
	case "source", ".":
		return len(words) > 1 && mayBeSourced(words[1], read, nesting)
	case "eval":
		return len(words) == 2 && len(c.inner) == 1 && strings.HasPrefix(words[1], "$(pyenv ")
	case "command":
		return option("-v") || option("-V")
	case "exec":
		return len(words) == 1 // only its redirections count
	case "sed": // -i, also as -ni; --in-place; the commands w and e of a script are not looked for
		return !c.hasOption('i', "--i")
	case "sort":
		return !c.hasOption('o', "--o")
	case "date":
		return !option("-s") && !option("-us") && !option("--s")
	case "mkdir": // without -p it fails the second time
		return c.hasOption('p', "--p")
	case "hostname":
		return !slices.ContainsFunc(words[1:], func(w string) bool { return !strings.HasPrefix(w, "-") })
	case "uniq": // the second file is written
		files := slices.DeleteFunc(words[1:], func(w string) bool { return strings.HasPrefix(w, "-") })
		return len(files) < 2
	case "xargs":
		return !slices.ContainsFunc(words[1:], func(w string) bool { return !strings.HasPrefix(w, "-") && strings.Trim(w, "0123456789") != "" })
	}
	return slices.Contains(repeatable, words[0]) ||
		slices.ContainsFunc(activations, func(a string) bool { return line == a || strings.HasPrefix(line, a+" ") })
}

// hasOption reports whether one of the words is an option, alone or among other letters, or begins as
// its long form does, which may be shortened.
func (c *simpleCommand) hasOption(letter byte, long string) bool {
	return slices.ContainsFunc(c.plainWords(), func(w string) bool {
		short := strings.HasPrefix(w, "-") && !strings.HasPrefix(w, "--") && strings.IndexByte(w, letter) > 0
		return short || strings.HasPrefix(w, long)
	})
}

// plainWords are the words without their quotes.
func (c *simpleCommand) plainWords() []string {
	var all []string
	for _, w := range c.words {
		all = append(all, strings.NewReplacer("\\\n", "", `"`, "", "'", "", `\`, "").Replace(w.raw))
	}
	return all
}

// mayBeSourced reports whether a file may be sourced once more: the activate of a virtual
// environment, or a file whose commands are all repeatable.
func mayBeSourced(file string, read scriptReader, nesting int) bool {
	if path.Base(file) == "activate" {
		return true
	}
	if read == nil || nesting >= 3 || strings.ContainsAny(file, "$`*?[") {
		return false
	}
	text, err := read(file)
	if err != nil {
		return false
	}
	script, err := scanScript(string(text))
	return err == nil && unrepeatable(script.commands, read, nesting+1) == ""
}
