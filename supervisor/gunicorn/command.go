package gunicorn

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"tideover/supervisor/lazyregexp"
	"tideover/supervisor/shellwords"
)

// Command is a command that runs gunicorn, with the settings that are known.
type Command struct {
	Wrappers []Wrapper // outermost first
	Script   string    // the word that runs gunicorn, such as "venv/bin/gunicorn"; empty with "python -m gunicorn"
	Args     []string  // the arguments of gunicorn itself; of a script as far as they are known

	query     queryForm
	unaskable error // see Unaskable

	App        string // module:callable
	ConfigFile string // as given with -c, else "./gunicorn.conf.py", which may not exist
	ConfigFrom string // FromCommandLine, FromEnvironment or FromDefault
	Exits      string // an option that makes gunicorn exit at once, such as "--check-config"

	Settings
}

var (
	scriptName = lazyregexp.New(`^gunicorn(-?\d+(\.\d+)*)?(\.exe)?$`)
	moduleName = lazyregexp.New(`^gunicorn(\.app\.wsgiapp|\.__main__)?$`)
	pythonName = lazyregexp.New(`^(python|pypy)(\d+(\.\d+)?t?)?$`)
)

// Parse returns the gunicorn command in argv, or nil if argv does not run
// gunicorn. It looks through wrappers and into the scripts of shells, and reads the
// arguments as gunicorn 20 to 27 do: the command line overrides GUNICORN_CMD_ARGS,
// which overrides the configuration file, which overrides PORT. The configuration
// file is named in the result but not read. Nothing is run. env looks up a variable
// in the environment that the command will get; read returns the beginning of a file
// that may be a script, relative to the directory of the command, and may be nil. The
// error is what gunicorn itself would refuse; the command is returned beside it.
func Parse(argv []string, env func(string) string, read func(path string) ([]byte, error)) (*Command, error) {
	if len(argv) == 0 {
		return nil, nil
	}
	u := unwrap(argv, env, read, findGunicorn)
	c := &Command{Wrappers: u.wrappers}
	if !c.recognise(u) {
		return nil, nil
	}
	s := u.scripted
	if s != nil {
		c.unaskable, c.query = s.unaskable(), s.query(u.outer)
	} else {
		c.query = queryForm{head: argv[:len(argv)-len(c.Args)], tail: c.Args}
	}
	if s != nil && !s.isConclusive(c.Args) {
		c.Bind = defaultBind
		return c, nil
	}
	args, err := parseArgs(c.Args)
	if err != nil {
		return c, err
	}
	words, err := shellwords.Split(u.env("GUNICORN_CMD_ARGS"))
	if err != nil {
		return c, fmt.Errorf("GUNICORN_CMD_ARGS cannot be read: %w", err)
	}
	envArgs, err := parseArgs(words)
	if err != nil {
		return c, fmt.Errorf("GUNICORN_CMD_ARGS: %w", err)
	}
	err = c.read(args, envArgs, u.env)
	if s != nil && s.movedAway && slices.ContainsFunc(c.Bind.Addresses, isRelative) {
		c.Bind = defaultBind
	}
	return c, err
}

// Unaskable is the error of a command whose gunicorn cannot be asked for its settings (see Query).
func (c *Command) Unaskable() error { return c.unaskable }

// OnCommandLine reports whether the command line has an option, which counts more than
// GUNICORN_CMD_ARGS. option is its long name without dashes.
func (c *Command) OnCommandLine(option string) bool {
	args, err := parseArgs(c.Args)
	_, found := args.last(option)
	return err == nil && found
}

// recognise reports whether an unwrapped command runs gunicorn, and sets Script and
// Args.
func (c *Command) recognise(u unwrapped) bool {
	argv := u.command
	if len(argv) == 0 {
		return false
	}
	if u.module {
		c.Args = argv[1:]
		return moduleName.MatchString(argv[0])
	}
	if !pythonName.MatchString(path.Base(argv[0])) {
		c.Script, c.Args = argv[0], argv[1:]
		return scriptName.MatchString(path.Base(argv[0]))
	}
	own, module := pythonWords(argv)
	if module == "" {
		if own == len(argv) || !scriptName.MatchString(path.Base(argv[own])) {
			return false
		}
		c.Script, own = argv[own], own+1
	} else if !moduleName.MatchString(module) {
		return false
	}
	c.Args = argv[own:]
	return true
}

// pythonWords returns how many words belong to python itself, and the module
// that -m names.
func pythonWords(argv []string) (own int, module string) {
	for i := 1; i < len(argv); i++ {
		word := argv[i]
		if !strings.HasPrefix(word, "-") || word == "-" {
			return i, ""
		}
		if strings.HasPrefix(word, "--") {
			continue
		}
		at := strings.IndexAny(word, "mcWX")
		if at < 0 {
			continue
		}
		value := word[at+1:]
		if value == "" && i+1 < len(argv) {
			i++
			value = argv[i]
		}
		if word[at] == 'm' {
			return i + 1, value
		}
		if word[at] == 'c' {
			return len(argv), ""
		}
	}
	return len(argv), ""
}
