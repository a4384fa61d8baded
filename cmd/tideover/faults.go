package main

import (
	"io"
	"regexp"
	"strings"
	"unicode/utf8"
)

// sayFault writes an error below a sign or a word. What quotes lines of a
// configuration is set as check sets it.
func (s screen) sayFault(mark, text string) {
	if !strings.Contains(text, "\n"+quoteMark) {
		s.say(red, mark, text)
		return
	}
	io.WriteString(s.out, s.paint(red, mark)+" the configuration is not valid\n"+s.problems(text))
}

// quoteMark begins the second line of a quotation: the one with the mark under
// what is meant. The first one has the line's number there.
const quoteMark = "      │ "

var (
	quoted  = regexp.MustCompile(`^( *\d+ │ )(.*)$`)
	located = regexp.MustCompile(`^\S+:\d+:\d+: `)
)

// problems sets what is wrong with a configuration. Into a pipe goes the text
// itself: editors find places in it, and scripts compare it. On a terminal
// places stand out, sentences are broken between words, and of a long line that
// part is shown which is meant.
func (s screen) problems(text string) string {
	text = strings.TrimSuffix(text, "\n") + "\n"
	if !s.terminal {
		return text
	}
	var b strings.Builder
	lines := strings.Split(strings.TrimSuffix(shownLines(text), "\n"), "\n")
	for i := 0; i < len(lines); i++ {
		source := quoted.FindStringSubmatch(lines[i])
		if source != nil && i+1 < len(lines) && strings.HasPrefix(lines[i+1], quoteMark) {
			b.WriteString(s.quotation(source[1], source[2], strings.TrimPrefix(lines[i+1], quoteMark)))
			i++
			continue
		}
		b.WriteString(s.sentence(lines[i]))
	}
	return b.String()
}

// indent is that of a sentence's further lines.
const indent = "    "

// sentence is the line that says what is wrong, and where.
func (s screen) sentence(line string) string {
	set := strings.Join(broken(line, s.room(), s.room()-len(indent)), "\n"+indent) + "\n"
	place := located.FindString(line)
	if rest, ok := strings.CutPrefix(set, place); ok && place != "" {
		set = s.paint(bold, strings.TrimSuffix(place, " ")) + " " + rest
	}
	return strings.Replace(set, "warning:", s.paint(yellow, "warning:"), 1)
}

// quotation is a line of the configuration, the mark under what is meant, and
// the remedy beside it, or below where it does not fit.
func (s screen) quotation(number, source, marks string) string {
	source, marks = strings.ReplaceAll(source, "\t", "    "), strings.ReplaceAll(marks, "\t", "    ")
	lead := utf8.RuneCountInString(marks) - utf8.RuneCountInString(strings.TrimLeft(marks, " "))
	length := len(marks) - len(strings.TrimLeft(strings.TrimLeft(marks, " "), "^")) - lead
	hint := strings.TrimSpace(marks[min(len(marks), lead+length):])
	room := s.room() - utf8.RuneCountInString(quoteMark)
	source, skip := window(source, lead, room)
	lead, length = lead-skip, min(length, room-(lead-skip))
	var b strings.Builder
	bar := s.paint(faint, quoteMark)
	b.WriteString(s.paint(faint, number) + source + "\n")
	underlined := bar + strings.Repeat(" ", lead) + s.paint(red, strings.Repeat("^", length))
	switch {
	case hint == "":
		b.WriteString(underlined + "\n")
	case lead+length+2+utf8.RuneCountInString(hint) <= room:
		b.WriteString(underlined + "  " + hint + "\n")
	default:
		b.WriteString(underlined + "\n")
		for _, part := range broken(hint, room, room) {
			b.WriteString(bar + part + "\n")
		}
	}
	return b.String()
}

// window is the part of a line that shows the place at, and how many of its
// columns are left out before.
func window(line string, at, room int) (part string, skip int) {
	runes := []rune(line)
	if len(runes) <= room {
		return line, 0
	}
	if skip = max(0, at-room/2); skip > 0 {
		skip = min(skip, max(0, len(runes)-room))
		runes[skip] = '…'
	}
	return cut(string(runes[skip:]), room), skip
}
