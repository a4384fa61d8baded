package accesslog

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"
)

type fields map[string]string

func (f fields) Value(name string) []byte {
	value, _ := f.Find(name, 0)
	return value
}

// Find finds the lines of a value one after the other: fields of the same name.
func (f fields) Find(name string, from int) ([]byte, int) {
	for known, value := range f {
		values := strings.Split(value, "\n")
		if strings.EqualFold(known, name) && from < len(values) {
			return []byte(values[from]), from + 1
		}
	}
	return nil, 0
}

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
	for _, format := range []string{"%", "%h", "%(h", "%(h)", "%(x)s", "%({}i)s", "%({}o)s", "%({a}z)s", "%({wsgi.url_scheme}e)s", "%({SERVER_NAME}e)s", "%({HTTP_}e)s"} {
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

// These are what gunicorn writes for the same request and response, but for what could end a line or a
// quoted part: that is escaped.
func TestAtomsOfTheResponseAndOfTheEnviron(t *testing.T) {
	response := fields{"Content-Type": "text/plain", "X-Twice": "one\ntwo", "X-Empty": "", "X-Quoted": `a "b"`}
	for format, want := range map[string]string{
		"%({content-type}o)s %({X-Twice}o)s":                     "text/plain two",
		"[%({x-empty}o)s] %({x-none}o)s %({x-quoted}o)s":         `[] - a \x22b\x22`,
		"%({x-none}o)s %({Content-Type}o)s %(s)s %({x-twice}o)s": "- text/plain 200 two",
		"%({REQUEST_METHOD}e)s %({raw_uri}e)s %({path_info}e)s":  "GET /a%20b%2?q=%20 /a b%2",
		"%({query_string}e)s %({SERVER_PROTOCOL}e)s %(U)s":       "q=%20 HTTP/1.1 /a b%2",
		"%({remote_addr}e)s %({REMOTE_PORT}e)s":                  "2001:db8::1 4711",
		"%({HTTP_X_TWICE}e)s %({x-twice}i)s %({http_x_none}e)s":  "one,two two -",
		"%({CONTENT_TYPE}e)s %({CONTENT_LENGTH}e)s %(p)s":        "text/html - -",
	} {
		f, err := Parse(format)
		if err != nil {
			t.Fatal(err)
		}
		r := record()
		r.Target, r.Fields = []byte("/a%20b%2?q=%20"), fields{"X-Twice": "one\ntwo", "Content-Type": "text/html"}
		r.Response = f.AppendResponse(nil, response)
		if got := string(f.Append(nil, r)); got != want+"\n" {
			t.Errorf("%s: %q, want %q", format, got, want)
		}
		r.Response = nil
		if got := string(f.Append(nil, r)); strings.Contains(format, "}o") && strings.Contains(got, "text/plain") {
			t.Errorf("%s without a response: %q", format, got)
		}
	}
	f, err := Parse("%({remote_port}e)s")
	if err != nil {
		t.Fatal(err)
	}
	r := record()
	r.Client = netip.AddrPort{}
	if got := string(f.Append(nil, r)); got != "-\n" {
		t.Errorf("the port of a unix socket: %q", got)
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
	for _, format := range []string{"combined", "json", "%(L)s %({hold}x)s %({generation}x)s %(B)s %(q)s %(U)s %({a}i)s %({a}o)s %({HTTP_A}e)s"} {
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

func (none) Value(string) []byte            { return nil }
func (none) Find(string, int) ([]byte, int) { return nil, 0 }

// Whatever a client sends, a line is one line, and a JSON line is JSON.
func FuzzALineStaysALine(f *testing.F) {
	f.Add([]byte("GET"), []byte("/a\r\n\"\\\x00\xff"))
	all := []*Format{}
	for _, text := range []string{"combined", "json", "%(r)s %(U)s %({a}i)s %({raw_uri}e)s %({http_a}e)s %({a}o)s"} {
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
			r.Response = format.AppendResponse(nil, fields{"a": strings.ReplaceAll(string(target), "\n", "")}) // no value has one
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
