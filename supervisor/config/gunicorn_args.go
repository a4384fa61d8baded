package config

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// gunicornOptions are the options of gunicorn 20 to 27: their spellings, X
// where a value follows ([X]: may), and the version that brought them.
const gunicornOptions = `
-h --help
-v --version
-c --config X
-b --bind X
--backlog X
-w --workers X
-k --worker-class X
--threads X
--worker-connections X
--max-requests X
--max-requests-jitter X
-t --timeout X
--graceful-timeout X
--keep-alive X
--limit-request-line X
--limit-request-fields X
--limit-request-field_size X
--reload
--reload-engine X
--reload-extra-file X
--spew
--check-config
--print-config
--preload
--no-sendfile
--reuse-port
--chdir X
-D --daemon
-e --env X
-p --pid X
--worker-tmp-dir X
-u --user X
-g --group X
-m --umask X
--initgroups
--forwarded-allow-ips X
--access-logfile X
--disable-redirect-access-to-syslog
--access-logformat X
--error-logfile --log-file X
--log-level X
--capture-output
--logger-class X
--log-config X
--log-syslog-to X
--log-syslog
--log-syslog-prefix X
--log-syslog-facility X
-R --enable-stdio-inheritance
--statsd-host X
--dogstatsd-tags X
--statsd-prefix X
-n --name X
--pythonpath X
--paste --paster X
--proxy-protocol [X]
--proxy-allow-from X
--keyfile X
--certfile X
--ssl-version X
--cert-reqs X
--ca-certs X
--suppress-ragged-eofs
--do-handshake-on-connect
--ciphers X
--paste-global X
--strip-header-spaces
--log-config-json X 22
--permit-obsolete-folding 22
--permit-unconventional-http-method 22
--permit-unconventional-http-version 22
--casefold-http-method 22
--forwarder-headers X 22
--header-map X 22
--enable-backlog-metric 24
--protocol X 24
--uwsgi-allow-from X 24
--http-protocols X 25
--http2-cleartext X 26
--http2-max-concurrent-streams X 25
--http2-initial-window-size X 25
--http2-max-frame-size X 25
--http2-max-header-list-size X 25
--asgi-loop X 25
--asgi-lifespan X 25
--asgi-disconnect-grace-period X 25
--websocket-max-message-size X 26
--http-parser X 25
--root-path X 25
--dirty-app X 25
--dirty-workers X 25
--dirty-timeout X 25
--dirty-threads X 25
--dirty-graceful-timeout X 25
--control-socket X 25
--control-socket-mode X 25
--no-control-socket 25
`

type gunicornOption struct {
	name      string // the last long spelling, without dashes
	spellings []string
	value     bool
	optional  bool
	newer     bool // not in 20.1
}

// knownOptions reads the table above.
var knownOptions = sync.OnceValue(func() (options []gunicornOption) {
	for line := range strings.Lines(strings.TrimSpace(gunicornOptions)) {
		var o gunicornOption
		for _, word := range strings.Fields(line) {
			switch {
			case strings.HasPrefix(word, "-"):
				o.spellings = append(o.spellings, word)
				o.name = strings.TrimLeft(word, "-")
			case word == "X":
				o.value = true
			case word == "[X]":
				o.optional = true
			default:
				o.newer = true
			}
		}
		options = append(options, o)
	}
	return options
})

// gunicornArgs are the arguments as argparse understands them: by the name of
// the option its values in order ("" for a flag), and what is no option.
type gunicornArgs struct {
	values      map[string][]string
	positionals []string
}

func (a gunicornArgs) last(name string) (string, bool) {
	values := a.values[name]
	if len(values) == 0 {
		return "", false
	}
	return values[len(values)-1], true
}

var negativeNumber = regexp.MustCompile(`^-\d+$|^-\d*\.\d+$`)

// readGunicornArgs reads words as Python's argparse does for gunicorn's
// options: abbreviations, -bX, -b=X, clusters such as -Rb:8000. An option
// nobody knows is taken for a flag.
func readGunicornArgs(words []string) (gunicornArgs, error) {
	a := gunicornArgs{values: map[string][]string{}}
	for len(words) > 0 {
		word := words[0]
		words = words[1:]
		if word == "--" {
			a.positionals = append(a.positionals, words...)
			break
		}
		if isValue(word) {
			a.positionals = append(a.positionals, word)
			continue
		}
		var err error
		if words, err = a.option(word, words); err != nil {
			return a, err
		}
	}
	return a, nil
}

// isValue reports whether a word can be an option's value.
func isValue(word string) bool {
	return !strings.HasPrefix(word, "-") || word == "-" || negativeNumber.MatchString(word)
}

// option reads one option, or a cluster of short ones, and takes its value
// from next where it has to.
func (a *gunicornArgs) option(word string, next []string) ([]string, error) {
	for {
		o, explicit, given, err := findOption(word)
		if err != nil || o == nil {
			return next, err
		}
		switch {
		case given && (o.value || o.optional):
			a.add(o, explicit)
			return next, nil
		case given && !strings.HasPrefix(word, "--") && explicit != "":
			a.add(o, "")
			word = "-" + explicit // the rest of a cluster
			continue
		case given:
			return next, fmt.Errorf("gunicorn's --%s takes no value", o.name)
		case o.value && (len(next) == 0 || !isValue(next[0])):
			return next, fmt.Errorf("gunicorn's %s needs a value", word)
		case o.value:
			a.add(o, next[0])
			return next[1:], nil
		}
		a.add(o, "")
		return next, nil
	}
}

func (a *gunicornArgs) add(o *gunicornOption, value string) {
	a.values[o.name] = append(a.values[o.name], value)
}

// findOption finds what a word beginning with a dash means, in the order in
// which argparse tries: as it stands, up to its =, and as an abbreviation or a
// short option with something attached. An unknown option is nil.
func findOption(word string) (o *gunicornOption, explicit string, given bool, err error) {
	if o := exactOption(word); o != nil {
		return o, "", false, nil
	}
	head, value, hasValue := strings.Cut(word, "=")
	if hasValue {
		if o := exactOption(head); o != nil {
			return o, value, true, nil
		}
	}
	if !strings.HasPrefix(word, "--") {
		if o := exactOption(word[:2]); o != nil {
			return o, word[2:], true, nil
		}
		return nil, "", false, nil
	}
	o, err = abbreviated(head)
	return o, value, hasValue, err
}

func exactOption(word string) *gunicornOption {
	for i, o := range knownOptions() {
		if slices.Contains(o.spellings, word) {
			return &knownOptions()[i]
		}
	}
	return nil
}

// abbreviated finds the only option that begins so. What new versions made
// ambiguous still means what it meant to the old one.
func abbreviated(head string) (*gunicornOption, error) {
	var found []*gunicornOption
	var names []string
	for i, o := range knownOptions() {
		for _, s := range o.spellings {
			if strings.HasPrefix(s, head) {
				found = append(found, &knownOptions()[i])
				names = append(names, s)
			}
		}
	}
	if len(found) > 1 {
		if old := slices.DeleteFunc(slices.Clone(found), func(o *gunicornOption) bool { return o.newer }); len(old) == 1 {
			return old[0], nil
		}
		return nil, fmt.Errorf("gunicorn's %s is ambiguous: it could be %s", head, strings.Join(names, ", "))
	}
	if len(found) == 0 {
		return nil, nil
	}
	return found[0], nil
}
