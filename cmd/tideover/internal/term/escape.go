package term

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Sanitize makes one line of another program's text safe for a terminal. SGR
// sequences (colours) stay and are reset at the end; every other control
// character, which could move the cursor, set the title or ring the bell, is
// written as \xNN.
func Sanitize(text string) string {
	if !strings.ContainsFunc(text, isControl) {
		return text
	}
	var b strings.Builder
	painted := false
	for rest := text; rest != ""; {
		if sgr := leadingSGR(rest); sgr != "" {
			b.WriteString(sgr)
			rest, painted = rest[len(sgr):], true
			continue
		}
		r, size := utf8.DecodeRuneInString(rest)
		if isControl(r) {
			fmt.Fprintf(&b, `\x%02x`, r)
		} else {
			b.WriteString(rest[:size])
		}
		rest = rest[size:]
	}
	if painted {
		b.WriteString("\x1b[0m")
	}
	return b.String()
}

// SanitizeLines is Sanitize for each line of text.
func SanitizeLines(text string) string {
	var safe strings.Builder
	for line := range strings.Lines(text) {
		body, complete := strings.CutSuffix(line, "\n")
		safe.WriteString(Sanitize(body))
		if complete {
			safe.WriteByte('\n')
		}
	}
	return safe.String()
}

func isControl(r rune) bool { return r < ' ' && r != '\t' || r >= 0x7f && r <= 0x9f }

// leadingSGR is the SGR sequence that text begins with, or empty.
func leadingSGR(text string) string {
	rest, ok := strings.CutPrefix(text, "\x1b[")
	if !ok {
		return ""
	}
	parameters := len(rest) - len(strings.TrimLeft(rest, "0123456789;:"))
	if parameters < len(rest) && rest[parameters] == 'm' {
		return text[:len("\x1b[")+parameters+1]
	}
	return ""
}
