package supervisordconf

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"tideover/supervisor/config"
	"tideover/supervisor/shellwords"
)

// socketZero are the options by which HTTP servers accept on descriptor 0, which is the socket of
// an [fcgi-program:x], and what replaces them.
var socketZero = []struct{ server, option, value, replacement string }{
	{"uvicorn", "--fd", "0", "{fd}"},
	{"daphne", "--fd", "0", "{fd}"},
	{"granian", "--fd", "0", "{fd}"},
	{"hypercorn", "--bind", "fd://0", "fd://{fd}"},
	{"hypercorn", "-b", "fd://0", "fd://{fd}"},
}

// withSocket returns the words of a command with the descriptor that tideover passes in place of
// descriptor 0; ok is false if it does not run an HTTP server on that.
func withSocket(words []string) (replaced []string, ok bool) {
	runs := func(server string) bool {
		return slices.ContainsFunc(words, func(word string) bool { return filepath.Base(word) == server })
	}
	replaced = slices.Clone(words)
	for _, z := range socketZero {
		if !runs(z.server) {
			continue
		}
		for i, word := range replaced {
			switch {
			case word == z.option && i+1 < len(replaced) && replaced[i+1] == z.value:
				replaced[i+1], ok = z.replacement, true
			case word == z.option+"="+z.value:
				replaced[i], ok = z.option+"="+z.replacement, true
			}
		}
	}
	return replaced, ok
}

// servesHTTP reports whether an [fcgi-program:x] runs an HTTP server on its socket.
func (im *importer) servesHTTP(s *iniSection) bool {
	o, ok := im.ini.option(s, "command")
	if !ok {
		return false
	}
	words, err := shellwords.Split(o.value)
	_, served := withSocket(words)
	return err == nil && served
}

// convertSocket sets the public address of an [fcgi-program:x].
func (p *program) convertSocket() {
	if !strings.HasPrefix(p.section.name, "fcgi-program:") {
		return
	}
	text, o, ok := p.get("socket")
	if !ok {
		if o == nil {
			p.im.problems = append(p.im.problems, iniProblem(p.section.file, p.section.line, "["+p.section.name+"]", "the program has no socket"))
		}
		return
	}
	switch path, unix := strings.CutPrefix(text, "unix://"); {
	case unix && filepath.IsAbs(path):
		p.socket = "unix:" + filepath.Clean(path)
	case strings.HasPrefix(text, "tcp://") && strings.Count(text, ":") == 2:
		p.socket = strings.TrimPrefix(text, "tcp://")
	default:
		p.im.addProblem(o, fmt.Errorf("%q is neither unix:///path nor tcp://host:port", text))
		return
	}
	p.block.set("listen", tomlString(p.socket), "socket of ["+p.section.name+"]")
	text, o, ok = p.get("socket_mode")
	mode, err := config.ParseMode(strings.TrimPrefix(text, "0o"))
	switch {
	case ok && err != nil:
		p.im.addProblem(o, err)
	case strings.HasPrefix(p.socket, "unix:") && ok:
		p.block.set("listen_mode", tomlString(fmt.Sprintf("%04o", mode)), "socket_mode")
	case strings.HasPrefix(p.socket, "unix:"):
		p.block.set("listen_mode", tomlString("0700"), "supervisord's default of socket_mode")
	}
	for name, reason := range map[string]string{
		"socket_owner":   "the socket belongs to the daemon's user; listen_mode opens it to others",
		"socket_backlog": "the backlog is the longest that the kernel allows",
	} {
		if o, ok := p.im.ini.option(p.section, name); ok {
			p.used[name] = true
			p.im.omit(&p.block, o, reason)
		}
	}
}
