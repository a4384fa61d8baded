package term

import "testing"

func TestParagraphs(t *testing.T) {
	t.Parallel()
	narrow := Screen{Width: 31, Terminal: true} // 30 columns, and the last stays free
	for _, c := range []struct{ mark, text, want string }{
		{"✗ ", "short", "✗ short\n"},
		{"✗ ", "generation 8 of shop did not come up", "✗ generation 8 of shop did not\n  come up\n"},
		{"hint: ", "generation 8 of shop did not come up", "hint: generation 8 of shop did\n  not come up\n"},
		{"", "one\n\ntwo", "one\n\ntwo\n"},
		{"! ", "one\n  two", "! one\n    two\n"},
		{"", "see /a/very/long/path/that/is/to/be/copied whole", "see\n/a/very/long/path/that/is/to/be/copied\nwhole\n"},
		{"  ", "  indented text keeps its indentation below", "    indented text keeps its\n    indentation below\n"},
		{"  ", "tideover -S /run/tideover/control.sock shutdown", "  tideover -S /run/tideover/control.sock shutdown\n"},
		{"", "ä ö ü ä ö ü ä ö ü ä ö ü ä ö ü ä ö ü", "ä ö ü ä ö ü ä ö ü ä ö ü ä ö ü\nä ö ü\n"},
		{"! ", "", ""},
	} {
		if got := narrow.Paragraphs(c.mark, c.mark, c.text); got != c.want {
			t.Errorf("%q:\n%s\nwant:\n%s", c.text, got, c.want)
		}
	}
}

// Elsewhere than on a terminal a message is one line, so that grep finds it in a log.
func TestAMessageIsNotBrokenElsewhereThanOnATerminal(t *testing.T) {
	t.Parallel()
	const text = "127.0.0.1:8000 is already in use, held by pid 8737: stop that process, or choose another listen address"
	if got := (Screen{Width: 40}).Paragraphs("tideover: ", "tideover: ", text); got != "tideover: "+text+"\n" {
		t.Errorf("%q", got)
	}
}
