package logs

import (
	"hash/fnv"
	"strconv"
)

// Style is how a line's prefix looks.
type Style struct {
	Color   bool
	Unicode bool
	Width   int // columns of app and generation at least, so that texts stand below one another
}

// Prefix names the line's app, generation and stream before its text:
// "shop.3 | " for standard output, "shop.3 : " for standard error and
// "shop.3 - " for tideover's own words, or │, ┆ and · with Unicode. In colour,
// an app has always the same one.
func (l Line) Prefix(s Style) string { return string(s.prefix(nil, l)) }

// colors leaves out red, which says that something is wrong, and the colours
// that cannot be read on a black or a white ground.
var colors = [...]string{"36", "32", "33", "35", "34", "96", "92", "95", "94", "38;5;208", "38;5;73", "38;5;141"}

func (s Style) prefix(b []byte, l Line) []byte {
	if s.Color {
		h := fnv.New32a()
		h.Write([]byte(l.App))
		b = append(b, "\x1b["...)
		b = append(b, colors[h.Sum32()%uint32(len(colors))]...)
		b = append(b, 'm')
	}
	name := len(b)
	b = append(b, l.App...)
	if l.Generation > 0 {
		b = append(b, '.')
		b = strconv.AppendInt(b, int64(l.Generation), 10)
	}
	for len(b)-name < s.Width {
		b = append(b, ' ')
	}
	b = append(b, ' ')
	b = append(b, s.mark(l.Stream)...)
	if s.Color {
		b = append(b, "\x1b[0m"...)
	}
	return append(b, ' ')
}

func (s Style) mark(stream Stream) string {
	marks := [...]string{Stdout: "|", Stderr: ":", Note: "-"}
	if s.Unicode {
		marks = [...]string{Stdout: "│", Stderr: "┆", Note: "·"}
	}
	return marks[stream]
}

// append writes the line as a terminal or journal shows it.
func (s Style) append(b []byte, l Line) []byte {
	b = s.prefix(b, l)
	b = append(b, l.Text...)
	return append(b, '\n')
}

// appendDated writes the line as it stands in a file.
func appendDated(b []byte, l Line) []byte {
	b = l.Time.AppendFormat(b, "2006-01-02T15:04:05.000Z07:00 ")
	return Style{}.append(b, l)
}
