package term

import (
	"io"
	"strings"
	"unicode/utf8"
)

// Message writes text after a mark in colour; further lines are indented.
func (s Screen) Message(c Color, mark, text string) {
	io.WriteString(s.Out, s.Paragraphs(s.Paint(c, mark)+" ", strings.TrimPrefix(mark, "\n")+" ", text))
}

// Paragraphs breaks each line of text between words to the width of the
// screen, and indents all but the first. lead is written before the text; mark
// is lead without escape sequences, and its width counts. Elsewhere than on a
// terminal a line stays one line: scripts search for it.
func (s Screen) Paragraphs(lead, mark, text string) string {
	indent := strings.Repeat(" ", utf8.RuneCountInString(mark))
	if strings.HasSuffix(mark, ": ") {
		indent = "  " // after a word as after a symbol
	}
	var b strings.Builder
	width := s.Columns() - utf8.RuneCountInString(mark)
	if s.Terminal {
		text = SanitizeLines(text)
	}
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		parts := []string{line}
		if s.Terminal {
			parts = Wrap(line, width, s.Columns()-len(indent))
		}
		for _, part := range parts {
			b.WriteString(lead + part + "\n")
			lead, width = indent, s.Columns()-len(indent)
		}
	}
	return b.String()
}

// Wrap breaks a line between words: into a first part of at most first columns
// and further parts of at most rest columns. Indentation is repeated. A word
// that is too long becomes a part of its own, because paths and addresses are
// copied; so are tideover commands, which are never broken.
func Wrap(line string, first, rest int) []string {
	if utf8.RuneCountInString(line) <= first || strings.HasPrefix(line, "tideover ") {
		return []string{line}
	}
	words := strings.Fields(line)
	if len(words) == 0 {
		return []string{""}
	}
	indent := line[:len(line)-len(strings.TrimLeft(line, " "))]
	parts, current, width := []string{}, indent+words[0], first
	for _, word := range words[1:] {
		if utf8.RuneCountInString(current)+1+utf8.RuneCountInString(word) > width {
			parts = append(parts, current)
			current, width = indent+word, rest
			continue
		}
		current += " " + word
	}
	return append(parts, current)
}
