package logs

import (
	"encoding/json"
	"hash/fnv"
	"strconv"
	"strings"
)

// Style is the format of prefixes.
type Style struct {
	Color   bool
	Unicode bool
	Width   int // minimum width of app and generation, so that the texts are aligned
}

// Prefix returns app, generation and stream of a line: "shop.3 | " for standard output,
// "shop.3 : " for standard error and "shop.3 - " for tideover's own messages, or │, ┆
// and · with Unicode. An app always has the same colour.
func (l Line) Prefix(s Style) string { return string(s.prefix(nil, l)) }

// colors are SGR colours without red, which means an error, and without those that are
// illegible on a black or a white background.
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
	marks := [...]string{Stdout: "|", Stderr: ":", Note: "-", Access: "|"}
	if s.Unicode {
		marks = [...]string{Stdout: "│", Stderr: "┆", Note: "·", Access: "│"}
	}
	return marks[stream]
}

// append appends a line with its prefix.
func (s Style) append(b []byte, l Line) []byte {
	b = s.prefix(b, l)
	b = append(b, l.Text...)
	return append(b, '\n')
}

// appendDated appends a line with date and prefix, as in a file.
func appendDated(b []byte, l Line) []byte {
	b = l.Time.AppendFormat(b, "2006-01-02T15:04:05.000Z07:00 ")
	return Style{}.append(b, l)
}

// appendJSON appends a line as a JSON object with the keys of Line. A line of the access log that is an
// object already stays as it is.
func appendJSON(b []byte, l Line) []byte {
	if l.Stream == Access && strings.HasPrefix(l.Text, "{") {
		return appendPlain(b, l)
	}
	l.Text = strings.ToValidUTF8(l.Text, "\uFFFD")
	text, err := json.Marshal(l)
	if err != nil { // it has no value that JSON has not
		return appendPlain(b, l)
	}
	return append(append(b, text...), '\n')
}

// appendPlain appends a line without a prefix.
func appendPlain(b []byte, l Line) []byte {
	b = append(b, l.Text...)
	return append(b, '\n')
}
