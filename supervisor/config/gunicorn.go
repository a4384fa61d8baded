package config

import (
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Bind is the addresses a command says it serves on, in the spelling of
// package listener.
type Bind struct {
	Addresses []string
	From      string // "command line", "GUNICORN_CMD_ARGS", "PORT" or "default"
}

// Wrapper is a command that runs another one.
type Wrapper struct {
	Name  string // "uv run", "env", "sh -c"
	Forks bool   // the wrapped command gets another pid (or may get one)
}

// Gunicorn is what a gunicorn command line tells without running anything.
// Numbers and strings are zero where the command line and GUNICORN_CMD_ARGS
// are silent; a configuration file or gunicorn's defaults decide then.
type Gunicorn struct {
	Is       bool // false: the command is not gunicorn, and nothing else is set
	Wrappers []Wrapper
	Script   string   // the word that runs gunicorn: "gunicorn", "venv/bin/gunicorn"; empty with `python -m gunicorn`
	Python   []string // interpreter and its options when the command names it
	Prefix   []string // the wrappers' words
	Args     []string // gunicorn's own arguments

	Bind       Bind
	ConfigFile string // as given with -c, else "./gunicorn.conf.py" (which may not exist)
	ConfigFrom string // "command line", "GUNICORN_CMD_ARGS" or "default"

	App             string // module:callable
	Version         string // where gunicorn was asked
	Workers         int
	Threads         int
	WorkerClass     string
	Timeout         time.Duration
	GracefulTimeout time.Duration
	KeepAlive       time.Duration
	Chdir           string
	Pidfile         string

	Daemon        bool
	ReusePort     bool
	Reload        bool
	Preload       bool
	TLS           bool
	ProxyProtocol bool
	Exits         string // an option that makes gunicorn exit at once, such as --check-config
}

var (
	gunicornName   = regexp.MustCompile(`^gunicorn(3|-?3\.\d+)?(\.exe)?$`)
	gunicornModule = regexp.MustCompile(`^gunicorn(\.app\.wsgiapp|\.__main__)?$`)
	pythonName     = regexp.MustCompile(`^(python|pypy)(\d+(\.\d+)?t?)?$`)
)

// ParseGunicorn finds out whether argv runs gunicorn, also through wrappers,
// and reads its command line and GUNICORN_CMD_ARGS as gunicorn 20 to 27 do:
// the command line replaces GUNICORN_CMD_ARGS, which replaces the
// configuration file (only named here), which replaces PORT. env gives the
// environment the command will get. A command that is not gunicorn is no
// error; one that gunicorn itself would refuse is.
func ParseGunicorn(argv []string, env func(string) string) (Gunicorn, error) {
	if len(argv) == 0 {
		return Gunicorn{}, nil
	}
	u := unwrap(argv, env)
	g := Gunicorn{Wrappers: u.wrappers, Prefix: u.prefix}
	if !g.recognise(u) {
		return Gunicorn{}, nil
	}
	args, err := readGunicornArgs(g.Args)
	if err != nil {
		return g, err
	}
	words, err := SplitWords(u.env("GUNICORN_CMD_ARGS"))
	if err != nil {
		return g, fmt.Errorf("GUNICORN_CMD_ARGS cannot be read: %w", err)
	}
	below, err := readGunicornArgs(words)
	if err != nil {
		return g, fmt.Errorf("GUNICORN_CMD_ARGS: %w", err)
	}
	return g, g.read(args, below, u.env)
}

// recognise finds gunicorn in a command without wrappers.
func (g *Gunicorn) recognise(u unwrapped) bool {
	argv := u.command
	if len(argv) == 0 {
		return false
	}
	if u.module {
		g.Is, g.Args = gunicornModule.MatchString(argv[0]), argv[1:]
		return g.Is
	}
	if !pythonName.MatchString(path.Base(argv[0])) {
		g.Is, g.Script, g.Args = gunicornName.MatchString(path.Base(argv[0])), argv[0], argv[1:]
		return g.Is
	}
	own, module := pythonWords(argv)
	if module == "" {
		if own == len(argv) || !gunicornName.MatchString(path.Base(argv[own])) {
			return false
		}
		g.Script, own = argv[own], own+1
	} else if !gunicornModule.MatchString(module) {
		return false
	}
	g.Is, g.Args = true, argv[own:]
	g.Python = interpreterWords(argv[:own], g.Script)
	return true
}

// pythonWords counts the words that belong to python itself, with the module
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

// interpreterWords are python and its options without what it is to run.
func interpreterWords(words []string, script string) []string {
	if script != "" {
		return words[:len(words)-1]
	}
	own := slices.Clone(words)
	for i := 1; i < len(own); i++ {
		switch at := strings.IndexByte(own[i], 'm'); {
		case strings.HasPrefix(own[i], "--") || at < 0 || strings.ContainsAny(own[i][:at], "WX"):
		case at == 1:
			return own[:i]
		default:
			return append(own[:i], own[i][:at])
		}
	}
	return own
}

// read takes the settings from the command line (args) and, where it is
// silent, from GUNICORN_CMD_ARGS (below).
func (g *Gunicorn) read(args, below gunicornArgs, env func(string) string) error {
	last := func(name string) string {
		if v, ok := args.last(name); ok {
			return v
		}
		v, _ := below.last(name)
		return v
	}
	flag := func(name string) bool { return len(args.values[name])+len(below.values[name]) > 0 }

	var faults []error
	number := func(name string) int {
		text := last(name)
		if text == "" {
			return 0
		}
		n, err := strconv.ParseInt(text, 0, 32)
		if err != nil || n < 0 {
			faults = append(faults, fmt.Errorf("gunicorn's --%s %q is not a whole number", name, text))
		}
		return int(n)
	}
	seconds := func(name string) time.Duration { return time.Duration(number(name)) * time.Second }

	if len(args.positionals) > 0 {
		g.App = args.positionals[0]
	}
	g.Workers, g.Threads, g.WorkerClass = number("workers"), number("threads"), last("worker-class")
	if n, err := strconv.Atoi(env("WEB_CONCURRENCY")); g.Workers == 0 && err == nil {
		g.Workers = n
	}
	g.Timeout, g.GracefulTimeout, g.KeepAlive = seconds("timeout"), seconds("graceful-timeout"), seconds("keep-alive")
	g.Chdir, g.Pidfile = last("chdir"), last("pid")
	g.Daemon, g.ReusePort, g.Reload, g.Preload = flag("daemon"), flag("reuse-port"), flag("reload"), flag("preload")
	g.TLS = flag("certfile") || flag("keyfile")
	g.ProxyProtocol = flag("proxy-protocol") && last("proxy-protocol") != "off"
	for _, name := range []string{"check-config", "print-config", "version", "help"} {
		if flag(name) {
			g.Exits = "--" + name
		}
	}
	g.ConfigFile, g.ConfigFrom = "./gunicorn.conf.py", fromDefault
	if v, ok := below.last("config"); ok {
		g.ConfigFile, g.ConfigFrom = v, fromEnvironment
	}
	if v, ok := args.last("config"); ok {
		g.ConfigFile, g.ConfigFrom = v, fromCommandLine
	}
	return errors.Join(append(faults, g.readBind(args, below, env))...)
}

// Where a bind or configuration file is named.
const (
	fromCommandLine = "command line"
	fromEnvironment = "GUNICORN_CMD_ARGS"
	fromPort        = "PORT"
	fromDefault     = "default"
	fromListen      = "listen"
	fromGunicorn    = "gunicorn"
)

func (g *Gunicorn) readBind(args, below gunicornArgs, env func(string) string) error {
	var written []string
	switch {
	case len(args.values["bind"]) > 0:
		written, g.Bind.From = args.values["bind"], fromCommandLine
	case len(below.values["bind"]) > 0:
		written, g.Bind.From = below.values["bind"], fromEnvironment
	case env("PORT") != "":
		written, g.Bind.From = []string{"0.0.0.0:" + env("PORT")}, fromPort
	default:
		written, g.Bind.From = []string{"127.0.0.1:8000"}, fromDefault
	}
	var faults []error
	for _, w := range written {
		address, err := gunicornAddress(w)
		if err != nil {
			faults = append(faults, err)
			continue
		}
		g.Bind.Addresses = append(g.Bind.Addresses, address)
	}
	return errors.Join(faults...)
}

// gunicornAddress turns one bind as gunicorn's util.parse_address reads it
// into our spelling. A unix path may be relative, to gunicorn's directory; an
// fd:// bind is returned as it is, for Refuse.
func gunicornAddress(bind string) (string, error) {
	bind = strings.TrimSpace(bind)
	if rest, ok := strings.CutPrefix(bind, "unix:"); ok {
		return "unix:" + strings.TrimPrefix(rest, "//"), nil
	}
	if strings.HasPrefix(bind, "fd://") {
		return bind, nil
	}
	host, port := strings.TrimPrefix(bind, "tcp://"), "8000"
	switch {
	case strings.Contains(host, "[") && strings.Contains(host, "]"):
		inside, after, _ := strings.Cut(host, "]")
		host = inside[1:]
		if p, ok := strings.CutPrefix(after, ":"); ok {
			port = p
		}
	case strings.Contains(host, ":"):
		parts := strings.Split(host, ":")
		if host, port = parts[0], parts[1]; len(parts) > 2 {
			return "", fmt.Errorf("gunicorn cannot read the address %q: write an IPv6 address in brackets, [::1]:8000", bind)
		}
	}
	number, err := strconv.Atoi(port)
	if err != nil || number < 1 || number > 65535 {
		return "", fmt.Errorf("the address %q has no valid port: write HOST:PORT with a port from 1 to 65535", bind)
	}
	if _, err := strconv.Atoi(host); err == nil {
		return "", fmt.Errorf("gunicorn takes the address %q for the name of a host: write \":%s\" for a port", bind, host)
	}
	switch {
	case strings.Contains(host, ":"):
		host = "[" + host + "]"
	case host == "":
		host = "0.0.0.0" // gunicorn binds IPv4 only
	}
	return strings.ToLower(host) + ":" + strconv.Itoa(number), nil
}

// HasControlSocket reports whether this gunicorn opens a control socket, one
// path for all of a user's gunicorns (25.1 and newer), and the command leaves
// that as it is.
func (g Gunicorn) HasControlSocket() bool {
	var major, minor int
	if n, _ := fmt.Sscanf(g.Version, "%d.%d", &major, &minor); n < 2 || major < 25 || major == 25 && minor < 1 {
		return false
	}
	return !slices.ContainsFunc(g.Args, func(word string) bool {
		return strings.HasPrefix(word, "--control-socket") || strings.HasPrefix(word, "--no-control-socket")
	})
}
