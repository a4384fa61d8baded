package config

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// block is one table of the result.
type block struct {
	header  string // "[app.shop]"
	origin  string // where it comes from
	entries []entry
	omitted []string // what is left out, with the reason
	env     []variable
}

// entry is a line: a key with its value and a comment, or only a comment.
type entry struct{ key, value, comment string }

func (b *block) set(key, value, comment string) {
	b.entries = append(b.entries, entry{key, value, comment})
}

// remark puts a comment among the keys.
func (b *block) remark(comment string) { b.set("", "", comment) }

// maxLineWidth is the most columns a line may have with its comment beside it.
const maxLineWidth = 100

// write appends the table, every line behind prefix.
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

// write is the whole text.
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

// differences are what holds for all apps, and surprises some.
func (im *importer) differences() (all []string) {
	has := func(name string) func(*program) bool {
		return func(p *program) bool { _, ok := im.ini.option(p.section, name); return ok }
	}
	lacks := func(p *program) bool { return !has("directory")(p) }
	inDefaults := slices.ContainsFunc(im.defaults.entries, func(e entry) bool { return e.key == "directory" })
	if slices.ContainsFunc(im.programs, has("user")) {
		all = append(all, "With user, HOME, USER and the groups are that user's; supervisord left its own HOME.")
	}
	if slices.ContainsFunc(im.programs, lacks) && !inDefaults {
		all = append(all, "Without directory, an app is started in the directory of this file; supervisord used its own.")
	}
	return all
}

// tomlString writes a text so that it is easy to read: without escapes where
// that is possible.
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

// tomlKey writes a name, in quotes where it needs them.
func tomlKey(name string) string {
	if name != "" && strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") == "" {
		return name
	}
	return tomlString(name)
}

// tomlStrings writes one text as itself and several as an array.
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

// printable replaces what must not stand in a line of TOML, not even in a
// comment.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' || r == 0x7f {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(text, "?"))
}

// oneLine makes a text fit into a comment.
func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }
