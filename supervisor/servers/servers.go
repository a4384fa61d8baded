package servers

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"tideover/supervisor/gunicorn"
)

// Command is a command that runs one of the known servers and has no placeholder.
type Command struct {
	Server  string // "uvicorn", "flask run"
	Reloads bool   // it starts its code again by itself when a file changes

	// From says where the address is named: gunicorn.FromCommandLine, the name of a variable,
	// or gunicorn.FromDefault.
	From string

	server  *server
	command gunicorn.Unwrapped
	args    []string   // of the program, as a shell expands them
	own     int        // index in args at which those of the server begin
	removed []wordSpan // the words in args that name an address
	trust   []wordSpan // the words in args that name trusted front-ends
	// TrustedIPs are "*" or the addresses of front-ends whose X-Forwarded-* count; nil: the default.
	TrustedIPs []string
	noFields   bool // X-Forwarded-* count of none
	forks      bool // a wrapper starts the server as its child
	addresses  []string
	unknown    error // why the address is not known; nil: it is
	unusable   error
	tls        error  // it speaks TLS, and tideover does not
	socketEnv  string // variable that names a unix socket; empty: none
}

// wordSpan is the words from first up to, not including, end.
type wordSpan struct{ first, end int }

// placeholders are the words that a user writes where the private socket is to be named.
var placeholders = []string{"{fd}", "{socket}", "{port}"}

// Parse returns the server that argv runs; nil if it runs none that is known, or if argv has a
// placeholder. env looks up a variable in the environment that the command will get.
func Parse(argv []string, env func(string) string) *Command {
	if slices.ContainsFunc(argv, func(word string) bool {
		return slices.ContainsFunc(placeholders, func(p string) bool { return strings.Contains(word, p) })
	}) {
		return nil
	}
	return Recognise(argv, env)
}

// Recognise is Parse for a command that may have placeholders. Then the address and Argv mean
// nothing.
func Recognise(argv []string, env func(string) string) *Command {
	u := gunicorn.Unwrap(argv, env)
	s, own := find(u.Program, u.Module, u.Args)
	if s == nil {
		return nil
	}
	c := &Command{Server: s.name, server: s, command: u, args: u.Args, own: own}
	_, c.forks = u.Forks()
	if s.verbs != nil && own > 0 && s.verbs[0] != u.Args[own-1] {
		c.Server = u.Args[own-1] // runserver_plus
	}
	c.read(u.Env)
	c.command.Env = nil // commands are compared
	return c
}

// named are the options of a command that name an address, as they are written last.
type named struct {
	values map[kind][]string
	flags  map[kind]string // the option, of those that stand for themselves
}

func (n named) last(k kind) string {
	if all := n.values[k]; len(all) > 0 {
		return all[len(all)-1]
	}
	return ""
}

// read reads the arguments and the environment.
func (c *Command) read(env func(string) string) {
	n := c.readArgs()
	c.Reloads = n.flags[reload] != "" || c.Server == "fastapi dev" ||
		c.server.name == "runserver" && !slices.Contains(c.args, "--noreload")
	c.unusable = c.refuse(n)
	if n.flags[tls] != "" {
		c.tls = fmt.Errorf(`%s of %s makes it speak TLS, which tideover does not: remove it and let the front-end terminate TLS, `+
			`or set relay = "none" (--relay none): then it gets the public socket itself`, n.flags[tls], c.Server)
	}
	c.readTrusted(n, env)
	c.From = gunicorn.FromCommandLine
	written := slices.ContainsFunc([]kind{host, port, bind, listen, endpoint, uds, descriptor}, func(k kind) bool { return len(n.values[k]) > 0 })
	if file := n.last(config); file != "" && !written {
		c.unknown = fmt.Errorf("%s may name another address in %s", c.Server, file)
		return
	}
	if from := c.readEnv(n, env); from != "" && !written {
		c.From = from
	} else if !written {
		c.From = gunicorn.FromDefault
	}
	c.addresses, c.unknown = c.server.addresses(n)
}

