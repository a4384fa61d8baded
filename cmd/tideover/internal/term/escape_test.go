package term

import "testing"

func TestSanitize(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"plain ä │":        "plain ä │",
		"tab\tstays":       "tab\tstays",
		"\x1b[31;1mred":    "\x1b[31;1mred\x1b[0m",
		"\x1b[3":           `\x1b[3`,
		"\x1b[31":          `\x1b[31`,
		"\x1b[2J":          `\x1b[2J`,
		"\x1b[?25l":        `\x1b[?25l`,
		"\x1b]0;title\x07": `\x1b]0;title\x07`,
		"\u009b31m":        `\x9b31m`,
		"over\rwritten":    `over\x0dwritten`,
		"\x7f":             `\x7f`,
	} {
		if got := Sanitize(text); got != want {
			t.Errorf("Sanitize(%q) = %q, want %q", text, got, want)
		}
	}
}
