package supervisordconf

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"tideover/supervisor/shellwords"
)

// convertListener says, for each thing that an event listener of superlance did, what does it now. Any
// other listener has nothing to listen to.
func (im *importer) convertListener(s *iniSection) {
	var words []string
	if o, ok := im.ini.option(s, "command"); ok {
		if text, ok := im.expand(o, nil); ok {
			words, _ = shellwords.Split(text)
		}
	}
	program := slices.IndexFunc(words, func(word string) bool { return superlance[filepath.Base(word)] != nil })
	if program < 0 {
		im.omitSection(s, "event listeners have nothing to listen to: hooks are commands run at certain moments, and tideover status --json says what is")
		return
	}
	name := filepath.Base(words[program])
	l := listener{im: im, args: words[program+1:]}
	superlance[name](&l)
	for _, said := range l.said {
		im.omitSection(s, name+": "+said)
	}
}

// listener is the command line of a listener.
type listener struct {
	im   *importer
	args []string
	said []string
}

func (l *listener) say(format string, args ...any) {
	l.said = append(l.said, fmt.Sprintf(format, args...))
}

// superlance has its listeners.
var superlance = map[string]func(*listener){
	"memmon": (*listener).memmon, "httpok": (*listener).httpok,
	"crashmail": (*listener).crashmail, "crashmailbatch": (*listener).crashmail, "crashsms": (*listener).crashmail,
	"fatalmailbatch": (*listener).fatalmail, "oneormore": (*listener).other,
}

// values are the values of an option, which stand behind it or after "=".
func (l *listener) values(names ...string) (all []string) {
	for i, word := range l.args {
		name, value, joined := strings.Cut(word, "=")
		switch {
		case !slices.Contains(names, name):
		case joined && strings.HasPrefix(name, "--"):
			all = append(all, value)
		case i+1 < len(l.args):
			all = append(all, l.args[i+1])
		}
	}
	return all
}

// appOf is the app of a name of supervisord: PROGRAM, or GROUP:PROCESS.
func (l *listener) appOf(name string) string {
	for _, p := range l.im.programs {
		if p.name == name || slices.Contains(p.processNames(), name) || p.group.name != "" && p.group.name+":*" == name {
			return p.app
		}
	}
	return ""
}

// memmon restarts what uses too much memory: memory.max.
func (l *listener) memmon() {
	for _, names := range [][]string{{"-p", "--program"}, {"-g", "--group"}} {
		for _, value := range l.values(names...) {
			name, size, _ := strings.Cut(value, "=")
			if app := l.appOf(name); app != "" {
				l.say("%s %s is memory.max = %s in [app.%s], which counts the whole tree and loses no request", names[0], value, tomlString(memorySize(size)), app)
			} else {
				l.say("%s %s is memory.max = %s in the apps of %s", names[0], value, tomlString(memorySize(size)), name)
			}
		}
	}
	for _, size := range l.values("-a", "--any") {
		l.say("-a %s is memory.max = %s in [defaults]", size, tomlString(memorySize(size)))
	}
	if len(l.values("-m", "--email")) > 0 {
		l.say("-m is hooks.after_reload, which can send mail")
	}
	if len(l.said) == 0 {
		l.say("memory.max of an app reloads it when its tree uses more")
	}
}

// memorySize is a size of memmon, such as 200MB, as memory.max has it.
func memorySize(text string) string {
	text = strings.ToUpper(strings.TrimSpace(text))
	for suffix, unit := range map[string]string{"KB": "KiB", "MB": "MiB", "GB": "GiB"} {
		if number, ok := strings.CutSuffix(text, suffix); ok {
			return number + unit
		}
	}
	return text + "B"
}

// httpok restarts what does not answer: live.
func (l *listener) httpok() {
	url := ""
	if n := len(l.args); n > 0 && strings.Contains(l.args[n-1], "/") {
		url = l.args[n-1]
	}
	path := "/"
	if _, rest, ok := strings.Cut(url, "://"); ok {
		if i := strings.IndexByte(rest, '/'); i >= 0 {
			path = rest[i:]
		}
	}
	apps := l.values("-p", "--program")
	if len(apps) == 0 {
		l.say("%s is live.path = %s of the app that answers there; one that does not is replaced, and requests wait meanwhile", url, tomlString(path))
	}
	for _, name := range apps {
		app := l.appOf(name)
		if app == "" {
			app = name
		}
		l.say("-p %s %s is live.path = %s in [app.%s]", name, url, tomlString(path), app)
	}
	for _, seconds := range l.values("-t", "--timeout") {
		l.say("-t %s is live.timeout = %s", seconds, tomlString(seconds+"s"))
	}
	for _, code := range l.values("-c", "--code") {
		l.say("-c %s is not needed: live counts an answer as such, ready.status which answers are good at a start", code)
	}
	if len(l.values("-m", "--email")) > 0 {
		l.say("-m is hooks.on_failure, which can send mail")
	}
}

func (l *listener) crashmail() {
	l.say("hooks.on_failure runs a command, such as mail, when a start or reload has failed; tideover status has the last crash and how many there were")
}

func (l *listener) fatalmail() {
	l.say("hooks.on_failure runs a command, such as mail, when an app has failed")
}

func (l *listener) other() { l.say("it has no counterpart") }
