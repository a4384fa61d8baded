package config

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestDurations(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"30s": 30 * time.Second, "500ms": 500 * time.Millisecond, "2m": 2 * time.Minute, "1h30m": 90 * time.Minute,
		"0s": 0, "7d": 7 * 24 * time.Hour, "1d12h": 36 * time.Hour, "1.5s": 1500 * time.Millisecond,
	} {
		got, err := parseDuration(text)
		if err != nil || got != want {
			t.Errorf("%s: %v, %v", text, got, err)
		}
		if again, err := parseDuration(formatDuration(want)); err != nil || again != want {
			t.Errorf("%v is spelt %s", want, formatDuration(want))
		}
	}
	for text, want := range map[string]string{"30": `add a unit: "30s"`, "": "not a duration", "-5s": "negative", "5 s": "not a duration", "s": "not a duration", "d": "not a duration", "-1d": "not a duration", "1e9d": "not a duration"} {
		if got, err := parseDuration(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	if got := formatDuration(90 * time.Second); got != "1m30s" {
		t.Errorf("got %s", got)
	}
}

func TestSizes(t *testing.T) {
	for text, want := range map[string]int64{
		"64KiB": 64 << 10, "8190B": 8190, "0B": 0, "1.5MiB": 3 << 19, "2 GiB": 2 << 30, "50MB": 50_000_000, "10k": 10 << 10, "4m": 4 << 20,
	} {
		got, err := parseSize(text)
		if err != nil || got != want {
			t.Errorf("%s: %v, %v", text, got, err)
		}
		if again, err := parseSize(FormatSize(want)); err != nil || again != want {
			t.Errorf("%v is spelt %s", want, FormatSize(want))
		}
	}
	for text, want := range map[string]string{"64": `add a unit: "64B"`, "": "not a size", "-1B": "not a size", "5 apples": "not a size", "99999999999GiB": "not a size"} {
		if got, err := parseSize(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
}

func TestStatuses(t *testing.T) {
	for text, want := range map[string]struct{ in, out []int }{
		"<500":        {[]int{200, 404, 499}, []int{500, 503}},
		"<=500":       {[]int{500}, []int{501}},
		"200":         {[]int{200}, []int{199, 201}},
		"200, 302":    {[]int{200, 302}, []int{301}},
		"2xx":         {[]int{200, 299}, []int{300, 199}},
		"200-399,404": {[]int{200, 399, 404}, []int{400, 403}},
		"7xx, 999":    {[]int{700, 799, 999}, []int{699, 800}},
	} {
		s, err := ParseStatuses(text)
		if err != nil || s.String() != text {
			t.Fatalf("%s: %v, %v", text, s, err)
		}
		for _, code := range want.in {
			if !s.Counts(code) {
				t.Errorf("%s does not count %d", text, code)
			}
		}
		for _, code := range want.out {
			if s.Counts(code) {
				t.Errorf("%s counts %d", text, code)
			}
		}
	}
	for _, text := range []string{"", "<5000", "20", "abc", "0xx", "399-200", "200,", "<099", "200-", "<100"} {
		if s, err := ParseStatuses(text); err == nil {
			t.Errorf("%q was taken for %v", text, s.ranges)
		}
	}
}

func TestListenAddresses(t *testing.T) {
	for _, s := range []string{"127.0.0.1:8000", ":8000", "[::]:8000", "[::1]:1", "localhost:65535", "app-1.internal:80", "unix:/run/shop.sock", "systemd:shop"} {
		if err := checkListen(s); err != nil {
			t.Errorf("%s: %v", s, err)
		}
	}
	for s, want := range map[string]string{
		"8000": `":8000"`, "localhost": "no port", "127.0.0.1:0": "not a port", "127.0.0.1:http": "not a port", "127.0.0.1:65536": "not a port",
		"::1:80": "brackets", "[::1:80": "not an IPv6", "[x]:80": "not an IPv6", "1.2.3:80": "not an IPv4", "256.1.1.1:80": "not an IPv4", "a b:80": "not the name",
		"/run/x.sock": `"unix:/run/x.sock"`, "unix:run/x": "begin with /", "unix:@x": "abstract", "unix://run/x": `"unix:/run/x"`,
		"unix:/" + strings.Repeat("x", 107): "this one has 108", "http://x:80": "no URL", "fd:3": "systemd:NAME", "systemd:": "name", "": "no port",
	} {
		if err := checkListen(s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", s, err, want)
		}
	}
	if err := checkListen("unix:/" + strings.Repeat("x", 106)); err != nil {
		t.Errorf("107 bytes fit: %v", err)
	}
}

func TestOverlappingAddresses(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"127.0.0.1:80", "127.0.0.1:80", true}, {"127.0.0.1:80", "127.0.0.1:81", false}, {"127.0.0.1:80", "127.0.0.2:80", false},
		{":80", "127.0.0.2:80", true}, {"127.0.0.2:80", "0.0.0.0:80", true}, {"[::]:80", "0.0.0.0:80", true}, {"0.0.0.0:80", "[::1]:80", false},
		{"localhost:80", "127.0.0.1:80", true}, {"unix:/a", "unix:/a", true}, {"unix:/a", "unix:/b", false}, {"unix:/a:80", ":80", false},
		{"systemd:a", "systemd:a", true}, {"[::1]:80", "[::1]:80", true},
	} {
		for _, pair := range [][2]string{{c.a, c.b}, {c.b, c.a}} {
			index := newAddressIndex()
			index.add(pair[0], &App{Name: "a"})
			if got := index.overlapping(pair[1]); len(got) > 1 || len(got) == 1 != c.want {
				t.Errorf("%s and then %s: %v", pair[0], pair[1], got)
			}
		}
	}
}

func TestPlaceholders(t *testing.T) {
	argv := []string{"serve", "--bind=fd://{fd}", "{fd}"}
	if got := Placeholders(argv); len(got) != 1 || got[0] != FD {
		t.Errorf("got %v", got)
	}
	if got := strings.Join(Substitute(argv, FD, "3"), " "); got != "serve --bind=fd://3 3" || argv[2] != "{fd}" {
		t.Errorf("got %s, and %v", got, argv)
	}
	if err := checkPlaceholders([]string{"{socket}", "{port}"}); err == nil {
		t.Error("two private sockets were promised")
	}
}

func TestNearest(t *testing.T) {
	for word, want := range map[string]string{"lisetn": "listen", "comand": "command", "xyz": "", "directroy": "directory", "listen": ""} {
		if got := Nearest(word, []string{"listen", "command", "directory"}); got != want {
			t.Errorf("%s: %q", word, got)
		}
	}
}

// The reference says of every key what may be written, and what each of a few values means.
func TestEveryKeySaysWhatMayBeWritten(t *testing.T) {
	for _, k := range slices.Concat(appKeys(), daemonKeys(), fleetKeys()) {
		if k.Type == "" || k.Meaning == "" {
			t.Errorf("%s: type %q, meaning %q", k.Path, k.Type, k.Meaning)
		}
		if choices := strings.Count(k.Type, `" or "`); choices > 0 && len(k.Values) != choices+1 {
			t.Errorf("%s: %d values have a meaning, want %d", k.Path, len(k.Values), choices+1)
		}
		for _, v := range k.Values {
			if v.Meaning == "" || v.Value[0] != '"' {
				t.Errorf("%s: value %q means %q", k.Path, v.Value, v.Meaning)
			}
		}
	}
}
