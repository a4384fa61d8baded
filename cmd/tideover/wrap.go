package main

import (
	"io"
	"strings"
	"unicode/utf8"
)

// say writes text below a sign or a word in colour.
func (s screen) say(c color, mark, text string) {
	io.WriteString(s.out, s.paragraphs(s.paint(c, mark)+" ", strings.TrimPrefix(mark, "\n")+" ", text))
}

// unsaid is those lines of text that before does not say already.
func unsaid(text, before string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if sentence := strings.TrimSpace(line); sentence == "" || !strings.Contains(before, sentence) {
			b.WriteString(line)
		}
	}
	return b.String()
}

// paragraphs writes text for people: each of its lines broken between words,
// so that none passes the screen's width, and all but the first indented. first
// is what stands before the text; it has the width of mark, whose colours take
// no room.
func (s screen) paragraphs(first, mark, text string) string {
	indent := strings.Repeat(" ", utf8.RuneCountInString(mark))
	if strings.HasSuffix(mark, ": ") {
		indent = "  " // below a word, as deep as below a sign
	}
	var b strings.Builder
	room := s.room() - utf8.RuneCountInString(mark)
	if s.terminal {
		text = shownLines(text)
	}
	for line := range strings.Lines(text) {
		for _, part := range broken(strings.TrimSuffix(line, "\n"), room, s.room()-len(indent)) {
			b.WriteString(first + part + "\n")
			first, room = indent, s.room()-len(indent)
		}
	}
	return b.String()
}

// room is how many columns may be used: not the last one, where some terminals
// begin a new line by themselves.
func (s screen) room() int { return max(20, s.width-1) }

// broken is a line in parts, the first of which has room columns and the others
// rest. A word that is too long has a part of its own: paths and addresses are
// for copying, and so are commands, which stay whole.
func broken(line string, room, rest int) []string {
	if utf8.RuneCountInString(line) <= room || strings.HasPrefix(line, "tideover ") {
		return []string{line}
	}
	words := strings.Fields(line)
	if len(words) == 0 {
		return []string{""}
	}
	lead := line[:len(line)-len(strings.TrimLeft(line, " "))]
	parts, now := []string{}, lead+words[0]
	for _, word := range words[1:] {
		if utf8.RuneCountInString(now)+1+utf8.RuneCountInString(word) > room {
			parts = append(parts, now)
			now, room = lead+word, rest
			continue
		}
		now += " " + word
	}
	return append(parts, now)
}
