package main

import (
	"fmt"
	"slices"
	"strings"

	"tideover/cmd/tideover/internal/term"
	"tideover/supervisor/api"
	"tideover/supervisor/config"
)

// configReference is the reference of all keys. It is printed from the table by
// which the configuration is read.
func configReference() string {
	var b strings.Builder
	b.WriteString(`Keys of the configuration with their defaults. The word at the end of a line
says when a change takes effect: at once (live), with the next generation
(reload), with new sockets (listen), or when tideover is started again (boot).
"tideover apply" does what is needed, except the last. Durations and sizes have
units: "500ms", "2m", "64KiB". "tideover help config KEY" prints one key, or
those of a section: "help config hold".

[app.NAME], and for all apps [defaults]

`)
	writeKeys(&b, config.AppKeys())
	b.WriteString("[daemon]\n\n")
	writeKeys(&b, config.DaemonKeys())
	b.WriteString("[fleet]\n\n")
	writeKeys(&b, config.FleetKeys())
	b.WriteString("include = [\"conf.d/*.toml\"] at the top of the main file reads more files.\n")
	return b.String()
}

// keyWidth is the width of the reference, keyIndent the indentation of a key's meaning.
const keyWidth, keyIndent = 80, "    "

func writeKeys(b *strings.Builder, keys []config.Key) {
	for _, k := range keys {
		writeKey(b, k)
	}
}

// writeKey writes the key with its default, its meaning, and what may be written.
func writeKey(b *strings.Builder, k config.Key) {
	head := "  " + k.Path
	if k.Default != "" {
		head += " = " + k.Default
	}
	fmt.Fprintf(b, "%s   %s\n", term.Pad(head, keyWidth-11), k.Change)
	line := func(indent, text string) {
		first := keyWidth - len(keyIndent) - len(indent)
		for i, part := range term.Wrap(text, first, first-2) {
			if i > 0 {
				part = "  " + part
			}
			b.WriteString(keyIndent + indent + part + "\n")
		}
	}
	for _, part := range term.Wrap(k.Meaning, keyWidth-len(keyIndent), keyWidth-len(keyIndent)) {
		b.WriteString(keyIndent + part + "\n")
	}
	if len(k.Values) == 0 {
		line("", "type: "+k.Type)
	} else if strings.Contains(k.Type, "array") {
		line("", "one of these, or an array of them:")
	}
	for _, v := range k.Values {
		line("  ", v.Value+": "+v.Meaning)
	}
	b.WriteByte('\n')
}

// effectText says when a change of a key takes effect.
const effectText = `The word at the end of a line says when a change takes effect: at once (live),
with the next generation (reload), with new sockets (listen), or when tideover
is started again (boot).
`

// keyPage is the page of `help config KEY`: of one key, or of those of a section. An error
// names a key that is similar.
func keyPage(name string) (string, error) {
	path := strings.TrimPrefix(strings.Trim(name, "[]"), "app.NAME.")
	path = strings.TrimPrefix(path, "defaults.")
	var b strings.Builder
	for _, table := range []struct {
		head   string
		prefix string
		keys   []config.Key
	}{{"[app.NAME], and for all apps [defaults]", "", config.AppKeys()}, {"[daemon]", "daemon.", config.DaemonKeys()}, {"[fleet]", "fleet.", config.FleetKeys()}} {
		wanted := slices.DeleteFunc(slices.Clone(table.keys), func(k config.Key) bool {
			full := table.prefix + k.Path
			return full != path && k.Path != path && !strings.HasPrefix(full, path+".")
		})
		if len(wanted) > 0 {
			b.WriteString(table.head + "\n\n")
			writeKeys(&b, wanted)
		}
	}
	if b.Len() > 0 {
		return b.String() + effectText, nil
	}
	hint := "tideover help config lists all keys"
	if near := config.SimilarKey(path); near != "" {
		hint = "tideover help config " + near
	}
	return "", errorf(api.ExitUsage, hint, "there is no key %q", name)
}
