package term

import (
	"strings"
	"testing"
)

// Of what is wrong with a configuration, a terminal shows the part that is
// meant, and breaks no words; no line is longer than the screen.
func TestProblemsOnATerminal(t *testing.T) {
	t.Parallel()
	text := "/etc/tideover/conf.d/shop.toml:12:71: warning: shop: \"--daemon\" makes gunicorn leave its supervisor, which would then start it again\n" +
		"   12 │ command   = \"/srv/shop/venv/bin/gunicorn --workers 4 --threads 4 --bind :8000 --daemon shop.wsgi:application\"\n" +
		"      │ " + strings.Repeat(" ", 78) + "^^^^^^^^  leave it out; tideover itself keeps the app in the background\n"
	for width, want := range map[int]string{
		60: `/etc/tideover/conf.d/shop.toml:12:71: warning: shop:
    "--daemon" makes gunicorn leave its supervisor, which
    would then start it again
   12 │ …-threads 4 --bind :8000 --daemon shop.wsgi:applic…
      │                          ^^^^^^^^
      │ leave it out; tideover itself keeps the app in the
      │ background
`,
		120: `/etc/tideover/conf.d/shop.toml:12:71: warning: shop: "--daemon" makes gunicorn leave its supervisor, which would then
    start it again
   12 │ command   = "/srv/shop/venv/bin/gunicorn --workers 4 --threads 4 --bind :8000 --daemon shop.wsgi:application"
      │                                                                               ^^^^^^^^
      │ leave it out; tideover itself keeps the app in the background
`,
	} {
		got := Screen{Terminal: true, Width: width}.Diagnostics(text)
		if got != want {
			t.Errorf("%d columns:\n%s\nwant\n%s", width, got, want)
		}
		for line := range strings.Lines(got) {
			if len([]rune(line)) > width {
				t.Errorf("%d columns in %d: %s", len([]rune(line))-1, width, line)
			}
		}
	}
	if got := (Screen{Width: 60}).Diagnostics(text); got != text {
		t.Errorf("into a pipe: %s", got)
	}
}
