package top

import (
	"fmt"
	"math"
	"strings"
	"unicode"

	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/x/ansi"
)

// The colours are the first sixteen, which the user's theme defines. What they say is said by a word
// or a symbol, too.
var (
	good     = lipgloss.NewStyle().Foreground(lipgloss.Color("2"))
	warning  = lipgloss.NewStyle().Foreground(lipgloss.Color("3"))
	bad      = lipgloss.NewStyle().Foreground(lipgloss.Color("1"))
	accent   = lipgloss.NewStyle().Foreground(lipgloss.Color("6"))
	second   = lipgloss.NewStyle().Foreground(lipgloss.Color("5"))
	faint    = lipgloss.NewStyle().Foreground(lipgloss.Color("8"))
	bold     = lipgloss.NewStyle().Bold(true)
	chosen   = lipgloss.NewStyle().Reverse(true)
	plainest = lipgloss.NewStyle()
)

// clean makes text of apps and users safe for a terminal: without escape sequences, and with a point
// for each other control character and for those that change the direction of text.
func clean(text string) string {
	if strings.ContainsRune(text, '\x1b') {
		text = ansi.Strip(text)
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return ' '
		case unicode.IsControl(r), unicode.Is(unicode.Cf, r), r == unicode.ReplacementChar:
			return '·'
		}
		return r
	}, text)
}

// fit makes text as wide as width: shortened with "…", or filled with spaces.
func fit(text string, width int) string {
	if width <= 0 {
		return ""
	}
	if ansi.StringWidth(text) > width {
		text = ansi.Truncate(text, width, "…")
	}
	return text + strings.Repeat(" ", max(0, width-ansi.StringWidth(text)))
}

// fitRight is fit with the text at the right.
func fitRight(text string, width int) string {
	if w := ansi.StringWidth(text); w < width {
		return strings.Repeat(" ", width-w) + text
	}
	return fit(text, width)
}

// ends puts text at both ends of a line.
func ends(left, right string, width int) string {
	room := width - ansi.StringWidth(right)
	if right == "" || room < 8 {
		return fit(left, width)
	}
	return fit(left, room) + right
}

// panel draws lines in a frame with a title. It is height lines high.
func panel(title, right string, lines []string, width, height int) []string {
	if width < 4 || height < 2 {
		return nil
	}
	head := faint.Render("╭─ ") + bold.Render(title) + " "
	tail := faint.Render("─╮")
	if right != "" {
		tail = " " + right + faint.Render(" ─╮")
	}
	if fill := width - ansi.StringWidth(head) - ansi.StringWidth(tail); fill >= 0 {
		head += faint.Render(strings.Repeat("─", fill)) + tail
	} else {
		head = fit(head, width-1) + faint.Render("╮")
	}
	drawn := []string{head}
	for i := range height - 2 {
		line := ""
		if i < len(lines) {
			line = lines[i]
		}
		drawn = append(drawn, faint.Render("│")+" "+fit(line, width-4)+" "+faint.Render("│"))
	}
	return append(drawn, faint.Render("╰"+strings.Repeat("─", width-2)+"╯"))
}

// beside puts two blocks of the same height next to each other.
func beside(left, right []string) []string {
	both := make([]string, len(left))
	for i := range left {
		both[i] = left[i] + right[i]
	}
	return both
}

var eighths = []rune("▁▂▃▄▅▆▇█")

// spark draws the last values in a line, the highest one as a full block.
func spark(values []float64, width int, style lipgloss.Style) string {
	values = values[max(0, len(values)-width):]
	highest := 0.0
	for _, v := range values {
		highest = max(highest, v)
	}
	var b strings.Builder
	b.WriteString(strings.Repeat(" ", width-len(values)))
	for _, v := range values {
		i := 0
		if highest > 0 && v > 0 {
			i = max(1, int(math.Ceil(v/highest*float64(len(eighths)-1))))
		}
		b.WriteRune(eighths[i])
	}
	if highest == 0 {
		return faint.Render(b.String())
	}
	return style.Render(b.String())
}

// chart draws the last values, each as a column, in height lines.
func chart(values []float64, width, height int, style lipgloss.Style) []string {
	values = values[max(0, len(values)-width):]
	highest := 0.0
	for _, v := range values {
		highest = max(highest, v)
	}
	lines := make([]string, height)
	for y := range height {
		var b strings.Builder
		b.WriteString(strings.Repeat(" ", width-len(values)))
		below := (height - 1 - y) * 8
		for _, v := range values {
			level := 0
			if highest > 0 && v > 0 {
				level = max(1, int(math.Round(v/highest*float64(8*height))))
			}
			switch part := level - below; {
			case part >= 8:
				b.WriteRune('█')
			case part > 0:
				b.WriteRune(eighths[part-1])
			case below == 0:
				b.WriteRune('▁')
			default:
				b.WriteByte(' ')
			}
		}
		lines[y] = style.Render(b.String())
		if highest == 0 {
			lines[y] = faint.Render(b.String())
		}
	}
	return lines
}

// Numbers, in few columns.

func number(n float64) string {
	switch {
	case n == 0:
		return "0"
	case n < 10:
		return fmt.Sprintf("%.1f", n)
	case n < 100_000:
		return fmt.Sprintf("%.0f", n)
	}
	return fmt.Sprintf("%.0fk", n/1000)
}

// seconds is a length of time.
func seconds(s float64) string {
	switch {
	case s <= 0:
		return "0"
	case s < 0.001:
		return "<1ms"
	case s < 1:
		return fmt.Sprintf("%.0fms", s*1000)
	case s < 10:
		return fmt.Sprintf("%.1fs", s)
	case s < 100:
		return fmt.Sprintf("%.0fs", s)
	case s < 100*60:
		return fmt.Sprintf("%.0fm", math.Floor(s/60))
	case s < 48*3600:
		return fmt.Sprintf("%.0fh", math.Floor(s/3600))
	}
	return fmt.Sprintf("%.0fd", math.Floor(s/86400))
}

// size is a number of bytes.
func size(n uint64) string {
	switch {
	case n == 0:
		return "-"
	case n >= 1<<30:
		return fmt.Sprintf("%.1fG", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%dM", n>>20)
	}
	return fmt.Sprintf("%dK", n>>10)
}

func percent(share float64) string {
	if share > 0 && share < 0.0995 {
		return fmt.Sprintf("%.1f%%", 100*share)
	}
	return fmt.Sprintf("%.0f%%", 100*share)
}
