package servers

import (
	"path"
	"slices"
	"strings"
)

// server is what is known of one server.
type server struct {
	name    string   // for messages
	scripts []string // file names of the program
	modules []string // with which python -m runs it
	verbs   []string // the word that must follow; nil: none
	global  []string // options before the verb that take the next word as their value

	options []option
	bundled bool   // options may be abbreviated, and "=" may follow a short one (argparse, getopt)
	env     string // prefix of the variables that set the options: UVICORN_ for UVICORN_PORT
	portEnv string // the variable of the port, where it is another one
	address string // where it listens by default
	port    string // the default port where only the host is given

	// forwarded is the option that names the front-ends from which the server takes the address of a
	// client, in X-Forwarded-For; by default that is 127.0.0.1. Empty: it takes none.
	forwarded string

	// How it is told where to listen; nil: it cannot be.
	fd, tcp, unix []string
	fdTCP         bool // it takes only a TCP socket by its number
}

// kind is what an option means.
type kind int

const (
	host kind = iota
	port
	bind // host:port, unix:path or fd://N; repeatable
	listen
	endpoint // of Twisted; repeatable
	uds
	descriptor
	ipv6
	tls      // it speaks TLS
	quic     // it listens on UDP as well
	config   // names a file that may have another address
	reload   // it starts its code again by itself
	exits    // it exits at once
	daemons  // it detaches
	allowed  // names front-ends whose X-Forwarded-* count
	noFields // X-Forwarded-* of none count
	ignored  // takes a value that must not be taken for an option or an address
)

// option is one option of a server.
type option struct {
	kind  kind
	names []string
	flag  bool // it takes no value
}

func value(k kind, names ...string) option { return option{kind: k, names: names} }
func flag(k kind, names ...string) option  { return option{kind: k, names: names, flag: true} }

// runserver are the options of Django's runserver.
var runserver = []option{
	value(ignored, "--settings", "--pythonpath", "-v", "--verbosity", "--cert-file", "--key-file", "--output", "--truncate-sql",
		"--extra-file", "--exclude-pattern", "--reloader-interval", "--reloader-type"),
	flag(ipv6, "-6", "--ipv6"), flag(tls, "--cert"), flag(exits, "-h", "--help", "--version"),
}

