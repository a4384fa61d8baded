package term

import (
	"strings"
	"unicode/utf8"

	"tideover/supervisor/lazyregexp"
)

// A diagnostic is what a compiler prints: a line "FILE:LINE:COLUMN: sentence",
// and below it, where there is one, the source line and a line of carets with a
// hint:
//
//	tideover.toml:12:71: unknown key "comand"
//	   12 │ comand = "gunicorn app:app"
//	      │ ^^^^^^  did you mean command?

// caretPrefix begins the line of carets. A source line has its number there.
const caretPrefix = "      │ "

// diagnosticIndent is the indentation of a sentence's further lines.
const diagnosticIndent = "    "

var (
	sourceLine     = lazyregexp.New(`^( *\d+ │ )(.*)$`)
	sourcePosition = lazyregexp.New(`^\S+:\d+:\d+: `)
)

// HasDiagnostics reports whether text quotes a source line.
func HasDiagnostics(text string) bool { return strings.Contains(text, "\n"+caretPrefix) }

// Diagnostics lays diagnostics out. Elsewhere than on a terminal the text stays
// as it is: editors find positions in it and scripts compare it. On a terminal
// positions are bold, sentences are broken between words, and of a long source
// line the part above the carets is shown.
func (s Screen) Diagnostics(text string) string {
	text = strings.TrimSuffix(text, "\n") + "\n"
	if !s.Terminal {
		return text
	}
	var b strings.Builder
	lines := strings.Split(strings.TrimSuffix(SanitizeLines(text), "\n"), "\n")
	for i := 0; i < len(lines); i++ {
		source := sourceLine.FindStringSubmatch(lines[i])
		if source != nil && i+1 < len(lines) && strings.HasPrefix(lines[i+1], caretPrefix) {
			b.WriteString(s.quotation(source[1], source[2], strings.TrimPrefix(lines[i+1], caretPrefix)))
			i++
			continue
		}
		b.WriteString(s.sentence(lines[i]))
	}
	return b.String()
}

// sentence lays out the line that says what is wrong, and where.
func (s Screen) sentence(line string) string {
	parts := Wrap(line, s.Columns(), s.Columns()-len(diagnosticIndent))
	text := strings.Join(parts, "\n"+diagnosticIndent) + "\n"
	position := sourcePosition.FindString(line)
	if rest, ok := strings.CutPrefix(text, position); ok && position != "" {
		text = s.Paint(Bold, strings.TrimSuffix(position, " ")) + " " + rest
	}
	return strings.Replace(text, "warning:", s.Paint(Yellow, "warning:"), 1)
}

// quotation lays out a source line, the carets under it, and the hint: beside
// the carets where it fits, else below them.
func (s Screen) quotation(number, source, carets string) string {
	source, carets = strings.ReplaceAll(source, "\t", "    "), strings.ReplaceAll(carets, "\t", "    ")
	before := utf8.RuneCountInString(carets) - utf8.RuneCountInString(strings.TrimLeft(carets, " "))
	length := len(carets) - len(strings.TrimLeft(strings.TrimLeft(carets, " "), "^")) - before
	hint := strings.TrimSpace(carets[min(len(carets), before+length):])
	width := s.Columns() - utf8.RuneCountInString(caretPrefix)
	source, skipped := excerpt(source, before, width)
	before, length = before-skipped, min(length, width-(before-skipped))
	var b strings.Builder
	bar := s.Paint(Faint, caretPrefix)
	b.WriteString(s.Paint(Faint, number) + source + "\n")
	underlined := bar + strings.Repeat(" ", before) + s.Paint(Red, strings.Repeat("^", length))
	switch {
	case hint == "":
		b.WriteString(underlined + "\n")
	case before+length+2+utf8.RuneCountInString(hint) <= width:
		b.WriteString(underlined + "  " + hint + "\n")
	default:
		b.WriteString(underlined + "\n")
		for _, part := range Wrap(hint, width, width) {
			b.WriteString(bar + part + "\n")
		}
	}
	return b.String()
}

// excerpt is the part of a line, at most width columns, that contains column
// at, and how many columns before it are left out.
func excerpt(line string, at, width int) (part string, skipped int) {
	runes := []rune(line)
	if len(runes) <= width {
		return line, 0
	}
	if skipped = max(0, at-width/2); skipped > 0 {
		skipped = min(skipped, max(0, len(runes)-width))
		runes[skipped] = '…'
	}
	return Truncate(string(runes[skipped:]), width), skipped
}
