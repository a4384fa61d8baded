package supervisordconf

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"tideover/supervisor/config"
	"tideover/supervisor/gunicorn"
	"tideover/supervisor/servers"
	"tideover/supervisor/shellwords"
)

// convertCommand sets the command, and the public address if it runs gunicorn.
func (p *program) convertCommand() {
	text, o, ok := p.get("command")
	if !ok {
		if o == nil {
			p.im.problems = append(p.im.problems, iniProblem(p.section.file, p.section.line, "["+p.section.name+"]", "the program has no command"))
		}
		return
	}
	words, err := shellwords.Split(text)
	if err == nil && len(words) == 0 {
		err = errors.New("it is empty")
	}
	if err != nil {
		p.rejected = append(p.rejected, fmt.Sprintf("its command cannot be read: %s", err))
		p.block.set("command", tomlString(oneLine(text)), "")
		return
	}
	if variable := notReplaced(words); variable != "" {
		p.rejected = append(p.rejected, fmt.Sprintf("there is no shell here, so %s is not replaced: write its value, or put the command into sh -c 'exec ...'", variable))
		p.block.set("command", tomlCommand(oneLine(text), words), "")
		return
	}
	if p.socket != "" {
		if served, ok := withSocket(words); ok {
			p.block.set("command", tomlArrayOrText(served), "{fd} is the descriptor of the socket; it was 0")
			p.words = served
			return
		}
	}
	p.words = words
	p.noteBackground(o)
	p.gunicorn, err = gunicorn.Parse(words, p.getenv, nil)
	if err == nil && p.gunicorn != nil {
		p.removeOptions(o)
	}
	p.block.set("command", tomlCommand(oneLine(text), p.words), "")
	if err != nil {
		return
	}
	if p.gunicorn != nil {
		p.convertAddress()
	} else if server := servers.Parse(p.words, p.getenv); server != nil {
		directory, _, _ := p.get("directory")
		p.block.remark(config.PlainServerHint(server, absolute(filepath.Dir(p.im.path), directory)))
	}
}

// tomlArrayOrText returns the words of a command as a string, if that is split into the same words.
func tomlArrayOrText(words []string) string { return tomlCommand(strings.Join(words, " "), words) }

// tomlCommand returns the command as a TOML value: its original text if tideover
// splits that into the same words, else an array.
func tomlCommand(text string, words []string) string {
	for _, text := range []string{text, strings.Join(words, " ")} {
		if again, err := config.ParseCommand(text); err == nil && slices.Equal(again, words) {
			return tomlString(text)
		}
	}
	return tomlArray(words)
}

// removeOptions removes the gunicorn options that tideover does not need.
func (p *program) removeOptions(o *iniOption) {
	args := p.gunicorn.Args
	own := len(p.words) - len(args)
	if own < 0 || !slices.Equal(p.words[own:], args) {
		return // gunicorn is inside the script of a shell
	}
	rest, removed := gunicorn.RemoveOptions(args, "daemon", "pid", "reuse-port")
	if len(removed) == 0 {
		return
	}
	words := slices.Concat(p.words[:own], rest)
	g, err := gunicorn.Parse(words, p.getenv, nil)
	if err != nil {
		return
	}
	p.words, p.gunicorn = words, g
	message := strings.Join(removed, " ") + " is taken out: tideover runs gunicorn in the foreground, knows its pid and needs two of it during a reload"
	if _, pid := gunicorn.RemoveOptions(args, "pid"); len(pid) > 0 {
		message += "; what sends signals by that file, such as logrotate's kill -USR1, is tideover signal " + p.app + " USR1 now"
	}
	p.block.remark(message)
	p.im.addNote(o, message)
}

// convertAddress sets the public address to the bind of gunicorn's command line.
func (p *program) convertAddress() {
	g := p.gunicorn
	switch {
	case g.TLS:
		p.block.set("relay", tomlString(config.RelayNone), "gunicorn speaks TLS, so it gets the public socket itself; tideover help config relay")
	case g.Protocol != "" && g.Protocol != "http":
		p.block.set("relay", tomlString(config.RelayNone), "gunicorn speaks "+g.Protocol+", so it gets the public socket itself; tideover help config relay")
	}
	if g.NeedsQuery() {
		file := g.ConfigFile
		p.block.remark(fmt.Sprintf("listen is left to gunicorn, which is asked: %s may name its bind, else it is %s", file, strings.Join(g.Bind.Addresses, ", ")))
		return
	}
	directory, _, _ := p.get("directory")
	listen := g.Addresses(absolute(filepath.Dir(p.im.path), directory))
	p.block.set("listen", tomlStrings(listen), map[string]string{gunicorn.FromCommandLine: "from --bind in the command", gunicorn.FromEnvironment: "from GUNICORN_CMD_ARGS"}[g.Bind.From])
	if text, ok := g.Option("umask"); ok && strings.HasPrefix(listen[0], "unix:") {
		if mask, err := config.ParseMode(strings.TrimPrefix(text, "0o")); err == nil && mask != 0 {
			p.block.set("listen_mode", tomlString(fmt.Sprintf("%04o", 0o666&^mask)), "gunicorn's --umask")
		}
	}
	if wrapper, forks := g.Forks(); forks {
		p.block.remark(fmt.Sprintf("%q must not stay in front: write the command so that gunicorn itself is started (in a shell: exec)", wrapper))
	}
}