// readArgs finds the options that name an address.
func (c *Command) readArgs() named {
	n := named{values: map[kind][]string{}, flags: map[kind]string{}}
	args := c.args
	if c.server.verbs != nil && slices.Contains(args[:c.own], "--debug") {
		n.flags[reload] = "--debug"
	}
	for i := c.own; i < len(args); i++ {
		o, text, attached := c.server.option(args[i])
		if o == nil {
			if address, ok := addrPort(args[i]); ok && c.server.name == "runserver" {
				n.values[bind] = append(n.values[bind], address)
				c.removed = append(c.removed, wordSpan{i, i + 1})
			}
			continue
		}
		first, name := i, args[i]
		if !o.flag && !attached && i+1 < len(args) {
			i++
			text = args[i]
		}
		switch o.kind {
		case host, port, bind, listen, endpoint, uds, descriptor:
			n.values[o.kind] = append(n.values[o.kind], text)
			c.removed = append(c.removed, wordSpan{first, i + 1})
		case allowed:
			n.values[allowed] = append(n.values[allowed], text)
			c.trust = append(c.trust, wordSpan{first, i + 1})
		case config:
			n.values[config] = append(n.values[config], text)
		default:
			n.flags[o.kind], _, _ = strings.Cut(name, "=")
		}
	}
	if n.flags[ipv6] != "" {
		n.flags[ipv6] = "::1"
	}
	return n
}

// readEnv adds what variables say and the command line does not, and returns the name of such a
// variable.
func (c *Command) readEnv(n named, env func(string) string) (from string) {
	for _, o := range []struct {
		kind kind
		name string
	}{{host, "HOST"}, {uds, "UDS"}, {descriptor, "FD"}, {port, "PORT"}} {
		variable := c.server.env + o.name
		if o.kind == port {
			variable = cmp.Or(c.server.portEnv, variable)
		} else if c.server.env == "" {
			continue
		}
		known := slices.ContainsFunc(c.server.options, func(known option) bool { return known.kind == o.kind })
		text := env(variable)
		if text == "" || !known || c.server.env == "" && c.server.portEnv == "" {
			continue
		}
		if o.kind == uds {
			c.socketEnv = variable
		}
		if len(n.values[o.kind]) == 0 {
			n.values[o.kind], from = []string{text}, variable
		}
	}
	return from
}

// readTrusted reads which front-ends the server trusts.
func (c *Command) readTrusted(n named, env func(string) string) {
	c.noFields = n.flags[noFields] != ""
	if c.server.forwarded == "" {
		return
	}
	text := n.last(allowed)
	if text == "" && c.server.env != "" {
		text = env(c.server.env + "FORWARDED_ALLOW_IPS")
	}
	if text == "" {
		text = env("FORWARDED_ALLOW_IPS")
	}
	for ip := range strings.SplitSeq(text, ",") {
		if ip = strings.TrimSpace(ip); ip != "" {
			c.TrustedIPs = append(c.TrustedIPs, ip)
		}
	}
}

// ReadsForwardedFor reports whether the server takes the address of a client from X-Forwarded-For.
func (c *Command) ReadsForwardedFor() bool { return c.server.forwarded != "" && !c.noFields }

// mustTrust reports whether the server must be told to trust 127.0.0.1, from which tideover connects
// to it over TCP. Other front-ends that it trusts are none of its clients there.
func (c *Command) mustTrust(unix bool) bool {
	return !unix && c.ReadsForwardedFor() && c.TrustedIPs != nil && !slices.Contains(c.TrustedIPs, "*") && !slices.Contains(c.TrustedIPs, "127.0.0.1")
}

// refuse returns why the command cannot be run under tideover.
func (c *Command) refuse(n named) error {
	unusable := func(k kind, why, remedy string) error {
		return fmt.Errorf("%s of %s %s: %s", n.flags[k], c.Server, why, remedy)
	}
	switch {
	case n.flags[quic] != "":
		return unusable(quic, "makes it speak HTTP/3, which tideover does not relay", "remove it")
	case n.flags[daemons] != "":
		return unusable(daemons, "detaches it from what starts and stops it", "remove it; tideover itself is what stays in the background")
	case n.flags[exits] != "":
		return unusable(exits, "makes it exit at once", "remove it")
	}
	return nil
}

