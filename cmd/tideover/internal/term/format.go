package term

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// MaxLine is the longest line in columns that is written for logs and for
// progress: git prefixes a hook's output with "remote: ", and terminals have 80.
const MaxLine = 79

// Seconds formats a number of seconds for key=value lines: three decimals below
// ten, one above, no trailing zeros.
func Seconds(seconds float64) string {
	digits := 3
	if seconds >= 10 {
		digits = 1
	}
	text := strconv.FormatFloat(seconds, 'f', digits, 64)
	return strings.TrimSuffix(strings.TrimRight(text, "0"), ".")
}

// Bytes formats a size with the unit that suits it.
func Bytes(n uint64) string {
	switch {
	case n >= 10<<30:
		return fmt.Sprintf("%d GB", n>>30)
	case n >= 1<<20:
		return fmt.Sprintf("%d MB", n>>20)
	}
	return fmt.Sprintf("%d KB", n>>10)
}

// Plural is "1 request" and "2 requests".
func Plural(n int, noun string) string {
	switch {
	case n == 1:
		return "1 " + noun
	case strings.HasSuffix(noun, "s"), strings.HasSuffix(noun, "sh"):
		noun += "e"
	}
	return strconv.Itoa(n) + " " + noun + "s"
}

// Pad fills text with spaces up to a width in columns.
func Pad(text string, width int) string {
	return text + strings.Repeat(" ", max(0, width-utf8.RuneCountInString(text)))
}

// Truncate shortens text to a width in columns; the last column becomes "…".
func Truncate(text string, width int) string {
	if width < 1 || utf8.RuneCountInString(text) <= width {
		return text
	}
	return string([]rune(text)[:width-1]) + "…"
}