// known are the servers. Options that are not listed have no influence on the address.
var known = []server{
	{
		name: "uvicorn", scripts: []string{"uvicorn"}, modules: []string{"uvicorn"}, env: "UVICORN_", address: "127.0.0.1:8000", port: "8000",
		options: []option{value(host, "--host"), value(port, "--port"), value(uds, "--uds"), value(descriptor, "--fd"),
			value(tls, "--ssl-certfile", "--ssl-keyfile"), flag(reload, "--reload"), flag(exits, "--help", "--version"),
			value(allowed, "--forwarded-allow-ips"), flag(noFields, "--no-proxy-headers")},
		forwarded: "--forwarded-allow-ips", fd: []string{"--fd", "{fd}"}, tcp: []string{"--host", "127.0.0.1", "--port", "{port}"}, unix: []string{"--uds", "{socket}"},
	},
	{
		name: "hypercorn", scripts: []string{"hypercorn"}, modules: []string{"hypercorn"}, bundled: true, address: "127.0.0.1:8000", port: "8000",
		options: []option{value(bind, "-b", "--bind"), value(config, "-c", "--config"), value(quic, "--quic-bind"), value(ignored, "--insecure-bind"),
			value(tls, "--certfile", "--keyfile"), flag(reload, "--reload"), flag(daemons, "-D", "--daemon"), flag(exits, "-h", "--help", "--version")},
		fd: []string{"--bind", "fd://{fd}"}, tcp: []string{"--bind", "127.0.0.1:{port}"}, unix: []string{"--bind", "unix:{socket}"},
	},
	{
		name: "daphne", scripts: []string{"daphne"}, modules: []string{"daphne"}, bundled: true, address: "127.0.0.1:8000", port: "8000",
		options: []option{value(host, "-b", "--bind"), value(port, "-p", "--port"), value(uds, "-u", "--unix-socket"), value(descriptor, "--fd"),
			value(endpoint, "-e", "--endpoint"), flag(exits, "-h", "--help")},
		fd: []string{"--fd", "{fd}"}, fdTCP: true, tcp: []string{"-b", "127.0.0.1", "-p", "{port}"}, unix: []string{"-u", "{socket}"},
	},
	{
		name: "granian", scripts: []string{"granian"}, modules: []string{"granian"}, env: "GRANIAN_", address: "127.0.0.1:8000", port: "8000",
		options: []option{value(host, "--host"), value(port, "--port"), value(uds, "--uds"), value(tls, "--ssl-certificate", "--ssl-keyfile"),
			flag(reload, "--reload"), flag(exits, "--help", "--version")},
		tcp: []string{"--host", "127.0.0.1", "--port", "{port}"}, unix: []string{"--uds", "{socket}"},
	},
	{
		name: "waitress-serve", scripts: []string{"waitress-serve"}, modules: []string{"waitress"}, bundled: true, address: "0.0.0.0:8080", port: "8080",
		options: []option{value(host, "--host"), value(port, "--port"), value(listen, "--listen"), value(uds, "--unix-socket"), flag(exits, "--help")},
		tcp:     []string{"--listen=127.0.0.1:{port}"}, unix: []string{"--unix-socket={socket}"},
	},
	{
		name: "flask run", scripts: []string{"flask"}, modules: []string{"flask"}, verbs: []string{"run"}, global: []string{"-A", "--app", "-e", "--env-file"},
		env: "FLASK_RUN_", address: "127.0.0.1:5000", port: "5000",
		options: []option{value(host, "-h", "--host"), value(port, "-p", "--port"), value(tls, "--cert"), value(ignored, "--key", "--extra-files", "--exclude-patterns"),
			flag(reload, "--reload", "--debug"), flag(exits, "--help")},
		tcp: []string{"--host", "127.0.0.1", "--port", "{port}"}, unix: []string{"--host", "unix://{socket}"},
	},
	{
		name: "fastapi run", scripts: []string{"fastapi"}, modules: []string{"fastapi", "fastapi_cli"}, verbs: []string{"run"}, portEnv: "PORT",
		address: "0.0.0.0:8000", port: "8000",
		options: []option{value(host, "--host"), value(port, "--port"), flag(reload, "--reload"), flag(exits, "-h", "--help"),
			value(allowed, "--forwarded-allow-ips"), flag(noFields, "--no-proxy-headers")},
		forwarded: "--forwarded-allow-ips", tcp: []string{"--host", "127.0.0.1", "--port", "{port}"},
	},
	{
		name: "fastapi dev", scripts: []string{"fastapi"}, modules: []string{"fastapi", "fastapi_cli"}, verbs: []string{"dev"}, portEnv: "PORT",
		address: "127.0.0.1:8000", port: "8000",
		options: []option{value(host, "--host"), value(port, "--port"), flag(exits, "-h", "--help"),
			value(allowed, "--forwarded-allow-ips"), flag(noFields, "--no-proxy-headers")},
		forwarded: "--forwarded-allow-ips", tcp: []string{"--host", "127.0.0.1", "--port", "{port}"},
	},
	{
		name: "runserver", scripts: []string{"manage.py", "django-admin", "django-admin.py"}, modules: []string{"django"}, verbs: []string{"runserver", "runserver_plus"},
		global: []string{"--settings", "--pythonpath"}, bundled: true, address: "127.0.0.1:8000", port: "8000", options: runserver,
		tcp: []string{"127.0.0.1:{port}"},
	},
}

// find returns the server that a program is, and the number of words in args up to its own
// arguments.
func find(program string, module bool, args []string) (*server, int) {
	for i := range known {
		s := &known[i]
		named := module && slices.Contains(s.modules, strings.TrimSuffix(program, ".__main__")) ||
			!module && slices.Contains(s.scripts, path.Base(program))
		if !named {
			continue
		}
		if s.verbs == nil {
			return s, 0
		}
		if at := s.verb(args); at >= 0 {
			return s, at + 1
		}
	}
	return nil, 0
}

// verb returns the index of the verb in args, or -1 if the first word that is no option is
// another one.
func (s *server) verb(args []string) int {
	for i := 0; i < len(args); i++ {
		switch word := args[i]; {
		case slices.Contains(s.global, word):
			i++
		case strings.HasPrefix(word, "-"):
		case slices.Contains(s.verbs, word):
			return i
		default:
			return -1
		}
	}
	return -1
}

// option returns the option that a word means and the value that is attached to it.
func (s *server) option(word string) (o *option, attached string, given bool) {
	if !strings.HasPrefix(word, "-") || word == "-" || word == "--" {
		return nil, "", false
	}
	long := strings.HasPrefix(word, "--")
	head, text, cut := strings.Cut(word, "=")
	if o := s.named(word); o != nil {
		return o, "", false
	}
	if o := s.named(head); cut && o != nil && (long || s.bundled) {
		return o, text, true
	}
	if !long {
		if o := s.named(word[:2]); o != nil && !o.flag {
			return o, word[2:], true
		}
		return nil, "", false
	}
	if !s.bundled || len(head) < 4 {
		return nil, "", false
	}
	for i := range s.options {
		if slices.ContainsFunc(s.options[i].names, func(name string) bool { return strings.HasPrefix(name, head) }) {
			return &s.options[i], text, cut
		}
	}
	return nil, "", false
}

func (s *server) named(word string) *option {
	for i := range s.options {
		if slices.Contains(s.options[i].names, word) {
			return &s.options[i]
		}
	}
	return nil
}