// Validate returns an error, with the remedy in it, if the server cannot be run this way under
// tideover.
func (c *Command) Validate() error {
	if err := cmp.Or(c.tls, c.unusable); err != nil {
		return err
	}
	_, err := c.words(false)
	return err
}

// Addresses returns where the server would listen, in the spelling of package listener.
// directory is the one in which the command is run. The error says why that is not known.
func (c *Command) Addresses(directory string) ([]string, error) {
	var all []string
	for _, a := range c.addresses {
		if p, ok := strings.CutPrefix(a, "unix:"); ok && !filepath.IsAbs(p) {
			a = "unix:" + filepath.Join(directory, p)
		}
		all = append(all, a)
	}
	if c.unknown != nil {
		return nil, fmt.Errorf("%w: give the public address with listen (--listen)", c.unknown)
	}
	return all, nil
}

// Warnings are sentences about settings that are allowed but likely to cause trouble.
func (c *Command) Warnings() []string {
	if !c.Reloads {
		return nil
	}
	return []string{c.Server + " starts its code again by itself when a file changes, and requests in flight are lost then: only for development"}
}

// SharedArgv returns the command that serves on the inherited public socket; unix says that it is a
// unix socket. The error, with the remedy in it, says why the server cannot.
func (c *Command) SharedArgv(unix bool) ([]string, error) {
	none := func(why, remedy string) ([]string, error) {
		return nil, fmt.Errorf(`relay = "none" passes the public socket itself, and %s %s: %s`, c.Server, why, remedy)
	}
	const relay = `set relay = "http"`
	switch s := c.server; {
	case c.unusable != nil:
		return nil, c.unusable
	case s.fd == nil:
		return none("cannot serve on an inherited socket", relay)
	case unix && s.fdTCP:
		return none("takes only a TCP socket by its number", "listen on a TCP address, or "+relay)
	case c.forks:
		return none("is started by a wrapper that may not pass it on", "run "+c.Server+" itself")
	case c.socketEnv != "":
		return none("prefers the unix socket of "+c.socketEnv, "remove that variable")
	}
	return c.replaced(c.removed, c.server.fd)
}

// Argv returns the command that listens on the private socket. unix says that the public address
// is a unix socket: the app sees a peer of the same family, where the server can listen there.
// It is nil if Validate returns an error.
func (c *Command) Argv(unix bool) []string {
	words, err := c.words(unix)
	if err != nil {
		return nil
	}
	return words
}

// option returns the words that name the private socket.
func (c *Command) option(unix bool) []string {
	s := c.server
	switch {
	case c.socketEnv != "" && s.unix != nil:
		return s.unix // uvicorn --workers prefers the unix socket of the environment to --fd
	case s.fd != nil && !c.forks && !(unix && s.fdTCP): // wrappers in Python do not pass descriptors on
		return s.fd
	case unix && s.unix != nil:
		return s.unix
	}
	return s.tcp
}

// words returns the command with the words of option in the place of its addresses.
func (c *Command) words(unix bool) ([]string, error) {
	if !c.mustTrust(unix) {
		return c.replaced(c.removed, c.option(unix))
	}
	return c.replaced(slices.Concat(c.removed, c.trust), append(slices.Clone(c.option(unix)), c.server.forwarded, "127.0.0.1"))
}

// replaced returns the command with other words in the place of the removed ones.
func (c *Command) replaced(removed []wordSpan, option []string) ([]string, error) {
	keep := func(i int) bool {
		return !slices.ContainsFunc(removed, func(s wordSpan) bool { return s.first <= i && i < s.end })
	}
	replace := func(words []string) []string {
		out := slices.Concat(words[:c.own], option)
		for i := c.own; i < len(words); i++ {
			if keep(i) {
				out = append(out, words[i])
			}
		}
		return out
	}
	argv, ok := c.command.ReplaceArgs(replace)
	if !ok {
		return nil, c.scriptError()
	}
	return argv, nil
}

// scriptError is the error where the address is in a script that cannot be changed.
func (c *Command) scriptError() error {
	return fmt.Errorf("%s is in a script of a shell, in which its address cannot be replaced: write %s there and give the public address with listen (--listen)",
		c.Server, strings.Join(c.option(false), " "))
}
