package logs

import (
	"bytes"
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

// append appends lines with their prefix.
func (s Style) append(dst []byte, b block) []byte {
	start := len(dst)
	return appendBehind(s.prefix(dst, b.Line), start, b)
}

// appendDated appends lines with date and prefix, as in a file.
func appendDated(dst []byte, b block) []byte {
	start := len(dst)
	dst = b.Time.AppendFormat(dst, "2006-01-02T15:04:05.000Z07:00 ")
	return appendBehind(Style{}.prefix(dst, b.Line), start, b)
}

// appendPlain appends lines without a prefix.
func appendPlain(dst []byte, b block) []byte { return appendBehind(dst, len(dst), b) }

// appendBehind appends lines, each behind the same prefix. It stands at the end of dst, from start on.
func appendBehind(dst []byte, start int, b block) []byte {
	prefix := dst[start:]
	for first := true; b.count > 0; first = false {
		if !first {
			dst = append(dst, prefix...)
		}
		dst = append(dst, b.cut().Text...)
		dst = append(dst, '\n')
	}
	return dst
}

// appendJSON appends lines as JSON objects with the keys of Line. A line of the access log that is an
// object already stays as it is.
func appendJSON(dst []byte, b block) []byte {
	like := b.Line
	like.Text = ""
	object, err := json.Marshal(like)
	if err != nil { // it has no value that JSON has not
		return appendPlain(dst, b)
	}
	head := bytes.TrimSuffix(object, []byte(`""}`)) // Text is the last one
	for line := range b.lines() {
		switch text := line.Text; {
		case b.Stream == Access && strings.HasPrefix(text, "{"):
			dst = append(append(dst, text...), '\n')
		default:
			dst = appendText(append(dst, head...), text)
			dst = append(dst, "}\n"...)
		}
	}
	return dst
}

// appendText appends a text as a string of JSON.
func appendText(dst []byte, text string) []byte {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			quoted, _ := json.Marshal(strings.ToValidUTF8(text, "\uFFFD")) // a string has no error
			return append(dst, quoted...)
		}
	}
	dst = append(dst, '"')
	dst = append(dst, text...)
	return append(dst, '"')
}
