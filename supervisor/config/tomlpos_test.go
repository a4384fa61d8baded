package config

import (
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
)

const placeText = `# comment [not.a.table]
top = 1 # [neither]
[app.shop] # the shop
"listen" = [ "a", # first
   'b' ]
env = { A = "x", "B.C" = 'y' }
hold.timeout = """
three "" lines \"""" # here
ready . path="/"
when = 1979-05-27 07:32:00
[[many]]
x = [[1, 2], [3]]
[[many]]
x = 'it''s'
['quoted name'."x\ty"]
"é" = "ünï"
`

func TestPlaces(t *testing.T) {
	text := strings.Replace(placeText, "'it''s'", "'its'", 1)
	var into map[string]any
	if _, err := toml.Decode(text, &into); err != nil {
		t.Fatal(err)
	}
	found := scanPositions(text)
	for path, want := range map[string]string{
		"top":                   "top|1",
		"app":                   "[app.shop]|",
		"app.shop":              "[app.shop]|",
		"app.shop.listen":       `"listen"|` + "[ \"a\", # first\n   'b' ]",
		"app.shop.listen.1":     "'b'|'b'",
		"app.shop.env.A":        `A|"x"`,
		"app.shop.hold":         "hold|\"\"\"\nthree \"\" lines \\\"\"\"\"",
		"app.shop.hold.timeout": "timeout|\"\"\"\nthree \"\" lines \\\"\"\"\"",
		"app.shop.ready.path":   `path|"/"`,
		"app.shop.when":         "when|1979-05-27 07:32:00",
		"many.0.x.0.1":          "2|2",
		"many.1.x":              "x|'its'",
		"quoted name.x\ty":      "['quoted name'.\"x\\ty\"]|",
		"quoted name.x\ty.é":    `"é"|"ünï"`,
	} {
		p, ok := found[strings.ReplaceAll(path, ".", keySeparator)]
		if got := text[p.key.start:p.key.end] + "|" + text[p.value.start:p.value.end]; !ok || got != want {
			t.Errorf("%s is at %q, want %q", path, got, want)
		}
	}
	if p, ok := found[joinKey("app", "shop", "env", "B.C")]; !ok || text[p.value.start:p.value.end] != "'y'" {
		t.Errorf("a key with a dot in it was not found")
	}
	line, column, length, source := lineAndColumn(text, found[joinKey("quoted name", "x\ty", "é")].value)
	if line != 16 || column != 7 || length != 5 || source != `"é" = "ünï"` {
		t.Errorf("%d:%d+%d %q", line, column, length, source)
	}
}

// In every text that the decoder accepts, each key has a position.
func FuzzPlaces(f *testing.F) {
	f.Add(placeText)
	f.Add("a = [{b = 1}, {b = 2,}]\n")
	f.Add("a.\"\".b = '''x''''\n")
	f.Fuzz(func(t *testing.T, text string) {
		var into map[string]any
		meta, err := toml.Decode(text, &into)
		if err != nil {
			return
		}
		found := scanPositions(text)
		for _, key := range meta.Keys() {
			if _, ok := found[joinKey(key...)]; !ok && !insideArray(into, key) {
				t.Errorf("no place for %q in %q: %v", key, text, found)
			}
		}
		for name, p := range found {
			if p.key.start > p.key.end || p.key.end > len(text) || p.value.end > len(text) {
				t.Errorf("%q is at %+v in %q", name, p, text)
			}
		}
	})
}

// insideArray reports whether a key runs through an array of tables, where the
// decoder leaves out the numbers.
func insideArray(into map[string]any, key []string) bool {
	var at any = into
	for _, part := range key {
		table, ok := at.(map[string]any)
		if !ok {
			return true
		}
		at = table[part]
	}
	switch at.(type) {
	case []map[string]any, []any:
		return true
	}
	return false
}
