package supervisordconf

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// block is one table of the result.
type block struct {
	header  string // "[app.shop]"
	origin  string // "[program:shop], FILE:LINE"; empty: none
	entries []entry
	omitted []string // comments about options that are not carried over
	env     []variable
}

// entry is one key with its value and a comment, or a comment alone.
type entry struct {
	key, value, comment string
	option              *iniOption // the value is of it; nil: not of one option alone
}

func (b *block) set(key, value, comment string) {
	b.entries = append(b.entries, entry{key: key, value: value, comment: comment})
}

// setFrom is set for a value that tideover may not accept: that is then a problem of the
// option.
func (b *block) setFrom(o *iniOption, key, value, comment string) {
	b.entries = append(b.entries, entry{key, value, comment, o})
}

// remark adds a comment between the keys.
func (b *block) remark(comment string) { b.set("", "", comment) }

// maxLineWidth is the number of columns up to which a comment stands beside its key.
const maxLineWidth = 100

// write writes the block to w, with prefix in front of every line.
func (b *block) write(w *strings.Builder, prefix string) {
	line := func(format string, args ...any) {
		w.WriteString(printable(strings.TrimRight(prefix+fmt.Sprintf(format, args...), " ")) + "\n")
	}
	switch {
	case b.origin != "":
		line("%s  # %s", b.header, b.origin)
	case len(b.entries) > 0:
		line("%s", b.header)
	}
	width := 0
	for _, e := range b.entries {
		width = max(width, len(e.key))
	}
	for _, e := range b.entries {
		text := fmt.Sprintf("%-*s = %s", width, e.key, e.value)
		switch {
		case e.key == "":
			line("# %s", e.comment)
		case e.comment == "":
			line("%s", text)
		case utf8.RuneCountInString(text)+utf8.RuneCountInString(e.comment)+4 <= maxLineWidth && !strings.Contains(text, "\n"):
			line("%s  # %s", text, e.comment)
		default:
			line("# %s:", e.comment)
			line("%s", text)
		}
	}
	if len(b.omitted) > 0 {
		line("# not carried over:")
	}
	for _, reason := range b.omitted {
		line("#   %s", reason)
	}
	if len(b.env) > 0 {
		if len(b.entries)+len(b.omitted) > 0 {
			line("")
		}
		line("%s.env]", strings.TrimSuffix(b.header, "]"))
	}
	for _, v := range b.env {
		line("%s = %s", tomlKey(v.name), tomlString(v.value))
	}
}

// write returns the whole text.
func (im *importer) write() string {
	var w strings.Builder
	fmt.Fprintf(&w, "# Made of %s by \"tideover import\".\n", printable(im.path))
	w.WriteString("# Comments tell what is different now, and what is not carried over.\n")
	for _, line := range slices.Concat(im.differences(), im.omitted) {
		fmt.Fprintf(&w, "# %s\n", printable(line))
	}
	for _, b := range []*block{&im.daemon, &im.defaults} {
		if len(b.entries)+len(b.omitted)+len(b.env) > 0 {
			w.WriteString("\n")
			b.write(&w, "")
		}
	}
	for _, p := range im.programs {
		w.WriteString("\n")
		prefix := ""
		if len(p.rejected) > 0 {
			prefix = "# "
			w.WriteString("# This program cannot be run as it is:\n")
			for _, reason := range p.rejected {
				fmt.Fprintf(&w, "#   %s\n", printable(reason))
			}
		}
		b := p.block
		b.entries = slices.Concat(b.entries, p.relationEntries())
		b.write(&w, prefix)
	}
	return w.String()
}

// differences returns the comments that apply to all apps.
func (im *importer) differences() (all []string) {
	has := func(name string) func(*program) bool {
		return func(p *program) bool { _, ok := im.ini.option(p.section, name); return ok }
	}
	var listening []string
	for _, p := range im.programs {
		if p.listensItself() {
			listening = append(listening, p.app)
		}
	}
	lacks := func(p *program) bool { return !has("directory")(p) }
	inDefaults := slices.ContainsFunc(im.defaults.entries, func(e entry) bool { return e.key == "directory" })
	if slices.ContainsFunc(im.programs, has("user")) {
		all = append(all, "With user, HOME, USER and the groups are that user's; supervisord left its own HOME.",
			"With user, no_new_privs is on: sudo, su, sendmail and ping fail in the app. SSH_*, SUDO_* and DBUS_* are not inherited.")
	}
	if slices.ContainsFunc(im.programs, lacks) && !inDefaults {
		all = append(all, "Without directory, an app is started in the directory of this file; supervisord used its own.")
	}
	if len(listening) > 0 {
		all = append(all, "These listen by themselves, so that a restart refuses connections (listen, with {fd}, {socket} or {port} in the command, keeps them): "+strings.Join(listening, ", "))
	}
	return all
}

// Quote returns text as a string of TOML.
func Quote(text string) string { return tomlString(text) }

// tomlString returns text as a TOML string, without escapes if possible.
func tomlString(text string) string {
	plain := !strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f || r == utf8.RuneError })
	if plain && strings.ContainsAny(text, `"\`) && !strings.Contains(text, "'") {
		return "'" + text + "'"
	}
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range text {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// tomlKey returns a name as a TOML key, in quotes if necessary.
func tomlKey(name string) string {
	if name != "" && strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") == "" {
		return name
	}
	return tomlString(name)
}

// tomlStrings returns one text as a string and several as an array.
func tomlStrings(texts []string) string {
	if len(texts) == 1 {
		return tomlString(texts[0])
	}
	return tomlArray(texts)
}

func tomlArray(texts []string) string {
	var all []string
	for _, text := range texts {
		all = append(all, tomlString(text))
	}
	return "[" + strings.Join(all, ", ") + "]"
}

// printable replaces the characters that TOML does not allow in a line, not even in a
// comment.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' || r == 0x7f {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(text, "?"))
}

// oneLine joins the lines of a text.
func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }
