package main

import (
	"fmt"
	"strings"

	"tideover/cmd/tideover/internal/term"
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
units: "500ms", "2m", "64KiB".

[app.NAME], and for all apps [defaults]

`)
	writeKeys(&b, config.AppKeys())
	b.WriteString("[daemon]\n\n")
	writeKeys(&b, config.DaemonKeys())
	b.WriteString("include = [\"conf.d/*.toml\"] at the top of the main file reads more files.\n")
	return b.String()
}

func writeKeys(b *strings.Builder, keys []config.Key) {
	const width, indent = 80, "    "
	for _, k := range keys {
		head, meaning := "  "+k.Path, k.Meaning
		if k.Default != "" {
			head += " = " + k.Default
		} else {
			meaning = k.Type + "; " + meaning
		}
		fmt.Fprintf(b, "%s   %s\n", term.Pad(head, width-11), k.Change)
		for _, line := range term.Wrap(meaning, width-len(indent), width-len(indent)) {
			fmt.Fprintf(b, "%s%s\n", indent, line)
		}
		b.WriteByte('\n')
	}
}
