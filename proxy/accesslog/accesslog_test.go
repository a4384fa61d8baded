package accesslog

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"
)

type fields map[string]string

func (f fields) Value(name string) []byte { return []byte(f[name]) }

func record() *Record {
	return &Record{Now: time.Date(2026, 11, 27, 23, 4, 5, 0, time.UTC), Clock: &Clock{}, App: "shop", Client: netip.MustParseAddrPort("[2001:db8::1]:4711"), Method: []byte("GET"), Target: []byte("/a?b=\"c\"\n"),
		Minor: 1, Fields: fields{"Host": "shop.test", "User-Agent": "curl\\8", "X-Request-Id": "id\xff"}, Status: 200, Bytes: 12, Ending: "answered", Took: 1500 * time.Millisecond,
		Upstream: 500 * time.Millisecond, Hold: time.Second, Generation: "shop.3", Resent: 1}
}

func TestFormats(t *testing.T) {
	for format, want := range map[string]string{
		"combined": `2001:db8::1 - - [27/Nov/2026:23:04:05 +0000] "GET /a?b=\x22c\x22\x0a HTTP/1.1" 200 12 "-" "curl\x5c8"`,
		"json": `{"time":"2026-11-27T23:04:05.000Z","app":"shop","client":"[2001:db8::1]:4711","method":"GET","target":"/a?b=\"c\"\u000a","host":"shop.test","status":200,"bytes":12,` +
			`"ending":"answered","duration_s":1.500000,"upstream_s":0.500000,"hold_s":1.000000,"generation":"shop.3","resent":1,"request_id":"id\u00ff","user_agent":"curl\\8"}`,
		`%(m)s %(U)s %(q)s %(s)d 100%% %(M)s ms %({x-nothing}i)s %({X-Request-Id}i)s`:                `GET /a b=\x22c\x22\x0a 200 100% 1500 ms - id\xff`,
		`%({hold}x)s %({upstream}x)s %({generation}x)s %({resent}x)s %({ending}x)s %({app}x)s %(L)s`: `1.000000 0.500000 shop.3 1 answered shop 1.500000`,
	} {
		f, err := Parse(format)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(f.Append(nil, record())); got != want+"\n" {
			t.Errorf("%s:\n%s\nwant\n%s", format, got, want)
		}
	}
}

func TestAFaultyFormatIsNamed(t *testing.T) {
	for _, format := range []string{"%", "%h", "%(h", "%(h)", "%(x)s", "%({}i)s", "%({server}o)s"} {
		if _, err := Parse(format); err == nil || !strings.Contains(err.Error(), "%") {
			t.Errorf("%q: %v", format, err)
		}
	}
}

// The user is what gunicorn writes for the same field.
func TestTheUserIsThatOfBasic(t *testing.T) {
	f, err := Parse("%(u)s")
	if err != nil {
		t.Fatal(err)
	}
	for authorization, want := range map[string]string{"": "-", "Basic YW5uYTpzZWNyZXQ=": "anna", "basic  YW5uYTpzZWNyZXQ= ": "anna", "Basic YW5uYQ==": "anna", "Basic OnNlY3JldA==": "-",
		"Basic": "-", "Basic YW5u*": "-", "Bearer YW5uYTpzZWNyZXQ=": "-", "Basic YSBiIgo6": `a b\x22\x0a`} {
		r := record()
		r.Fields = fields{"Authorization": authorization}
		if got := string(f.Append(nil, r)); got != want+"\n" {
			t.Errorf("%q: %q, want %q", authorization, got, want)
		}
	}
}

// Lines of one second share its text.
func TestEachLineHasItsOwnTime(t *testing.T) {
	f, err := Parse("%(t)s")
	if err != nil {
		t.Fatal(err)
	}
	j, err := Parse("json")
	if err != nil {
		t.Fatal(err)
	}
	r := record()
	for _, now := range []time.Time{time.Unix(0, 5e6), time.Unix(0, 999_999_999), time.Unix(1, 0), time.Unix(1, 40e6), time.Unix(0, 0)} {
		r.Now = now.In(time.FixedZone("", 3600))
		if got, want := string(f.Append(nil, r)), r.Now.Format("[02/Jan/2006:15:04:05 -0700]\n"); got != want {
			t.Errorf("%q, want %q", got, want)
		}
		if got, want := string(j.Append(nil, r)), now.UTC().Format(`{"time":"2006-01-02T15:04:05.000Z07:00",`); !strings.HasPrefix(got, want) {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

func BenchmarkALine(b *testing.B) {
	r, line := record(), make([]byte, 0, 4096)
	r.Fields = none{}
	for _, format := range []string{"combined", "json"} {
		f, err := Parse(format)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(format, func(b *testing.B) {
			for b.Loop() {
				line = f.Append(line[:0], r)
			}
		})
	}
}

func TestALineCostsNoAllocation(t *testing.T) {
	r, b := record(), make([]byte, 0, 4096)
	r.Fields = none{}
	for _, format := range []string{"combined", "json", "%(L)s %({hold}x)s %({generation}x)s %(B)s %(q)s"} {
		f, err := Parse(format)
		if err != nil {
			t.Fatal(err)
		}
		if n := testing.AllocsPerRun(100, func() { b = f.Append(b[:0], r) }); n > 0 {
			t.Errorf("%s: %g allocations", format, n)
		}
	}
}

type none struct{}

func (none) Value(string) []byte { return nil }

// Whatever a client sends, a line is one line, and a JSON line is JSON.
func FuzzALineStaysALine(f *testing.F) {
	f.Add([]byte("GET"), []byte("/a\r\n\"\\\x00\xff"))
	all := []*Format{}
	for _, text := range []string{"combined", "json", "%(r)s %({a}i)s"} {
		format, err := Parse(text)
		if err != nil {
			f.Fatal(err)
		}
		all = append(all, format)
	}
	f.Fuzz(func(t *testing.T, method, target []byte) {
		r := record()
		r.Method, r.Target, r.Fields = method, target, fields{"a": string(target), "Referer": string(target)}
		for _, format := range all {
			line := string(format.Append(nil, r))
			if strings.Count(line, "\n") != 1 || strings.ContainsAny(line, "\r\x00\x1b") {
				t.Errorf("%q", line)
			}
			if format.json && !json.Valid([]byte(line)) {
				t.Errorf("no JSON: %s", line)
			}
		}
	})
}
