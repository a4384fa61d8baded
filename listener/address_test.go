package listener

import (
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for s, want := range map[string]Address{
		"127.0.0.1:8000":            {"tcp", "127.0.0.1:8000"},
		":8000":                     {"tcp", ":8000"},
		"0.0.0.0:80":                {"tcp", "0.0.0.0:80"},
		"[::]:8000":                 {"tcp", "[::]:8000"},
		"[::1]:0":                   {"tcp", "[::1]:0"},
		"[fe80::1%eth0]:8000":       {"tcp", "[fe80::1%eth0]:8000"},
		"localhost:65535":           {"tcp", "localhost:65535"},
		"unix:/run/shop.sock":       {"unix", "/run/shop.sock"},
		"unix:///run/shop.sock":     {"unix", "/run/shop.sock"},
		"unix:/run/../tmp//a b":     {"unix", "/tmp/a b"},
		"unix:/" + longName(106):    {"unix", "/" + longName(106)},
		"unix:/run/a:b@example.org": {"unix", "/run/a:b@example.org"},
	} {
		got, err := Parse(s)
		if err != nil || got != want {
			t.Errorf("%q: %+v, %v; want %+v", s, got, err, want)
		}
		if again, err := Parse(got.String()); err != nil || again != got {
			t.Errorf("%q is spelt back as %q: %+v, %v", s, got, again, err)
		}
	}
}

// TestParseRemedies: every refusal says what to write instead.
func TestParseRemedies(t *testing.T) {
	for s, words := range map[string]string{
		"":                             "127.0.0.1:8000",
		"8000":                         "127.0.0.1:8000, or :8000",
		"localhost":                    "host:port",
		"127.0.0.1":                    "write 127.0.0.1:8000",
		"::1":                          "write [::1]:8000",
		"[::1]":                        "write [::1]:8000",
		"fe80::1%eth0:80":              "brackets",
		"127.0.0.1:":                   "0 to 65535",
		"127.0.0.1:http":               "0 to 65535",
		"127.0.0.1:65536":              "0 to 65535",
		"127.0.0.1:-1":                 "0 to 65535",
		"127.0.0.1:08000":              "0 to 65535",
		"*:80":                         "write :80",
		"a b:80":                       "no host name",
		"http://127.0.0.1:80/":         "without a scheme, 127.0.0.1:80",
		"/run/shop.sock":               "write unix:/run/shop.sock",
		"@shop":                        "use a path",
		"\x00shop":                     "use a path",
		"unix:":                        "path is missing",
		"unix:@shop":                   "use a path",
		"unix:\x00shop":                "use a path",
		"unix:/run/a\x00b":             "NUL",
		"unix:shop.sock":               "like unix:/run/shop.sock",
		"unix:./run/shop.sock":         "like unix:/run/shop.sock",
		"unix:/run/":                   "write unix:/run/app.sock",
		"unix:/run/..":                 "this is a directory",
		"unix:/" + longName(107):       "107: choose a shorter directory",
		"unix:///run/" + longName(103): "107: choose a shorter directory",
	} {
		if a, err := Parse(s); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%q: %+v, %v; want %q", s, a, err, words)
		}
	}
}

func longName(n int) string { return strings.Repeat("x", n) }

// FuzzParse: what is accepted is spelt back the same, and what is refused has a reason.
func FuzzParse(f *testing.F) {
	for _, s := range []string{":80", "[::1]:80", "unix:/a", "unix://", "a:b:c", "[", "]:1", "unix:/../..", "\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := Parse(s)
		if err != nil {
			if err.Error() == "" || a != (Address{}) {
				t.Errorf("%q: %+v, %v", s, a, err)
			}
			return
		}
		if again, err := Parse(a.String()); err != nil || again != a {
			t.Errorf("%q: %+v, spelt back %q: %+v, %v", s, a, a, again, err)
		}
		if a.Network == "unix" && (a.Address[0] != '/' || len(a.Address) > maxUnixPath) {
			t.Errorf("%q: %+v", s, a)
		}
	})
}
