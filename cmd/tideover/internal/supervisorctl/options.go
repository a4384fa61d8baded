package supervisorctl

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"tideover/supervisor/supervisordconf"
)

const usage = `supervisorctl -- control applications run by supervisord from the cmd line.

Usage: %s [options] [action [arguments]]

Options:
-c/--configuration FILENAME -- configuration file path (searches if not given)
-h/--help -- print usage message and exit
-i/--interactive -- start an interactive shell after executing commands
-s/--serverurl URL -- URL on which supervisord server is listening
     (default "http://localhost:9001").
-u/--username USERNAME -- username to use for authentication with server
-p/--password PASSWORD -- password to use for authentication with server
-r/--history-file -- keep a readline history (if readline is available)

action [arguments] -- see below

Actions are commands like "tail" or "stop".  If -i is specified or no action is
specified on the command line, a "shell" interpreting actions typed
interactively is started.  Use the action "help" to find out about available
actions.
`

// options are what the command line and the configuration file say.
type options struct {
	supervisordconf.Client
	interactive bool
	help        bool
	words       []string // the action and its arguments
}

// flag is an option of the command line.
type flag struct {
	short, long string
	value       bool
}

var flags = []flag{{"c", "configuration", true}, {"h", "help", false}, {"i", "interactive", false}, {"s", "serverurl", true},
	{"u", "username", true}, {"p", "password", true}, {"r", "history_file", true}}

// configFiles are where the configuration file is looked for.
var configFiles = []string{"supervisord.conf", "etc/supervisord.conf", "/etc/supervisord.conf", "/etc/supervisor/supervisord.conf"}

const (
	defaultURL = "http://localhost:9001"
	// usualSocket is asked where there is no configuration file, as when the package supervisor is gone.
	usualSocket = "/var/run/supervisor.sock"
)

// readOptions reads the command line. The options end at the first word that is none, as with
// Python's getopt.
func readOptions(args, env []string) (o options, err error) {
	given := map[string]string{}
	if o.words, err = parseFlags(args, given); err != nil {
		return o, err
	}
	if _, o.help = given["h"]; o.help {
		return o, nil
	}
	if url, ok := given["s"]; ok && !strings.Contains(url, "://") {
		return o, fmt.Errorf("invalid value for -s '%s': value '%s' is not a URL", url, url)
	}
	if o.Client, err = readConfig(given, env); err != nil {
		return o, err
	}
	for name, to := range map[string]*string{"s": &o.URL, "u": &o.Username, "p": &o.Password} {
		if value, ok := given[name]; ok {
			*to = value
		}
	}
	_, o.interactive = given["i"]
	o.interactive = o.interactive || len(o.words) == 0
	return o, nil
}

// parseFlags adds the options to given, by their short name, and returns the other words.
func parseFlags(args []string, given map[string]string) ([]string, error) {
	for len(args) > 0 {
		word := args[0]
		switch {
		case word == "--":
			return args[1:], nil
		case word == "-" || !strings.HasPrefix(word, "-"):
			return args, nil
		}
		args = args[1:]
		if long, ok := strings.CutPrefix(word, "--"); ok {
			name, value, joined := strings.Cut(long, "=")
			f, err := longFlag(name)
			switch {
			case err != nil:
				return nil, err
			case joined && !f.value:
				return nil, fmt.Errorf("option --%s must not have an argument", f.long)
			case f.value && !joined && len(args) == 0:
				return nil, fmt.Errorf("option --%s requires argument", f.long)
			case f.value && !joined:
				value, args = args[0], args[1:]
			}
			given[f.short] = value
			continue
		}
		for rest := word[1:]; rest != ""; {
			f, ok := shortFlag(rest[:1])
			if !ok {
				return nil, fmt.Errorf("option -%s not recognized", rest[:1])
			}
			rest = rest[1:]
			switch {
			case !f.value:
				given[f.short] = ""
				continue
			case rest == "" && len(args) == 0:
				return nil, fmt.Errorf("option -%s requires argument", f.short)
			case rest == "":
				rest, args = args[0], args[1:]
			}
			given[f.short], rest = rest, ""
		}
	}
	return nil, nil
}

func shortFlag(letter string) (flag, bool) {
	for _, f := range flags {
		if f.short == letter {
			return f, true
		}
	}
	return flag{}, false
}

// longFlag finds a long option by the beginning of its name.
func longFlag(name string) (flag, error) {
	var found []flag
	for _, f := range flags {
		if f.long == name {
			return f, nil
		}
		if strings.HasPrefix(f.long, name) {
			found = append(found, f)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return flag{}, fmt.Errorf("option --%s not recognized", name)
	}
	return flag{}, fmt.Errorf("option --%s not a unique prefix", name)
}

// readConfig reads the [supervisorctl] section.
func readConfig(given map[string]string, env []string) (supervisordconf.Client, error) {
	path, named := given["c"]
	if !named {
		for _, path = range configFiles {
			if _, err := os.Stat(path); err == nil {
				named = true
				break
			}
		}
	}
	if named {
		return supervisordconf.ReadClient(path, supervisordconf.Options{Environ: env})
	}
	c := supervisordconf.Client{URL: defaultURL, Prompt: "supervisor"}
	if info, err := os.Stat(usualSocket); err == nil && info.Mode().Type() == fs.ModeSocket {
		c.URL = "unix://" + filepath.Clean(usualSocket)
	}
	return c, nil
}
